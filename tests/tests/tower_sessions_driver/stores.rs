//! Stores for tower-sessions, as people write them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tower_sessions_memory_store::MemoryStore;

use super::{Error, ExpiredDeletion, Id, Result, SessionStore, session};

/// A store with nothing but what it must have: JSON in a map, and every call lets others go first, before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plain(Arc<Mutex<HashMap<Id, String>>>);

#[async_trait]
impl SessionStore for Plain {
    async fn save(&self, record: &session::Record) -> Result<()> {
        tokio::task::yield_now().await;
        let text = serde_json::to_string(record).map_err(|error| Error::Encode(error.to_string()))?;
        self.0.lock().unwrap().insert(record.id, text);
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<session::Record>> {
        tokio::task::yield_now().await;
        let text = self.0.lock().unwrap().get(id).cloned();
        tokio::task::yield_now().await;
        let record = text.map(|text| serde_json::from_str(&text)).transpose();
        record.map_err(|error| Error::Decode(error.to_string()))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().remove(id);
        Ok(())
    }
}

/// A store whose every change but a deletion waits.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    inner: MemoryStore,
    ids: Arc<Mutex<Vec<Id>>>,
    reached: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            ids: Arc::default(),
            reached: Arc::new(Semaphore::new(0)),
            open: Arc::new(Semaphore::new(0)),
        }
    }

    /// Waits until a change waits.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets all changes go on.
    pub(crate) fn open(&self) {
        self.open.add_permits(1000);
    }

    async fn pass(&self) {
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// How many of the ids under which something was created or asked for lead to a record.
    pub(crate) async fn count(&self) -> usize {
        let mut ids = self.ids.lock().unwrap().clone();
        ids.sort_by_key(|id| id.0);
        ids.dedup();
        let mut count = 0;
        for id in ids {
            count += usize::from(self.inner.load(&id).await.unwrap().is_some());
        }
        count
    }
}

#[async_trait]
impl SessionStore for Gate {
    async fn create(&self, record: &mut session::Record) -> Result<()> {
        self.pass().await;
        self.inner.create(record).await?;
        self.ids.lock().unwrap().push(record.id);
        Ok(())
    }

    async fn save(&self, record: &session::Record) -> Result<()> {
        self.pass().await;
        self.inner.save(record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<session::Record>> {
        self.ids.lock().unwrap().push(*id);
        self.inner.load(id).await
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.inner.delete(id).await
    }
}

/// A store that removes what has expired when it is told to, and fails when a test says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tidy {
    inner: MemoryStore,
    deletions: Arc<AtomicU64>,
    error: Arc<Mutex<Option<Error>>>,
    refusal: Arc<Mutex<Option<Error>>>,
}

impl Tidy {
    pub(crate) fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::SeqCst)
    }

    /// The next call fails.
    pub(crate) fn fail(&self, error: Error) {
        *self.error.lock().unwrap() = Some(error);
    }

    /// The next change fails.
    pub(crate) fn refuse(&self, error: Error) {
        *self.refusal.lock().unwrap() = Some(error);
    }

    fn strike_change(&self) -> Result<()> {
        self.refusal.lock().unwrap().take().map_or(Ok(()), Err)?;
        self.strike()
    }

    fn strike(&self) -> Result<()> {
        self.error.lock().unwrap().take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl SessionStore for Tidy {
    async fn save(&self, record: &session::Record) -> Result<()> {
        self.strike_change()?;
        self.inner.save(record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<session::Record>> {
        self.strike()?;
        self.inner.load(id).await
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.strike_change()?;
        self.inner.delete(id).await
    }
}

#[async_trait]
impl ExpiredDeletion for Tidy {
    async fn delete_expired(&self) -> Result<()> {
        self.strike()?;
        self.deletions.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}
