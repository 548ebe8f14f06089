//! The stored JSON object, read without building a tree.
//!
//! A [`Payload`] is the text as the store keeps it and, made when first needed, an index of its top-level entries. Both are
//! shared by all who hold the record, so the text is scanned once per process and not once per request; a value is decoded when it
//! is asked for. [`Payload::edit`] writes a changed copy and its index in one pass, so that a write does not lose it.
//!
//! Application keys stand at the top level; keys that begin with `_` are bookkeeping (see [`key`]).

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The names of bookkeeping entries. The first three are Goravel's, so that a Go application can share the store.
pub(crate) mod key {
    /// The CSRF token.
    pub(crate) const TOKEN: &str = "_token";
    /// What was flashed and has not aged yet; always empty in what this library writes.
    pub(crate) const FLASH_NEW: &str = "_flash.new";
    /// What the next request may read for the last time.
    pub(crate) const FLASH_OLD: &str = "_flash.old";
    /// A random stamp for each of the old entries: tells a message from a later one of the same text.
    pub(crate) const FLASH_AT: &str = "_flash.at";
    /// What stays until a request has read it, with its stamp.
    pub(crate) const FLASH_UNREAD: &str = "_flash.unread";
    /// Whether it is one of the four above.
    pub(crate) fn is_flash_list(key: &str) -> bool {
        [FLASH_NEW, FLASH_OLD, FLASH_AT, FLASH_UNREAD].contains(&key)
    }
    /// Whether a key is one of those here.
    pub(crate) fn is_bookkeeping(key: &str) -> bool {
        is_flash_list(key) || [TOKEN, CREATED, LIFETIME, LEASE, MOVED, UNTIL].contains(&key)
    }
    /// Milliseconds since 1970 at which the session began; only where it has an absolute lifetime.
    pub(crate) const CREATED: &str = "_created";
    /// The session's own idle lifetime in milliseconds; only where it has one.
    pub(crate) const LIFETIME: &str = "_lifetime";
    /// Where the lease of the session is kept; only where it was given a new id while somebody had it exclusively.
    pub(crate) const LEASE: &str = "_lease";
    /// In the record of an id that was given up: the store key of the session that took its place.
    pub(crate) const MOVED: &str = "_moved";
    /// Beside it: milliseconds since 1970 until which requests in flight may still follow it.
    pub(crate) const UNTIL: &str = "_until";
    /// Beside it: a random number of the process that gave the id up.
    pub(crate) const BY: &str = "_by";
}

/// Whether a key belongs to the library.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.starts_with('_')
}

/// Values nested deeper than this cannot be read back by `serde_json`.
pub(crate) const MAX_DEPTH: usize = 127;

/// A stored JSON object; cheap to clone. The empty one takes no memory, and no counter that all sessions would share.
#[derive(Clone)]
pub(crate) struct Payload(Option<Arc<Shared>>);

struct Shared {
    text: Vec<u8>,
    index: OnceLock<Option<Index>>,
}

/// The top-level entries, in the order of their keys.
struct Index {
    entries: Vec<Entry>,
    /// Where the entries are that are bookkeeping.
    reserved: Range<usize>,
    /// What [`key::CREATED`] says, which each load asks for.
    begun: Option<u64>,
}

/// Where an entry stands in the text. Offsets of 32 bits: a payload of 4 GiB does not count as one.
struct Entry {
    /// See [`prefix`].
    prefix: u64,
    key: KeyText,
    value: (u32, u32),
}

/// The first eight bytes of a key as a number, zeros behind a shorter one. Of two keys the smaller has the smaller one, unless
/// they have the same: few comparisons have to look at the text.
fn prefix(key: &[u8]) -> u64 {
    match (key.first_chunk::<8>(), key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (Some(bytes), ..) => u64::from_be_bytes(*bytes),
        // The two overlap, in bytes that are the same in both.
        (None, Some(first), Some(last)) => {
            let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
            u64::from(first) << 32 | u64::from(last) << (8 * (8 - key.len()))
        }
        _ => (0..8).fold(0, |number, at| {
            number << 8 | u64::from(key.get(at).copied().unwrap_or(0))
        }),
    }
}

enum KeyText {
    /// The key stands in the text as it is, at this place, without its quotes.
    Plain(u32, u32),
    /// The key is written with escapes; this is what it means.
    Escaped(Box<str>),
}

/// The JSON text of one value, beside a payload. It can grow in place while nobody else holds it.
pub(crate) type Json = Arc<String>;

