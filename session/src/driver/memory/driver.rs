//! The driver over its shards.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::hash::KeyHash;
use super::shard::Shard;
use crate::clock::{Clock, SharedClock};
use crate::driver::{Driver, Expected, InMemory, OwnerIndex, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;

/// As many as keep a few dozen threads out of each other's way; an empty one costs some hundred bytes.
const SHARDS: usize = 64;

/// Sessions in the memory of this process: gone when it ends, unknown to every other process. For development, tests,
/// and servers that run alone and may forget.
///
/// * Clones share the sessions.
/// * Records are handed out as they were handed in, sharing the payload and its index: no request reads the text again.
/// * A read takes one of 64 locks for one look-up; no lock is ever held for longer than some hundred records take.
/// * Each write that adds a record also removes expired ones among the next few, so dead sessions do not pile up even if
///   [`gc`](Driver::gc) is never called. Live ones are bounded by nothing but memory.
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
    clock: SharedClock,
}

struct Store {
    hash: KeyHash,
    shards: [Mutex<Shard>; SHARDS],
}

impl MemoryDriver {
    /// A driver without sessions.
    pub fn new() -> Self {
        let hash = KeyHash::new();
        Self {
            store: Arc::new(Store {
                shards: std::array::from_fn(|_| Mutex::new(Shard::new(hash.clone()))),
                hash,
            }),
            clock: SharedClock::default(),
        }
    }

    /// Takes the time from `clock`. Clones made before keep theirs.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = SharedClock::new(clock);
        self
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
        Ok(self.write_now(key, record.clone(), expected, self.clock.now()))
    }

    fn in_memory(&self) -> Option<&dyn InMemory> {
        self.clock.is_systems().then_some(self)
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
    use std::time::Duration;

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

    #[tokio::test]
    async fn debug_shows_no_session() {
        let driver = MemoryDriver::default();
        let (key, _) = stored(&driver).await;
        assert_eq!(format!("{driver:?}"), "MemoryDriver { .. }");
        assert!(!format!("{driver:?}").contains(key.as_str()));
    }
}
