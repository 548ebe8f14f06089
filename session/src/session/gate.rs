//! One at a time: whoever asks the store for the session of a request, or tells it something.

use super::{Inner, Session};

/// Held while the store is asked or told something. Dropping it takes the session's lock: a guard of that lock has to be dropped before, or the thread
/// waits for itself.
pub(super) struct Gate<'a>(&'a Inner);

impl Session {
    /// Waits until nobody else of this request asks the store; hardly ever has to.
    pub(super) async fn gate(&self) -> Gate<'_> {
        loop {
            if !std::mem::replace(&mut self.lock().busy, true) {
                return Gate(&self.0);
            }
            // Who left in between has put a permit there.
            self.0.gate_free.notified().await;
        }
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.gate_free.notify_one();
    }
}