/// The JSON text of one value, where it stands: in a payload, or beside it. Holding one holds no lock.
#[derive(Clone)]
pub(crate) enum Text {
    Part(Payload, (u32, u32)),
    Whole(Json),
}

impl Text {
    /// The text beside any payload.
    pub(crate) fn json(&self) -> Json {
        match self {
            Self::Part(..) => Arc::new((**self).to_owned()),
            Self::Whole(text) => text.clone(),
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Part(payload, place) => payload.slice(*place),
            Self::Whole(text) => text,
        }
    }
}

/// The text is not a JSON object, or nested too deeply.
#[derive(Debug)]
pub(crate) struct Corrupt;

impl Payload {
    pub(crate) fn new(text: Vec<u8>) -> Self {
        Self(Some(Arc::new(Shared {
            text,
            index: OnceLock::new(),
        })))
    }

    /// The object without entries.
    pub(crate) fn empty() -> Self {
        Self(None)
    }

    #[inline]
    pub(crate) fn text(&self) -> &[u8] {
        self.0.as_ref().map_or(b"{}", |shared| &shared.text)
    }

    /// Reads the index, once; says whether the payload can be read.
    pub(crate) fn check(&self) -> Result<(), Corrupt> {
        self.index().map(|_| ()).ok_or(Corrupt)
    }

    #[inline]
    fn index(&self) -> Option<&Index> {
        static EMPTY: Index = Index {
            entries: Vec::new(),
            reserved: 0..0,
            begun: None,
        };
        match &self.0 {
            Some(shared) => shared.index.get_or_init(|| Index::read(&shared.text)).as_ref(),
            None => Some(&EMPTY),
        }
    }

    #[inline]
    fn slice(&self, (start, end): (u32, u32)) -> &str {
        // Offsets come from reading this very text as JSON, which is UTF-8, so both checks hold.
        str::from_utf8(&self.text()[start as usize..end as usize]).unwrap_or_default()
    }

    fn key<'a>(&'a self, entry: &'a Entry) -> &'a str {
        str::from_utf8(entry.key(self.text())).unwrap_or_default()
    }

    /// The JSON text of a value. A payload that cannot be read has none.
    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|entry| self.slice(entry.value))
    }

    /// The JSON text of a value, sharing the payload instead of borrowing from it.
    #[inline]
    pub(crate) fn text_at(&self, key: &str) -> Option<Text> {
        self.entry(key).map(|entry| Text::Part(self.clone(), entry.value))
    }

    /// When the session began, in milliseconds since 1970, if it says so.
    #[inline]
    pub(crate) fn begun(&self) -> Option<u64> {
        self.index()?.begun
    }

    /// Whether flash keys are listed. Few sessions have some.
    #[inline]
    pub(crate) fn lists_flash(&self) -> bool {
        // The names of the lists, and no others, begin like this.
        const FLASH: u64 = u64::from_be_bytes(*b"\0\0_flash");
        let index = self.index();
        index.is_some_and(|index| {
            index.entries[index.reserved.clone()]
                .iter()
                .any(|entry| entry.prefix >> 16 == FLASH)
        })
    }

    /// Bookkeeping is looked for among its like, which costs next to nothing where there is none.
    #[inline]
    fn entry(&self, key: &str) -> Option<&Entry> {
        let index = self.index()?;
        let entries = match is_reserved(key) {
            true if index.reserved.is_empty() => return None,
            true => &index.entries[index.reserved.clone()],
            false => &index.entries[..],
        };
        let at = find(entries, self.text(), key.as_bytes());
        at.ok().map(|at| &entries[at])
    }

    /// Key and JSON text of every entry, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index()
            .into_iter()
            .flat_map(|index| &index.entries)
            .map(|entry| (self.key(entry), self.slice(entry.value)))
    }

    /// A copy with some entries set (`Some`) or removed (`None`). `edits` is sorted by key, each key once.
    pub(crate) fn edit<'a>(&self, edits: impl ExactSizeIterator<Item = (&'a str, Option<&'a str>)> + Clone) -> Self {
        let old: &[Entry] = self.index().map_or(&[], |index| &index.entries);
        let grown: usize = edits
            .clone()
            .map(|(key, value)| key.len() + value.map_or(0, str::len) + 6)
            .sum();
        let mut writer = Writer::new(self.text().len() + grown, old.len() + edits.len());
        let mut rest = old;
        for (key, value) in edits {
            let (before, after) = match find(rest, self.text(), key.as_bytes()) {
                Ok(at) => (&rest[..at], &rest[at + 1..]),
                Err(at) => rest.split_at(at),
            };
            writer.copy(self, before);
            writer.entry(key, value);
            rest = after;
        }
        writer.copy(self, rest);
        writer.finish()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.text().len())
    }
}

