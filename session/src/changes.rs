//! What a request changed, and how it is applied to a record.
//!
//! A change is applied twice: to the request's own [`Draft`] when it is made, so that the request reads what it wrote, and, if
//! another request was faster, to the newer record when it is saved. Both go through [`Change::apply`], so there is one set of rules.
//!
//! Changes that say what a value *is* (put, forget, flash, flush) make those before them under the same key superfluous, so that these
//! cannot fail any more; changes that say how it *differs* (increment, push, update) are kept and replayed on whatever value they find.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::end_of_time;
use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::draft::Draft;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::to_millis;
use crate::flash::Stamp;
use crate::id::SessionId;
use crate::payload::{MAX_DEPTH, depth, key};

/// The function behind `update`: from the JSON text that is there to the one to store; `None` leaves it as it is.
pub(crate) type UpdateFn = dyn Fn(Option<&str>) -> Result<Option<String>> + Send + Sync;

/// One change.
#[derive(Clone)]
pub(crate) enum Change {
    Put(Arc<str>, Arc<str>),
    Forget(Arc<str>),
    /// Absent and null count as 0.
    Increment(Arc<str>, i128),
    Push(Arc<str>, Arc<str>),
    /// `before` and `after` are what the function saw and made of it when the request called it.
    Update {
        key: Arc<str>,
        function: Arc<UpdateFn>,
        before: Option<Arc<str>>,
        after: Option<Arc<str>>,
    },
    /// Moves the first of `from` that is present to `to`, if that is absent, and removes the others.
    Rename {
        from: Vec<Arc<str>>,
        to: Arc<str>,
    },
    Flash {
        key: Arc<str>,
        text: Arc<str>,
        stamp: Stamp,
        until_read: bool,
    },
    /// Keeps the flash that this request has seen. If another has aged it away meanwhile, it comes back.
    Keep {
        key: Arc<str>,
        text: Arc<str>,
        seen: Stamp,
        stamp: Stamp,
    },
    /// Removes flash that was not flashed again since.
    Age(Vec<(Arc<str>, Stamp)>),
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
    Lifetime(Option<Duration>),
}

