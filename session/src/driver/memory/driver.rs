//! The driver over its shards.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::hash::KeyHash;
use super::shard::{Shard, Usage, size};
use crate::clock::{Clock, SharedClock};
use crate::driver::{Driver, Expected, InMemory, OwnerIndex, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;

/// As many as keep a few dozen threads out of each other's way; an empty one costs some hundred bytes.
const SHARDS: usize = 64;
/// How long a full driver waits before it looks for expired records again.
const PAUSE: Duration = Duration::from_secs(1);

/// Sessions in the memory of this process: gone when it ends, unknown to every other process. For development, tests,
/// and servers that run alone and may forget.
///
/// * Clones share the sessions.
/// * Records are handed out as they were handed in, sharing the payload and its index: no request reads the text again.
/// * A read takes one of 64 locks for one look-up; no lock is ever held for longer than some hundred records take.
/// * Each write that adds a record also removes expired ones among the next few, so dead sessions do not pile up even
///   if [`gc`](Driver::gc) is never called. Live ones are limited only by memory, or by
///   [`with_capacity`](MemoryDriver::with_capacity).
/// * What asks for an [owner](OwnerIndex)'s sessions goes through all records.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use session_schema::{Driver, Expected, MemoryDriver, Record, StoreKey, Written};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = MemoryDriver::new();
/// let key: StoreKey = "a-key".parse()?;
/// let record = Record::new(br#"{"views":1}"#.to_vec(), SystemTime::now() + Duration::from_secs(60));
///
/// let written = driver.write(&key, &record, Expected::Absent).await?;
/// assert!(matches!(written, Written::Done(_)));
/// assert_eq!(driver.clone().read(&key).await?.unwrap().payload(), br#"{"views":1}"#);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryDriver {
    store: Arc<Store>,
    capacity: Option<Capacity>,
    clock: SharedClock,
}

/// The most that is kept.
#[derive(Clone, Copy)]
struct Capacity {
    records: usize,
    bytes: usize,
}

struct Store {
    usage: Arc<Usage>,
    swept_when_full: Mutex<Option<SystemTime>>,
    hash: KeyHash,
    shards: [Mutex<Shard>; SHARDS],
}

impl MemoryDriver {
    /// A driver without sessions.
    pub fn new() -> Self {
        let (hash, usage) = (KeyHash::new(), Arc::<Usage>::default());
        Self {
            store: Arc::new(Store {
                shards: std::array::from_fn(|_| Mutex::new(Shard::new(hash.clone(), usage.clone()))),
                usage,
                swept_when_full: Mutex::default(),
                hash,
            }),
            capacity: None,
            clock: SharedClock::default(),
        }
    }

    /// Takes the time from `clock`. Clones made before keep theirs.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = SharedClock::new(clock);
        self
    }

    /// Limits the number of `records`, and the `bytes` of payloads and owners' names. Each record takes some 300 bytes
    /// more. Defaults to no limit but memory. Clones made earlier keep their limit.
    ///
    /// If there is no room, a new session, or one that grows, is not stored. Saving it fails with
    /// [`ErrorKind::Driver`](crate::ErrorKind::Driver), a 500 whose log line says that the driver is full. Existing
    /// sessions stay. They can be read, changed without growing, and ended. Expired sessions are removed first to make
    /// room. No live session is dropped for another: otherwise a client that sends requests without a cookie could
    /// empty every visitor's cart.
    ///
    /// Concurrent writes may exceed the limits by one record each.
    #[must_use]
    pub fn with_capacity(mut self, records: usize, bytes: usize) -> Self {
        self.capacity = Some(Capacity { records, bytes });
        self
    }

    /// Refuses a write for which there is no room.
    fn check_room(&self, key: &StoreKey, record: &Record, now: SystemTime) -> Result<(), DriverError> {
        let Some(capacity) = self.capacity else {
            return Ok(());
        };
        let has_room = || {
            let (records, growth) = match self.shard(key).get(key) {
                Some(old) => (0, size(record).saturating_sub(size(old))),
                None => (1, size(record)),
            };
            let usage = &self.store.usage;
            (records == 0 || usage.records() < capacity.records)
                && (growth == 0 || usage.bytes().saturating_add(growth) <= capacity.bytes)
        };
        // Otherwise expired records would take up room until the next sweep.
        match has_room() || (self.sweep_when_full(now) && has_room()) {
            true => Ok(()),
            false => Err(DriverError::backend(format!(
                "the memory driver is full: it keeps {} records and {} bytes at most, see `MemoryDriver::with_capacity`",
                capacity.records, capacity.bytes
            ))),
        }
    }

    /// Removes what has expired, unless that has just been done. Otherwise every request to a full driver would go
    /// through all records.
    fn sweep_when_full(&self, now: SystemTime) -> bool {
        let mut swept = self
            .store
            .swept_when_full
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = swept.is_none_or(|last| now.duration_since(last).map_or(true, |since| since >= PAUSE));
        if is_due {
            *swept = Some(now);
            self.remove_all(|_, record| record.is_expired(now));
        }
        is_due
    }

    fn shard(&self, key: &StoreKey) -> MutexGuard<'_, Shard> {
        // The map inside uses the lowest and the highest bits of the same hash.
        let number = (self.store.hash.hash_one(key) >> 32) as usize % SHARDS;
        lock(&self.store.shards[number])
    }

    /// Removes what is `unwanted`, batch by batch, and says how many records that were.
    fn remove_all(&self, mut unwanted: impl FnMut(&StoreKey, &Record) -> bool) -> u64 {
        let mut total = 0;
        for shard in &self.store.shards {
            let mut end = lock(shard).len();
            while end > 0 {
                let (removed, next) = lock(shard).remove_batch(end, &mut unwanted);
                (total, end) = (total + removed, next);
            }
        }
        total
    }
}

