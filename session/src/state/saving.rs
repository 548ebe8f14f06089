//! What a save has to do, and what becomes of the session by it.

use std::time::SystemTime;

use http::HeaderValue;

use super::afterwards::Event;
use super::{Base, CookieChange, Origin, Replayed, State, Touch};
use crate::backend::{Backend, Stored};
use crate::changes::{Change, Changes};
use crate::cookie::CookieWriter;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::save::{Ended, Job, Outcome, Plan};

/// What a save can tell the browser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Browser {
    /// The response of this save.
    Told,
    /// The response that is still to come.
    WillBeTold,
    /// The response has been sent.
    Gone,
}

impl State {
    /// Whether there is nothing to tell the store or the browser.
    pub(crate) fn is_settled(&self) -> bool {
        let nothing_changed = self.changes.is_empty() && !self.draft.has_edits() && !self.draft.flash.is_changed();
        let nothing_due =
            self.passing.is_empty() && matches!(self.touch, Touch::None) && !self.regenerated && self.ended.is_none();
        let is_refused = matches!(&self.origin, Origin::Lost(lost) if lost.refused.is_some());
        let nothing_to_tell = matches!(self.cookie, CookieChange::Keep) && !is_refused;
        nothing_changed && nothing_due && !self.end_what_is_found && nothing_to_tell
    }

    /// Whether there are changes that no save has been asked to store.
    pub(crate) fn has_unsaved(&self) -> bool {
        let kept = !matches!(self.origin, Origin::Lost(_));
        kept && self.has_changed() || self.ended.is_some()
    }

    /// Whether there are changes that have an effect, as far as is known before the session is loaded.
    pub(super) fn has_changed(&self) -> bool {
        let differs = self.draft.has_edits() || self.draft.flash.is_changed() || !self.is_started();
        differs && !self.changes.is_empty()
    }

