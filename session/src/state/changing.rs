//! Changes, and what is left of them when they come to nothing.

use std::any::TypeId;
use std::sync::Arc;

use super::{Origin, State};
use crate::changes::{Change, token_in, token_of};
use crate::draft::Draft;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::flash::new_stamp;
use crate::id::SessionId;
use crate::payload::{Json, Text, key};

impl State {
    /// Makes a change under one key. What was shown there for this request only is not in front of it any more, but counts
    /// as what was there.
    pub(crate) fn change(&mut self, key: impl Into<Arc<str>>, change: impl FnOnce(Arc<str>) -> Change) -> Result<()> {
        let key: Arc<str> = key.into();
        let change = change(key.clone());
        let Some(shown) = self.shown.get(&key) else {
            return self.make(change);
        };
        let change = match change.is_absolute() {
            true => change,
            false => {
                // A change that does not fit the value that is shown leaves that value. It is applied to that value
                // only: the stored value may be equal but written in another way, and a function given to `update`
                // would run again, under the session's lock.
                let mut alone = Draft::empty();
                alone.set(&key, Some(shown.json()));
                change.apply(&mut alone)?;
                self.changes.let_go(change);
                let made = alone.text(&key).map(|text| text.json()).unwrap_or_default();
                Change::Put(key.clone(), made)
            }
        };
        self.shown.remove(&key);
        self.make(change)
    }

    /// Makes a change that concerns no key in particular.
    pub(crate) fn make(&mut self, change: Change) -> Result<()> {
        self.revision += 1;
        self.changes.make(change, &mut self.draft)
    }

    pub(crate) fn put(&mut self, key: &str, text: String) -> Result<()> {
        self.change(key, |key| Change::Put(key, text.into()))
    }

    pub(crate) fn forget(&mut self, key: impl Into<Arc<str>>) -> Result<()> {
        self.change(key, Change::Forget)
    }

    /// Appends to a list, which is of the type `list` afterwards if that is known.
    pub(crate) fn push(&mut self, key: &str, item: String, list: Option<TypeId>) -> Result<()> {
        let key: Arc<str> = key.into();
        self.change(key.clone(), |key| Change::Push(key, item.into()))?;
        if let Some(list) = list {
            self.draft.note_list(&key, list);
        }
        Ok(())
    }

    pub(crate) fn flash(&mut self, key: impl Into<Arc<str>>, text: impl Into<Json>, until_read: bool) -> Result<()> {
        self.change(key, |key| Change::Flash {
            key,
            text: text.into(),
            stamp: new_stamp(),
            until_read,
        })
    }

    pub(crate) fn now(&mut self, key: &str, text: String) {
        self.shown.insert(key.into(), Text::Whole(text.into()));
    }

    /// Keeps a flash key for one more request; whatever is not flash stays what it is.
    pub(crate) fn keep(&mut self, key: &str) -> Result<()> {
        if let Some((key, text)) = self.shown.remove(key) {
            return self.flash(key, text.json(), false);
        }
        let Some((key, seen)) = self.passing.remove(key) else {
            return Ok(());
        };
        let is_seen = self.draft.flash.find(&key).is_some_and(|(stamp, _)| stamp == seen);
        match self.draft.text(&key).filter(|_| is_seen) {
            Some(text) => self.make(Change::Keep {
                key,
                text: text.json(),
                seen,
                stamp: new_stamp(),
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn reflash(&mut self) -> Result<()> {
        let shown = self.shown.keys().cloned();
        let keys: Vec<_> = shown.chain(self.draft.flash.keys()).collect();
        keys.iter().try_for_each(|key| self.keep(key))
    }

    /// Notes that a flash that stays until it is read has been read.
    pub(crate) fn mark_read(&mut self, key: &str) {
        if let (Some((stamp, true)), false) = (self.draft.flash.find(key), self.speculative)
            && !self.passing.contains_key(key)
        {
            self.passing.insert(key.into(), stamp);
        }
    }

    pub(crate) fn flush(&mut self) -> Result<()> {
        self.shown.clear();
        self.make(Change::Flush(random_token()?))
    }

    pub(crate) fn remove_all(&mut self) -> Result<()> {
        self.shown.clear();
        self.make(Change::RemoveAll)
    }

    /// The CSRF token. The first one of a session follows from its id, so that two requests that ask for it at the same time
    /// get the same, and the pages of both work.
    pub(crate) fn token(&mut self, may_change: bool) -> Result<String> {
        if let Some(token) = token_in(self.draft.get(key::TOKEN)) {
            return Ok(token);
        }
        let id = self.id()?;
        let none_before =
            token_in(self.draft.base().get(key::TOKEN)).is_none() && !self.changes.iter().any(renews_token);
        let token: Arc<str> = match none_before {
            true => token_of(&id).into(),
            false => random_token()?,
        };
        if may_change {
            self.make(Change::FirstToken(token.clone()))?;
        }
        Ok(token.to_string())
    }

    pub(crate) fn regenerate_token(&mut self) -> Result<()> {
        self.make(Change::Token(random_token()?))
    }

    pub(super) fn rotate_token(&mut self) -> Result<()> {
        let id = self.id()?;
        // Where there is a record, another request may be giving it its first token at this moment.
        match self.regenerated || token_in(self.draft.get(key::TOKEN)).is_some() {
            true => self.make(Change::RotatedToken(token_of(&id).into())),
            false => Ok(()),
        }
    }

    pub(crate) fn regenerate(&mut self) -> Result<()> {
        match &self.origin {
            Origin::Stored(_) | Origin::Waiting => {
                self.new_id()?;
                self.regenerated = true;
            }
            // The session had an owner, or its changes are already refused: only a sign-in begins another one.
            Origin::Lost(lost) if lost.owner().is_some() || lost.refused.is_some() => return Ok(()),
            Origin::Fresh | Origin::Lost(_) => {
                self.new_id()?;
                self.origin = Origin::Fresh;
            }
        }
        self.rotate_token()
    }

    pub(crate) fn set_expiry(&mut self, expiry: Option<Expiry>) -> Result<()> {
        self.make(Change::Expiry(expiry))
    }
}

fn renews_token(change: &Change) -> bool {
    matches!(change, Change::Flush(_) | Change::Token(_))
}

/// A CSRF token that nothing tells in advance.
fn random_token() -> Result<Arc<str>> {
    SessionId::generate().map(|id| token_of(&id).into())
}
