//! Loading and saving: what asks the store, or tells it something.

use std::sync::Arc;

use super::{Phase, Session, Slot, Source};
use crate::backend::{Found, Place};
use crate::config::LoadErrors;
use crate::draft::Draft;
#[cfg(feature = "axum")]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
#[cfg(feature = "axum")]
use crate::lease::{self, Lease};
use crate::run::{RunToEnd, Timer};
use crate::save::{Job, Outcome};
use crate::state::{Loaded, Replayed, State};

/// How often what is unsaved is replayed while somebody changes the session: see [`update_text`](Session::update_text).
const REPLAYS: usize = 1000;

impl Session {
    /// Loads the session, if that has not been done. Extractors call it; only who builds a session by hand or takes it from a request
    /// with [`Session::of`] has to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store cannot be read,
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when a change that was made before does not fit what was loaded. The session is as before then,
    /// and can be started again.
    pub async fn start(&self) -> Result<()> {
        self.start_as(|| false).await
    }

    /// Loads the session for a request that is perhaps `speculative`.
    pub(crate) async fn start_as(&self, speculative: impl Fn() -> bool) -> Result<()> {
        let first = match self.start_at_hand(&speculative)? {
            AtHand::Loaded => return Ok(()),
            AtHand::NotYet(first) => first,
        };
        // Boxed, because the future of every handler would be as large as this one otherwise.
        Box::pin(async {
            let _gate = self.gate().await;
            self.load(first, speculative).await
        })
        .await
    }

    /// Loads the session if nobody has to be waited for: that has been done, there is none, or the driver has it in memory.
    fn start_at_hand(&self, speculative: impl FnOnce() -> bool) -> Result<AtHand> {
        let mut slot = self.lock();
        if slot.is_started() {
            return Ok(AtHand::Loaded);
        }
        if slot.busy {
            return Ok(AtHand::NotYet(None));
        }
        let (backend, timer) = (&*self.0.backend, Timer::start());
        let found = match backend.find_at_hand(self.0.source.nth_id(0, backend.cookie.name())) {
            Ok(found) => found,
            Err(place) => return Ok(AtHand::NotYet(Some(place))),
        };
        if slot.state.as_ref().is_some_and(|state| state.has_unsaved_functions()) {
            // They must not run under the lock.
            return Ok(AtHand::NotYet(None));
        }
        report_load(&timer, &found);
        let Found::Session(stored, now, prolonged) = found else {
            slot.state().start_without(matches!(found, Found::Moved));
            return Ok(AtHand::Loaded);
        };
        let speculative = || slot.speculative || speculative();
        let (loaded, draft) = Loaded::new(stored, backend, now, prolonged, speculative);
        match &mut slot.state {
            Some(state) => {
                let replayed = state.replay(draft);
                state.start_with(loaded, replayed)?;
            }
            None => slot.state = Some(Box::new(State::of(loaded, draft))),
        }
        Ok(AtHand::Loaded)
    }

    async fn load(&self, first: Option<Arc<Place>>, speculative: impl Fn() -> bool) -> Result<()> {
        let noted = {
            let mut slot = self.lock();
            if slot.is_started() {
                return Ok(());
            }
            slot.asked = true;
            slot.speculative
        };
        let speculative = || noted || speculative();
        let backend = &*self.0.backend;
        let timer = Timer::start();
        // Who builds a session by hand may want to look at it only.
        let may_prolong = || matches!(self.0.source, Source::Headers(..)) && !speculative();
        let found = backend.find(first, |at| self.0.source.nth_id(at, backend.cookie.name()), may_prolong);
        let found = match found.await {
            Ok(found) => found,
            Err(error) => return self.go_without(error),
        };
        report_load(&timer, &found);
        self.take(found, speculative)
    }

    pub(super) fn take(&self, found: Found, speculative: impl Fn() -> bool) -> Result<()> {
        let Found::Session(stored, now, prolonged) = found else {
            self.lock().state().start_without(matches!(found, Found::Moved));
            return Ok(());
        };
        let (loaded, draft) = Loaded::new(stored, &self.0.backend, now, prolonged, speculative);
        self.replayed(draft, |state, replayed| state.start_with(loaded, replayed))
    }

