//! Saves a session: when the handler asks for it, and when the handler has returned.

use std::sync::Arc;

use http::HeaderValue;

use super::gate::Work;
use super::locked::Locked;
use super::{Phase, Session, Slot};
use crate::backend::{Backend, Place};
use crate::draft::Draft;
use crate::error::Result;
use crate::id::SessionId;
use crate::run::{RunToEnd, Timer};
use crate::save::{Job, Outcome};
use crate::state::{Base, Browser, State};

impl Session {
    /// Saves what has been changed. The layer does it when the handler has returned; a session built by hand is saved by this alone.
    /// It can be used on afterwards. Once begun, a save runs to its end though the caller is gone.
    ///
    /// # Errors
    ///
    /// * [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store fails.
    /// * [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when too many others save the same session.
    /// * [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) when the session has become too large.
    /// * [`ErrorKind::Decode`](crate::ErrorKind::Decode) when another program has replaced it by something that cannot be read.
    /// * [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when an `increment`, `push` or `update` does not fit what another request has stored under its key.
    /// * [`ErrorKind::Committed`](crate::ErrorKind::Committed) when it would need an id that the browser cannot be told any more.
    /// * [`ErrorKind::Superseded`](crate::ErrorKind::Superseded) when another request has given the session a new id that this one must not follow.
    /// * [`ErrorKind::SignInRefused`](crate::ErrorKind::SignInRefused) when the owner was named again in a session that has ended.
    ///
    /// After the last two the changes are dropped, and the response is the error unless the handler signs somebody else in or calls
    /// [`invalidate`](Session::invalidate). After every other error the changes stay and can be saved again. The one exception is what a clone of the session changes
    /// while the save runs and does not fit what has been stored by it: that is dropped, and the error is of that change alone.
    pub async fn save(&self) -> Result<()> {
        // Who saves in a loop lets others go on, though the driver never has to be waited for.
        tokio::task::consume_budget().await;
        let timer = Timer::start();
        if let Some(saved) = self.save_at_hand(self.lock(), timer, false) {
            return saved.result;
        }
        let session = self.clone();
        RunToEnd::new(Box::pin(async move { session.save_now(false).await })).await
    }

    /// Saves the session if nobody has to be waited for: the driver keeps it in memory, and it is [plain](State::is_plain). `None`: nothing has been stored.
    fn save_at_hand(&self, mut slot: Locked<'_>, timer: Timer, for_response: bool) -> Option<SaveReport> {
        let backend = &*self.0.backend;
        let driver = backend.opened()?.in_memory()?;
        let browser = slot.browser(for_response);
        if slot.busy.is_some() {
            return None;
        }
        let state = slot.state.as_deref_mut().filter(|state| state.is_plain())?;
        let mut job = state.plan(backend, backend.now(), browser);
        let Some(outcome) = backend.perform_at_hand(&job, driver) else {
            state.take_back(&mut job);
            return None;
        };
        let result = state.settle(&mut job, Ok(outcome), None, backend);
        let report = SaveReport::new(result, backend, state);
        drop(slot);
        report_save(&timer, &job);
        Some(report)
    }

    /// A save `for_response` can send the browser an id, even if a task has reloaded the session before.
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
            let browser = slot.browser(for_response);
            slot.state().plan(backend, now, browser)
        };
        if let Some(ended) = &job.ended {
            job.other_places = self.other_places(ended.stored.id);
        }
        let timer = Timer::start();
        let outcome = backend.perform(&mut job).await;
        if outcome.is_ok() {
            report_save(&timer, &job);
        }
        let base = match &outcome {
            Ok(Outcome::Stored(stored) | Outcome::Merged(stored)) => Some(Draft::of(&stored.record)),
            Ok(Outcome::Empty) => None,
            _ => return self.lock().state().settle(&mut job, outcome, None, backend),
        };
        self.replayed(
            |_| base.clone().map_or(Base::Nothing, Base::Draft),
            |slot, replayed| slot.state().settle(&mut job, outcome, Some(replayed), backend),
        )
    }

    /// The sessions that the other ids of the request lead to.
    fn other_places(&self, known: SessionId) -> Vec<Arc<Place>> {
        let backend = &*self.0.backend;
        let ids = (0..).map_while(|at| self.0.source.nth_id(at, backend.cookie.name()));
        ids.filter(|id| *id != known).map(|id| backend.place_of(id)).collect()
    }

    /// Ends the time in which the session can be changed, and says what is left to do; a save for which nobody has to be waited for is done.
    pub(crate) fn close(&self) -> Closing {
        let timer = Timer::start();
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
        match self.save_at_hand(slot, timer, true) {
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

impl Slot {
    /// What a save can tell the browser now.
    fn browser(&self, for_response: bool) -> Browser {
        match (for_response, self.phase) {
            (true, _) => Browser::Told,
            (false, Phase::Open) => Browser::WillBeTold,
            (false, Phase::Committed | Phase::Detached) => Browser::Gone,
        }
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
