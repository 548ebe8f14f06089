use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use session_schema::Clock;

/// A clock that goes on when it is told to. Clones share their time, which begins at a whole second.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<SystemTime>>);

impl ManualClock {
    /// A clock that shows 2024-07-03 09:46:40 UTC.
    pub fn new() -> Self {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_720_000_000);
        Self(Arc::new(Mutex::new(start)))
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// The time it shows.
    pub fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.now()
    }
}
