//! What was found in the store, and what a session becomes when its record has gone.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{CookieChange, Origin, Replayed, State, Touch, warn_of_dropped_changes};
use crate::backend::{Backend, Stored};
use crate::draft::Draft;
use crate::error::Result;
use crate::flash::Stamp;

/// A session that was found in the store, and what is due because of that.
pub(crate) struct Loaded {
    stored: Stored,
    passing: Vec<(Arc<str>, Stamp)>,
    touch: Touch,
    /// The response may never be seen, as far as that matters.
    speculative: bool,
}

impl Loaded {
    /// The working copy with it. A `speculative` request, which the visitor may never see, ages no flash and prolongs nothing.
    #[inline]
    pub(crate) fn new(
        stored: Stored,
        backend: &Backend,
        now: SystemTime,
        prolonged: Option<Instant>,
        speculative: impl FnOnce() -> bool,
    ) -> (Self, Draft) {
        let mut draft = Draft::of(&stored.record);
        let mut passing = draft.flash.passing(draft.base());
        let mut touch = match (backend.settings.moved_expiry(&stored.record, &draft, now), prolonged) {
            (Some(_), _) => Touch::Due,
            (None, Some(since)) if backend.settings.cookie_expiry(&stored.record).is_some() => Touch::Done(since),
            _ => Touch::None,
        };
        let is_undated = backend.settings.is_undated(&draft);
        let matters = is_undated || !draft.flash.is_empty() || matches!(touch, Touch::Due);
        let speculative = matters && speculative();
        if speculative {
            touch = Touch::None;
            passing = Vec::new();
            draft.flash.leave_as_stored();
        } else if is_undated {
            backend.settings.note_beginning(&mut draft, now);
        }
        let loaded = Self {
            stored,
            passing,
            touch,
            speculative,
        };
        (loaded, draft)
    }
}

impl State {
    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.origin, Origin::Waiting)
    }

    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    /// No session was found, or one that goes by another id.
    pub(crate) fn start_without(&mut self, is_moved: bool) {
        match is_moved {
            true => self.lose(),
            false => self.start_fresh(),
        }
    }

    /// A session that was found, of which nobody has asked for anything before.
    #[inline]
    pub(crate) fn of(loaded: Loaded, draft: Draft) -> Self {
        Self {
            id: Some(loaded.stored.id),
            origin: Origin::Stored(loaded.stored),
            draft,
            passing: loaded.passing,
            touch: loaded.touch,
            speculative: loaded.speculative,
            new: false,
            ..Self::default()
        }
    }

    /// Takes the session that was found; what was changed before has been applied to it.
    pub(crate) fn start_with(&mut self, loaded: Loaded, replayed: Replayed) -> Result<()> {
        if self.end_what_is_found {
            self.end(loaded.stored);
            self.start_fresh();
            return Ok(());
        }
        replayed.fit?;
        (self.draft, self.changes) = (replayed.draft, replayed.changes);
        (self.passing, self.touch) = (loaded.passing, loaded.touch);
        self.speculative = loaded.speculative;
        match self.renewed {
            true => self.rotate_token()?,
            false => self.id = Some(loaded.stored.id),
        }
        self.new = false;
        self.origin = Origin::Stored(loaded.stored);
        Ok(())
    }

    /// Ages no flash and prolongs nothing, though the session may have been loaded before that was known.
    pub(crate) fn be_speculative(&mut self) {
        if self.stored().is_some() {
            self.speculative = true;
            self.touch = Touch::None;
            self.passing.clear();
            // Otherwise this request has flashed something itself.
            if self.changes.is_empty() {
                self.draft.flash.leave_as_stored();
            }
        }
    }

    /// Goes on without what is stored, which could not be read, if nothing was changed yet; says whether it does.
    pub(crate) fn start_read_only(&mut self) -> bool {
        let untouched = self.is_untouched();
        if untouched {
            self.origin = Origin::Lost;
            self.read_only = true;
        }
        untouched
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// A session that could not be read can be loaded after all.
    pub(crate) fn wait_again(&mut self) {
        if std::mem::take(&mut self.read_only) {
            *self = Self::default();
        }
    }

    fn start_fresh(&mut self) {
        self.origin = Origin::Fresh;
        self.renewed = false;
        self.end_what_is_found = false;
    }

    /// The session in the store, as this request knows it.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.origin {
            Origin::Stored(stored) => Some(stored),
            _ => None,
        }
    }

    /// How often `invalidate` was called.
    pub(crate) fn endings(&self) -> u32 {
        self.endings
    }

    /// Goes on from what the store has now, unless the session has been ended since the store was asked, when there had been so many
    /// `endings`.
    pub(crate) fn rebase(&mut self, stored: Stored, endings: u32, replayed: Replayed) -> Result<()> {
        if self.endings == endings {
            replayed.fit?;
            (self.draft, self.changes) = (replayed.draft, replayed.changes);
            self.origin = Origin::Stored(stored);
        }
        Ok(())
    }

    /// The store has the session no more, or has it under an id that is not this request's to follow.
    pub(crate) fn lose_unless_ended(&mut self, endings: u32) {
        if self.endings == endings {
            self.lose();
        }
    }

    /// The handler has ended the session: it is to be destroyed, and the browser to forget it.
    pub(super) fn end(&mut self, stored: Stored) {
        self.ended = Some(Box::new(stored));
        self.has_ended = true;
        self.cookie = CookieChange::Remove;
    }

    /// The record is gone. What was changed has no place any more.
    pub(super) fn lose(&mut self) {
        if !self.changes.is_empty() {
            warn_of_dropped_changes();
        }
        self.origin = Origin::Lost;
        self.forget_everything();
        self.new = true;
        self.withdraw_id();
    }

    /// The browser must not be told an id that has gone, or been given up: it may have a better one meanwhile.
    pub(super) fn withdraw_id(&mut self) {
        self.cookie = match self.has_ended {
            true => CookieChange::Remove,
            false => CookieChange::Keep,
        };
    }

    pub(super) fn forget_everything(&mut self) {
        self.draft = Draft::empty();
        self.changes.clear();
        self.revision += 1;
        self.shown.clear();
        self.passing.clear();
        self.renewed = false;
        self.touch = Touch::None;
    }
}
