use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use async_trait::async_trait;
use session_schema::testing::ManualClock;
use session_schema::{
    Clock, Driver, DriverError, Expected, InMemory, MemoryDriver, OwnerIndex, Record, StoreKey, Written,
};

/// Sessions in memory that are at hand though the clock is set by hand: what `MemoryDriver` does with the clock of the system.
#[derive(Debug)]
pub(crate) struct AtHand(pub(crate) MemoryDriver);

#[async_trait]
impl Driver for AtHand {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.0.read(key).await
    }

    fn at_hand(&self, key: &StoreKey, _now: SystemTime) -> Option<Record> {
        now(self.0.read(key))
    }

    fn in_memory(&self) -> Option<&dyn InMemory> {
        Some(self)
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.0.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.0.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.0.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.0.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.0.owners()
    }
}

impl InMemory for AtHand {
    fn write_now(&self, key: &StoreKey, record: Record, expected: Expected, _now: SystemTime) -> Written {
        now(self.0.write(key, &record, expected))
    }
}

/// A clock that is set by hand, of which it may be said that it is the system's: only where it is, a layer uses what is at hand.
#[derive(Clone, Debug)]
pub(crate) struct SiteClock {
    pub(crate) clock: ManualClock,
    pub(crate) is_systems: bool,
}

impl Clock for SiteClock {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn is_systems(&self) -> bool {
        self.is_systems
    }
}

/// What memory answers, which it does at once and without an error.
fn now<T>(answer: impl Future<Output = Result<T, DriverError>>) -> T {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(answer)) => answer,
        Poll::Ready(Err(error)) => panic!("memory failed: {error}"),
        Poll::Pending => panic!("memory has to be waited for"),
    }
}
