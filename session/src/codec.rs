//! Values to JSON text and back, without a loss that nobody is told of.
//!
//! `serde_json` writes NaN and the infinities as `null`, and `Some(None)` too. Here both are errors ([`strict`] refuses them), as are
//! maps whose keys JSON cannot hold and values nested too deeply to be read back: what is stored is what will be read.
//!
//! Errors name the key, the Rust type and the JSON kind that was found, never a value.

use std::any::type_name;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};
use crate::payload::{CowStr, MAX_DEPTH, depth};

mod strict;

use strict::Strict;

/// What values are written with. Public because the generated code for `#[session(with = "..")]` names it.
pub type Writer<'a> = Strict<&'a mut serde_json::Serializer<&'a mut Vec<u8>>>;

/// What values are read with. Public for the same reason.
pub type Reader<'a, 'de> = &'a mut serde_json::Deserializer<serde_json::de::StrRead<'de>>;

/// The JSON text of a value.
///
/// # Errors
///
/// [`ErrorKind::Encode`] when JSON cannot hold the value.
pub(crate) fn encode<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<String> {
    encode_with::<T>(key, |writer| value.serialize(writer))
}

/// The JSON text of what `write` writes, which is a `T`.
///
/// # Errors
///
/// [`ErrorKind::Encode`] when JSON cannot hold the value.
pub(crate) fn encode_with<T: ?Sized>(
    key: &str,
    write: impl FnOnce(Writer<'_>) -> serde_json::Result<()>,
) -> Result<String> {
    let mut text = Vec::with_capacity(32);
    write(Strict::new(&mut serde_json::Serializer::new(&mut text))).map_err(|source| {
        let name = type_name::<T>();
        Error::new(
            ErrorKind::Encode,
            format!("JSON cannot hold the value of type `{name}` that was to be stored under the session key `{key}`"),
        )
        .with_source(source)
    })?;
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    if depth(&text) > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::Encode,
            format!(
                "the value of type `{}` for the session key `{key}` is nested more than {MAX_DEPTH} levels deep, and could not be read back",
                type_name::<T>()
            ),
        ));
    }
    Ok(text)
}

/// The value that a JSON text holds.
///
/// # Errors
///
/// [`ErrorKind::WrongType`] when the text holds something else.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, text: &str) -> Result<T> {
    decode_with(text, T::deserialize_from_json).map_err(|at| wrong_type::<T>(key, None, text, at))
}

/// Shorthand that has the type of a function: a method of `Deserialize` would bind the reader's lifetime.
trait FromJson: Sized {
    fn deserialize_from_json(reader: Reader<'_, '_>) -> serde_json::Result<Self>;
}

impl<T: DeserializeOwned> FromJson for T {
    fn deserialize_from_json(reader: Reader<'_, '_>) -> serde_json::Result<Self> {
        T::deserialize(reader)
    }
}

/// Where in a text a value stopped making sense.
pub(crate) struct StoppedAt {
    line: usize,
    column: usize,
}

/// What `read` reads, if that is the whole text.
pub(crate) fn decode_with<T>(
    text: &str,
    read: impl FnOnce(Reader<'_, '_>) -> serde_json::Result<T>,
) -> Result<T, StoppedAt> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = read(&mut reader).and_then(|value| reader.end().map(|()| value));
    // The text of serde_json's error would repeat what was found; its place does not.
    value.map_err(|error| StoppedAt {
        line: error.line(),
        column: error.column(),
    })
}

/// The error for a stored value of another shape than the one asked for; `schema` is the struct that asks.
pub(crate) fn wrong_type<T: ?Sized>(key: &str, schema: Option<&str>, text: &str, at: StoppedAt) -> Error {
    let found = kind(text);
    let place = match found {
        "an array" | "an object" => format!(" (see line {}, column {} of the JSON)", at.line, at.column),
        _ => String::new(),
    };
    let schema = schema.map_or(String::new(), |name| format!(" of `{name}`"));
    let expected = type_name::<T>();
    Error::new(
        ErrorKind::WrongType,
        format!("the session key `{key}`{schema} holds {found} that cannot be read as `{expected}`{place}"),
    )
}

/// What sort of value a JSON text is, in words.
pub(crate) fn kind(json: &str) -> &'static str {
    match json.trim_start().bytes().next() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "a boolean",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

/// Whether two JSON texts are the same value, so that storing one over the other changes nothing.
///
/// Numbers are compared as they are written, because equal floats may differ (`0.0` and `-0.0`) and large integers do not fit
/// one. The order of an object's keys does not count: a `HashMap` is written in another one each time. To call equal texts different
/// costs a write, no more; so containers are compared only if they are equally long.
pub(crate) fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (one.bytes().next(), other.bytes().next()) {
        (Some(b'"'), Some(b'"')) if one.contains('\\') || other.contains('\\') => equal::<CowStr<'_>>(one, other),
        (Some(b'['), Some(b'[')) if one.len() == other.len() => equal::<Vec<Tree<'_>>>(one, other),
        (Some(b'{'), Some(b'{')) if one.len() == other.len() => equal::<Entries<'_>>(one, other),
        _ => false,
    }
}

fn equal<'a, T: Deserialize<'a> + PartialEq>(one: &'a str, other: &'a str) -> bool {
    let (one, other) = (serde_json::from_str::<T>(one), serde_json::from_str::<T>(other));
    matches!((one, other), (Ok(one), Ok(other)) if one == other)
}

/// Part of a text, compared by [`same`].
#[derive(Deserialize)]
struct Tree<'a>(#[serde(borrow)] &'a RawValue);

impl PartialEq for Tree<'_> {
    fn eq(&self, other: &Self) -> bool {
        same(self.0.get(), other.0.get())
    }
}

/// An object's entries, in the order of their keys; of one key twice, in the order of the text.
#[derive(PartialEq)]
struct Entries<'a>(Vec<(CowStr<'a>, Tree<'a>)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry::<CowStr<'de>, Tree<'de>>()? {
            entries.push(entry);
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests;
