//! What the contract needs to know of a driver.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::ManualClock;
use crate::clock::Clock;
use crate::driver::{Driver, Expected, OwnerIndex, Written};
use crate::id::{SessionId, StoreKey};
use crate::record::{Record, Version};

/// How long a short-lived record lives in a store that keeps time itself: long enough to do what a test does with a live record.
const SHORT_REAL: Duration = Duration::from_secs(2);
/// How much later than it should a store may forget, by its own clock, before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

type Reopen = dyn Fn() -> Pin<Box<dyn Future<Output = Arc<dyn Driver>> + Send>> + Send + Sync;

/// A driver over an empty store, and how time passes in it: what [`driver_contract!`](crate::testing::driver_contract)
/// wants of the author of a driver, once for each test.
///
/// A driver that asks a [`Clock`] is given a [`ManualClock`], which the tests move. A store that keeps time itself (Redis, SQL) has none:
/// then the tests give records two seconds to live and wait until the store has forgotten them.
pub struct Harness {
    driver: Arc<dyn Driver>,
    clock: Option<ManualClock>,
    reopen: Option<Box<Reopen>>,
    forgets: bool,
    guards: Vec<Box<dyn Any + Send + Sync>>,
    /// How many records of our own have expired since the last `gc`.
    probes: AtomicU64,
}

impl Harness {
    /// A driver that keeps time itself.
    pub fn new(driver: impl Driver) -> Self {
        Self {
            driver: Arc::new(driver),
            clock: None,
            reopen: None,
            forgets: false,
            guards: Vec::new(),
            probes: AtomicU64::new(0),
        }
    }

    /// The driver asks this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Makes another driver over the same store, as a process does after a restart. Without it, the test of
    /// [`close`](Driver::close) goes on with the driver that it has closed.
    #[must_use]
    pub fn with_reopen<D, F>(mut self, reopen: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        D: Driver,
        F: Future<Output = D> + Send + 'static,
    {
        self.reopen = Some(Box::new(move || {
            let driver = reopen();
            Box::pin(async { Arc::new(driver.await) as Arc<dyn Driver> })
        }));
        self
    }

    /// The store forgets by itself, so [`gc`](Driver::gc) has nothing to do and says 0.
    #[must_use]
    pub fn forgetting_by_itself(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Keeps `guard` until the test is over: a directory, a server.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }
}

/// What the tests do with a driver. Whatever should not go wrong in them panics.
impl Harness {
    pub(super) fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.driver)
    }

    pub(super) async fn reopened(&self) -> Arc<dyn Driver> {
        match &self.reopen {
            Some(reopen) => reopen().await,
            None => self.driver(),
        }
    }

    pub(super) fn clock(&self) -> Option<&ManualClock> {
        self.clock.as_ref()
    }

    pub(super) fn now(&self) -> SystemTime {
        self.clock.as_ref().map_or_else(SystemTime::now, Clock::now)
    }

    /// An expiry that no test reaches.
    pub(super) fn late(&self) -> SystemTime {
        self.now() + Duration::from_secs(60 * 60)
    }

    /// An expiry that a test can reach, with [`pass`](Self::pass).
    pub(super) fn soon(&self) -> SystemTime {
        self.now() + self.clock.as_ref().map_or(SHORT_REAL, |_| Duration::from_secs(60))
    }

    /// Lets time pass, no longer than needed, until what expires at `expiry` has expired.
    pub(super) async fn pass(&self, expiry: SystemTime) {
        if let Some(clock) = &self.clock {
            return clock.advance(expiry.duration_since(clock.now()).unwrap_or_default());
        }
        // A record of our own tells, because reading those of the test could make the driver tidy them up.
        let probe = key();
        self.create(&probe, &Record::new(b"{}".to_vec(), expiry)).await;
        while self.read(&probe).await.is_some() {
            assert!(SystemTime::now() < expiry + PATIENCE, "the record is not forgotten");
            tokio::time::sleep(POLL).await;
        }
        self.probes.fetch_add(1, Ordering::Relaxed);
    }

    /// A live record with a payload that says `text`.
    pub(super) fn record(&self, text: &str) -> Record {
        Record::new(format!("{{\"text\":\"{text}\"}}").into_bytes(), self.late())
    }

    pub(super) async fn read(&self, key: &StoreKey) -> Option<Record> {
        self.driver.read(key).await.expect("the record is read")
    }

    pub(super) async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Written {
        self.driver
            .write(key, record, expected)
            .await
            .expect("the record is written")
    }

    pub(super) async fn create(&self, key: &StoreKey, record: &Record) -> Version {
        done(self.write(key, record, Expected::Absent).await)
    }

    pub(super) async fn replace(&self, key: &StoreKey, record: &Record, seen: Version) -> Version {
        done(self.write(key, record, Expected::Version(seen)).await)
    }

    pub(super) async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> bool {
        self.driver.touch(key, expires_at).await.expect("the record is touched")
    }

    pub(super) async fn destroy(&self, key: &StoreKey) -> bool {
        self.driver.destroy(key).await.expect("the record is destroyed")
    }

    /// Has the driver remove what has expired, which is `expired` records of the test.
    pub(super) async fn collect(&self, expired: u64) {
        self.collect_through(&*self.driver, expired).await;
    }

    pub(super) async fn collect_through(&self, driver: &dyn Driver, expired: u64) {
        let removed = driver.gc().await.expect("what has expired is removed");
        // A driver may remove an expired record when it is read, so it need not have found ours.
        let probes = self.probes.swap(0, Ordering::Relaxed);
        let right = if self.forgets {
            0..=0
        } else {
            expired..=expired + probes
        };
        assert!(
            right.contains(&removed),
            "gc says {removed}, but {expired} records have expired"
        );
    }

    pub(super) fn owners(&self) -> &dyn OwnerIndex {
        self.driver.owners().expect("the driver keeps an index of owners")
    }
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("clock", &self.clock)
            .field("forgets", &self.forgets)
            .finish_non_exhaustive()
    }
}

