//! The driver in front of another one.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::records::Records;
use crate::clock::{Clock, SharedClock};
use crate::driver::{Driver, Expected, OwnerIndex, Watcher, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;
use crate::run::RunToEnd;

/// How many bytes are kept unless said otherwise.
const CAPACITY: u64 = 64 * 1024 * 1024;

/// A bounded cache in the memory of this process, in front of any driver: who comes back soon is not looked up in the store again.
///
/// * **Writes are safe** whatever the cache holds. They go to the store, which compares versions: one that is based on an old record conflicts, and
///   its changes are replayed on the new one. No update is lost, no destroyed session comes back, and what a request decides after it has got an
///   exclusive session (`Exclusive`) it decides on what the store says.
/// * **Reads may be stale**, by `max_staleness` at most. What this process does to a session it sees at once. What another one does, it sees when that time has
///   gone by: a sign-out, a new id, and that an [owner's](OwnerIndex) sessions were destroyed among it. So choose the time that a stolen or ended
///   session may go on to be read on other servers: seconds. Where the store [reports changes](Driver::watch), as `RedisDriver` does except in clusters, they are seen as
///   soon as the report arrives; while it cannot, nothing is read from the cache; and the time is only the last resort, and may be longer.
/// * A request that reads its session and changes nothing costs no call of the store; one that changes it costs the write, and
///   where the store reports changes the next one reads it again: only what was read is reported. A session that is not
///   there is asked for each time.
/// * It holds 64 MiB [unless said otherwise](CachedDriver::with_capacity), the payloads as they are shared with the requests; what is used seldom goes first.
/// * While the store is down, sessions that are still known are read, unless it is one that reports changes: it cannot then, and what nobody can vouch for is not shown.
///   Everything else fails as it does without a cache.
///
/// ```
/// use std::time::Duration;
/// use session_schema::{CachedDriver, FileDriver, SessionLayer};
///
/// let driver = CachedDriver::new(FileDriver::new("storage/framework/sessions"), Duration::from_secs(5));
/// let layer = SessionLayer::new(driver);
/// ```
pub struct CachedDriver<D> {
    driver: Arc<D>,
    records: Arc<Records>,
    max_staleness: Duration,
    clock: SharedClock,
    watched: OnceLock<()>,
}

impl<D: Driver> CachedDriver<D> {
    /// Keeps what is read from `driver` or written to it, for as long as `max_staleness`; zero is no cache at all.
    pub fn new(driver: D, max_staleness: Duration) -> Self {
        Self {
            driver: Arc::new(driver),
            records: Arc::new(Records::new(max_staleness, CAPACITY)),
            max_staleness,
            clock: SharedClock::default(),
            watched: OnceLock::new(),
        }
    }

    /// Keeps so many bytes at most: of payloads, and half a kilobyte for each session beside.
    #[must_use]
    pub fn with_capacity(mut self, bytes: u64) -> Self {
        self.records = Arc::new(Records::new(self.max_staleness, bytes));
        self.watched = OnceLock::new();
        self
    }

    /// Takes the time from `clock`, which is to be that of the driver inside.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = SharedClock::new(clock);
        self
    }

    /// Asks the store, and keeps the answer if that is right.
    async fn ask(&self, key: &StoreKey, now: SystemTime, fresh: bool) -> Result<Option<Record>, DriverError> {
        let begun = self.records.read_begins(key, now);
        let found = match fresh {
            true => self.driver.read_fresh(key).await?,
            false => self.driver.read(key).await?,
        };
        let now = self.clock.now();
        let found = found.filter(|record| !record.is_expired(now));
        self.records.read_ends(key, found.as_ref(), &begun);
        Ok(found)
    }
}

/// Changes are run to their end though nobody waits for them any more, so that it is known how they ended.
#[async_trait]
impl<D: Driver> Driver for CachedDriver<D> {
    async fn open(&self) -> Result<(), DriverError> {
        self.driver.open().await?;
        self.watched.get_or_init(|| {
            // Before, because the first report may come at once.
            self.records.wait_for_reports();
            if !self.driver.watch(self.records.clone()) {
                self.records.go_unreported();
            }
        });
        Ok(())
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.driver.close().await
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let now = self.clock.now();
        match self.records.get(key, now) {
            Some(record) => Ok(Some(record.into_cached())),
            None => self.ask(key, now, false).await,
        }
    }

    fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        // A layer that goes by the system's clock has just asked it.
        let record = self.clock.is_systems().then(|| self.records.get(key, now)).flatten();
        record.map(Record::into_cached)
    }

    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.ask(key, self.clock.now(), true).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let now = self.clock.now();
        let change = self.records.change_begins(key, now);
        let (driver, key, record) = (self.driver.clone(), *key, record.clone());
        RunToEnd::new(Box::pin(async move {
            let written = driver.write(&key, &record, expected).await?;
            match written {
                Written::Done(version) if !record.is_expired(now) => change.stored(record.with_version(version)),
                // What is there instead is asked for again, after a pause in which it may have changed once more.
                _ => drop(change),
            }
            Ok(written)
        }))
        .await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let change = self.records.change_begins(key, self.clock.now());
        let (driver, key) = (self.driver.clone(), *key);
        RunToEnd::new(Box::pin(async move {
            let touched = driver.touch(&key, expires_at).await;
            // What was known of the session is as old as it was before, so it is not kept with a new expiry.
            drop(change);
            touched
        }))
        .await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let change = self.records.change_begins(key, self.clock.now());
        let (driver, key) = (self.driver.clone(), *key);
        RunToEnd::new(Box::pin(async move {
            let destroyed = driver.destroy(&key).await;
            drop(change);
            destroyed
        }))
        .await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.driver.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.driver.owners().map(|_| self as _)
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.driver.watch(watcher)
    }
}

#[async_trait]
impl<D: Driver> OwnerIndex for CachedDriver<D> {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        index(&*self.driver)?.sessions_of(owner).await
    }

    /// The store does not say which ones it destroyed, so it is asked before which there are; until it is done, nothing that is read is kept. Where it
    /// cannot list them all, because one of them is damaged for instance, everything is forgotten: that is no reason to let the others live.
    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let (driver, records) = (self.driver.clone(), self.records.clone());
        let (owner, except) = (owner.to_owned(), except.copied());
        RunToEnd::new(Box::pin(async move {
            let index = index(&*driver)?;
            let _sweep = records.sweep();
            match index.sessions_of(&owner).await {
                Ok(sessions) => {
                    let ending = sessions.iter().map(|(key, _)| key).filter(|key| Some(**key) != except);
                    ending.for_each(|key| records.forget(key));
                }
                Err(_) => records.forget_all(),
            }
            index.destroy_sessions_of(&owner, except.as_ref()).await
        }))
        .await
    }
}

fn index(driver: &dyn Driver) -> Result<&dyn OwnerIndex, DriverError> {
    driver
        .owners()
        .ok_or_else(|| DriverError::backend("the driver inside the cache has no index of owners any more"))
}

impl<D> fmt::Debug for CachedDriver<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedDriver")
            .field("max_staleness", &self.max_staleness)
            .finish_non_exhaustive()
    }
}
