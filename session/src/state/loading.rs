//! What was found in the store, and what a session becomes when its record has gone.

use std::time::SystemTime;

use super::{CookieChange, Origin, State, warn_of_dropped_changes};
use crate::backend::{Backend, Found, Stored};
use crate::changes::{Change, Changes};
use crate::draft::Draft;
use crate::error::Result;

impl State {
    pub(crate) fn is_started(&self) -> bool {
        !matches!(self.origin, Origin::Waiting)
    }

    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    /// Takes what was found in the store; what was changed before is applied to it. A `speculative` request, which the visitor
    /// may never see, ages no flash and prolongs nothing.
    pub(crate) fn start(&mut self, found: Found, backend: &Backend, speculative: impl FnOnce() -> bool) -> Result<()> {
        match found {
            Found::Moved => self.lose(),
            Found::Nothing => {
                self.origin = Origin::Fresh;
                self.renewed = false;
                self.end_what_is_found = false;
            }
            Found::Session(stored, _) if self.end_what_is_found => {
                self.end(stored);
                self.origin = Origin::Fresh;
                self.renewed = false;
                self.end_what_is_found = false;
            }
            Found::Session(stored, now) => self.start_with(stored, backend, now, speculative)?,
        }
        Ok(())
    }

    /// Goes on without what is stored, which could not be read, if nothing was changed yet; says whether it does.
    pub(crate) fn start_read_only(&mut self) -> bool {
        let idle = self.is_idle();
        if idle {
            self.origin = Origin::Lost;
            self.read_only = true;
        }
        idle
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

    fn start_with(
        &mut self,
        stored: Stored,
        backend: &Backend,
        now: SystemTime,
        speculative: impl FnOnce() -> bool,
    ) -> Result<()> {
        let mut draft = Draft::of(&stored.record);
        let passing = draft.flash.passing(draft.base());
        let mut touch = backend.settings.moved_expiry(&stored.record, &draft, now).is_some();
        let mut aging = !passing.is_empty() || draft.flash.is_changed();
        if (aging || touch) && speculative() {
            (touch, aging) = (false, false);
        }
        backend.settings.note_beginning(&mut draft, now);
        let mut changes = Changes::default();
        for change in self.changes.iter() {
            changes.make(change.clone(), &mut draft)?;
        }
        self.passing = if aging { passing } else { Vec::new() };
        (self.draft, self.changes, self.touch) = (draft, changes, touch);
        match self.renewed {
            true => self.rotate_token()?,
            false => self.id = Some(stored.id),
        }
        self.new = false;
        self.origin = Origin::Stored(stored);
        Ok(())
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

    /// Goes on from what the store has now: `None` when the session is gone. If it has been ended since the store was asked, when
    /// there had been so many `endings`, that stands.
    pub(crate) fn rebase(&mut self, newest: Option<Stored>, endings: u32) -> Result<()> {
        if self.endings != endings {
            return Ok(());
        }
        let Some(stored) = newest else {
            self.lose();
            return Ok(());
        };
        let mut draft = Draft::of(&stored.record);
        let mut changes = Changes::default();
        for change in self.unsaved(&stored) {
            changes.make(change.clone(), &mut draft)?;
        }
        (self.draft, self.changes) = (draft, changes);
        self.take_on(stored);
        Ok(())
    }

    /// What is still to be saved to a session.
    pub(super) fn unsaved(&self, stored: &Stored) -> impl Iterator<Item = &Change> {
        let is_void = |change: &Change| stored.joined && change.is_void_under_new_id(&stored.id);
        self.changes.iter().filter(move |change| !is_void(change))
    }

    /// The session is stored like this. One that another request has given a new id keeps that one.
    pub(super) fn take_on(&mut self, stored: Stored) {
        if stored.joined {
            self.id = Some(stored.id);
            self.renewed = false;
            self.withdraw_id();
        }
        self.origin = Origin::Stored(stored);
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
    fn withdraw_id(&mut self) {
        self.cookie = match self.has_ended {
            true => CookieChange::Remove,
            false => CookieChange::Keep,
        };
    }

    pub(super) fn forget_everything(&mut self) {
        self.draft = Draft::empty();
        self.changes.clear();
        self.shown.clear();
        self.passing.clear();
        self.renewed = false;
        self.touch = false;
    }
}