/// A key that nobody has used.
pub(super) fn key() -> StoreKey {
    StoreKey::from(&SessionId::generate().expect("the operating system has random numbers"))
}

/// The version of a write that succeeded.
#[track_caller]
pub(super) fn done(written: Written) -> Version {
    match written {
        Written::Done(version) => version,
        other => panic!("expected `Written::Done`, got {other:?}"),
    }
}

/// Asserts that `read` has the payload, the owner and, to the millisecond, the expiry of `written`.
#[track_caller]
pub(super) fn assert_same(read: Option<&Record>, written: &Record) {
    let read = read.expect("there is a record");
    assert!(
        read.payload() == written.payload(),
        "the payload came back otherwise: {} bytes for {}",
        read.payload().len(),
        written.payload().len()
    );
    assert_eq!(read.owner(), written.owner(), "the owner came back otherwise");
    let lost = written
        .expires_at()
        .duration_since(read.expires_at())
        .expect("an expiry is never rounded up");
    assert!(
        lost < Duration::from_millis(1),
        "the expiry came back {lost:?} too early"
    );
}

/// Runs one test of the contract on a runtime of its own.
#[doc(hidden)]
pub fn run<T: Future<Output = ()>>(harness: impl Future<Output = Harness>, test: impl FnOnce(Arc<Harness>) -> T) {
    runtime().block_on(async {
        let harness = Arc::new(harness.await);
        harness.driver.open().await.expect("the driver is opened");
        test(Arc::clone(&harness)).await;
    });
}

/// The same for a test of `open`, which wants drivers that nobody has opened, each over a store of its own.
#[doc(hidden)]
pub fn run_unopened<H, T: Future<Output = ()>>(harness: H, test: impl FnOnce(H) -> T) {
    runtime().block_on(test(harness));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime is made")
}
