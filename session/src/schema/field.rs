//! A field of a schema: how its value is written and read, and every typed operation on it.
//!
//! The operations are generic over the value alone, not over schemas and kinds, so that the compiler makes few copies of them and
//! the generated code has nothing to do but call them.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::info::{Entry, KeyKind};
use super::key::Key;
use super::value::{Integer, List};
use crate::codec::{self, Reader, Writer};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::session::Session;

/// How values of one type are written and read.
struct Codec<V> {
    write: fn(&V, Writer<'_>) -> serde_json::Result<()>,
    read: fn(Reader<'_, '_>) -> serde_json::Result<V>,
}

/// What the typed layer knows about one field.
#[doc(hidden)]
pub struct Field<V> {
    pub(crate) entry: Entry,
    codec: Codec<V>,
    default: fn() -> V,
}

/// What stood under a key. What is not a value reads as the default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Null,
    Value,
    /// A value of another shape, where the field says `invalid = "default"`.
    Other,
}

impl<V: Serialize + DeserializeOwned> Codec<V> {
    /// The type's own `Serialize` and `Deserialize`.
    const SERDE: Self = Self {
        write: |value, writer| value.serialize(writer),
        read: |reader| V::deserialize(reader),
    };
}

impl<V> Field<V> {
    /// The field of a key, as its type writes it.
    #[must_use]
    pub const fn new(name: &'static str, default: fn() -> V) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self {
            entry: Entry::new(name),
            codec: Codec::SERDE,
            default,
        }
    }

    /// The field of a key, as the module of `#[session(with)]` writes it.
    #[must_use]
    pub const fn with(
        name: &'static str,
        default: fn() -> V,
        write: fn(&V, Writer<'_>) -> serde_json::Result<()>,
        read: fn(Reader<'_, '_>) -> serde_json::Result<V>,
    ) -> Self {
        let mut entry = Entry::new(name);
        entry.own_codec = true;
        Self {
            entry,
            codec: Codec { write, read },
            default,
        }
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.entry.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn owner(mut self) -> Self {
        self.entry.owner = true;
        self
    }

    #[must_use]
    pub const fn until_read(mut self) -> Self {
        self.entry.until_read = true;
        self
    }

    #[must_use]
    pub const fn own_default(mut self) -> Self {
        self.entry.own_default = true;
        self
    }

    #[must_use]
    pub const fn lenient(mut self) -> Self {
        self.entry.lenient = true;
        self
    }

    #[inline(never)]
    pub(crate) fn encode(&self, value: &V) -> Result<String> {
        codec::encode_with::<V>(self.entry.name, |writer| (self.codec.write)(value, writer))
    }

    fn decode(&self, text: Option<&str>) -> Result<V> {
        self.find(text).map(|(value, _)| value)
    }

    /// The value that a text stands for. Null is what the type makes of it (`None`), or else absent.
    #[inline(never)]
    fn find(&self, text: Option<&str>) -> Result<(V, Content)> {
        let Some(text) = text else {
            return Ok(((self.default)(), Content::Nothing));
        };
        match codec::decode_with(text, self.codec.read) {
            Ok(value) => Ok((value, Content::Value)),
            Err(_) if text == "null" => Ok(((self.default)(), Content::Null)),
            Err(_) if self.entry.lenient => Ok(((self.default)(), Content::Other)),
            Err(at) => Err(codec::wrong_type::<V>(
                self.entry.name,
                Some(self.entry.schema),
                text,
                at,
            )),
        }
    }

    pub(crate) fn get(&self, session: &Session) -> Result<V> {
        let value = self.entry.look(session, |text| self.decode(text))?;
        self.entry.mark_read(session);
        Ok(value)
    }

    pub(crate) fn put(&self, session: &Session, value: &V) -> Result<()> {
        self.entry.put(session, self.encode(value)?)
    }

    pub(crate) fn flash(&self, session: &Session, value: &V) -> Result<()> {
        self.entry.flash(session, self.encode(value)?)
    }

    pub(crate) fn now(&self, session: &Session, value: &V) -> Result<()> {
        self.entry.now(session, self.encode(value)?)
    }

    pub(crate) fn pull(&self, session: &Session) -> Result<V> {
        self.entry.settle(session)?;
        let value = session.pull_text(self.entry.name, |text| self.decode(text))?;
        self.entry.set_owner(session, None)?;
        Ok(value)
    }

    pub(crate) fn remember(&self, session: &Session, make: impl FnOnce() -> V) -> Result<V> {
        if self.entry.has(session) {
            return self.get(session);
        }
        let value = make();
        self.put(session, &value)?;
        Ok(value)
    }
}

impl<V: 'static> Field<V> {
    pub(crate) fn update(&self, session: &Session, change: impl Fn(&mut V) + Send + Sync + 'static) -> Result<()> {
        self.try_update(session, move |value| {
            change(value);
            Ok(())
        })
    }

    /// Changes the value now, and again on a newer one if another request was faster. An error changes nothing.
    fn try_update(
        &self,
        session: &Session,
        change: impl Fn(&mut V) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.entry.settle(session)?;
        let field = *self;
        let change = move |text: Option<&str>| {
            let (mut value, found) = field.find(text)?;
            let default = match found {
                Content::Nothing | Content::Null => Some(field.encode(&value)?),
                Content::Value | Content::Other => None,
            };
            change(&mut value)?;
            let text = field.encode(&value)?;
            field.entry.owner_in(Some(&text))?;
            // A default that nobody changed is not worth a record.
            Ok((default.as_ref() != Some(&text)).then_some(text))
        };
        session.update_text(self.entry.name, Arc::new(change))?;
        self.entry.sync_owner(session)
    }

    /// Not `Session::increment`: that counts in i64, and two requests at once could take a u8 past its limit, where nobody could
    /// read it any more. An update that does not fit is an error in the request that comes second.
    pub(crate) fn increment(&self, session: &Session, by: i64) -> Result<i64>
    where
        V: Integer,
    {
        let sum = Arc::new(AtomicI64::new(0));
        let (field, result) = (*self, sum.clone());
        self.try_update(session, move |value| {
            let (sum, next) = field.sum(*value, by)?;
            result.store(sum, Ordering::Relaxed);
            *value = next;
            Ok(())
        })?;
        Ok(sum.load(Ordering::Relaxed))
    }

    pub(crate) fn decrement(&self, session: &Session, by: i64) -> Result<i64>
    where
        V: Integer,
    {
        let by = by.checked_neg().ok_or_else(|| self.no_room(-1))?;
        self.increment(session, by)
    }

    fn sum(&self, value: V, by: i64) -> Result<(i64, V)>
    where
        V: Integer,
    {
        let sum = value.to_i64().and_then(|value| value.checked_add(by));
        sum.and_then(|sum| Some((sum, V::from_i64(sum)?)))
            .ok_or_else(|| self.no_room(by))
    }

    fn no_room(&self, by: i64) -> Error {
        let change = if by < 0 { "decremented" } else { "incremented" };
        Error::new(
            ErrorKind::WrongType,
            format!(
                "the session key `{}` of `{}` cannot be {change}: the result does not fit `{}` and `i64`, in which the session counts",
                self.entry.name,
                self.entry.schema,
                std::any::type_name::<V>()
            ),
        )
    }

    pub(crate) fn push(&self, session: &Session, item: &V::Item) -> Result<()>
    where
        V: List,
    {
        // As a list of one, because a list is one level deeper than what it holds.
        let list = codec::encode(self.entry.name, std::slice::from_ref(item))?;
        let item = &list[1..list.len() - 1];
        let (name, item) = (self.entry.name, item.to_owned());
        let is_plain = !self.entry.own_codec && !self.entry.own_default;
        if is_plain {
            let list = TypeId::of::<V>();
            let fits = session.is_list(name, list) || {
                let found = self.entry.look(session, |text| self.find(text))?.1;
                matches!(found, Content::Nothing | Content::Value)
            };
            if fits {
                self.entry.settle(session)?;
                return session.push_text(name, item, Some(list));
            }
        }
        self.try_update(session, move |list| {
            list.append(codec::decode(name, &item)?);
            Ok(())
        })
    }
}