impl Change {
    /// Applies the change; a draft that it does not fit is left as it was.
    pub(crate) fn apply(&self, draft: &mut Draft) -> Result<()> {
        match self {
            Self::Put(key, text) => store(draft, key, Some(text.clone())),
            Self::Forget(key) => store(draft, key, None),
            Self::Increment(key, by) => {
                let sum = add(draft.get(key), *by).map_err(|why| why.error(key))?;
                store(draft, key, Some(sum.to_string().into()));
            }
            Self::Push(key, item) => {
                let list = append(draft.get(key), item).map_err(|why| why.error(key))?;
                store(draft, key, Some(list.into()));
            }
            Self::Update {
                key,
                function,
                before,
                after,
            } => {
                let text = match draft.get(key) == before.as_deref() {
                    true => after.clone(),
                    false => function(draft.get(key))?.map(Arc::from),
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
                for (key, seen) in passing {
                    if draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen) {
                        store(draft, key, None);
                    }
                }
            }
            Self::Flush(token) => {
                draft.flush();
                if draft.base().get(key::TOKEN).is_some() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::RemoveAll => draft.remove_all(),
            Self::FirstToken(token) => {
                if token_in(draft).is_none() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::Token(token) => draft.set(&key::TOKEN.into(), Some(quoted(token))),
            Self::RotatedToken(token) => {
                if token_in(draft).is_some() {
                    draft.set(&key::TOKEN.into(), Some(quoted(token)));
                }
            }
            Self::Owner(owner) => draft.owner = owner.clone(),
            Self::Lifetime(lifetime) => {
                let text = lifetime.map(|lifetime| lifetime_in_millis(lifetime).to_string());
                draft.set(&key::LIFETIME.into(), text.map(Arc::from));
            }
        }
        Ok(())
    }

    /// Applies the change to a session that another request has given a new id. Its CSRF token is the one that came with the id, whatever
    /// this request has made of the one before: whoever planted the old id would know it.
    pub(crate) fn apply_under_new_id(&self, draft: &mut Draft) -> Result<()> {
        match self {
            Self::FirstToken(_) | Self::Token(_) | Self::RotatedToken(_) => Ok(()),
            Self::Flush(_) => {
                let token = draft.get(key::TOKEN).map(Arc::from);
                draft.flush();
                draft.set(&key::TOKEN.into(), token);
                Ok(())
            }
            other => other.apply(draft),
        }
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
    fn is_absolute(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Forget(_) | Self::Flash { .. })
    }

    /// Whether the change may concern any key, so that others cannot be moved past it.
    fn is_barrier(&self) -> bool {
        matches!(
            self,
            Self::Rename { .. } | Self::Age(_) | Self::Flush(_) | Self::RemoveAll
        )
    }
}

/// The changes of a request, in order.
#[derive(Clone, Default)]
pub(crate) struct Changes {
    list: Vec<Change>,
    /// Some change in the list has left its value as it was.
    quiet: bool,
    /// They were made by a request that prolongs nothing.
    pub(crate) keep_expiry: bool,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Change> {
        self.list.iter()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Puts the changes back in front of those that were made while a save of them failed.
    pub(crate) fn put_back(&mut self, mut earlier: Self) {
        for later in &self.list {
            earlier.make_room_for(later);
        }
        earlier.list.append(&mut self.list);
        earlier.quiet |= self.quiet;
        *self = earlier;
    }

    /// Applies a change to the draft and remembers it.
    pub(crate) fn make(&mut self, change: Change, draft: &mut Draft) -> Result<()> {
        // Looking for changes of the key that this one replaces takes time: only where there may be some.
        let again = change.key().is_some_and(|key| {
            self.quiet || draft.is_edited(key) || self.list.last().and_then(Change::key) == Some(key)
        });
        change.apply(draft)?;
        self.quiet |= change.key().is_some_and(|key| !draft.is_edited(key));
        if again || change.key().is_none() {
            self.make_room_for(&change);
        }
        if let Some(key) = change.key().filter(|_| again)
            && self.merge_into_last(&change, key, draft)
        {
            return Ok(());
        }
        self.list.push(change);
        Ok(())
    }

    /// Drops the changes that `later` makes superfluous.
    fn make_room_for(&mut self, later: &Change) {
        match later {
            Change::Flush(_) | Change::RemoveAll => self.list.retain(|earlier| earlier.key().is_none()),
            later => {
                if let Some(key) = later.key().filter(|_| later.is_absolute()) {
                    self.drop_superfluous(key);
                }
            }
        }
    }

    /// Drops the changes of a key that is about to be said anew.
    fn drop_superfluous(&mut self, key: &str) {
        // What a key held before it was renamed lives on under another.
        let renames = |change: &Change| matches!(change, Change::Rename { .. });
        let from = self.list.iter().rposition(renames).map_or(0, |at| at + 1);
        let mut at = 0;
        self.list.retain(|change| {
            at += 1;
            at <= from || change.key().is_none_or(|changed| **changed != *key)
        });
    }

    /// Turns "put 1, then add 2" into "put 3", and "add 1, then add 2" into "add 3".
    fn merge_into_last(&mut self, change: &Change, key: &str, draft: &Draft) -> bool {
        let concerns = |other: &&mut Change| other.is_barrier() || other.key().is_some_and(|changed| **changed == *key);
        let last = self.list.iter_mut().rev().find(concerns);
        match (last, change) {
            (Some(Change::Put(_, text)), Change::Increment(..) | Change::Push(..) | Change::Update { .. }) => {
                draft.get(key).map(|now| *text = now.into()).is_some()
            }
            (Some(Change::Increment(_, by)), Change::Increment(_, more)) => {
                by.checked_add(*more).map(|sum| *by = sum).is_some()
            }
            _ => false,
        }
    }
}

/// Stores or removes a value for good: whatever was flash is not any more.
fn store(draft: &mut Draft, key: &Arc<str>, text: Option<Arc<str>>) {
    draft.flash.remove(key);
    draft.set(key, text);
}

fn rename(draft: &mut Draft, from: &[Arc<str>], to: &Arc<str>) {
    for old in from {
        if let Some(text) = draft.text(old) {
            if draft.get(to).is_none() {
                draft.set(to, Some((*text).into()));
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

/// A JSON list and one item more.
fn append(list: Option<&str>, item: &str) -> Result<String, Misfit> {
    if depth(item) >= MAX_DEPTH {
        return Err(Misfit::TooDeep);
    }
    let items = match list {
        None | Some("null") => "",
        Some(list) => list
            .strip_prefix('[')
            .and_then(|list| list.strip_suffix(']'))
            .ok_or(Misfit::NoList)?
            .trim_ascii(),
    };
    Ok(match items {
        "" => format!("[{item}]"),
        items => format!("[{items},{item}]"),
    })
}

/// The CSRF token of a draft; anything but a string is none.
pub(crate) fn token_in(draft: &Draft) -> Option<String> {
    serde_json::from_str(draft.get(key::TOKEN)?).ok()
}

/// Rounded up, and no longer than to the end of time, which is a number that is read back whoever writes it.
fn lifetime_in_millis(lifetime: Duration) -> u128 {
    let longest = u128::from(to_millis(end_of_time()));
    lifetime.as_nanos().div_ceil(1_000_000).min(longest)
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
fn quoted(token: &str) -> Arc<str> {
    format!("\"{token}\"").into()
}
