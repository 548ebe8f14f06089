//! One at a time: whoever asks the store for the session of a request, or tells it something.

use tokio::sync::MutexGuard;

use super::{Inner, Session};

/// What whoever has the gate does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Load,
    Save,
}

/// Held while the store is asked or told something. Dropping it takes the session's lock: a guard of that lock has to be dropped before, or the thread
/// waits for itself.
pub(super) struct Gate<'a> {
    inner: &'a Inner,
    /// Those who wait get their turns in the order in which they came.
    _turn: MutexGuard<'a, ()>,
}

impl Session {
    /// Waits until nobody else of this request asks the store; hardly ever has to. What is done under the session's lock, without waiting, need not
    /// have the gate, but must see that nobody is [busy](super::Slot::busy).
    pub(super) async fn gate(&self, work: Work) -> Gate<'_> {
        let turn = self.0.gate.lock().await;
        self.lock().busy = Some(work);
        Gate {
            inner: &self.0,
            _turn: turn,
        }
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.inner.lock().busy = None;
    }
}