/// The place of a key among sorted entries, or the one where it would be.
fn find(entries: &[Entry], text: &[u8], key: &[u8]) -> Result<usize, usize> {
    let wanted = prefix(key);
    // Numbers are compared without a branch that could be guessed wrongly; hardly ever have two keys the same.
    let first = entries.partition_point(|entry| entry.prefix < wanted);
    let rest = &entries[first..];
    match rest.first().filter(|entry| entry.prefix == wanted) {
        None => Err(first),
        Some(entry) if entry.is_under(key, text) => Ok(first),
        Some(_) => {
            let same = rest.partition_point(|entry| entry.prefix == wanted);
            let found = rest[..same].binary_search_by(|entry| entry.key(text).cmp(key));
            found.map(|at| first + at).map_err(|at| first + at)
        }
    }
}

impl Entry {
    fn is_reserved(&self) -> bool {
        self.prefix >> 56 == u64::from(b'_')
    }

    /// Where it begins and ends, if it is written as [`Writer`] does: `"key":value`.
    fn compact(&self) -> Option<(u32, u32)> {
        match self.key {
            KeyText::Plain(start, end) if self.value.0 == end + 2 => Some((start - 1, self.value.1)),
            _ => None,
        }
    }

    /// Whether this entry, whose prefix is the key's, is under that key: of a short one its prefix says it all, but for zeros at its end.
    fn is_under(&self, key: &[u8], text: &[u8]) -> bool {
        let own = self.key(text);
        own.len() == key.len() && (key.len() <= size_of::<u64>() || own == key)
    }

    fn key<'a>(&'a self, text: &'a [u8]) -> &'a [u8] {
        match &self.key {
            KeyText::Plain(start, end) => &text[*start as usize..*end as usize],
            KeyText::Escaped(key) => key.as_bytes(),
        }
    }
}

impl Index {
    fn read(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text)
            .ok()
            .filter(|text| u32::try_from(text.len()).is_ok())?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut entries = reader.deserialize_map(IndexVisitor(text)).ok()?;
        reader.end().ok()?;
        // The last of several entries of one key counts, as everywhere in serde_json: reversed, then sorted stably.
        entries.reverse();
        entries.sort_by(|one, other| one.key(text.as_bytes()).cmp(other.key(text.as_bytes())));
        entries.dedup_by(|next, kept| next.key(text.as_bytes()) == kept.key(text.as_bytes()));
        let first = entries.partition_point(|entry| entry.key(text.as_bytes()) < b"_".as_slice());
        let count = entries[first..].iter().take_while(|entry| entry.is_reserved()).count();
        Some(Self::new(entries, first..first + count, text.as_bytes()))
    }

    fn new(entries: Vec<Entry>, reserved: Range<usize>, text: &[u8]) -> Self {
        let begun = find(&entries[reserved.clone()], text, key::CREATED.as_bytes())
            .ok()
            .and_then(|at| {
                let (start, end) = entries[reserved.start + at].value;
                str::from_utf8(&text[start as usize..end as usize]).ok()?.parse().ok()
            });
        Self {
            entries,
            reserved,
            begun,
        }
    }
}

struct IndexVisitor<'de>(&'de str);

impl<'de> Visitor<'de> for IndexVisitor<'de> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(16);
        while let Some(key) = map.next_key::<CowStr<'de>>()? {
            let value: &'de RawValue = map.next_value()?;
            if depth(value.get()) > MAX_DEPTH {
                return Err(serde::de::Error::custom("nested too deeply"));
            }
            let prefix = prefix(key.0.as_bytes());
            let key = match key.0 {
                Cow::Borrowed(key) => {
                    let (start, end) = place(self.0, key);
                    KeyText::Plain(start, end)
                }
                Cow::Owned(key) => KeyText::Escaped(key.into()),
            };
            let value = place(self.0, value.get());
            entries.push(Entry { prefix, key, value });
        }
        Ok(entries)
    }
}

/// A string that is borrowed where it is written without escapes (serde's own `Cow<str>` never is).
#[derive(serde::Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CowStr<'a>(#[serde(borrow)] Cow<'a, str>);