impl Default for MemoryDriver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDriver").finish_non_exhaustive()
    }
}

#[async_trait]
impl Driver for MemoryDriver {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let record = self.shard(key).get(key).cloned();
        // The clock is asked without the lock, and only if there is a record.
        Ok(record.filter(|record| !record.is_expired(self.clock.now())))
    }

    fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        // A layer that goes by the system's clock has just asked it.
        let record = self.clock.is_systems().then(|| self.shard(key).get(key).cloned());
        record.flatten().filter(|record| !record.is_expired(now))
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let now = self.clock.now();
        self.check_room(key, record, now)?;
        Ok(self.write_now(key, record.clone(), expected, now))
    }

    fn in_memory(&self) -> Option<&dyn InMemory> {
        // Waits for the result of a write that may fail.
        let may_write_now = self.clock.is_systems() && self.capacity.is_none();
        may_write_now.then_some(self)
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let now = self.clock.now();
        Ok(self.shard(key).touch(key, expires_at, now))
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let removed = self.shard(key).remove(key);
        Ok(removed.is_some_and(|record| !record.is_expired(self.clock.now())))
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        let now = self.clock.now();
        let removed = self.remove_all(|_, record| record.is_expired(now));
        for shard in &self.store.shards {
            lock(shard).shrink();
        }
        Ok(removed)
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

impl InMemory for MemoryDriver {
    fn write_now(&self, key: &StoreKey, record: Record, expected: Expected, now: SystemTime) -> Written {
        self.shard(key).write(key, record, expected, now)
    }
}

#[async_trait]
impl OwnerIndex for MemoryDriver {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        let now = self.clock.now();
        let mut sessions = Vec::new();
        for shard in &self.store.shards {
            let mut end = lock(shard).len();
            while end > 0 {
                let shard = lock(shard);
                let (records, next) = shard.batch(end);
                let live = records.filter(|(_, record)| record.owner() == Some(owner) && !record.is_expired(now));
                sessions.extend(live.map(|(key, record)| (*key, record.clone())));
                end = next;
            }
        }
        // A record that fills the gap of a removed one may have had its turn already.
        sessions.sort_by_key(|(key, record)| (*key, std::cmp::Reverse(u64::from(record.version()))));
        sessions.dedup_by_key(|(key, _)| *key);
        Ok(sessions)
    }

    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let now = self.clock.now();
        let is_live = |record: &Record| record.owner() == Some(owner) && !record.is_expired(now);
        Ok(self.remove_all(|key, record| is_live(record) && Some(key) != except))
    }
}

