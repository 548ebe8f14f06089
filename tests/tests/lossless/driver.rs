//! A driver with a gate before and after each call, and a report to the model in between.
//!
//! Every request has one of its own over the common store, as if each ran in another process.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use session_schema::{Driver, DriverError, Expected, OwnerIndex, Record, StoreKey, Written};

use crate::stage::Go;
use crate::world::World;

pub(crate) struct Instrumented {
    pub(crate) world: Arc<World>,
    pub(crate) request: usize,
}

impl Instrumented {
    /// A call fails before it takes effect, or after.
    async fn gate(&self, key: Option<&StoreKey>) -> Result<(), DriverError> {
        match self.world.stage.gate(self.request, true).await {
            Go::On => Ok(()),
            Go::Fail => {
                self.world.model().failed(self.request, key);
                Err(DriverError::unavailable("it was to fail"))
            }
        }
    }
}

#[async_trait]
impl Driver for Instrumented {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.gate(Some(key)).await?;
        let record = self.world.store.read(key).await?;
        self.world.model().read(self.request, key, record.as_ref());
        self.gate(Some(key)).await?;
        Ok(record)
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.world.model().will_write(key, record);
        self.gate(Some(key)).await?;
        let written = self.world.store.write(key, record, expected).await?;
        self.world.model().wrote(self.request, key, record, expected, &written);
        self.gate(Some(key)).await?;
        self.world.model().told(self.request);
        Ok(written)
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.gate(Some(key)).await?;
        let present = self.world.store.touch(key, expires_at).await?;
        self.world.model().touched(self.request, key, expires_at, present);
        self.gate(Some(key)).await?;
        self.world.model().told(self.request);
        Ok(present)
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.gate(Some(key)).await?;
        let destroyed = self.world.store.destroy(key).await?;
        self.world.model().destroyed(self.request, key);
        self.gate(Some(key)).await?;
        Ok(destroyed)
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.world.store.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

/// The slowest index that there may be: it looks at one record after the other, in any order, at those that there were when it began.
#[async_trait]
impl OwnerIndex for Instrumented {
    async fn sessions_of(&self, _: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        Err(DriverError::backend("nobody asks for it here"))
    }

    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let mut keys = self.world.model().keys();
        fastrand::shuffle(&mut keys);
        let mut ended = 0;
        for key in keys.iter().filter(|key| Some(*key) != except) {
            self.gate(None).await?;
            let record = self.world.store.read(key).await?;
            if record.is_some_and(|record| record.owner() == Some(owner)) {
                self.world.store.destroy(key).await?;
                self.world.model().ended_one(self.request, key);
                ended += 1;
            }
        }
        self.gate(None).await?;
        Ok(ended)
    }
}
