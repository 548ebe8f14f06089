//! A driver as sessions use it: opened once, never waited for longer than allowed, spared while it is down, swept now and then.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, Sleep, interval_at, sleep, timeout};

use crate::circuit::{Circuit, Permit};
use crate::driver::{Driver, Expected, OwnerIndex, Written};
use crate::error::{DriverError, Error, ErrorKind, Result};
use crate::id::StoreKey;
use crate::namespace::Namespace;
use crate::record::Record;
use crate::rolling::Endings;
use crate::run::RunToEnd;
use crate::turn::{self, Stripes};

/// How long a call may take that concerns all sessions of an owner. A store without a list of them looks at every session; whoever
/// pressed "log out everywhere else" waits no longer than this, and no proxy in between does either.
const OWNERS: Duration = Duration::from_secs(60);
/// How many times the limit a call may take in total, if it waits for its turn while the store answers the calls before
/// it.
const WITH_TURN: u32 = 6;
/// How long making a driver may take, and how long opening it. Opening goes on when the request that began it has been answered, because making a table may take its time; but a store that
/// has lost the connection unnoticed must be opened anew one day.
pub(crate) const OPENING: Duration = Duration::from_secs(60);
/// How long one collection of garbage may take. Nobody waits for it, and millions of sessions take their time; but a store that
/// has lost the connection unnoticed must not be waited for until the process ends.
const COLLECTION: Duration = Duration::from_secs(60 * 60);

/// A driver, whether it is open, and whether it answers. Shared by all layers and sessions over it.
pub(crate) struct Store {
    driver: Arc<dyn Driver>,
    opened: Arc<AtomicBool>,
    opening: Arc<Mutex<()>>,
    circuit: Circuit,
    sweeper: OnceLock<Sweeper>,
    pub(crate) endings: Endings,
    /// Tells this store's marks from those of others over the same data. It is no secret.
    pub(crate) number: u64,
    /// Where saves that met others of the same session in this process wait for their turn.
    pub(crate) saves: Stripes,
}

impl Store {
    pub(crate) fn new(driver: Arc<dyn Driver>) -> Self {
        Self {
            driver,
            opened: Arc::default(),
            opening: Arc::default(),
            circuit: Circuit::default(),
            sweeper: OnceLock::new(),
            endings: Endings::default(),
            number: getrandom::u64().unwrap_or_default(),
            saves: Stripes::new(64),
        }
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// Whether sessions here are those of another store: whether the two have the same `Arc` of a driver.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.driver.identity() == other.driver.identity()
    }

    /// The driver, if it has been opened.
    pub(crate) fn opened(&self) -> Option<&dyn Driver> {
        self.is_open().then_some(&*self.driver)
    }

    fn is_open(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    /// Opens the driver, the first time. Once begun, that runs to its end: a request whose client hangs up, or that has waited for long enough, neither leaves it half done
    /// nor has the next one begin again.
    pub(crate) async fn open(&self) -> Result<(), DriverError> {
        let turn = self.opening.clone().lock_owned().await;
        if self.is_open() {
            return Ok(());
        }
        let (driver, opened) = (self.driver.clone(), self.opened.clone());
        RunToEnd::new(Box::pin(async move {
            let answer = timeout(OPENING, driver.open()).await;
            answer.unwrap_or_else(|_| Err(too_late(OPENING)))?;
            opened.store(true, Ordering::Release);
            drop(turn);
            Ok(())
        }))
        .await
    }

    /// Calls that concern all sessions of an owner.
    pub(crate) fn owners<'a>(&'a self, namespace: &'a Namespace) -> Result<Owners<'a>> {
        let index = self.driver.owners().ok_or_else(|| {
            Error::new(
                ErrorKind::Driver,
                "the session driver keeps no index of owners (`Driver::owners` is `None`)",
            )
        })?;
        let limited = Limited {
            store: self,
            namespace,
            limit: OWNERS,
        };
        Ok(Owners { index, limited })
    }

    /// Removes what has expired, now. It runs beside the requests and does not go through the circuit: how long it takes says nothing
    /// about how they fare.
    pub(crate) async fn collect(&self) -> Result<u64> {
        Ok(collect(&*self.driver).await?)
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
        f.debug_struct("Store").field("opened", &self.is_open()).finish()
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
        match collect(&*driver).await {
            Ok(removed) => tracing::debug!(target: "session_schema", removed, "expired sessions were removed"),
            Err(error) => tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "expired sessions could not be removed; trying again after the interval"
            ),
        }
    }
}

/// Has the driver remove what has expired. A driver that panics does not end the sweeps.
async fn collect(driver: &dyn Driver) -> Result<u64, DriverError> {
    let mut collection = pin!(timeout(COLLECTION, async { driver.gc().await }));
    let collected = poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| collection.as_mut().poll(cx)))
            .unwrap_or_else(|_| Poll::Ready(Ok(Err(DriverError::backend("the driver panicked")))))
    });
    collected.await.unwrap_or_else(|_| Err(too_late(COLLECTION)))
}

pub(crate) fn too_late(limit: Duration) -> DriverError {
    DriverError::unavailable(format!("the session store did not answer within {limit:?}"))
}

/// The calls that concern all sessions of an owner, with a time limit.
pub(crate) struct Owners<'a> {
    index: &'a dyn OwnerIndex,
    limited: Limited<'a>,
}

