//! A session is loaded: at once where that is possible, or by asking the store.

use std::sync::Arc;

use super::gate::Work;
use super::{Session, Slot, Source};
use crate::backend::{Backend, Found, Place};
use crate::config::LoadErrors;
use crate::error::{Error, Result};
use crate::run::Timer;
use crate::state::{Base, Loaded, Replayed, State};

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

    /// Loads the session for a request that is perhaps `speculative`. Where it is at hand that is looked at only if something depends on it.
    pub(crate) async fn start_as(&self, speculative: impl Fn() -> bool) -> Result<()> {
        let first = match self.start_at_hand(&speculative)? {
            AtHand::Loaded => return Ok(()),
            AtHand::NotYet(first) => first,
        };
        if speculative() {
            self.lock().speculative = true;
        }
        // Boxed, because the future of every handler would be as large as this one otherwise.
        Box::pin(async {
            let _gate = self.gate(Work::Load).await;
            self.load(first).await
        })
        .await
    }

    /// Loads the session if nobody has to be waited for: that has been done, there is none, or the driver has it in memory.
    fn start_at_hand(&self, speculative: impl FnOnce() -> bool) -> Result<AtHand> {
        let timer = Timer::start();
        let mut slot = self.lock();
        if slot.is_started() {
            return Ok(AtHand::Loaded);
        }
        // Functions of the application must not run under the lock.
        if slot.busy.is_some() || slot.state.as_ref().is_some_and(|state| state.has_unsaved_functions()) {
            return Ok(AtHand::NotYet(None));
        }
        let backend = &*self.0.backend;
        let first = self.0.source.nth_id(0, backend.cookie.name());
        let first = first.map(|id| backend.place_of(id));
        let Some(found) = backend.find_at_hand(first.as_ref()) else {
            return Ok(AtHand::NotYet(first));
        };
        let is_there = matches!(found, Found::Session(..));
        let started = slot.start(found, backend, speculative);
        // A subscriber of the log may want to know something of the session.
        drop(slot);
        report_load(&timer, is_there);
        started.map(|()| AtHand::Loaded)
    }

    /// Asks the store; where the session is to be looked for `first` may be known. Only under the gate.
    pub(super) async fn load(&self, first: Option<Arc<Place>>) -> Result<()> {
        let speculative = {
            let mut slot = self.lock();
            if slot.is_started() {
                return Ok(());
            }
            slot.load_begun = true;
            slot.speculative
        };
        let backend = &*self.0.backend;
        let timer = Timer::start();
        // Who builds a session by hand may want to look at it only.
        let may_prolong = matches!(self.0.source, Source::Headers(..)) && !speculative;
        let nth_id = |at| self.0.source.nth_id(at, backend.cookie.name());
        let found = match backend.find(first, nth_id, may_prolong).await {
            Ok(found) => found,
            Err(error) => return self.go_without(error),
        };
        report_load(&timer, matches!(found, Found::Session(..)));
        self.take(found)
    }

    pub(super) fn take(&self, found: Found) -> Result<()> {
        let Found::Session(stored, now, prolonged) = found else {
            self.lock().state().start_without(matches!(found, Found::Moved));
            return Ok(());
        };
        let speculative = self.lock().speculative;
        let owner = stored.record.shared_owner();
        let (loaded, draft) = Loaded::new(stored, &self.0.backend, now, prolonged, || speculative);
        self.replayed(
            |state| state.base_of(&draft, owner.as_deref()),
            |slot, replayed| {
                let speculative = slot.speculative;
                let state = slot.state();
                state.start_with(loaded, replayed)?;
                if speculative {
                    state.be_speculative();
                }
                Ok(())
            },
        )
    }

    /// Applies what is still to be saved to a `base`, and has the session take it. The functions given to `update` are the application's and may
    /// use this session, so they run while the lock is free; if they, or a clone of the session, change it in that time, once more.
    pub(super) fn replayed<T>(
        &self,
        base: impl Fn(&State) -> Base,
        take: impl FnOnce(&mut Slot, Replayed) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..REPLAYS {
            let (unsaved, base) = {
                let mut slot = self.lock();
                let state = slot.state();
                let base = base(state);
                if !state.has_unsaved_functions() {
                    let replayed = state.replay(base);
                    return take(&mut slot, replayed);
                }
                (state.unsaved(), base)
            };
            let replayed = unsaved.replay(base);
            let mut slot = self.lock();
            if slot.state().is_current(&replayed) {
                return take(&mut slot, replayed);
            }
        }
        let mut slot = self.lock();
        let state = slot.state();
        let replayed = state.replay(base(state));
        take(&mut slot, replayed)
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
}

/// How far a session has come without waiting.
enum AtHand {
    Loaded,
    /// The store has to be asked, at this place first if that is known.
    NotYet(Option<Arc<Place>>),
}

impl Slot {
    /// Starts with what was found at hand; no function is unsaved.
    fn start(&mut self, found: Found, backend: &Backend, speculative: impl FnOnce() -> bool) -> Result<()> {
        let Found::Session(stored, now, prolonged) = found else {
            self.state().start_without(matches!(found, Found::Moved));
            return Ok(());
        };
        let known = self.speculative;
        let (loaded, draft) = Loaded::new(stored, backend, now, prolonged, || known || speculative());
        let state = match &mut self.state {
            None => self.state.insert(Box::new(State::of(loaded, draft))),
            Some(state) => {
                let base = state.base_of(&draft, loaded.owner());
                let replayed = state.replay(base);
                state.start_with(loaded, replayed)?;
                state
            }
        };
        if known {
            state.be_speculative();
        }
        Ok(())
    }
}

fn report_load(timer: &Timer, found: bool) {
    if let Some(elapsed) = timer.elapsed() {
        tracing::debug!(target: "session_schema", found, ?elapsed, "a session was loaded");
    }
}
