//! The time, as far as expiry is concerned.

use std::time::{Duration, SystemTime};

/// Tells the time by which sessions expire.
///
/// The layer and the drivers that keep time themselves (memory, file, SQL) ask their clock and nothing else, so a test
/// moves time instead of waiting for it: see `testing::ManualClock`. Functions are clocks too.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<F: Fn() -> SystemTime + Send + Sync + 'static> Clock for F {
    fn now(&self) -> SystemTime {
        self()
    }
}

/// The last second of the year 9999: the latest expiry a cookie can name, and what longer lifetimes become.
pub(crate) fn end_of_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// `time + duration`, or the [end of time](end_of_time).
pub(crate) fn after(time: SystemTime, duration: Duration) -> SystemTime {
    time.checked_add(duration)
        .map_or_else(end_of_time, |sum| sum.min(end_of_time()))
}
