//! Typed keys, and which of them an operation takes.

use std::fmt;
use std::marker::PhantomData;

use super::SessionSchema;
use super::field::Field;
use super::info::{KeyInfo, KeyKind};

/// The key of one field: of the schema `S`, for values of type `V`, of the kind [`Data`] or [`Flash`].
///
/// The derive makes one constant for each field: `Shop::CART` is a `Key<Shop, Vec<Item>>`.
pub struct Key<S, V, K = Data> {
    pub(crate) field: Field<V>,
    marker: PhantomData<fn() -> (S, K)>,
}

/// The kind of a field that is kept until it is changed.
#[derive(Debug)]
pub enum Data {}

/// The kind of a field that is shown once: `#[session(flash)]`.
#[derive(Debug)]
pub enum Flash {}

/// [`Data`] or [`Flash`].
pub trait Kind: sealed::Sealed + 'static {
    /// The kind as a value.
    const KIND: KeyKind;
}

impl Kind for Data {
    const KIND: KeyKind = KeyKind::Data;
}

impl Kind for Flash {
    const KIND: KeyKind = KeyKind::Flash;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Data {}
    impl Sealed for super::Flash {}
    impl<S, V, K> Sealed for super::Key<S, V, K> {}
}

impl<S, V, K> Key<S, V, K> {
    /// The key's name in the stored session, with the schema's prefix.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.field.entry.name
    }
}

impl<S: SessionSchema, V, K: Kind> Key<S, V, K> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(mut field: Field<V>) -> Self {
        field.entry.schema = S::NAME;
        field.entry.kind = K::KIND;
        Self {
            field,
            marker: PhantomData,
        }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn info(&self, rust_type: &'static str, doc: &'static str) -> KeyInfo {
        KeyInfo::new(self.field.entry, rust_type, doc)
    }
}

// By hand, because a key is copied whatever its value type is.
impl<S, V, K> Clone for Key<S, V, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, V, K> Copy for Key<S, V, K> {}

impl<S, V, K> fmt::Debug for Key<S, V, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.name()).finish()
    }
}

/// What a method of `TypedSession<S>` takes as a key: any [`Key`] of `S`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key of the session schema `{S}`",
    label = "not a key of `{S}`",
    note = "write the key of a field, such as `{S}::NAME_OF_THE_FIELD`; a key of another schema needs a `TypedSession` of that schema",
    note = "keys that are strings are for the dynamic session: `.session().get(..)`"
)]
pub trait KeyOf<S>: sealed::Sealed + Copy {
    /// The field's type.
    type Value: 'static;

    #[doc(hidden)]
    fn field(self) -> Field<Self::Value>;
}

impl<S: SessionSchema, V: 'static, K: Kind> KeyOf<S> for Key<S, V, K> {
    type Value = V;

    fn field(self) -> Field<V> {
        self.field
    }
}

/// What a method that writes for good takes as a key: a [`Key`] of `S` whose field is not `flash`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written for good in a session of the schema `{S}`",
    label = "not a data key of `{S}`",
    note = "a flash key is written with `flash` (for the next request) or `now` (for this one); remove `#[session(flash)]` to keep the value",
    note = "a key of another schema needs a `TypedSession` of that schema; keys that are strings are for the dynamic session: `.session().put(..)`"
)]
pub trait DataKeyOf<S>: KeyOf<S> {}

impl<S: SessionSchema, V: 'static> DataKeyOf<S> for Key<S, V, Data> {}
