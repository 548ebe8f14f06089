//! A clock to set by hand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// A time that stands still until a test moves it. Clones share it.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use session_schema::{Driver, Expected, MemoryDriver, Record, StoreKey, Clock};
/// use session_schema::testing::ManualClock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let driver = MemoryDriver::new().with_clock(clock.clone());
/// let key: StoreKey = "a-key".parse()?;
/// let record = Record::new(b"{}".to_vec(), clock.now() + Duration::from_secs(60));
/// driver.write(&key, &record, Expected::Absent).await?;
///
/// clock.advance(Duration::from_secs(60));
/// assert!(driver.read(&key).await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<SystemTime>>,
}

impl ManualClock {
    /// A clock that stands at the present.
    pub fn new() -> Self {
        Self {
            now: Arc::new(Mutex::new(SystemTime::now())),
        }
    }

    /// Lets `duration` go by.
    ///
    /// # Panics
    ///
    /// When that leads further into the future than [`SystemTime`] can say.
    pub fn advance(&self, duration: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += duration;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_until_a_clone_moves_it() {
        let before = SystemTime::now();
        let clock = ManualClock::default();
        let start = clock.now();
        assert!(before <= start && start <= SystemTime::now());
        clock.clone().advance(Duration::from_nanos(1));
        assert_eq!(clock.now(), start + Duration::from_nanos(1));
    }
}