/// Where `part` stands in `whole`, of which it is a slice.
fn place(whole: &str, part: &str) -> (u32, u32) {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    (start as u32, (start + part.len()) as u32)
}

/// How deeply arrays and objects are nested in a JSON text; 0 for one that is too short to reach [`MAX_DEPTH`].
pub(crate) fn depth(json: &str) -> usize {
    if json.len() < 2 * MAX_DEPTH {
        return 0;
    }
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => drop(bytes.next()),
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Writes a JSON object and its index.
struct Writer {
    text: Vec<u8>,
    entries: Vec<Entry>,
    reserved: Range<usize>,
}

impl Writer {
    fn new(bytes: usize, entries: usize) -> Self {
        let mut text = Vec::with_capacity(bytes);
        text.push(b'{');
        Self {
            text,
            entries: Vec::with_capacity(entries),
            reserved: 0..0,
        }
    }

    fn position(&self) -> u32 {
        self.text.len() as u32
    }

    fn separate(&mut self) {
        if self.text.len() > 1 {
            self.text.push(b',');
        }
    }

    fn entry(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.separate();
        let plain = !key.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        let start = self.position() + 1;
        let key_text = if plain {
            self.text.push(b'"');
            self.text.extend_from_slice(key.as_bytes());
            self.text.push(b'"');
            KeyText::Plain(start, start + key.len() as u32)
        } else {
            serde_json::to_writer(&mut self.text, key).expect("a string is written to memory");
            KeyText::Escaped(key.into())
        };
        self.text.push(b':');
        self.value(prefix(key.as_bytes()), key_text, value);
    }

    /// Copies entries with their keys as they are written.
    fn copy(&mut self, from: &Payload, mut entries: &[Entry]) {
        while let Some(first) = entries.first() {
            let together = self.copy_together(from, entries);
            if together == 0 {
                self.copy_apart(from, first);
            }
            entries = &entries[together.max(1)..];
        }
    }

    /// Copies the first entries in one piece, as many as stand one after the other, as this writer writes them. Says how many.
    fn copy_together(&mut self, from: &Payload, entries: &[Entry]) -> usize {
        let Some((start, mut end)) = entries.first().and_then(Entry::compact) else {
            return 0;
        };
        self.separate();
        let at = self.position();
        let mut count = 0;
        for entry in entries {
            let (KeyText::Plain(key_start, key_end), Some((entry_start, entry_end))) = (&entry.key, entry.compact())
            else {
                break;
            };
            if count > 0 && entry_start != end + 1 {
                break;
            }
            let moved = |place: u32| place - start + at;
            let key = KeyText::Plain(moved(*key_start), moved(*key_end));
            self.index(entry.prefix, key, (moved(entry.value.0), moved(entry.value.1)));
            (count, end) = (count + 1, entry_end);
        }
        self.text.extend_from_slice(&from.text()[start as usize..end as usize]);
        count
    }

    fn copy_apart(&mut self, from: &Payload, entry: &Entry) {
        let KeyText::Plain(start, end) = entry.key else {
            return self.entry(from.key(entry), Some(from.slice(entry.value)));
        };
        self.separate();
        let at = self.position();
        self.text
            .extend_from_slice(&from.text()[start as usize - 1..=end as usize]);
        self.text.push(b':');
        let key = KeyText::Plain(at + 1, at + 1 + end - start);
        self.value(entry.prefix, key, from.slice(entry.value));
    }

    fn value(&mut self, prefix: u64, key: KeyText, value: &str) {
        let start = self.position();
        self.text.extend_from_slice(value.as_bytes());
        self.index(prefix, key, (start, self.position()));
    }

    fn index(&mut self, prefix: u64, key: KeyText, value: (u32, u32)) {
        let entry = Entry { prefix, key, value };
        if entry.is_reserved() {
            let at = self.entries.len();
            let first = if self.reserved.is_empty() {
                at
            } else {
                self.reserved.start
            };
            self.reserved = first..at + 1;
        }
        self.entries.push(entry);
    }

    fn finish(mut self) -> Payload {
        self.text.push(b'}');
        let index = Index::new(self.entries, self.reserved, &self.text);
        // A text of 4 GiB or more has no index and reads as corrupt; the layer's limit is far below it.
        let index = u32::try_from(self.text.len()).ok().map(|_| index);
        Payload(Some(Arc::new(Shared {
            text: self.text,
            index: OnceLock::from(index),
        })))
    }
}

#[cfg(test)]
mod tests;
