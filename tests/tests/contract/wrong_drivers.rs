//! Drivers that break one sentence of the contract each: the test of that sentence says so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use session_schema::testing::{Harness, contract, run, run_unopened};
use session_schema::{Driver, DriverError, Expected, MemoryDriver, OwnerIndex, Record, StoreKey, Version, Written};
use tokio::sync::Notify;

/// What is wrong with a [`WrongDriver`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// Opening that is dropped leaves a lock.
    LocksWhileItOpens,
    /// A read comes from memory, and so does a fresh one.
    Remembers,
    /// An owner's sessions are listed first, and each is destroyed if it is still that version.
    DestroysByVersion,
    /// A write looks at the version, and stores when all of an owner's sessions have been destroyed meanwhile.
    LooksAndStores,
    /// A creation looks whether there is a record, and stores although there is one meanwhile.
    LooksAndCreates,
}

/// A driver in memory, but for one mistake, which it makes each time: it waits until others have done what it takes.
struct WrongDriver {
    inner: MemoryDriver,
    mistake: Mistake,
    locked: AtomicBool,
    remembered: Mutex<BTreeMap<StoreKey, Record>>,
    written: Notify,
    looked: Notify,
    destroyed: Notify,
}

impl WrongDriver {
    fn new(mistake: Mistake) -> Self {
        Self {
            inner: MemoryDriver::new(),
            mistake,
            locked: AtomicBool::new(false),
            remembered: Mutex::default(),
            written: Notify::new(),
            looked: Notify::new(),
            destroyed: Notify::new(),
        }
    }

    async fn look_and_store(&self, key: &StoreKey, record: &Record, seen: Version) -> Result<Written, DriverError> {
        match self.inner.read(key).await? {
            Some(current) if current.version() == seen => {}
            Some(current) => return Ok(Written::Conflict(Some(current))),
            None => return Ok(Written::Gone),
        }
        self.looked.notify_one();
        self.destroyed.notified().await;
        self.inner.write(key, record, Expected::Absent).await
    }

    async fn look_and_create(&self, key: &StoreKey, record: &Record) -> Result<Written, DriverError> {
        if let Some(current) = self.inner.read(key).await? {
            return Ok(Written::Conflict(Some(current)));
        }
        tokio::task::yield_now().await;
        let expected = match self.inner.read(key).await? {
            Some(current) => Expected::Version(current.version()),
            None => Expected::Absent,
        };
        self.inner.write(key, record, expected).await
    }
}

#[async_trait]
impl Driver for WrongDriver {
    async fn open(&self) -> Result<(), DriverError> {
        if self.mistake == Mistake::LocksWhileItOpens {
            if self.locked.swap(true, Ordering::SeqCst) {
                return Err(DriverError::unavailable("somebody else is opening the store"));
            }
            tokio::task::yield_now().await;
            self.locked.store(false, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let read = self.inner.read(key).await?;
        if self.mistake != Mistake::Remembers {
            return Ok(read);
        }
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = read {
            remembered.entry(*key).or_insert(read);
        }
        Ok(remembered.get(key).cloned())
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        match expected {
            Expected::Version(seen) if self.mistake == Mistake::LooksAndStores => {
                self.look_and_store(key, record, seen).await
            }
            Expected::Absent if self.mistake == Mistake::LooksAndCreates => self.look_and_create(key, record).await,
            _ => {
                let written = self.inner.write(key, record, expected).await;
                self.written.notify_waiters();
                written
            }
        }
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.inner.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.inner.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.inner.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

#[async_trait]
impl OwnerIndex for WrongDriver {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        self.inner.owners().expect("it has one").sessions_of(owner).await
    }

    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let listed = self.sessions_of(owner).await?;
        match self.mistake {
            Mistake::DestroysByVersion => self.written.notified().await,
            Mistake::LooksAndStores => self.looked.notified().await,
            _ => {}
        }
        let mut count = 0;
        for (key, record) in listed.into_iter().filter(|(key, _)| Some(key) != except) {
            let current = self.inner.read(&key).await?;
            if current.is_some_and(|current| current.version() == record.version()) {
                count += u64::from(self.inner.destroy(&key).await?);
            }
        }
        self.destroyed.notify_one();
        Ok(count)
    }
}

/// A driver with this mistake, and others over the same store without.
async fn with(mistake: Mistake) -> Harness {
    let driver = WrongDriver::new(mistake);
    let right = driver.inner.clone();
    Harness::new(driver).with_reopen(move || std::future::ready(right.clone()))
}

#[test]
#[should_panic(expected = "a driver is opened after opening it was given up")]
fn a_lock_that_is_left_by_opening_is_found() {
    run_unopened(
        || with(Mistake::LocksWhileItOpens),
        contract::an_abandoned_open_is_done_or_not,
    );
}

#[test]
#[should_panic(expected = "the payload came back otherwise")]
fn a_fresh_read_that_is_not_fresh_is_found() {
    run(
        with(Mistake::Remembers),
        contract::a_fresh_read_says_what_is_in_the_store_now,
    );
}

#[test]
#[should_panic(expected = "a session was overlooked")]
fn a_destruction_that_overlooks_what_is_rewritten_is_found() {
    run(
        with(Mistake::DestroysByVersion),
        contract::no_session_of_an_owner_is_overlooked_while_it_is_rewritten,
    );
}

#[test]
#[should_panic(expected = "a session was brought back")]
fn a_write_that_brings_a_session_back_is_found() {
    run(
        with(Mistake::LooksAndStores),
        contract::a_write_at_the_same_time_brings_no_session_of_an_owner_back,
    );
}

#[test]
#[should_panic(expected = "one creator wins")]
fn a_creation_that_replaces_what_came_before_it_is_found() {
    // STORE-02
    run(with(Mistake::LooksAndCreates), contract::of_many_creators_one_wins);
}