/// A shard whose lock was poisoned is whole: nothing that panics runs between two steps of a change.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    async fn stored(driver: &MemoryDriver) -> (StoreKey, Record) {
        let key = StoreKey::from(&SessionId::generate().unwrap());
        let record = Record::new(br#"{"a":1}"#.to_vec(), SystemTime::now() + Duration::from_secs(60));
        driver.write(&key, &record, Expected::Absent).await.unwrap();
        (key, record)
    }

    #[tokio::test]
    async fn the_payload_that_is_read_is_the_one_that_was_written_and_no_copy() {
        let driver = MemoryDriver::new();
        let (key, record) = stored(&driver).await;
        let read = driver.read(&key).await.unwrap().unwrap();
        assert!(std::ptr::eq(record.payload(), read.payload()));
        driver
            .touch(&key, SystemTime::now() + Duration::from_secs(90))
            .await
            .unwrap();
        let touched = driver.read(&key).await.unwrap().unwrap();
        assert!(std::ptr::eq(record.payload(), touched.payload()));
    }

    #[tokio::test]
    async fn clones_share_the_sessions_and_other_drivers_do_not() {
        let driver = MemoryDriver::new();
        let clone = driver.clone();
        let (key, _) = stored(&driver).await;
        assert!(clone.read(&key).await.unwrap().is_some());
        assert!(MemoryDriver::new().read(&key).await.unwrap().is_none());
    }

    fn record(bytes: usize, seconds: u64) -> Record {
        Record::new(
            format!("{{{:1$}}}", "", bytes - 2).into_bytes(),
            SystemTime::now() + Duration::from_secs(seconds),
        )
    }

    fn some_key() -> StoreKey {
        StoreKey::from(&SessionId::generate().unwrap())
    }

    #[tokio::test]
    async fn no_more_records_are_kept_than_there_is_room_for_and_none_is_dropped_for_another() {
        let driver = MemoryDriver::new().with_capacity(3, usize::MAX);
        let keys = [some_key(), some_key(), some_key()];
        for key in &keys {
            driver.write(key, &record(10, 60), Expected::Absent).await.unwrap();
        }
        let error = driver
            .write(&some_key(), &record(10, 60), Expected::Absent)
            .await
            .unwrap_err();
        assert!(!error.is_unavailable(), "the circuit stays closed");
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert!(why.contains("full") && why.contains("3 records"), "{why}");
        for key in &keys {
            let version = driver.read(key).await.unwrap().unwrap().version();
            let written = driver.write(key, &record(100, 60), Expected::Version(version)).await;
            assert!(matches!(written, Ok(Written::Done(_))));
        }
        assert!(driver.destroy(&keys[0]).await.unwrap());
        driver
            .write(&some_key(), &record(10, 60), Expected::Absent)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn no_more_bytes_are_kept_than_there_is_room_for() {
        let driver = MemoryDriver::new().with_capacity(usize::MAX, 100);
        let key = some_key();
        let Written::Done(version) = driver.write(&key, &record(60, 60), Expected::Absent).await.unwrap() else {
            panic!("the store was empty");
        };
        let owned = record(40, 60).with_owner("ann");
        driver.write(&some_key(), &owned, Expected::Absent).await.unwrap_err();
        driver
            .write(&key, &record(101, 60), Expected::Version(version))
            .await
            .unwrap_err();
        let Written::Done(version) = driver
            .write(&key, &record(100, 60), Expected::Version(version))
            .await
            .unwrap()
        else {
            panic!("nobody else writes");
        };
        driver
            .write(&key, &record(50, 60), Expected::Version(version))
            .await
            .unwrap();
        driver.write(&some_key(), &owned, Expected::Absent).await.unwrap();
    }

    #[tokio::test]
    async fn what_has_expired_takes_nobodys_room() {
        let driver = MemoryDriver::new();
        for _ in 0..100 {
            driver
                .write(&some_key(), &record(10, 0), Expected::Absent)
                .await
                .unwrap();
        }
        let key = some_key();
        let bounded = driver.with_capacity(1, 100);
        bounded.write(&key, &record(90, 60), Expected::Absent).await.unwrap();
        assert!(bounded.read(&key).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn debug_shows_no_session() {
        let driver = MemoryDriver::default();
        let (key, _) = stored(&driver).await;
        assert_eq!(format!("{driver:?}"), "MemoryDriver { .. }");
        assert!(!format!("{driver:?}").contains(key.as_str()));
    }
}
