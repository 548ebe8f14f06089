//! What a save has to do, and what becomes of the session by it.

use std::time::SystemTime;

use http::HeaderValue;

use super::{CookieChange, Origin, Replayed, State, Touch, warn_of_dropped_changes};
use crate::backend::{Backend, Stored};
use crate::changes::{Change, Changes};
use crate::cookie::CookieWriter;
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::save::{Job, Outcome, Plan};

impl State {
    /// Whether there is nothing to tell the store or the browser.
    pub(crate) fn is_settled(&self) -> bool {
        let nothing_changed = self.changes.is_empty() && !self.draft.has_edits() && !self.draft.flash.is_changed();
        let nothing_due =
            self.passing.is_empty() && matches!(self.touch, Touch::None) && !self.renewed && self.ended.is_none();
        nothing_changed && nothing_due && !self.end_what_is_found && matches!(self.cookie, CookieChange::Keep)
    }

    /// Whether there are changes that no save has been asked to store.
    pub(crate) fn has_unsaved(&self) -> bool {
        let kept = !matches!(self.origin, Origin::Lost);
        kept && !self.changes.is_empty() && (self.draft.has_edits() || !self.is_started()) || self.ended.is_some()
    }

    /// Whether the session was never loaded, and there is nothing to save.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.is_started() && self.changes.is_empty() && !self.end_what_is_found && !self.renewed
    }

    /// What the browser is to be told. A cookie to set is that of the stored session: whatever makes it another one, or none, withdraws the cookie.
    pub(crate) fn cookie(&self, writer: &CookieWriter) -> Option<HeaderValue> {
        match self.cookie {
            CookieChange::Keep => None,
            CookieChange::Set(until) => self.stored().map(|stored| writer.set(&stored.id, until)),
            CookieChange::Remove => Some(writer.remove()),
        }
    }

    /// Whether the session is neither to be destroyed nor to be given another id, nor goes by one: a save creates it, replaces it or moves its expiry.
    pub(crate) fn is_plain(&self) -> bool {
        let has_place = match &self.origin {
            Origin::Fresh => true,
            Origin::Stored(stored) => !stored.joined,
            Origin::Waiting | Origin::Lost => false,
        };
        has_place && !self.renewed && self.ended.is_none() && !self.end_what_is_found
    }

    /// What a save has to do now. The changes go with it; [`settle`](State::settle) says what becomes of them. If they cannot be stored they
    /// are refused and stay to be saved; a session that was ended is destroyed all the same.
    pub(crate) fn plan(&mut self, backend: &Backend, now: SystemTime, may_tell_an_id: bool) -> Job {
        self.draft.keeps_expiry = self.speculative;
        self.changes.keep_expiry = self.speculative;
        let (plan, refused) = match self.next_step(backend, now) {
            Ok(Plan::Create { .. } | Plan::Renew { .. }) if !may_tell_an_id => {
                (Plan::Nothing, Err(Error::no_more_cookie()))
            }
            Ok(plan) => (plan, Ok(())),
            Err(error) => (Plan::Nothing, Err(error)),
        };
        // Changes that come to nothing are done, as if they had been saved when the session was loaded. What a session without a
        // record has been told, such as its lifetime, waits until there is something to store.
        let changes = match (&plan, &self.origin) {
            (Plan::Nothing, Origin::Waiting | Origin::Fresh) => Changes::default(),
            _ if refused.is_err() => Changes::default(),
            _ => std::mem::take(&mut self.changes),
        };
        let ended = self.ended.take();
        Job {
            id: self.id,
            endings: self.endings,
            ended,
            plan,
            changes,
            refused,
            now,
        }
    }

    #[inline]
    fn next_step(&mut self, backend: &Backend, now: SystemTime) -> Result<Plan> {
        self.age()?;
        self.draft.seal();
        Ok(match &self.origin {
            Origin::Lost if self.changes.is_empty() => Plan::Nothing,
            Origin::Lost => Plan::Drop,
            Origin::Waiting | Origin::Fresh if self.draft.is_empty() => Plan::Nothing,
            Origin::Waiting | Origin::Fresh => Plan::Create {
                id: self.id()?,
                record: backend.record_of(&mut self.draft, None, now)?,
            },
            Origin::Stored(stored) if self.renewed => {
                let stored = stored.clone();
                let id = self.id()?;
                let record = backend.record_of(&mut self.draft, None, now)?;
                Plan::Renew { stored, id, record }
            }
            Origin::Stored(stored) if self.draft.has_edits() => Plan::Replace {
                record: backend.record_of(&mut self.draft, Some(&stored.record), now)?,
                stored: stored.clone(),
            },
            Origin::Stored(stored) => match self.touch {
                Touch::None => Plan::Nothing,
                Touch::Due => Plan::Touch {
                    stored: stored.clone(),
                    until: backend.settings.expiry(&self.draft, now),
                },
                Touch::Done(since) => Plan::Confirm {
                    stored: stored.clone(),
                    since,
                },
            },
        })
    }

    /// Removes the flash that this request was the last to see; the request itself goes on seeing it.
    #[inline]
    fn age(&mut self) -> Result<()> {
        let mut passing = std::mem::take(&mut self.passing);
        passing.retain(|(key, seen)| self.draft.flash.find(key).is_some_and(|(stamp, _)| stamp == *seen));
        if passing.is_empty() {
            return Ok(());
        }
        for (key, _) in &passing {
            if let (None, Some(text)) = (self.shown_at(key), self.draft.text(key)) {
                self.shown.push((key.clone(), text));
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
        let settled = match outcome {
            outcome if self.endings != job.endings => self.settle_ended(job, outcome),
            Err(error) => {
                self.take_back(job);
                Err(error)
            }
            Ok(Outcome::Gone) => {
                tracing::info!(target: "session_schema", "a session was destroyed while a request used it; what the request changed is dropped");
                self.lose();
                Ok(())
            }
            Ok(Outcome::AsItWas) => {
                if let Plan::Drop = job.plan {
                    warn_of_dropped_changes();
                    self.draft = Draft::empty();
                }
                Ok(())
            }
            Ok(Outcome::Stored(stored)) => {
                let replay = || self.replay(Draft::of(&stored.record));
                let replayed = replayed.unwrap_or_else(replay);
                self.settle_on(stored, job, replayed, backend)
            }
        };
        settled.and(std::mem::replace(&mut job.refused, Ok(())))
    }

    /// What was to be done has not been done, or perhaps only in part, and is to be planned anew. Nothing has been ended since it was planned.
    pub(crate) fn take_back(&mut self, job: &mut Job) {
        self.ended = job.ended.take();
        self.changes.put_back(std::mem::take(&mut job.changes));
        // Where the store failed nobody can say whether a record was made, nor whether another request has ended it already: the next try
        // takes another id, so as not to bring that back.
        if let (true, Plan::Create { .. } | Plan::Renew { .. }) = (self.id == job.id, &job.plan) {
            self.id = None;
        }
    }

    /// The session was ended while it was saved: what the save has stored is to end, too.
    fn settle_ended(&mut self, job: &mut Job, outcome: Result<Outcome>) -> Result<()> {
        match outcome {
            Ok(Outcome::Stored(stored)) => self.end(stored),
            Ok(Outcome::Gone | Outcome::AsItWas) => {}
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
            Plan::Replace { stored, .. } | Plan::Touch { stored, .. } => {
                until == backend.settings.cookie_expiry(&stored.record)
            }
            _ => false,
        };
        (self.draft, self.changes) = (replayed.draft, replayed.changes);
        self.touch = Touch::None;
        // `regenerate` may have been called while the save ran; another request's new id stands.
        self.renewed = self.id != job.id && !stored.joined;
        if !self.renewed {
            self.id = Some(stored.id);
        }
        if stored.joined {
            self.withdraw_id();
        } else if !told {
            self.cookie = CookieChange::Set(until.map(|until| (job.now, until)));
        }
        self.origin = Origin::Stored(stored);
        replayed.fit
    }
}