    /// Applies what is still to be saved to `draft`, and has the state take it. The functions given to `update` are the application's and may
    /// use this session, so they run while the lock is free; if they, or a clone of the session, change it meanwhile, once more.
    fn replayed(&self, draft: Draft, take: impl FnOnce(&mut State, Replayed) -> Result<()>) -> Result<()> {
        for _ in 0..REPLAYS {
            let unsaved = {
                let mut slot = self.lock();
                let state = slot.state();
                if !state.has_unsaved_functions() {
                    let replayed = state.replay(draft);
                    return take(state, replayed);
                }
                state.unsaved()
            };
            let replayed = unsaved.replay(draft.clone());
            let mut slot = self.lock();
            if slot.state().is_current(&replayed) {
                return take(slot.state(), replayed);
            }
        }
        let mut slot = self.lock();
        let replayed = slot.state().replay(draft);
        take(slot.state(), replayed)
    }

    /// Goes on with an empty session that takes no changes, if the layer says so and nothing was changed yet.
    #[cold]
    fn go_without(&self, error: Error) -> Result<()> {
        let wanted = self.0.backend.settings.load_errors == LoadErrors::Empty;
        if !wanted || !self.lock().state().start_read_only() {
            return Err(error);
        }
        tracing::warn!(
            target: "session_schema",
            err = &error as &dyn std::error::Error,
            kind = ?error.kind(),
            "a session could not be loaded; the request goes on with an empty one that is not saved"
        );
        Ok(())
    }

    /// Saves what has been changed. The layer does it when the handler has returned; a session built by hand is saved by this alone.
    /// It can be used on afterwards. Once begun, a save runs to its end though the caller is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store fails,
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when too many others save the same session, [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) when it has
    /// become too large, [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when an `increment`, `push` or `update` does not fit what another request has stored under
    /// its key. What was changed stays to be saved then, but for one thing: what a clone of the session changes while the save runs, and does not fit
    /// what has been stored by it, is dropped, and the error is of that change alone.
    pub async fn save(&self) -> Result<()> {
        let saved = self.save_at_hand(&mut self.lock(), false);
        if let Some(saved) = saved {
            return saved;
        }
        let session = self.clone();
        RunToEnd::new(Box::pin(async move { session.save_now(false).await })).await
    }

    /// Saves the session if nobody has to be waited for: the driver keeps it in memory, under the id that it has already. `None`: nothing has been done.
    pub(super) fn save_at_hand(&self, slot: &mut Slot, for_response: bool) -> Option<Result<()>> {
        let backend = &*self.0.backend;
        let driver = backend.at_hand()?.in_memory()?;
        let may_tell_an_id = for_response || slot.phase != Phase::Detached;
        let state = slot.state.as_deref_mut().filter(|state| state.is_plain())?;
        if slot.busy {
            return None;
        }
        let timer = Timer::start();
        let mut job = state.plan(backend, backend.now(), may_tell_an_id);
        let Some(outcome) = backend.perform_at_hand(&job, driver) else {
            state.take_back(&mut job);
            return None;
        };
        report_save(&timer, &job);
        Some(state.settle(&mut job, Ok(outcome), None, backend))
    }

