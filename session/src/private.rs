//! What generated code needs. Not for anyone else: nothing here is stable.
//!
//! Generated code names everything through this module, so that it means the same wherever it stands.

pub use core::default::Default;
pub use core::fmt::{Debug, Formatter, Result as FmtResult};
pub use core::primitive::str;
pub use core::result::Result::Ok;

pub use crate::codec::{Reader, Writer};
pub use crate::error::Result;
pub use crate::schema::{Accessors, Field, Fill, Source, StoreAs, assert_disjoint};

use crate::schema::Key;
use crate::session::Session;

/// The accessors of what failed to compile as a schema.
#[derive(Debug)]
pub enum NoAccessors {}

impl Accessors for NoAccessors {
    fn new(_: Session) -> Self {
        not_compiled::nothing()
    }

    fn session(&self) -> &Session {
        match *self {}
    }
}

/// Stands in the code beside a compile error, which keeps it from being run.
pub mod not_compiled {
    pub fn nothing<T>() -> T {
        unreachable!("the derive has reported an error")
    }

    pub fn serialize<T, S: serde::Serializer>(_: &T, _: S) -> Result<S::Ok, S::Error> {
        nothing()
    }

    pub fn deserialize<'de, T, D: serde::Deserializer<'de>>(_: D) -> Result<T, D::Error> {
        nothing()
    }
}

/// What `#[session(default = "text")]` makes of its text.
#[diagnostic::on_unimplemented(
    message = "a default in quotes is text, which does not make a `{Self}`",
    label = "not a `{Self}`",
    note = "write the value itself: a number without quotes, or any other expression of that type"
)]
pub trait FromText {
    fn from_text(text: &'static str) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: From<&'static str>> FromText for T {
    fn from_text(text: &'static str) -> Self {
        text.into()
    }
}

pub fn get<S, V, K>(session: &Session, key: Key<S, V, K>) -> Result<V> {
    key.field.get(session)
}

pub fn put<S, V, K>(session: &Session, key: Key<S, V, K>, value: impl StoreAs<V>) -> Result<()> {
    value.store_as(|value| key.field.put(session, value))
}

pub fn pull<S, V, K>(session: &Session, key: Key<S, V, K>) -> Result<V> {
    key.field.pull(session)
}

pub fn flash<S, V, K>(session: &Session, key: Key<S, V, K>, value: impl StoreAs<V>) -> Result<()> {
    value.store_as(|value| key.field.flash(session, value))
}

pub fn now<S, V, K>(session: &Session, key: Key<S, V, K>, value: impl StoreAs<V>) -> Result<()> {
    value.store_as(|value| key.field.now(session, value))
}

pub fn keep<S, V, K>(session: &Session, key: Key<S, V, K>) -> Result<()> {
    key.field.entry.keep(session)
}