// By hand, because a field is copied whatever its value type is.
impl<V> Clone for Field<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Field<V> {}

impl<V> fmt::Debug for Field<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Field").field(&self.entry).finish()
    }
}

impl<V> Clone for Codec<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Codec<V> {}

/// What a whole struct is read from.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Source<'a>(Values<'a>);

#[derive(Clone, Copy, Debug)]
enum Values<'a> {
    Session(&'a Session),
    Payload(&'a Payload),
}

impl<'a> Source<'a> {
    pub(crate) fn session(session: &'a Session) -> Self {
        Self(Values::Session(session))
    }

    pub(crate) fn payload(payload: &'a Payload) -> Self {
        Self(Values::Payload(payload))
    }

    /// The value of a field.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`] when something else is stored.
    pub fn field<S, V, K>(self, key: Key<S, V, K>) -> Result<V> {
        self.value(&key.field)
    }

    // One copy for each type of value is enough, however many schemas there are.
    #[inline(never)]
    fn value<V>(self, field: &Field<V>) -> Result<V> {
        match self.0 {
            Values::Session(session) => field.entry.look(session, |text| field.decode(text)),
            Values::Payload(payload) => field.decode(field.entry.look_in(payload)),
        }
    }
}

/// The fields of a struct, encoded but not stored yet, so that one that cannot be leaves the session as it is.
#[doc(hidden)]
#[derive(Default)]
pub struct Fill(Vec<(Entry, String)>);

/// The keys, and no values.
impl fmt::Debug for Fill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(entry, _)| entry.name))
            .finish()
    }
}

impl Fill {
    /// Encodes a field.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`] when JSON cannot hold the value.
    pub fn field<S, V, K>(&mut self, key: Key<S, V, K>, value: &V) -> Result<()> {
        self.value(&key.field, value)
    }

    #[inline(never)]
    fn value<V>(&mut self, field: &Field<V>, value: &V) -> Result<()> {
        let text = field.encode(value)?;
        field.entry.owner_in(Some(&text))?;
        self.0.push((field.entry, text));
        Ok(())
    }

    /// Stores what was encoded. A flash field is flashed; one that holds nothing is forgotten.
    pub(crate) fn store(self, session: &Session) -> Result<()> {
        for (entry, text) in self.0 {
            match entry.kind {
                KeyKind::Data => entry.put(session, text)?,
                KeyKind::Flash if text == "null" => entry.forget(session)?,
                KeyKind::Flash => entry.flash(session, text)?,
            }
        }
        Ok(())
    }
}
