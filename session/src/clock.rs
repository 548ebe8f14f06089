//! The time, as far as expiry is concerned.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Tells the time by which sessions expire.
///
/// The layer and the drivers that keep time themselves (memory, file, SQL) ask their clock and nothing else, so a test that gives them all the same one
/// moves time instead of waiting for it: see `testing::ManualClock`. Functions are clocks too.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> SystemTime;

    /// Whether it is the operating system's, so that whoever has just asked that need not ask this one.
    #[doc(hidden)]
    fn is_systems(&self) -> bool {
        false
    }
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn is_systems(&self) -> bool {
        true
    }
}

impl<F: Fn() -> SystemTime + Send + Sync + 'static> Clock for F {
    fn now(&self) -> SystemTime {
        self()
    }
}

/// A clock that was chosen, or else the system's. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct SharedClock(Option<Arc<dyn Clock>>);

impl SharedClock {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self(Some(Arc::new(clock)))
    }
}

impl Clock for SharedClock {
    fn now(&self) -> SystemTime {
        self.0.as_ref().map_or_else(|| SystemClock.now(), |clock| clock.now())
    }

    fn is_systems(&self) -> bool {
        self.0.as_ref().is_none_or(|clock| clock.is_systems())
    }
}

/// The last second of the year 9999: the latest expiry a cookie can name, and what longer lifetimes become.
#[inline]
pub(crate) fn end_of_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// `time + duration`, or the [end of time](end_of_time).
#[inline]
pub(crate) fn after(time: SystemTime, duration: Duration) -> SystemTime {
    time.checked_add(duration)
        .map_or_else(end_of_time, |sum| sum.min(end_of_time()))
}
