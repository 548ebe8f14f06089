//! A driver is one short file: a map behind a lock, and a count of writes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use async_trait::async_trait;
use session_schema::{Driver, DriverError, Expected, Record, StoreKey, Version, Written};

#[derive(Debug, Default)]
pub(crate) struct SmallestDriver {
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    records: BTreeMap<StoreKey, Record>,
    writes: u64,
}

impl SmallestDriver {
    fn store(&self) -> Result<MutexGuard<'_, Store>, DriverError> {
        self.store
            .lock()
            .map_err(|_| DriverError::backend("another thread panicked while it changed the sessions"))
    }
}

impl Store {
    fn live(&mut self, key: &StoreKey) -> Option<&mut Record> {
        self.records
            .get_mut(key)
            .filter(|record| !record.is_expired(SystemTime::now()))
    }
}

#[async_trait]
impl Driver for SmallestDriver {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        Ok(self.store()?.live(key).cloned())
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let mut store = self.store()?;
        match (expected, store.live(key)) {
            (Expected::Absent, None) => {}
            (Expected::Version(seen), Some(current)) if current.version() == seen => {}
            (_, Some(current)) => return Ok(Written::Conflict(Some(current.clone()))),
            (Expected::Version(_), None) => return Ok(Written::Gone),
        }
        store.writes += 1;
        let version = Version::from(store.writes);
        store.records.insert(*key, record.clone().with_version(version));
        Ok(Written::Done(version))
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let mut store = self.store()?;
        let Some(record) = store.live(key) else {
            return Ok(false);
        };
        *record = record.clone().with_expires_at(expires_at);
        Ok(true)
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let removed = self.store()?.records.remove(key);
        Ok(removed.is_some_and(|record| !record.is_expired(SystemTime::now())))
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        let (mut store, now) = (self.store()?, SystemTime::now());
        let before = store.records.len();
        store.records.retain(|_, record| !record.is_expired(now));
        Ok((before - store.records.len()) as u64)
    }
}
