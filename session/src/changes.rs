//! What a request changed, and how it is applied to a record.
//!
//! A change is applied twice: to the request's own [`Draft`] when it is made, so that the request reads what it wrote, and, if
//! another request was faster, to the newer record when it is saved. Both go through [`Change::apply`], so there is one set of rules.
//!
//! Changes that say what a value *is* (put, forget, flash, flush) make those before them under the same key superfluous, so that these
//! cannot fail any more; changes that say how it *differs* (increment, push, update) are kept and replayed on whatever value they find.
//!
//! A change that comes to nothing on what the request has read (the value is that already) is kept, too. Alone it causes no write, because the draft has
//! no edits then. Beside others it is replayed like them: another request may have changed that key, and the changes of one save take effect as a unit.

use std::collections::HashMap;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::draft::Draft;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::flash::{Passing, Stamp};
use crate::id::SessionId;
use crate::payload::{Json, MAX_DEPTH, depth, key};

/// How many characters a CSRF token has, Goravel's too.
const TOKEN_LENGTH: usize = 40;

/// The function behind `update`: from the JSON text that is there to the one to store; `None` leaves it as it is.
pub(crate) type UpdateFn = dyn Fn(Option<&str>) -> Result<Option<String>> + Send + Sync;

/// One change.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Arc<str>, Json),
    Forget(Arc<str>),
    /// Absent and null count as 0.
    Increment(Arc<str>, i128),
    Push(Arc<str>, Json),
    /// `before` and `after` are what the function saw and made of it when the request called it.
    Update {
        key: Arc<str>,
        function: Arc<UpdateFn>,
        before: Option<Json>,
        after: Option<Json>,
    },
    /// Moves the first of `from` that is present to `to`, if that is absent, and removes the others.
    Rename {
        from: Vec<Arc<str>>,
        to: Arc<str>,
    },
    Flash {
        key: Arc<str>,
        text: Json,
        stamp: Stamp,
        until_read: bool,
    },
    /// Keeps the flash that this request has seen. If another has aged it away meanwhile, it comes back.
    Keep {
        key: Arc<str>,
        text: Json,
        seen: Stamp,
        stamp: Stamp,
    },
    /// Removes flash that was not flashed again since.
    Age(Passing),
    /// Removes everything. A stored CSRF token is replaced by this one: the next first token would follow from the id as the last
    /// one did, and so bring back what was to be refused.
    Flush(Arc<str>),
    /// Removes the application's keys.
    RemoveAll,
    /// Sets the CSRF token where there is none.
    FirstToken(Arc<str>),
    /// Sets the CSRF token.
    Token(Arc<str>),
    /// The new CSRF token of a regenerated session, if it has one; of two regenerations the first decides.
    RotatedToken(Arc<str>),
    Owner(Option<Arc<str>>),
    Expiry(Option<Expiry>),
}

