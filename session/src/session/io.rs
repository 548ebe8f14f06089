//! Loading and saving: what asks the store, and what the layer does with a session.

use std::sync::{Arc, Mutex};

use http::{HeaderValue, Request};

use super::{Inner, Phase, Session, Source};
use crate::backend::{Backend, Found, Place};
use crate::config::LoadErrors;
use crate::draft::Draft;
#[cfg(feature = "axum")]
use crate::error::ErrorKind;
use crate::error::{Error, Result};
use crate::id::SessionId;
#[cfg(feature = "axum")]
use crate::lease::{self, Lease};
use crate::run::{RunToEnd, Timer};
use crate::save::Outcome;
use crate::state::{CookieChange, Loaded, Replayed, State};

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
    fn start_at_hand(&self, speculative: impl Fn() -> bool) -> Result<AtHand> {
        if self.is_started() {
            return Ok(AtHand::Loaded);
        }
        let Ok(_gate) = self.0.io.try_lock() else {
            return Ok(AtHand::NotYet(None));
        };
        let (backend, timer) = (&*self.0.backend, Timer::start());
        match backend.find_at_hand(self.0.source.nth_id(0, backend.cookie.name())) {
            Err(place) => Ok(AtHand::NotYet(Some(place))),
            // Somebody may have been faster.
            Ok(_) if self.is_started() => Ok(AtHand::Loaded),
            Ok(found) => {
                report_load(&timer, &found);
                self.take(found, speculative).map(|()| AtHand::Loaded)
            }
        }
    }

    /// Waits until nobody else of this request asks the store; hardly ever has to.
    async fn gate(&self) -> tokio::sync::MutexGuard<'_, ()> {
        match self.0.io.try_lock() {
            Ok(gate) => gate,
            Err(_) => self.0.io.lock().await,
        }
    }

    async fn load(&self, first: Option<Arc<Place>>, speculative: impl Fn() -> bool) -> Result<()> {
        if self.is_started() {
            return Ok(());
        }
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
        let session = self.clone();
        RunToEnd::new(Box::pin(async move { session.save_now(false).await })).await
    }

    /// A save `for_response` can tell the browser an id, though a task has reloaded the session meanwhile.
    async fn save_now(&self, for_response: bool) -> Result<()> {
        let _gate = self.gate().await;
        if !self.is_started() {
            // Boxed, because the future of every save would be as large as this one otherwise.
            Box::pin(self.load(None, || false)).await?;
        }
        let backend = &*self.0.backend;
        let (job, refused) = {
            let mut slot = self.lock();
            let may_tell_an_id = for_response || slot.phase != Phase::Detached;
            slot.state().plan(backend, backend.clock.now(), may_tell_an_id)
        };
        let timer = Timer::start();
        let outcome = backend.perform(&job).await;
        if let (Some(elapsed), Ok(_)) = (timer.elapsed(), &outcome) {
            tracing::debug!(target: "session_schema", what = job.plan.name(), ?elapsed, "a session was saved");
        }
        let settled = match &outcome {
            Ok(Outcome::Stored(stored)) => {
                let draft = Draft::of(&stored.record);
                self.replayed(draft, |state, replayed| {
                    state.settle(job, outcome, Some(replayed), backend)
                })
            }
            _ => self.lock().state().settle(job, outcome, None, backend),
        };
        settled.and(refused)
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
        match backend.newest(stored, backend.clock.now()).await? {
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

    /// Puts the session on a request, for extractors and [`Session::of`] to find.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        request.extensions_mut().insert(self.clone());
    }

    /// The session of a request, if a layer or [`attach`](Session::attach) gave it one. It may not be [started](Session::start) yet.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        request.extensions().get().cloned()
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

// What the layer does with a session.
impl Session {
    /// The session of a request that came with these `Cookie` headers.
    pub(crate) fn of_headers<'a>(backend: Arc<Backend>, mut cookies: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let first = cookies.next().cloned();
        Self::new(backend, Source::Headers(first, cookies.cloned().collect()))
    }

    /// A session with this id, if there is one, and a new one otherwise.
    pub(crate) fn by_hand(backend: Arc<Backend>, id: Option<SessionId>) -> Self {
        Self::new(backend, Source::Given(id))
    }

    fn new(backend: Arc<Backend>, source: Source) -> Self {
        Self(Arc::new(Inner {
            backend,
            source,
            slot: Mutex::default(),
            io: tokio::sync::Mutex::const_new(()),
        }))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Ends the time in which the session can be changed, and says what is left to do.
    pub(crate) fn close(&self) -> Closing {
        let mut slot = self.lock();
        if slot.phase == Phase::Open {
            slot.phase = Phase::Committed;
        }
        match &slot.state {
            None => Closing::Untouched,
            Some(_) if slot.lease.is_some() => Closing::Changed,
            Some(state) if state.is_idle() => Closing::Untouched,
            // A `save` that still runs, in a task that the handler left behind, has the last word on the cookie.
            Some(state) if state.is_settled() && self.0.io.try_lock().is_ok() => Closing::Unchanged,
            Some(_) => Closing::Changed,
        }
    }

    /// Saves a closed session.
    pub(crate) async fn commit(self) -> Committed {
        let result = self.save_now(true).await;
        let (lease, cookie) = {
            let mut slot = self.lock();
            (slot.lease.take(), slot.state().cookie())
        };
        if let Some(lease) = lease {
            // That it failed, or that the lease had run out, is in the log.
            Box::pin(lease.release()).await.ok();
        }
        Committed { result, cookie }
    }
}

/// What is left to do when a handler has returned.
pub(crate) enum Closing {
    /// Nobody asked for the session.
    Untouched,
    /// It was read at most.
    Unchanged,
    /// It has to be saved.
    Changed,
}

/// How the save of a closed session went, and what the browser is told in any case.
pub(crate) struct Committed {
    pub(crate) result: Result<()>,
    pub(crate) cookie: CookieChange,
}
