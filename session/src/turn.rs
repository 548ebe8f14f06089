//! Turns at a store that serves only a few calls at a time, such as a pool of connections, or SQLite with its one
//! writer.
//!
//! If a call waits behind others of this process, and the store answers those, the wait is not the store's fault. So
//! the layer's time limit for a waiting call starts again with each answer that one of the others gets: see
//! [`observe`]. A store that hangs answers no call, so the waiting calls fail with those that have their turn. The
//! total wait is limited, too.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::id::StoreKey;

thread_local! {
    /// When the store last answered one of the calls before the one that is being polled.
    static LAST_ANSWER: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polls a call. If the call waits for its turn or has just got it, returns when the store last answered one of the
/// calls before it.
pub(crate) fn observe<T>(poll: impl FnOnce() -> T) -> (T, Option<Instant>) {
    LAST_ANSWER.set(None);
    let polled = poll();
    (polled, LAST_ANSWER.take())
}

/// A queue of calls, in the order in which they came.
pub(crate) struct Turns {
    free: Semaphore,
    last_answer: Mutex<Option<Instant>>,
}

/// The right to call the store, until it is dropped.
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// Lets so many calls through at a time.
    pub(crate) fn new(at_a_time: u32) -> Self {
        Self {
            free: Semaphore::new(at_a_time.max(1) as usize),
            last_answer: Mutex::default(),
        }
    }

    /// A turn, if nobody else waits for one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Turn> {
        self.free.try_acquire().ok()?.forget();
        Some(Turn(self.clone()))
    }

    /// Waits for a turn.
    pub(crate) async fn take(self: &Arc<Self>) -> Turn {
        if let Some(turn) = self.try_take() {
            return turn;
        }
        let mut waiting = pin!(self.free.acquire());
        let observed = poll_fn(|cx| {
            let polled = waiting.as_mut().poll(cx);
            LAST_ANSWER.set(*self.last_answer());
            polled
        });
        observed.await.expect("nobody closes it").forget();
        Turn(self.clone())
    }

    fn last_answer(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last_answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Notes that the store has answered.
    #[cfg(any(feature = "sql", feature = "tower-sessions"))]
    pub(crate) fn answered(&self) {
        *self.0.last_answer() = Some(Instant::now());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.free.add_permits(1);
    }
}

/// Queues, each for the sessions whose keys hash to it.
pub(crate) struct Stripes {
    queues: Box<[Arc<Turns>]>,
    hash: RandomState,
}

impl Stripes {
    /// Enough queues that sessions rarely share one and wait for each other.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            queues: (0..count).map(|_| Arc::new(Turns::new(1))).collect(),
            hash: RandomState::new(),
        }
    }

    /// Where to queue for one call at a time of what is under `key`.
    pub(crate) fn of(&self, key: &StoreKey) -> &Arc<Turns> {
        &self.queues[self.hash.hash_one(key) as usize % self.queues.len()]
    }
}