impl Change {
    /// Applies the change; a draft that it does not fit is left as it was.
    pub(crate) fn apply(&self, draft: &mut Draft) -> Result<()> {
        match self {
            Self::Put(key, text) => store(draft, key, Some(text.clone())),
            Self::Forget(key) => store(draft, key, None),
            Self::Increment(key, by) => {
                let sum = add(draft.get(key), *by).map_err(|why| why.error(key))?;
                store(draft, key, Some(Json::new(sum.to_string())));
            }
            Self::Push(key, item) => {
                append(draft, key, item).map_err(|why| why.error(key))?;
            }
            Self::Update {
                key,
                function,
                before,
                after,
            } => {
                let text = match draft.get(key) == before.as_deref().map(String::as_str) {
                    true => after.clone(),
                    false => function(draft.get(key))?.map(Json::new),
                };
                if let Some(text) = text {
                    store(draft, key, Some(text));
                }
            }
            Self::Rename { from, to } => rename(draft, from, to),
            Self::Flash {
                key,
                text,
                stamp,
                until_read,
            } => {
                draft.set(key, Some(text.clone()));
                draft.flash.set(key.clone(), *stamp, *until_read);
            }
            Self::Keep { key, text, seen, stamp } => match draft.flash.find(key) {
                Some((found, until_read)) if found == *seen => draft.flash.set(key.clone(), *stamp, until_read),
                None if draft.get(key).is_none() => {
                    draft.set(key, Some(text.clone()));
                    draft.flash.set(key.clone(), *stamp, false);
                }
                _ => {}
            },
            Self::Age(passing) => {
                for (key, seen) in passing.iter() {
                    if draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen) {
                        store(draft, key, None);
                    }
                }
            }
            Self::Flush(token) => {
                draft.flush();
                if token_in(draft.base().get(key::TOKEN)).is_some() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::RemoveAll => draft.remove_all(),
            Self::FirstToken(token) => {
                if token_in(draft.get(key::TOKEN)).is_none() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::Token(token) => draft.set(&key::TOKEN.into(), Some(quoted(token))),
            Self::RotatedToken(token) => {
                if token_in(draft.get(key::TOKEN)).is_some() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::Owner(owner) => {
                // A sign-in begins the absolute lifetime anew.
                if owner.is_some() && draft.owner != *owner {
                    draft.set(&key::CREATED.into(), None);
                }
                draft.owner = owner.clone();
            }
            Self::Expiry(expiry) => {
                let text = expiry.map(|expiry| Json::new(expiry.to_json()));
                draft.set(&key::LIFETIME.into(), text);
            }
        }
        Ok(())
    }

    /// Whether it concerns the CSRF token alone, which belongs to one id.
    pub(crate) fn is_of_token(&self) -> bool {
        matches!(self, Self::FirstToken(_) | Self::Token(_) | Self::RotatedToken(_))
    }

    /// Whether it comes with reading a session: nobody misses it where it cannot be saved.
    fn comes_with_reading(&self) -> bool {
        matches!(self, Self::FirstToken(_) | Self::Age(_))
    }

    /// Whether applying the change may call a function of the application.
    pub(crate) fn has_function(&self) -> bool {
        matches!(self, Self::Update { .. })
    }

    /// The one key a change concerns, if it is one.
    fn key(&self) -> Option<&Arc<str>> {
        match self {
            Self::Put(key, _) | Self::Forget(key) | Self::Push(key, _) | Self::Increment(key, _) => Some(key),
            Self::Update { key, .. } => Some(key),
            Self::Flash { key, .. } | Self::Keep { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Whether what is under the key afterwards does not depend on what was there before.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Forget(_) | Self::Flash { .. })
    }

    /// Whether removing all of the application's keys makes the change superfluous.
    fn is_of_data(&self) -> bool {
        self.key().is_some() || matches!(self, Self::Rename { .. } | Self::Age(_) | Self::RemoveAll)
    }
}

/// The changes of a request, in order.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// `None`: a later change has made it superfluous.
    list: Vec<Option<Change>>,
    /// How many of the list are `None`.
    gone: usize,
    /// Where the last rename is behind. What a key held before it was renamed lives on under another, so changes before it stay as they are.
    begin: usize,
    /// Where the changes of each key are from there on, once there are [`FEW`] or more.
    places: Option<HashMap<Arc<str>, Vec<usize>>>,
    /// Functions of the application that are not needed any more. They are dropped where no lock is held.
    unneeded: Vec<Change>,
    /// They were made by a request that prolongs nothing.
    pub(crate) keep_expiry: bool,
}

/// So many changes are looked through faster than a map.
const FEW: usize = 16;

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.list.iter().flatten()
    }

    /// Whether the application says whose session it is.
    pub(crate) fn names_owner(&self) -> bool {
        self.iter().any(|change| matches!(change, Change::Owner(Some(_))))
    }

    /// Whether these changes leave the session of `owner` to somebody else, or to nobody, though they may come back to it.
    pub(crate) fn leave(&self, owner: &str) -> bool {
        self.iter().any(|change| match change {
            Change::Owner(named) => named.as_deref() != Some(owner),
            Change::Flush(_) | Change::RemoveAll => true,
            _ => false,
        })
    }

    /// Whether the application has changed nothing: all of it comes with reading.
    pub(crate) fn come_with_reading(&self) -> bool {
        self.iter().all(Change::comes_with_reading)
    }

