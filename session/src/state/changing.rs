//! Changes, and what is left of them when they come to nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{Origin, State};
use crate::changes::{Change, token_in, token_of};
use crate::error::Result;
use crate::flash::{Stamp, new_stamp};
use crate::id::SessionId;
use crate::payload::{Text, key};

impl State {
    /// Makes a change under one key. What was shown there for this request only is not in front of it any more, but counts
    /// as what was there.
    pub(crate) fn change(&mut self, key: &str, change: impl FnOnce(Arc<str>) -> Change) -> Result<()> {
        let key: Arc<str> = key.into();
        let change = change(key.clone());
        if let Some(at) = self.shown_at(&key) {
            let before = Change::Put(key, (*self.shown[at].1).into());
            let (mut draft, mut changes) = (self.draft.clone(), self.changes.clone());
            changes.make(before, &mut draft)?;
            changes.make(change, &mut draft)?;
            (self.draft, self.changes) = (draft, changes);
            self.revision += 1;
            self.shown.remove(at);
            return Ok(());
        }
        self.make(change)
    }

    /// Makes a change that concerns no key in particular.
    pub(crate) fn make(&mut self, change: Change) -> Result<()> {
        self.revision += 1;
        self.changes.make(change, &mut self.draft)
    }

    pub(crate) fn put(&mut self, key: &str, text: String) -> Result<()> {
        let unchanged = self.is_kept(key) && self.draft.get(key).is_some_and(|now| crate::codec::same(&text, now));
        match unchanged {
            true => Ok(()),
            false => self.change(key, |key| Change::Put(key, text.into())),
        }
    }

    pub(crate) fn forget(&mut self, key: &str) -> Result<()> {
        // Before it is loaded, a session only seems to have nothing there.
        let absent = self.is_started() && self.is_kept(key) && self.draft.get(key).is_none();
        match absent {
            true => Ok(()),
            false => self.change(key, Change::Forget),
        }
    }

    /// Whether what is under a key is neither flash nor for this request only.
    fn is_kept(&self, key: &str) -> bool {
        self.shown_at(key).is_none() && self.draft.flash.find(key).is_none()
    }

    pub(crate) fn flash(&mut self, key: &str, text: String, until_read: bool) -> Result<()> {
        self.change(key, |key| Change::Flash {
            key,
            text: text.into(),
            stamp: new_stamp(),
            until_read,
        })
    }

    pub(crate) fn now(&mut self, key: &str, text: String) {
        let text = Text::Whole(text.into());
        match self.shown_at(key) {
            Some(at) => self.shown[at].1 = text,
            None => self.shown.push((key.into(), text)),
        }
    }

    /// Keeps a flash key for one more request; whatever is not flash stays what it is.
    pub(crate) fn keep(&mut self, key: &str) -> Result<()> {
        if let Some(at) = self.shown_at(key) {
            let (_, text) = self.shown.remove(at);
            return self.flash(key, text.to_string(), false);
        }
        let passing = |(passing, seen): &(Arc<str>, Stamp)| {
            **passing == *key && self.draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen)
        };
        let Some(at) = self.passing.iter().position(passing) else {
            return Ok(());
        };
        let Some(text) = self.draft.text(key) else {
            return Ok(());
        };
        let (key, seen) = self.passing.remove(at);
        self.make(Change::Keep {
            key,
            text: (*text).into(),
            seen,
            stamp: new_stamp(),
        })
    }

    pub(crate) fn reflash(&mut self) -> Result<()> {
        let shown = self.shown.iter().map(|(key, _)| key.clone());
        let keys: Vec<_> = shown.chain(self.draft.flash.keys()).collect();
        keys.iter().try_for_each(|key| self.keep(key))
    }

    /// Notes that a flash that stays until it is read has been read.
    pub(crate) fn mark_read(&mut self, key: &str) {
        if let (Some((stamp, true)), false) = (self.draft.flash.find(key), self.speculative)
            && !self.passing.iter().any(|(passing, _)| **passing == *key)
        {
            self.passing.push((key.into(), stamp));
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
        if let Some(token) = token_in(&self.draft) {
            return Ok(token);
        }
        let id = self.id()?;
        let none_before = self.draft.base().get(key::TOKEN).is_none() && !self.changes.iter().any(renews_token);
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
        match self.regenerated || token_in(&self.draft).is_some() {
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
            // It had an owner, or its changes are refused already: only a sign-in leads out of that.
            Origin::Lost(lost) if lost.owner.is_some() || lost.refused.is_some() => return Ok(()),
            Origin::Fresh | Origin::Lost(_) => {
                self.new_id()?;
                self.origin = Origin::Fresh;
            }
        }
        self.rotate_token()
    }

    pub(crate) fn set_lifetime(&mut self, lifetime: Option<Duration>) -> Result<()> {
        self.make(Change::Lifetime(lifetime))
    }
}

fn renews_token(change: &Change) -> bool {
    matches!(change, Change::Flush(_) | Change::Token(_))
}

/// A CSRF token that nothing tells in advance.
fn random_token() -> Result<Arc<str>> {
    SessionId::generate().map(|id| token_of(&id).into())
}
