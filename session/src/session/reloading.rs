//! A session is loaded anew: for a task that outlives its request, and for whoever wants the session alone.

use super::gate::Work;
use super::{Phase, Session};
use crate::draft::Draft;
use crate::error::Result;
#[cfg(feature = "axum")]
use crate::error::{Error, ErrorKind};
#[cfg(feature = "axum")]
use crate::lease::{self, Lease};
use crate::save::Newest;
use crate::state::{Base, State};

impl Session {
    /// Loads the session anew: what other requests have stored since is seen, and what was changed here and not yet saved is applied to it.
    ///
    /// This is how a task goes on that outlives its request, behind a WebSocket or a stream of events. When the response has been sent, a session takes no
    /// more changes, until it is reloaded; from then on [`save`](Session::save) is the task's to call, and changes that are dropped without it are reported in
    /// the log. The browser can be told nothing any more, so such a session cannot be created or given a new id.
    ///
    /// If the session has ended, it reads as empty afterwards. Changes made here and not yet saved are dropped, with a
    /// line in the log. The same happens if another request has given the session a new id: otherwise an attacker who
    /// planted the old id would see what the visitor does after signing in. To go on listening, the browser has to
    /// connect anew.
    ///
    /// # Errors
    ///
    /// As [`start`](Session::start), and [`ErrorKind::Decode`](crate::ErrorKind::Decode) when another program has replaced the session by something that cannot be
    /// read.
    pub async fn reload(&self) -> Result<()> {
        let _gate = self.gate(Work::Load).await;
        let invalidations = self.read(State::invalidations).unwrap_or_default();
        let is_moved = !self.look_again().await?;
        let mut slot = self.lock();
        if is_moved {
            slot.state().lose_unless_ended(invalidations);
        }
        if slot.phase == Phase::Committed {
            slot.phase = Phase::Detached;
        }
        Ok(())
    }

    /// Loads what the session is now, and goes on from that. Returns `false` if it has another id now, and nothing has
    /// been changed here.
    async fn look_again(&self) -> Result<bool> {
        let known = self.read(|state| state.stored().cloned().map(|stored| (stored, state.invalidations())));
        let Some((stored, invalidations)) = known.flatten() else {
            self.lock().state().wait_again();
            self.load(None).await?;
            return Ok(true);
        };
        let backend = &*self.0.backend;
        match backend.newest(&stored, backend.now()).await? {
            Newest::Live(newest) => {
                let draft = Draft::of(&newest);
                self.replayed(
                    |_| Base::Draft(draft.clone()),
                    |slot, replayed| slot.state().rebase(stored.with_record(newest), invalidations, replayed),
                )?;
            }
            Newest::Moved => return Ok(false),
            Newest::Gone => self.lock().state().lose_unless_ended(invalidations),
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
        let _gate = self.gate(Work::Load).await;
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