    /// Takes other changes in the place of these.
    pub(crate) fn become_others(&mut self, others: Self) {
        let gone = std::mem::replace(self, others);
        self.unneeded.extend(gone.unneeded);
        let functions = gone.list.into_iter().flatten().filter(Change::has_function);
        self.unneeded.extend(functions);
    }

    /// Drops a change that is not to be made, when the lock is free.
    pub(crate) fn let_go(&mut self, change: Change) {
        self.unneeded.extend(Some(change).filter(Change::has_function));
    }

    pub(crate) fn has_unneeded(&self) -> bool {
        !self.unneeded.is_empty()
    }

    /// What is to be dropped when the lock is free.
    pub(crate) fn take_unneeded(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.unneeded)
    }

    /// Puts the changes back in front of those that were made while a save of them failed.
    pub(crate) fn put_back(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        self.unneeded.extend(later.unneeded);
        later.list.into_iter().flatten().for_each(|change| self.add(change));
    }

    /// Applies a change to the draft and remembers it.
    pub(crate) fn make(&mut self, change: Change, draft: &mut Draft) -> Result<()> {
        let last = match change.is_absolute() {
            true => None,
            false => change.key().and_then(|key| self.last_of(key)),
        };
        let last = last.and_then(|at| self.list[at].as_mut());
        match (last, &change) {
            // "Put 1, then add 2" is "put 3".
            (Some(Change::Put(key, text)), Change::Increment(..) | Change::Push(..) | Change::Update { .. }) => {
                // A list grows in place only while the draft alone holds it.
                *text = Json::default();
                let made = change.apply(draft);
                *text = draft.text(key).map(|text| text.json()).unwrap_or_default();
                self.let_go(change);
                return made;
            }
            // "Add 1, then add 2" is "add 3".
            (Some(Change::Increment(_, by)), Change::Increment(_, more)) => {
                change.apply(draft)?;
                if let Some(sum) = by.checked_add(*more) {
                    *by = sum;
                    return Ok(());
                }
            }
            _ => change.apply(draft)?,
        }
        self.add(change);
        Ok(())
    }

    /// Remembers a change, and drops those that it makes superfluous.
    fn add(&mut self, change: Change) {
        match &change {
            Change::Flush(_) | Change::RemoveAll => {
                let is_flush = matches!(change, Change::Flush(_));
                let goes = |earlier: &Change| earlier.is_of_data() || is_flush && matches!(earlier, Change::Flush(_));
                for at in 0..self.list.len() {
                    if self.list[at].as_ref().is_some_and(goes) {
                        self.remove(at);
                    }
                }
                self.begin_anew();
                self.list.push(Some(change));
            }
            Change::Rename { .. } => {
                self.list.push(Some(change));
                self.begin_anew();
            }
            _ => {
                if let Some(key) = change.key().filter(|_| change.is_absolute()) {
                    self.clear(key);
                }
                self.list.push(Some(change));
                self.note_places();
            }
        }
    }

    /// Whatever is in the list now stays as it is.
    fn begin_anew(&mut self) {
        self.close_gaps();
        self.begin = self.list.len();
    }

    fn close_gaps(&mut self) {
        if self.gone > 0 {
            self.list.retain(Option::is_some);
            self.gone = 0;
        }
        self.places = None;
    }

    /// Notes where the last change is, and all others if that has not been done though there are not few.
    fn note_places(&mut self) {
        if self.gone > self.list.len() / 2 {
            self.close_gaps();
        }
        let from = match &self.places {
            Some(_) => self.list.len() - 1,
            None if self.list.len() - self.begin < FEW => return,
            None => self.begin,
        };
        let places = self.places.get_or_insert_default();
        for (at, change) in self.list.iter().enumerate().skip(from) {
            if let Some(key) = change.as_ref().and_then(Change::key) {
                places.entry(key.clone()).or_default().push(at);
            }
        }
    }

    /// Where the last change of a key is that is not to stay as it is.
    fn last_of(&self, key: &str) -> Option<usize> {
        if let Some(places) = &self.places {
            return places.get(key)?.last().copied();
        }
        let is_of_key = |change: &Option<Change>| change.as_ref().and_then(Change::key).is_some_and(|of| **of == *key);
        let at = self.list[self.begin..].iter().rposition(is_of_key)?;
        Some(self.begin + at)
    }

    /// Removes the changes of a key.
    fn clear(&mut self, key: &str) {
        if let Some(places) = &mut self.places {
            let places = places.remove(key).unwrap_or_default();
            places.into_iter().for_each(|at| self.remove(at));
            return;
        }
        while let Some(at) = self.last_of(key) {
            self.unneeded.extend(self.list.remove(at).filter(Change::has_function));
        }
    }

    fn remove(&mut self, at: usize) {
        self.unneeded.extend(self.list[at].take().filter(Change::has_function));
        self.gone += 1;
    }
}

