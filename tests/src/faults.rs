use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use session_schema::{Driver, DriverError, Expected, InMemory, OwnerIndex, Record, StoreKey, Watcher, Written};
use tokio::sync::oneshot;

/// A method of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `open`
    Open,
    /// `read`
    Read,
    /// `write`
    Write,
    /// `touch`
    Touch,
    /// `destroy`
    Destroy,
    /// `gc`
    Gc,
}

/// A driver that fails or pauses where a test says so, and otherwise does what the one inside does.
#[derive(Debug)]
pub struct FaultyDriver<D> {
    inner: D,
    faults: Faults,
}

/// What is to go wrong with a [`FaultyDriver`]; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Planned>,
    /// How often the next calls let other tasks go first; the last comes first.
    delays: Vec<u8>,
    /// Under how many more ids there is a record when one is to be created.
    taken: u32,
}

#[derive(Debug)]
struct Planned {
    call: Call,
    /// How many such calls pass before.
    after: u32,
    what: Fault,
}

#[derive(Debug)]
enum Fault {
    /// One call fails.
    Once(Sort),
    /// The call is made, and its answer is lost.
    Lost,
    /// All calls fail from then on.
    Always(Sort),
    /// The call waits, once it has told that it was reached, until it is released.
    Hold {
        reached: oneshot::Sender<()>,
        release: oneshot::Receiver<()>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Sort {
    Backend,
    Unavailable,
}

/// A call that waits; see [`Faults::hold`].
#[derive(Debug)]
pub struct Held {
    reached: Option<oneshot::Receiver<()>>,
    release: Option<oneshot::Sender<()>>,
}

/// What a failing call says. No response must show it.
pub const SECRET_DETAIL: &str = "table `sessions` on db.internal.example";

impl Faults {
    /// The next call of this kind fails; the store answered with an error.
    pub fn fail_next(&self, call: Call) {
        self.fail_after(0, call);
    }

    /// The call of this kind that comes after so many others of it fails.
    pub fn fail_after(&self, after: u32, call: Call) {
        self.plan(call, after, Fault::Once(Sort::Backend));
    }

    /// The next call of this kind fails; the store is out of reach.
    pub fn unreachable_next(&self, call: Call) {
        self.plan(call, 0, Fault::Once(Sort::Unavailable));
    }

    /// The next write is done, and its answer is lost.
    pub fn lose_next_answer(&self) {
        self.plan(Call::Write, 0, Fault::Lost);
    }

    /// The next so many ids of new sessions are taken.
    pub fn take_ids(&self, count: u32) {
        self.lock().taken = count;
    }

    /// All calls of this kind fail until [`heal`](Self::heal); the store is out of reach.
    pub fn unreachable(&self, call: Call) {
        self.plan(call, 0, Fault::Always(Sort::Unavailable));
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.lock().faults.clear();
    }

    /// The next calls, of whatever kind, let other tasks run so often before they are made: a schedule of requests at once.
    pub fn delay(&self, mut turns: Vec<u8>) {
        turns.reverse();
        self.lock().delays = turns;
    }

    /// Stops the next call of this kind before it is made.
    pub fn hold(&self, call: Call) -> Held {
        self.hold_after(0, call)
    }

    /// Stops the call of this kind that comes after so many others of it.
    pub fn hold_after(&self, after: u32, call: Call) -> Held {
        let (tell_reached, reached) = oneshot::channel();
        let (release, wait) = oneshot::channel();
        self.plan(
            call,
            after,
            Fault::Hold {
                reached: tell_reached,
                release: wait,
            },
        );
        Held {
            reached: Some(reached),
            release: Some(release),
        }
    }

    fn plan(&self, call: Call, after: u32, what: Fault) {
        self.lock().faults.push(Planned { call, after, what });
    }

    /// Whether nothing is to fail or to wait, so that nobody has to be asked.
    fn are_none(&self) -> bool {
        let plan = self.lock();
        plan.faults.is_empty() && plan.delays.is_empty() && plan.taken == 0
    }

    /// Whether the id under which a record is to be created now is taken.
    fn is_taken(&self) -> bool {
        let taken = &mut self.lock().taken;
        let is_taken = *taken > 0;
        *taken = taken.saturating_sub(1);
        is_taken
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to happen to a call that is made now.
    fn next(&self, call: Call) -> Option<Fault> {
        let planned = &mut self.lock().faults;
        let due = planned
            .iter()
            .position(|planned| planned.call == call && planned.after == 0);
        for (at, planned) in planned.iter_mut().enumerate() {
            if planned.call == call && Some(at) != due {
                planned.after = planned.after.saturating_sub(1);
            }
        }
        let due = due?;
        match planned[due].what {
            Fault::Always(sort) => Some(Fault::Always(sort)),
            _ => Some(planned.remove(due).what),
        }
    }

    /// Does what is planned before the call, and says whether its answer is to be lost.
    async fn strike(&self, call: Call) -> Result<bool, DriverError> {
        let turns = self.lock().delays.pop().unwrap_or_default();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        match self.next(call) {
            None => Ok(false),
            Some(Fault::Lost) => Ok(true),
            Some(Fault::Once(sort) | Fault::Always(sort)) => Err(match sort {
                Sort::Backend => DriverError::backend(SECRET_DETAIL),
                Sort::Unavailable => DriverError::unavailable(SECRET_DETAIL),
            }),
            Some(Fault::Hold { reached, release }) => {
                // Either end may have been dropped by a test that does not care for it any more.
                if reached.send(()).is_ok() && release.await.is_err() {
                    return Err(DriverError::backend("the test ended while a call was held"));
                }
                Ok(false)
            }
        }
    }
}

impl Held {
    /// Waits until a call has been stopped. Where none is made the test fails, after a while, instead of waiting for ever.
    pub async fn reached(&mut self) {
        let reached = self.reached.take().expect("`reached` is awaited once");
        let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await;
        in_time.expect("such a call is made").expect("the driver is in use");
    }

    /// Lets the call go on.
    pub fn release(mut self) {
        let release = self.release.take().expect("a call is released once");
        release.send(()).expect("the call is waiting");
    }
}

impl<D> FaultyDriver<D> {
    /// Does what `inner` does, but for `faults`.
    pub fn new(inner: D, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl<D: Driver> Driver for FaultyDriver<D> {
    async fn open(&self) -> Result<(), DriverError> {
        self.faults.strike(Call::Open).await?;
        self.inner.open().await
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.faults.strike(Call::Read).await?;
        self.inner.read(key).await
    }

    fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        self.faults.are_none().then(|| self.inner.at_hand(key, now)).flatten()
    }

    fn in_memory(&self) -> Option<&dyn InMemory> {
        self.faults.are_none().then(|| self.inner.in_memory()).flatten()
    }

    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.faults.strike(Call::Read).await?;
        self.inner.read_fresh(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let lost = self.faults.strike(Call::Write).await?;
        if expected == Expected::Absent && self.faults.is_taken() {
            return Ok(Written::Conflict(None));
        }
        let written = self.inner.write(key, record, expected).await;
        match lost {
            true => Err(DriverError::unavailable(SECRET_DETAIL)),
            false => written,
        }
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.faults.strike(Call::Touch).await?;
        self.inner.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.faults.strike(Call::Destroy).await?;
        self.inner.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.faults.strike(Call::Gc).await?;
        self.inner.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.inner.owners()
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.inner.watch(watcher)
    }
}
