//! Whose session it is.
//!
//! * If the session had no owner, it gets a new id and keeps its data.
//! * If it had another owner, or is given none, it ends. The request goes on in a new session, with its own changes.
//!
//! See [OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html#renew-the-session-id-after-any-privilege-level-change).

use std::sync::Arc;

use super::{Lost, Origin, Replayed, State};
use crate::backend::Stored;
use crate::changes::Change;
use crate::error::{ErrorKind, Result};
use crate::save::Ended;

impl State {
    pub(crate) fn owner(&self) -> Option<&str> {
        self.draft.owner.as_deref()
    }

    /// Whether it had an owner at some time in this request.
    pub(crate) fn had_owner(&self) -> bool {
        self.had_owner
    }

    /// Whether naming this owner ends the session: it belongs to somebody else.
    pub(crate) fn is_ended_by(&self, owner: Option<&str>) -> bool {
        let lost = match &self.origin {
            Origin::Lost(lost) => lost.owner(),
            _ => None,
        };
        self.owner().or(lost).is_some_and(|present| owner != Some(present))
    }

    /// Names the owner of a session that is not [ended](State::is_ended_by) by that.
    pub(crate) fn name_owner(&mut self, owner: Option<&str>) -> Result<()> {
        let signs_in = owner.is_some() && self.owner().is_none();
        self.had_owner |= owner.is_some();
        match &mut self.origin {
            Origin::Lost(lost) if signs_in && lost.owner() == owner => {
                // Putting the same owner again is no sign-in: the session was ended on purpose.
                lost.refused = Some(ErrorKind::SignInRefused);
                return Ok(());
            }
            Origin::Lost(_) if signs_in => {
                self.new_id()?;
                self.origin = Origin::Fresh;
            }
            Origin::Stored(_) if signs_in && !self.regenerated => self.regenerate()?,
            _ => {}
        }
        self.make(Change::Owner(owner.map(Arc::from)))
    }

    /// Ends the session, and goes on in a new one that holds only `own`: this request's own changes. A change that fits
    /// only the data of the ended session is dropped with it. If the owner of the ended session is named again later,
    /// that is no sign-in.
    pub(crate) fn start_over(&mut self, own: Replayed) -> Result<()> {
        let shown = std::mem::take(&mut self.shown);
        self.end_session(true)?;
        self.shown = shown;
        self.changes.become_others(own.changes);
        self.draft = own.draft;
        Ok(())
    }

    /// Ends the session: the next one has a new id and no data.
    pub(crate) fn invalidate(&mut self) -> Result<()> {
        self.end_session(false)?;
        if let Some(ended) = &mut self.ended {
            ended.must_be_live = false;
        }
        Ok(())
    }

    fn end_session(&mut self, owner_changed: bool) -> Result<()> {
        self.new_id()?;
        self.forget_everything();
        self.invalidations += 1;
        self.new = true;
        match std::mem::replace(&mut self.origin, Origin::Fresh) {
            Origin::Stored(stored) | Origin::Lost(Lost { seen: Some(stored), .. }) => {
                self.end(Ended {
                    must_be_live: owner_changed && stored.record.owner().is_some(),
                    stored,
                });
            }
            Origin::Waiting => {
                self.end_what_is_found = true;
                self.origin = Origin::Waiting;
            }
            Origin::Lost(_) | Origin::Fresh => {}
        }
        Ok(())
    }

    /// The session is gone, or the one that was `ended`. The changes can no longer be stored.
    pub(super) fn lose(&mut self, ended: Option<Stored>, refused: Option<ErrorKind>) {
        let seen = match std::mem::replace(&mut self.origin, Origin::Fresh) {
            Origin::Stored(stored) => Some(stored),
            Origin::Lost(lost) => lost.seen,
            Origin::Waiting | Origin::Fresh => ended,
        };
        self.origin = Origin::Lost(Lost { seen, refused });
        self.forget_everything();
        self.new = true;
        self.withdraw_cookie();
    }
}

impl Lost {
    /// The owner that the session had when it was loaded.
    pub(super) fn owner(&self) -> Option<&str> {
        self.seen.as_ref()?.record.owner()
    }
}