/// Stores or removes a value for good: whatever was flash is not any more.
fn store(draft: &mut Draft, key: &Arc<str>, text: Option<Json>) {
    draft.flash.remove(key);
    draft.set(key, text);
}

fn rename(draft: &mut Draft, from: &[Arc<str>], to: &Arc<str>) {
    for old in from {
        if let Some(text) = draft.text(old) {
            if draft.get(to).is_none() {
                draft.set(to, Some(text.json()));
                if let Some((stamp, until_read)) = draft.flash.find(old) {
                    draft.flash.set(to.clone(), stamp, until_read);
                }
            }
            store(draft, old, None);
        }
    }
}

/// Why a value does not take a change.
enum Misfit {
    NoInteger,
    Overflow,
    NoList,
    TooDeep,
}

impl Misfit {
    fn error(self, key: &str) -> Error {
        let (kind, why) = match self {
            Self::NoInteger => (
                ErrorKind::WrongType,
                "is not an integer that fits `i64`: `put` one first",
            ),
            Self::Overflow => (ErrorKind::WrongType, "would leave the range of `i64`"),
            Self::NoList => (ErrorKind::WrongType, "is not a list: `put` one first"),
            Self::TooDeep => (ErrorKind::Encode, "would be nested too deeply to be read back"),
        };
        Error::new(kind, format!("the session value under `{key}` {why}"))
    }
}

/// An integer plus `by`.
fn add(text: Option<&str>, by: i128) -> Result<i64, Misfit> {
    let value: i64 = match text {
        None | Some("null") => 0,
        Some(text) => text.parse().map_err(|_| Misfit::NoInteger)?,
    };
    let sum = i128::from(value).checked_add(by).ok_or(Misfit::Overflow)?;
    i64::try_from(sum).map_err(|_| Misfit::Overflow)
}

/// Appends an item to a JSON list.
fn append(draft: &mut Draft, key: &Arc<str>, item: &str) -> Result<(), Misfit> {
    if depth(item) >= MAX_DEPTH {
        return Err(Misfit::TooDeep);
    }
    let Some(list) = draft.get(key).filter(|list| *list != "null") else {
        store(draft, key, Some(Json::new(format!("[{item}]"))));
        return Ok(());
    };
    let items = list.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
    let separator = match items.ok_or(Misfit::NoList)?.trim_ascii_start() {
        "" => "",
        _ => ",",
    };
    draft.flash.remove(key);
    draft.grow(key, |list| {
        list.pop();
        list.push_str(separator);
        list.push_str(item);
        list.push(']');
    });
    Ok(())
}

/// The CSRF token that a stored text holds. Anything but 40 characters of base64url is none: an empty one would be known to everybody.
pub(crate) fn token_in(text: Option<&str>) -> Option<String> {
    let is_of_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let token: String = serde_json::from_str(text?).ok()?;
    (token.len() == TOKEN_LENGTH && token.bytes().all(is_of_alphabet)).then_some(token)
}

/// 40 characters that follow from an id and do not tell it.
pub(crate) fn token_of(id: &SessionId) -> String {
    let digest = Sha256::new()
        .chain_update(b"session-schema CSRF token\0")
        .chain_update(id.as_str())
        .finalize();
    BASE64URL_NOPAD.encode(&digest[..30])
}

/// A token as JSON; tokens need no escapes.
fn quoted(token: &str) -> Json {
    Json::new(format!("\"{token}\""))
}