impl Owners<'_> {
    pub(crate) async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>> {
        let owner = self.limited.namespace.owner_in_store(owner);
        self.limited.call(self.index.sessions_of(&owner)).await
    }

    pub(crate) async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64> {
        let owner = self.limited.namespace.owner_in_store(owner);
        self.limited.call(self.index.destroy_sessions_of(&owner, except)).await
    }
}

/// The calls that the hot path makes, with a time limit, through the circuit. On this side of them owners are named as the application names
/// them, on the other side as its namespace has it.
#[derive(Clone, Copy)]
pub(crate) struct Limited<'a> {
    pub(crate) store: &'a Store,
    pub(crate) namespace: &'a Namespace,
    pub(crate) limit: Duration,
}

impl<'a> Limited<'a> {
    /// The driver, and not the `Arc` around it: that is a driver too, and would put every future in one more box.
    fn driver(self) -> &'a dyn Driver {
        &*self.store.driver
    }

    pub(crate) fn read(self, key: &'a StoreKey) -> Call<'a, Option<Record>> {
        self.call(self.driver().read(key))
    }

    /// As the store has it now, where a cache may be in between.
    pub(crate) fn read_fresh(self, key: &'a StoreKey) -> Call<'a, Option<Record>> {
        self.call(self.driver().read_fresh(key))
    }

    pub(crate) fn write(self, key: &'a StoreKey, record: &'a Record, expected: Expected) -> Call<'a, Written> {
        match self.namespace.record_in_store(record) {
            None => self.call(self.driver().write(key, record, expected)),
            Some(record) => self.call(Box::pin(
                async move { self.driver().write(key, &record, expected).await },
            )),
        }
    }

    pub(crate) fn touch(self, key: &'a StoreKey, expires_at: SystemTime) -> Call<'a, bool> {
        self.call(self.driver().touch(key, expires_at))
    }

    pub(crate) fn destroy(self, key: &'a StoreKey) -> Call<'a, bool> {
        self.call(self.driver().destroy(key))
    }

    pub(crate) async fn open(self) -> Result<()> {
        match self.store.is_open() {
            true => Ok(()),
            false => self.call(Box::pin(self.store.open())).await,
        }
    }

    pub(crate) fn call<T: Answer>(self, call: DriverCall<'a, T>) -> Call<'a, T> {
        Call {
            namespace: self.namespace,
            call,
            permit: Some(self.store.circuit.admit()),
            limit: self.limit,
            timer: None,
            latest: None,
        }
    }
}

/// What an async method of a [`Driver`] returns.
type DriverCall<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// Waits for the driver, but not for ever. Every request waits in here, so this is written out: it is a quarter of the size of an async function,
/// and a driver that answers at once costs no timer.
pub(crate) struct Call<'a, T> {
    namespace: &'a Namespace,
    call: DriverCall<'a, T>,
    permit: Option<Result<Permit<'a>, DriverError>>,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// When a call that waits for its turn fails in any case.
    latest: Option<Instant>,
}

impl<T: Answer> Future for Call<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if let Some(Err(refused)) = self.permit.take_if(|permit| permit.is_err()) {
            return Poll::Ready(Err(refused.into()));
        }
        let (polled, last_answer) = turn::observe(|| self.call.as_mut().poll(cx));
        let answer = match polled {
            Poll::Ready(answer) => answer,
            Poll::Pending => {
                let call = &mut *self;
                let limit = call.limit;
                let timer = call.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
                // It waits for its turn, and the store answers those before it.
                if let Some(deadline) = last_answer.and_then(|answer| answer.checked_add(limit)) {
                    let first = timer.deadline();
                    let latest = *call
                        .latest
                        .get_or_insert_with(|| first.checked_add(limit.saturating_mul(WITH_TURN - 1)).unwrap_or(first));
                    let deadline = deadline.min(latest);
                    if deadline > timer.deadline() {
                        timer.as_mut().reset(deadline);
                    }
                }
                ready!(timer.as_mut().poll(cx));
                Err(too_late(limit))
            }
        };
        if let Some(Ok(permit)) = self.permit.take() {
            permit.report(&answer);
        }
        let answer = answer.map(|answer| answer.of_store(self.namespace));
        Poll::Ready(answer.map_err(Error::from))
    }
}

/// What a driver answers: records in it are as the store has them.
pub(crate) trait Answer: Sized {
    /// The same with the records as the application knows them.
    fn of_store(self, _namespace: &Namespace) -> Self {
        self
    }
}

impl Answer for () {}
impl Answer for bool {}
impl Answer for u64 {}

impl Answer for Option<Record> {
    #[inline]
    fn of_store(self, namespace: &Namespace) -> Self {
        self.map(|record| namespace.record_of_store(record))
    }
}

impl Answer for Option<(Record, bool)> {
    fn of_store(self, namespace: &Namespace) -> Self {
        self.map(|(record, prolonged)| (namespace.record_of_store(record), prolonged))
    }
}

impl Answer for Vec<(StoreKey, Record)> {
    fn of_store(self, namespace: &Namespace) -> Self {
        let sessions = self.into_iter();
        sessions
            .map(|(key, record)| (key, namespace.record_of_store(record)))
            .collect()
    }
}

impl Answer for Written {
    #[inline]
    fn of_store(self, namespace: &Namespace) -> Self {
        match self {
            Self::Conflict(record) => Self::Conflict(record.of_store(namespace)),
            other => other,
        }
    }
}
