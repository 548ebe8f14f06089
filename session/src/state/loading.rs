//! What was found in the store, and what a session becomes when its record has gone.

use std::time::{Instant, SystemTime};

use super::afterwards::Event;
use super::{CookieChange, Lost, Origin, Replayed, State, Touch};
use crate::backend::{Backend, Stored};
use crate::changes::Changes;
use crate::draft::Draft;
use crate::error::Result;
use crate::flash::Passing;
use crate::save::Ended;

/// A session that was found in the store, and what is due because of that.
pub(crate) struct Loaded {
    stored: Stored,
    passing: Passing,
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
            passing = Passing::new();
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

    /// Whose session it is.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.stored.record.owner()
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
    ///
    /// With an id that was given up, a session can begin only if the request asks for an id of its own.
    pub(crate) fn start_without(&mut self, is_moved: bool) {
        let asks_for_id = self.regenerated || self.end_what_is_found || self.owner().is_some();
        match is_moved && !asks_for_id {
            true => self.origin = Origin::Lost(Lost::default()),
            false => self.start_fresh(),
        }
    }

    /// A session that was found, of which nobody has asked for anything before.
    #[inline]
    pub(crate) fn of(loaded: Loaded, draft: Draft) -> Self {
        Self {
            had_owner: draft.owner.is_some(),
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
        let owner = loaded.stored.record.shared_owner();
        self.had_owner |= owner.is_some();
        if self.end_what_is_found || owner.is_some_and(|owner| self.changes.leave(&owner)) {
            return self.start_after(loaded.stored, replayed);
        }
        replayed.fit?;
        self.draft = replayed.draft;
        self.changes.become_others(replayed.changes);
        (self.passing, self.touch) = (loaded.passing, loaded.touch);
        self.speculative = loaded.speculative;
        self.new = false;
        let signs_in = self.owner().is_some() && loaded.stored.record.owner().is_none();
        if !self.regenerated {
            self.id = Some(loaded.stored.id);
        }
        self.origin = Origin::Stored(loaded.stored);
        match (self.regenerated, signs_in) {
            (true, _) => self.rotate_token(),
            (false, true) => self.regenerate(),
            (false, false) => Ok(()),
        }
    }

    /// Ends the session that was found, as the handler asked for before it was loaded, and begins another.
    fn start_after(&mut self, found: Stored, own: Replayed) -> Result<()> {
        if !self.end_what_is_found {
            self.new_id()?;
            own.fit?;
            self.draft = own.draft;
            self.changes.become_others(own.changes);
        }
        self.end(Ended {
            must_be_live: !self.end_what_is_found,
            stored: found,
        });
        self.start_fresh();
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
            self.origin = Origin::Lost(Lost::default());
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
        self.regenerated = false;
        self.end_what_is_found = false;
    }

    /// The session in the store, as this request knows it.
    pub(crate) fn stored(&self) -> Option<&Stored> {
        match &self.origin {
            Origin::Stored(stored) => Some(stored),
            _ => None,
        }
    }

    /// How often the handler ended a session.
    pub(crate) fn invalidations(&self) -> u32 {
        self.invalidations
    }

    /// Goes on from what the store has now, unless the handler has ended the session since the store was asked.
    /// `invalidations` is how often the handler had ended a session by then.
    pub(crate) fn rebase(&mut self, stored: Stored, invalidations: u32, replayed: Replayed) -> Result<()> {
        if self.invalidations == invalidations {
            replayed.fit?;
            self.draft = replayed.draft;
            self.changes.become_others(replayed.changes);
            self.origin = Origin::Stored(stored);
        }
        Ok(())
    }

    /// The store no longer has the session, or has it under an id that this request must not follow to.
    /// If the request names an owner, the next save decides what becomes of that.
    pub(crate) fn lose_unless_ended(&mut self, invalidations: u32) {
        if self.invalidations == invalidations && !self.changes.names_owner() {
            if self.has_changed() && !self.changes.come_with_reading() {
                self.say(Event::ChangesDropped);
            }
            self.lose(None, None);
        }
    }

    /// The handler has ended the session: it is to be destroyed, and the browser to forget it.
    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = Some(Box::new(ended));
        self.has_ended = true;
        self.cookie = CookieChange::Remove;
    }

    /// The browser must not be sent an id that is gone or was given up: it may have a newer one by now.
    pub(super) fn withdraw_cookie(&mut self) {
        self.cookie = match self.has_ended {
            true => CookieChange::Remove,
            false => CookieChange::Keep,
        };
    }

    pub(super) fn forget_everything(&mut self) {
        self.draft = Draft::empty();
        self.changes.become_others(Changes::default());
        self.revision += 1;
        self.shown.clear();
        self.passing.clear();
        self.regenerated = false;
        self.touch = Touch::None;
    }
}
