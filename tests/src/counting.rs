use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use session_schema::{Driver, DriverError, Expected, InMemory, OwnerIndex, Record, StoreKey, Watcher, Written};

/// A driver that counts what the one inside is asked to do.
#[derive(Debug)]
pub struct CountingDriver<D> {
    inner: D,
    calls: Calls,
}

/// The counters of a [`CountingDriver`]; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    open: AtomicU64,
    read: AtomicU64,
    write: AtomicU64,
    touch: AtomicU64,
    destroy: AtomicU64,
    gc: AtomicU64,
    keys: Mutex<Vec<StoreKey>>,
}

/// How often each method was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `open`.
    pub open: u64,
    /// Calls of `read`.
    pub read: u64,
    /// Calls of `write`.
    pub write: u64,
    /// Calls of `touch`.
    pub touch: u64,
    /// Calls of `destroy`.
    pub destroy: u64,
    /// Calls of `gc`.
    pub gc: u64,
}

impl Counts {
    /// No call at all.
    pub const NONE: Self = Self {
        open: 0,
        read: 0,
        write: 0,
        touch: 0,
        destroy: 0,
        gc: 0,
    };
    /// One read and no more.
    pub const ONE_READ: Self = Self { read: 1, ..Self::NONE };
    /// One read and one write.
    pub const READ_AND_WRITE: Self = Self {
        read: 1,
        write: 1,
        ..Self::NONE
    };
}

impl Calls {
    /// What was called since this was last asked.
    pub fn take(&self) -> Counts {
        let counters = &*self.0;
        let take = |counter: &AtomicU64| counter.swap(0, Ordering::SeqCst);
        Counts {
            open: take(&counters.open),
            read: take(&counters.read),
            write: take(&counters.write),
            touch: take(&counters.touch),
            destroy: take(&counters.destroy),
            gc: take(&counters.gc),
        }
    }

    /// Every key that was ever written, the oldest first; a key that was written twice stands here twice.
    pub fn written_keys(&self) -> Vec<StoreKey> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<D> CountingDriver<D> {
    /// Counts the calls of `inner` in `calls`.
    pub fn new(inner: D, calls: Calls) -> Self {
        Self { inner, calls }
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) {
        counter(&self.calls.0).fetch_add(1, Ordering::SeqCst);
    }

    fn count_write(&self, key: &StoreKey) {
        self.count(|counters| &counters.write);
        let mut keys = self.calls.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.push(*key);
    }
}

#[async_trait]
impl<D: Driver> Driver for CountingDriver<D> {
    async fn open(&self) -> Result<(), DriverError> {
        self.count(|counters| &counters.open);
        self.inner.open().await
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.count(|counters| &counters.read);
        self.inner.read(key).await
    }

    fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        let record = self.inner.at_hand(key, now)?;
        self.count(|counters| &counters.read);
        Some(record)
    }

    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.count(|counters| &counters.read);
        self.inner.read_fresh(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.count_write(key);
        self.inner.write(key, record, expected).await
    }

    fn in_memory(&self) -> Option<&dyn InMemory> {
        self.inner.in_memory().map(|_| self as _)
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.count(|counters| &counters.touch);
        self.inner.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.count(|counters| &counters.destroy);
        self.inner.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.count(|counters| &counters.gc);
        self.inner.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.inner.owners()
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.inner.watch(watcher)
    }
}

impl<D: Driver> InMemory for CountingDriver<D> {
    fn write_now(&self, key: &StoreKey, record: Record, expected: Expected, now: SystemTime) -> Written {
        match self.inner.in_memory() {
            Some(inner) => {
                self.count_write(key);
                inner.write_now(key, record, expected, now)
            }
            // A fault has been planned meanwhile: nothing is done here, and the driver will be asked.
            None => Written::Conflict(None),
        }
    }
}