    /// A save `for_response` can tell the browser an id, though a task has reloaded the session meanwhile.
    pub(super) async fn save_now(&self, for_response: bool) -> Result<()> {
        let _gate = self.gate().await;
        if !self.is_started() {
            // Boxed, because the future of every save would be as large as this one otherwise.
            Box::pin(self.load(None, || false)).await?;
        }
        let backend = &*self.0.backend;
        let mut job = {
            let mut slot = self.lock();
            let may_tell_an_id = for_response || slot.phase != Phase::Detached;
            slot.state().plan(backend, backend.now(), may_tell_an_id)
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

    /// Loads the session anew: what other requests have stored since is seen, and what was changed here and not yet saved is applied to it.
    ///
    /// This is how a task goes on that outlives its request, behind a WebSocket or a stream of events. When the response has been sent, a session takes no
    /// more changes, until it is reloaded; from then on [`save`](Session::save) is the task's to call, and changes that are dropped without it are reported in
    /// the log. The browser can be told nothing any more, so such a session cannot be created or given a new id.
    ///
    /// A session that was destroyed meanwhile reads as empty afterwards, and what was changed here and not yet saved is dropped, with a line in the
    /// log. So does one that another request has given a new id ([`regenerate`](Session::regenerate)), as it does to every request that comes with
    /// the old id from then on: whoever planted that id would go on as who signed in. A browser that is to listen on has to connect anew.
    ///
    /// # Errors
    ///
    /// As [`start`](Session::start).
    pub async fn reload(&self) -> Result<()> {
        let _gate = self.gate().await;
        let endings = self.read(State::endings).unwrap_or_default();
        let is_moved = !self.look_again().await?;
        let mut slot = self.lock();
        if is_moved {
            slot.state().lose_unless_ended(endings);
        }
        if slot.phase == Phase::Committed {
            slot.phase = Phase::Detached;
        }
        Ok(())
    }

    /// Asks the store what the session is now, and goes on from that. `false`: it goes by another id, and nothing has been changed here.
    async fn look_again(&self) -> Result<bool> {
        let known = self.read(|state| state.stored().cloned().map(|stored| (stored, state.endings())));
        let Some((stored, endings)) = known.flatten() else {
            self.lock().state().wait_again();
            self.load(None, || false).await?;
            return Ok(true);
        };
        let backend = &*self.0.backend;
        match backend.newest(stored, backend.now()).await? {
            Some(newest) if newest.joined => return Ok(false),
            Some(newest) => {
                let draft = Draft::of(&newest.record);
                self.replayed(draft, |state, replayed| state.rebase(newest, endings, replayed))?;
            }
            None => self.lock().state().lose_unless_ended(endings),
        }
        Ok(true)
    }

    /// Waits until no other request uses the session exclusively, and loads it anew then.
    #[cfg(feature = "axum")]
    pub(crate) async fn lock_out_others(&self) -> Result<()> {
        self.start().await?;
        if self.is_read_only() {
            return Err(Error::read_only());
        }
        if self.lock().lease.is_some() {
            return Ok(());
        }
        let Some(key) = self.read(|state| state.stored().map(lease::of_session)).flatten() else {
            return Ok(());
        };
        let lease = Lease::acquire(self.0.backend.clone(), key).await?;
        let lease = lease.ok_or_else(|| {
            let wait = self.0.backend.settings.exclusive_wait;
            Error::new(
                ErrorKind::Busy,
                format!("another request has been using the session exclusively for more than {wait:?}"),
            )
        })?;
        let _gate = self.gate().await;
        if !self.look_again().await? {
            // That it failed, or that the lease had run out, is in the log.
            Box::pin(lease.release()).await.ok();
            return Err(Error::new(
                ErrorKind::Busy,
                "the session has been given a new id meanwhile, under which alone it can be used exclusively now",
            ));
        }
        self.lock().lease = Some(lease);
        Ok(())
    }
}

/// How far a session has come without waiting.
enum AtHand {
    Loaded,
    /// The store has to be asked, at this place first if that is known.
    NotYet(Option<Arc<Place>>),
}

fn report_load(timer: &Timer, found: &Found) {
    if let Some(elapsed) = timer.elapsed() {
        let found = matches!(found, Found::Session(..));
        tracing::debug!(target: "session_schema", found, ?elapsed, "a session was loaded");
    }
}

fn report_save(timer: &Timer, job: &Job) {
    if let Some(elapsed) = timer.elapsed() {
        tracing::debug!(target: "session_schema", what = job.plan.name(), ?elapsed, "a session was saved");
    }
}
