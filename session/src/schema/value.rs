//! What may be stored under a key of some type.

use std::collections::{LinkedList, VecDeque};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What may be stored under a key whose field has the type `V`:
///
/// | field | takes |
/// |---|---|
/// | `V` | `V`, `&V` |
/// | `Option<V>` | also `V`, `&V` |
/// | `String` | also `&str` |
/// | `Option<String>` | also `&str`, `Option<&str>` |
///
/// `None` alone fits both `Option<String>` and `Option<&str>`; for a field of text say which, `None::<String>`, or forget the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a session field of type `{V}`",
    label = "expected `{V}`",
    note = "write a `{V}` or a reference to one; where the field is an `Option`, what it holds; where it is a `String`, also a `&str`"
)]
pub trait StoreAs<V> {
    /// Lends the value to `store`.
    fn store_as<R>(self, store: impl FnOnce(&V) -> R) -> R;
}

impl<V> StoreAs<V> for V {
    fn store_as<R>(self, store: impl FnOnce(&V) -> R) -> R {
        store(&self)
    }
}

impl<V> StoreAs<V> for &V {
    fn store_as<R>(self, store: impl FnOnce(&V) -> R) -> R {
        store(self)
    }
}

impl<V> StoreAs<Option<V>> for V {
    fn store_as<R>(self, store: impl FnOnce(&Option<V>) -> R) -> R {
        store(&Some(self))
    }
}

impl<V: Clone> StoreAs<Option<V>> for &V {
    fn store_as<R>(self, store: impl FnOnce(&Option<V>) -> R) -> R {
        store(&Some(self.clone()))
    }
}

impl StoreAs<String> for &str {
    fn store_as<R>(self, store: impl FnOnce(&String) -> R) -> R {
        store(&self.to_owned())
    }
}

impl StoreAs<Option<String>> for &str {
    fn store_as<R>(self, store: impl FnOnce(&Option<String>) -> R) -> R {
        store(&Some(self.to_owned()))
    }
}

impl StoreAs<Option<String>> for Option<&str> {
    fn store_as<R>(self, store: impl FnOnce(&Option<String>) -> R) -> R {
        store(&self.map(ToOwned::to_owned))
    }
}

/// The types that [`increment`](crate::TypedSession::increment) counts in: Rust's integers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integer",
    label = "`increment` and `decrement` need a field of an integer type",
    note = "change a value of another type with `update`: `.update(key, |value| ..)`"
)]
pub trait Integer: sealed::Sealed + Copy + 'static {
    #[doc(hidden)]
    fn to_i64(self) -> Option<i64>;

    #[doc(hidden)]
    fn from_i64(value: i64) -> Option<Self>;
}

macro_rules! integer {
    ($($integer:ty),*) => {$(
        impl sealed::Sealed for $integer {}

        impl Integer for $integer {
            fn to_i64(self) -> Option<i64> {
                self.try_into().ok()
            }

            fn from_i64(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
        }
    )*};
}

integer!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize);

/// The types that [`push`](crate::TypedSession::push) appends to: `Vec`, `VecDeque` and `LinkedList`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list",
    label = "`push` needs a field of type `Vec`, `VecDeque` or `LinkedList`",
    note = "change a value of another type with `update`: `.update(key, |value| ..)`"
)]
pub trait List: sealed::Sealed + 'static {
    /// What the list holds.
    type Item: Serialize + DeserializeOwned + 'static;

    #[doc(hidden)]
    fn append(&mut self, item: Self::Item);
}

macro_rules! list {
    ($($list:ident),*) => {$(
        impl<T> sealed::Sealed for $list<T> {}

        impl<T: Serialize + DeserializeOwned + 'static> List for $list<T> {
            type Item = T;

            fn append(&mut self, item: T) {
                self.extend([item]);
            }
        }
    )*};
}

list!(Vec, VecDeque, LinkedList);

mod sealed {
    pub trait Sealed {}
}