    /// Whether the session was never loaded, and there is nothing to save.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.is_started() && self.changes.is_empty() && !self.end_what_is_found && !self.regenerated
    }

    /// What the browser is to be told. A cookie to set is that of the stored session: whatever makes it another one, or none, withdraws the cookie.
    pub(crate) fn cookie(&self, writer: &CookieWriter) -> Option<HeaderValue> {
        match self.cookie {
            CookieChange::Keep => None,
            CookieChange::Set(until) => self.stored().map(|stored| writer.set(&stored.id, until)),
            CookieChange::Remove => Some(writer.remove()),
        }
    }

    /// Whether the session is neither to be destroyed nor to be given another id: a save creates it, replaces it or moves its expiry.
    pub(crate) fn is_plain(&self) -> bool {
        let has_place = matches!(self.origin, Origin::Fresh | Origin::Stored(_));
        has_place && !self.regenerated && self.ended.is_none() && !self.end_what_is_found
    }

    /// What a save has to do now. The changes go with it; [`settle`](State::settle) says what becomes of them. If they cannot be stored they
    /// are refused and stay to be saved; a session that was ended is destroyed all the same.
    pub(crate) fn plan(&mut self, backend: &Backend, now: SystemTime, browser: Browser) -> Job {
        self.draft.keeps_expiry = self.speculative;
        self.changes.keep_expiry = self.speculative;
        let (plan, refused) = match self.next_step(backend, now, browser) {
            Ok(Plan::Create { .. } | Plan::Regenerate { .. }) if browser == Browser::Gone => {
                (Plan::Nothing, Err(Error::no_more_cookie()))
            }
            Ok(plan) => (plan, Ok(())),
            // The response will be an error. It still sets the cookie that an earlier save has decided on.
            Err(error) => (self.confirmation(browser).unwrap_or(Plan::Nothing), Err(error)),
        };
        if let Plan::Drop = plan {
            self.draft = Draft::empty();
        }
        // Changes that come to nothing are done, as if they had been saved when the session was loaded. What a session without a
        // record has been told, such as its lifetime, waits until there is something to store.
        let changes = match (&plan, &self.origin) {
            (Plan::Nothing, Origin::Waiting | Origin::Fresh) => Changes::default(),
            _ if refused.is_err() => Changes::default(),
            _ => std::mem::take(&mut self.changes),
        };
        let mut ended = self.ended.take();
        if let Some(ended) = &mut ended {
            ended.must_be_live &= self.owner() == ended.stored.record.owner();
        }
        let id = match &plan {
            // An id that the session is still to be given is not that of this save.
            Plan::Confirm { stored, .. } if self.regenerated => Some(stored.id),
            _ => self.id,
        };
        Job {
            id,
            invalidations: self.invalidations,
            ended,
            was_anothers: false,
            other_places: Vec::new(),
            plan,
            changes,
            refused,
            now,
        }
    }

    #[inline]
    fn next_step(&mut self, backend: &Backend, now: SystemTime, browser: Browser) -> Result<Plan> {
        self.age()?;
        self.draft.seal();
        Ok(match &self.origin {
            Origin::Lost(lost) => match lost.refused {
                Some(kind) => return Err(Error::refused(kind)),
                None if !self.has_changed() => Plan::Nothing,
                None => Plan::Drop,
            },
            Origin::Waiting | Origin::Fresh if self.draft.is_empty() => Plan::Nothing,
            Origin::Waiting | Origin::Fresh => Plan::Create {
                id: self.id()?,
                record: backend.record_of(&mut self.draft, None, now)?,
            },
            Origin::Stored(stored) if self.regenerated => {
                let stored = stored.clone();
                let id = self.id()?;
                let record = backend.record_of(&mut self.draft, None, now)?;
                Plan::Regenerate { stored, id, record }
            }
            Origin::Stored(stored) if self.draft.has_edits() => Plan::Replace {
                record: backend.record_of(&mut self.draft, Some(&stored.record), now)?,
                stored: stored.clone(),
            },
            Origin::Stored(stored) => match self.touch {
                // The owner is named again, which is no sign-in: another request may have ended the session.
                Touch::None if self.changes.names_owner() => Plan::Confirm {
                    stored: stored.clone(),
                    since: None,
                },
                Touch::None => self.confirmation(browser).unwrap_or(Plan::Nothing),
                Touch::Due => Plan::Touch {
                    stored: stored.clone(),
                    until: backend.settings.expiry(&self.draft, now),
                },
                Touch::Done(since) => Plan::Confirm {
                    stored: stored.clone(),
                    // The owner is named again: what another process has ended just now counts, too.
                    since: Some(since).filter(|_| !self.changes.names_owner()),
                },
            },
        })
    }

    /// Looks at the store if an earlier save of this request has decided on a cookie: another request may have ended
    /// the session since.
    fn confirmation(&self, browser: Browser) -> Option<Plan> {
        let stored = self.stored()?.clone();
        let is_to_be_set = browser == Browser::Told && matches!(self.cookie, CookieChange::Set(_));
        is_to_be_set.then_some(Plan::Confirm { stored, since: None })
    }

    /// Removes the flash that this request was the last to see; the request itself goes on seeing it.
    #[inline]
    fn age(&mut self) -> Result<()> {
        let mut passing = std::mem::take(&mut self.passing);
        passing.retain(|key, seen| self.draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen));
        if passing.is_empty() {
            return Ok(());
        }
        for key in passing.keys() {
            if let Some(text) = self.draft.text(key).filter(|_| !self.shown.contains_key(key)) {
                self.shown.insert(key.clone(), text);
            }
        }
        self.make(Change::Age(passing))
    }

    /// Takes note of how a save went. What it did not get done stays to be done. `replayed` is what was changed while it ran, applied to
    /// what is stored now, where that may take functions of the application. The job is handed from step to step by reference: it is large.
    pub(crate) fn settle(
        &mut self,
        job: &mut Job,
        outcome: Result<Outcome>,
        replayed: Option<Replayed>,
        backend: &Backend,
    ) -> Result<()> {
        if job.was_anothers && self.invalidations == job.invalidations {
            self.has_ended = false;
            if let CookieChange::Remove = self.cookie {
                self.cookie = CookieChange::Keep;
            }
        }
        let settled = match outcome {
            outcome if self.invalidations != job.invalidations => self.settle_ended(job, outcome),
            Err(error) => {
                self.take_back(job);
                Err(error)
            }
            // A clone of the session has named an owner during the save. The next save gives that owner a session, or
            // refuses to.
            Ok(Outcome::Gone) if self.changes.names_owner() => {
                self.take_back(job);
                Ok(())
            }
            Ok(Outcome::Gone) => {
                self.say(Event::EndedMeanwhile);
                self.lose(None, None);
                Ok(())
            }
            Ok(Outcome::Refused(kind)) => {
                // If others ended the session, this request must not make the browser forget it.
                self.has_ended = false;
                let nothing_lost = job.changes.come_with_reading() && self.changes.come_with_reading();
                let ended = job.ended.take().map(|ended| ended.stored);
                self.lose(ended, (!nothing_lost).then_some(kind));
                match nothing_lost {
                    true => Ok(()),
                    false => Err(Error::refused(kind)),
                }
            }
            Ok(Outcome::AsItWas) => {
                if let Plan::Drop = job.plan
                    && !job.changes.come_with_reading()
                {
                    self.say(Event::ChangesDropped);
                }
                Ok(())
            }
            Ok(Outcome::Empty) => {
                let replayed = replayed.unwrap_or_else(|| self.replay(Base::Nothing));
                self.origin = Origin::Fresh;
                self.regenerated = false;
                // A record was stored under it and destroyed again: what begins now takes another one.
                self.id = self.id.filter(|_| self.id != job.id);
                self.draft = replayed.draft;
                self.changes.become_others(replayed.changes);
                self.withdraw_cookie();
                replayed.fit
            }
            Ok(Outcome::Stored(stored)) => {
                let replayed = self.replayed_on(&stored, replayed);
                self.settle_on(stored, job, replayed, backend)
            }
            Ok(Outcome::Merged(seen)) => {
                let replayed = self.replayed_on(&seen, replayed);
                self.draft = replayed.draft;
                self.changes.become_others(replayed.changes);
                self.touch = Touch::None;
                self.regenerated &= self.id != job.id;
                self.origin = Origin::Stored(seen);
                self.withdraw_cookie();
                replayed.fit
            }
        };
        settled.and(std::mem::replace(&mut job.refused, Ok(())))
    }

    fn replayed_on(&self, stored: &Stored, replayed: Option<Replayed>) -> Replayed {
        replayed.unwrap_or_else(|| self.replay(Base::Draft(Draft::of(&stored.record))))
    }

    /// What was to be done has not been done, or perhaps only in part, and is to be planned anew. Nothing has been ended since it was planned.
    pub(crate) fn take_back(&mut self, job: &mut Job) {
        self.ended = job.ended.take();
        self.changes.put_back(std::mem::take(&mut job.changes));
        // Where the store failed nobody can say whether a record was made, nor whether another request has ended it already: the next try
        // takes another id, so as not to bring that back.
        if let (true, Plan::Create { .. } | Plan::Regenerate { .. }) = (self.id == job.id, &job.plan) {
            self.id = None;
        }
    }

    /// The session was ended while it was saved: what the save has stored is to end, too.
    fn settle_ended(&mut self, job: &mut Job, outcome: Result<Outcome>) -> Result<()> {
        match outcome {
            Ok(Outcome::Stored(stored)) => self.end(Ended {
                must_be_live: self.ended.as_ref().is_some_and(|ended| ended.must_be_live),
                stored,
            }),
            Ok(_) => {}
            Err(error) => {
                self.ended = self.ended.take().or(job.ended.take());
                return Err(error);
            }
        }
        Ok(())
    }

    #[inline]
    fn settle_on(&mut self, stored: Stored, job: &Job, replayed: Replayed, backend: &Backend) -> Result<()> {
        let until = backend.settings.cookie_expiry(&stored.record);
        let told = match &job.plan {
            // Of an expiry that was moved when the session was read the browser does not know yet.
            _ if matches!(self.touch, Touch::Done(_)) => false,
            Plan::Confirm { .. } => !matches!(self.cookie, CookieChange::Set(_)),
            Plan::Replace { stored, .. } | Plan::Touch { stored, .. } => {
                until == backend.settings.cookie_expiry(&stored.record)
            }
            _ => false,
        };
        self.draft = replayed.draft;
        self.changes.become_others(replayed.changes);
        self.touch = Touch::None;
        // `regenerate` may have been called while the save ran.
        self.regenerated = self.id != job.id;
        if !self.regenerated {
            self.id = Some(stored.id);
        }
        if !told {
            self.cookie = CookieChange::Set(until.map(|until| (job.now, until)));
        }
        self.origin = Origin::Stored(stored);
        replayed.fit
    }
}
