//! A session is saved: by whoever asks for that, and by the layer when the handler has returned.

use std::sync::MutexGuard;

use http::HeaderValue;

use super::gate::Work;
use super::{Phase, Session, Slot};
use crate::backend::Backend;
use crate::draft::Draft;
use crate::error::Result;
use crate::run::{RunToEnd, Timer};
use crate::save::{Job, Outcome};
use crate::state::State;

impl Session {
    /// Saves what has been changed. The layer does it when the handler has returned; a session built by hand is saved by this alone.
    /// It can be used on afterwards. Once begun, a save runs to its end though the caller is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store fails,
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when too many others save the same session, [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) when it has
    /// become too large, [`ErrorKind::Decode`](crate::ErrorKind::Decode) when another program has replaced it by something that cannot be read,
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) when it would need an id that the browser cannot be told any more,
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when an `increment`, `push` or `update` does not fit what another request has stored under its key. What was changed stays to be saved then, but for one thing: what a clone of the session changes while the save runs, and does not fit
    /// what has been stored by it, is dropped, and the error is of that change alone.
    pub async fn save(&self) -> Result<()> {
        // Who saves in a loop lets others go on, though the driver never has to be waited for.
        tokio::task::consume_budget().await;
        if let Some(saved) = self.save_at_hand(self.lock(), false) {
            return saved.result;
        }
        let session = self.clone();
        RunToEnd::new(Box::pin(async move { session.save_now(false).await })).await
    }

    /// Saves the session if nobody has to be waited for: the driver keeps it in memory, and it is [plain](State::is_plain). `None`: nothing has been stored.
    fn save_at_hand(&self, mut slot: MutexGuard<'_, Slot>, for_response: bool) -> Option<SaveReport> {
        let backend = &*self.0.backend;
        let driver = backend.opened()?.in_memory()?;
        let may_tell_an_id = for_response || slot.phase != Phase::Detached;
        if slot.busy.is_some() {
            return None;
        }
        let state = slot.state.as_deref_mut().filter(|state| state.is_plain())?;
        let timer = Timer::start();
        let mut job = state.plan(backend, backend.now(), may_tell_an_id);
        let Some(outcome) = backend.perform_at_hand(&job, driver) else {
            state.take_back(&mut job);
            return None;
        };
        let result = state.settle(&mut job, Ok(outcome), None, backend);
        let report = SaveReport::new(result, backend, state);
        // A subscriber of the log may want to know something of the session, and so may what a function given to `update` holds, when it is dropped.
        drop(slot);
        report_save(&timer, &job);
        Some(report)
    }

    /// A save `for_response` can tell the browser an id, though a task has reloaded the session meanwhile.
    async fn save_now(&self, for_response: bool) -> Result<()> {
        let _gate = self.gate(Work::Save).await;
        if !self.is_started() {
            // Boxed, because the future of every save would be as large as this one otherwise.
            Box::pin(self.load(None)).await?;
        }
        let backend = &*self.0.backend;
        let now = backend.now();
        let mut job = {
            let mut slot = self.lock();
            let may_tell_an_id = for_response || slot.phase != Phase::Detached;
            slot.state().plan(backend, now, may_tell_an_id)
        };
        let timer = Timer::start();
        let outcome = backend.perform(&job).await;
        if outcome.is_ok() {
            report_save(&timer, &job);
        }
        match &outcome {
            Ok(Outcome::Stored(stored)) => {
                let draft = Draft::of(&stored.record);
                self.replayed(draft, |state, replayed| {
                    state.settle(&mut job, outcome, Some(replayed), backend)
                })
            }
            _ => self.lock().state().settle(&mut job, outcome, None, backend),
        }
    }

    /// Ends the time in which the session can be changed, and says what is left to do; a save for which nobody has to be waited for is done.
    pub(crate) fn close(&self) -> Closing {
        let mut slot = self.lock();
        if slot.phase == Phase::Open {
            slot.phase = Phase::Committed;
        }
        // Where the load failed, the response depends on the session all the same.
        let untouched = match slot.load_begun {
            true => Closing::Unchanged,
            false => Closing::Untouched,
        };
        match &slot.state {
            None => return untouched,
            Some(_) if slot.lease.is_some() => return Closing::Changed,
            Some(state) if state.is_untouched() => return untouched,
            // A `save` that still runs, in a task that the handler left behind, has the last word on the cookie.
            Some(state) if state.is_settled() && slot.busy != Some(Work::Save) => return Closing::Unchanged,
            Some(_) => {}
        }
        match self.save_at_hand(slot, true) {
            Some(report) => Closing::Saved(report),
            None => Closing::Changed,
        }
    }

    /// Saves a closed session.
    pub(crate) async fn commit(self) -> SaveReport {
        let result = self.save_now(true).await;
        let (lease, report) = {
            let mut slot = self.lock();
            (slot.lease.take(), SaveReport::new(result, self.backend(), slot.state()))
        };
        if let Some(lease) = lease {
            // That it failed, or that the lease had run out, is in the log.
            Box::pin(lease.release()).await.ok();
        }
        report
    }
}

/// What is left to do when a handler has returned.
pub(crate) enum Closing {
    /// Nobody asked for the session.
    Untouched,
    /// It was read at most, or could not be.
    Unchanged,
    /// It has been saved.
    Saved(SaveReport),
    /// It has to be saved.
    Changed,
}

/// How the save of a closed session went, and what the browser is told in any case.
pub(crate) struct SaveReport {
    pub(crate) result: Result<()>,
    pub(crate) cookie: Option<HeaderValue>,
}

impl SaveReport {
    fn new(result: Result<()>, backend: &Backend, state: &State) -> Self {
        let cookie = state.cookie(&backend.cookie);
        Self { result, cookie }
    }
}

fn report_save(timer: &Timer, job: &Job) {
    if let Some(elapsed) = timer.elapsed() {
        tracing::debug!(target: "session_schema", what = job.plan.name(), ?elapsed, "a session was saved");
    }
}
