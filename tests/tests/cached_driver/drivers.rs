//! What the tests put behind a cache, and two servers over one store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use session_schema::testing::ManualClock;
use session_schema::{
    CachedDriver, Clock, Driver, DriverError, Expected, MemoryDriver, OwnerIndex, Record, StoreKey, Version, Watcher,
    Written,
};
use session_tests::{Calls, CountingDriver, Faults, FaultyDriver, some_id};
use tokio::sync::Semaphore;

/// How old what a server reads may be.
pub(crate) const STALENESS: Duration = Duration::from_secs(10);

pub(crate) type Cached = Arc<CachedDriver<CountingDriver<FaultyDriver<MemoryDriver>>>>;

/// Two servers with a cache each, over one store.
pub(crate) struct Pair {
    pub(crate) clock: ManualClock,
    pub(crate) store: MemoryDriver,
    pub(crate) here: Cached,
    pub(crate) there: Cached,
    /// What `here` asks the store, and what is to go wrong then.
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let (clock, calls, faults) = (ManualClock::new(), Calls::default(), Faults::default());
        let store = MemoryDriver::new().with_clock(clock.clone());
        let server = |calls: &Calls, faults: &Faults| {
            let driver = CountingDriver::new(FaultyDriver::new(store.clone(), faults.clone()), calls.clone());
            Arc::new(CachedDriver::new(driver, STALENESS).with_clock(clock.clone()))
        };
        Self {
            here: server(&calls, &faults),
            there: server(&Calls::default(), &Faults::default()),
            clock,
            store,
            calls,
            faults,
        }
    }

    /// A record that lives for an hour.
    pub(crate) fn record(&self, text: &str) -> Record {
        record(text, self.clock.now() + 3600 * Duration::from_secs(1))
    }

    /// A session that was made here and is known here.
    pub(crate) async fn known(&self) -> (StoreKey, Version) {
        let key = key();
        let version = create(&*self.here, &key, &self.record("first")).await;
        self.calls.take();
        (key, version)
    }
}

pub(crate) fn key() -> StoreKey {
    session_tests::key(&some_id())
}

pub(crate) fn record(text: &str, expires_at: SystemTime) -> Record {
    Record::new(format!("{{\"text\":{text:?}}}").into_bytes(), expires_at)
}

pub(crate) async fn create(driver: &dyn Driver, key: &StoreKey, record: &Record) -> Version {
    match driver.write(key, record, Expected::Absent).await.unwrap() {
        Written::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn replace(driver: &dyn Driver, key: &StoreKey, record: &Record, seen: Version) -> Version {
    match driver.write(key, record, Expected::Version(seen)).await.unwrap() {
        Written::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

/// What a driver reads: the text in the record.
pub(crate) async fn text(driver: &dyn Driver, key: &StoreKey) -> Option<String> {
    let record = driver.read(key).await.unwrap()?;
    let payload: serde_json::Value = serde_json::from_slice(record.payload()).unwrap();
    Some(payload["text"].as_str().unwrap().to_owned())
}

/// A store that has done what it was told, but whose answers a test can hold back.
#[derive(Clone)]
pub(crate) struct LateAnswers<D = MemoryDriver> {
    inner: D,
    held: Arc<Mutex<Option<Arc<Answer>>>>,
}

/// An answer that is held back.
pub(crate) struct Answer {
    given: Semaphore,
    let_go: Semaphore,
}

impl Answer {
    /// Waits until the store has done what it was told.
    pub(crate) async fn given(&self) {
        self.given.acquire().await.unwrap().forget();
    }

    pub(crate) fn let_go(&self) {
        self.let_go.add_permits(1);
    }
}

impl<D: Driver> LateAnswers<D> {
    pub(crate) fn new(inner: D) -> Self {
        Self {
            inner,
            held: Arc::default(),
        }
    }

    /// Holds the next answer back.
    pub(crate) fn hold(&self) -> Arc<Answer> {
        let answer = Arc::new(Answer {
            given: Semaphore::new(0),
            let_go: Semaphore::new(0),
        });
        *self.held.lock().unwrap() = Some(answer.clone());
        answer
    }

    fn index(&self) -> &dyn OwnerIndex {
        self.inner.owners().expect("the store has an index")
    }

    async fn late<T>(&self, work: impl Future<Output = T>) -> T {
        let held = self.held.lock().unwrap().take();
        let done = work.await;
        if let Some(answer) = held {
            answer.given.add_permits(1);
            answer.let_go.acquire().await.unwrap().forget();
        }
        done
    }
}

#[async_trait]
impl<D: Driver> Driver for LateAnswers<D> {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.late(self.inner.read(key)).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.late(self.inner.write(key, record, expected)).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.late(self.inner.touch(key, expires_at)).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.late(self.inner.destroy(key)).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.inner.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.inner.owners().map(|_| self as _)
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.inner.watch(watcher)
    }
}

#[async_trait]
impl<D: Driver> OwnerIndex for LateAnswers<D> {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        self.late(self.index().sessions_of(owner)).await
    }

    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        self.index().destroy_sessions_of(owner, except).await
    }
}

/// A store that reports changes made elsewhere, as sparingly as it may (and as Redis does): of a record that was read through it, the next one.
#[derive(Clone)]
pub(crate) struct Reporting {
    inner: MemoryDriver,
    watcher: Arc<OnceLock<Arc<dyn Watcher>>>,
    tracked: Arc<Mutex<BTreeSet<StoreKey>>>,
}

impl Reporting {
    pub(crate) fn new(inner: MemoryDriver) -> Self {
        Self {
            inner,
            watcher: Arc::default(),
            tracked: Arc::default(),
        }
    }

    pub(crate) fn watcher(&self) -> &dyn Watcher {
        &**self.watcher.get().expect("a cache has asked for reports")
    }

    /// Another server writes.
    pub(crate) async fn replace_elsewhere(&self, key: &StoreKey, record: &Record) {
        let seen = self.inner.read(key).await.unwrap().unwrap().version();
        replace(&self.inner, key, record, seen).await;
        self.report(key);
    }

    /// Another server destroys.
    pub(crate) async fn destroy_elsewhere(&self, key: &StoreKey) {
        assert!(self.inner.destroy(key).await.unwrap());
        self.report(key);
    }

    fn report(&self, key: &StoreKey) {
        if self.stop_tracking(key) {
            self.watcher().changed(key);
        }
    }

    fn stop_tracking(&self, key: &StoreKey) -> bool {
        self.tracked.lock().unwrap().remove(key)
    }
}

/// What a cache does is not reported to it.
#[async_trait]
impl Driver for Reporting {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.tracked.lock().unwrap().insert(*key);
        self.inner.read(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.stop_tracking(key);
        self.inner.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.stop_tracking(key);
        self.inner.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.stop_tracking(key);
        self.inner.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.inner.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.inner.owners()
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        watcher.watching();
        self.watcher.set(watcher).is_ok()
    }
}
