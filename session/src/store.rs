//! A driver as sessions use it: opened once, never waited for longer than allowed, swept now and then.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::driver::{Driver, Expected, Written};
use crate::error::{DriverError, Result};
use crate::id::StoreKey;
use crate::record::Record;
use crate::rolling::Endings;

/// A driver and whether it is open. Shared by all layers and sessions over it.
pub(crate) struct Store {
    driver: Arc<dyn Driver>,
    opened: OnceCell<()>,
    sweeper: OnceLock<Sweeper>,
    pub(crate) endings: Endings,
}

impl Store {
    pub(crate) fn new(driver: Arc<dyn Driver>) -> Self {
        Self {
            driver,
            opened: OnceCell::new(),
            sweeper: OnceLock::new(),
            endings: Endings::default(),
        }
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// Opens the driver, the first time.
    pub(crate) async fn open(&self) -> Result<(), DriverError> {
        self.opened.get_or_try_init(|| self.driver.open()).await?;
        Ok(())
    }

    /// Collects what has expired, at intervals, for as long as the store is in use. Once started, it is not started again.
    pub(crate) fn sweep_every(&self, interval: Duration) {
        if let (None, Ok(runtime)) = (self.sweeper.get(), Handle::try_current()) {
            self.sweeper.get_or_init(|| {
                let driver = self.driver.clone();
                Sweeper(runtime.spawn(sweep(driver, interval)).abort_handle())
            });
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("opened", &self.opened.initialized())
            .finish()
    }
}

/// The task that collects garbage; it ends with the store.
struct Sweeper(AbortHandle);

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn sweep(driver: Arc<dyn Driver>, interval: Duration) {
    // So long a time that it cannot be added to the present is never.
    let Some(first) = Instant::now().checked_add(interval) else {
        return;
    };
    let mut ticks = interval_at(first, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match driver.gc().await {
            Ok(removed) => tracing::debug!(target: "session_schema", removed, "expired sessions were removed"),
            Err(error) => tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "expired sessions could not be removed; trying again after the interval"
            ),
        }
    }
}

/// The calls that the hot path makes, with a time limit.
#[derive(Clone, Copy)]
pub(crate) struct Limited<'a> {
    pub(crate) store: &'a Store,
    pub(crate) limit: Duration,
}

impl<'a> Limited<'a> {
    /// The driver, and not the `Arc` around it: that is a driver too, and would put every future in one more box.
    fn driver(self) -> &'a dyn Driver {
        &*self.store.driver
    }

    pub(crate) async fn read(self, key: &StoreKey) -> Result<Option<Record>> {
        self.call(self.driver().read(key)).await
    }

    pub(crate) async fn write(self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written> {
        self.call(self.driver().write(key, record, expected)).await
    }

    pub(crate) async fn touch(self, key: &StoreKey, expires_at: SystemTime) -> Result<bool> {
        self.call(self.driver().touch(key, expires_at)).await
    }

    pub(crate) async fn destroy(self, key: &StoreKey) -> Result<bool> {
        self.call(self.driver().destroy(key)).await
    }

    pub(crate) async fn open(self) -> Result<()> {
        match self.store.opened.initialized() {
            true => Ok(()),
            false => Box::pin(self.call(self.store.open())).await,
        }
    }

    /// Waits for the driver, but not for ever. A driver that answers at once costs no timer, and, because that is boxed, no room for one.
    pub(crate) async fn call<T>(self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T> {
        let mut call = pin!(call);
        let at_once = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        let answer = match at_once {
            Poll::Ready(answer) => answer,
            Poll::Pending => match Box::pin(timeout(self.limit, call)).await {
                Ok(answer) => answer,
                Err(_) => Err(DriverError::unavailable(format!(
                    "the session store did not answer within {:?}",
                    self.limit
                ))),
            },
        };
        Ok(answer?)
    }
}
