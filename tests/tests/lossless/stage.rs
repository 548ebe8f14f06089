//! The deterministic scheduler: who waits for the store waits at a gate, and gates are opened one at a time, in an order drawn
//! from a seed.
//!
//! Everything runs on one thread, in a runtime whose clock stands still. Sleeping on that clock returns when nobody else
//! can run; so between two gates exactly one request, and whom it wakes, has run to its next gate. Gates are before and after
//! every call of the driver, so every compare-and-swap can be overtaken before it takes effect and before its outcome is
//! known; handlers wait at gates of their own. Back-off between retries runs on the same clock. This works for what the library
//! spawns itself too (a save whose client hung up), where polling futures by hand would not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::script::Chances;
use crate::world::World;

/// What happens to a call of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Go {
    #[default]
    On,
    Fail,
}

#[derive(Debug, Default)]
pub(crate) struct Stage {
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    request: usize,
    /// It waits for the store, which may fail.
    may_fail: bool,
    open: oneshot::Sender<Go>,
}

impl Stage {
    /// Waits for its turn.
    pub(crate) async fn gate(&self, request: usize, may_fail: bool) -> Go {
        let (open, opened) = oneshot::channel();
        self.waiting().push(Waiting {
            request,
            may_fail,
            open,
        });
        opened.await.unwrap_or(Go::On)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How deep an interleaving was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    /// Gates that were opened.
    pub(crate) steps: u64,
    /// How often another request went on than the one before.
    pub(crate) switches: u64,
    /// The most requests that were on their way at once.
    pub(crate) at_once: usize,
}

/// Rounds without anybody at a gate after which the last sleeper has woken: longer than the longest pause, in milliseconds.
const SLEEPERS: u32 = 64;
/// Rounds after which somebody waits for what does not come.
const STUCK: u32 = 20_000;

/// Runs the requests to their end.
pub(crate) async fn run(
    world: &Arc<World>,
    tasks: Vec<(usize, JoinHandle<()>)>,
    rng: &mut Rng,
    chances: Chances,
) -> Depth {
    let mut depth = Depth::default();
    let (mut last, mut idle, mut hung_up) = (None, 0, false);
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if world.model().violation.is_some() {
            return depth;
        }
        let open = {
            let mut waiting = world.stage.waiting();
            waiting.retain(|waiting| !waiting.open.is_closed());
            if waiting.is_empty() {
                None
            } else {
                depth.at_once = depth.at_once.max(waiting.len());
                let stays = last.filter(|_| rng.u32(..1000) < chances.stay);
                let at = stays.and_then(|last| waiting.iter().position(|waiting| waiting.request == last));
                let at = at.unwrap_or_else(|| rng.usize(..waiting.len()));
                Some(waiting.remove(at))
            }
        };
        let Some(next) = open else {
            idle += 1;
            let left = world.tasks().iter().all(|(_, task)| task.is_finished());
            let finished = left && tasks.iter().all(|(_, task)| task.is_finished());
            if finished && (!hung_up || idle > SLEEPERS) {
                break;
            }
            if idle > STUCK {
                world.model().violate("a request waits for ever");
                return depth;
            }
            continue;
        };
        idle = 0;
        if rng.u32(..1000) < chances.tick {
            world.advance(Duration::from_secs(if rng.bool() { 10 } else { 31 }));
        }
        // Who has left a task behind is not dropped with it: that is another history.
        let leaves_task = world.tasks().iter().any(|(request, _)| *request == next.request);
        if rng.u32(..1000) < chances.hang_up
            && !leaves_task
            && let Some((_, task)) = tasks
                .iter()
                .find(|(request, task)| *request == next.request && !task.is_finished())
        {
            // What it waits for goes on in the background, or is gone with it.
            world.model().hang_up(next.request);
            task.abort();
            hung_up = true;
            world.stage.waiting().push(next);
            continue;
        }
        depth.steps += 1;
        depth.switches += u64::from(last.is_some_and(|last| last != next.request));
        last = Some(next.request);
        let fails = next.may_fail && rng.u32(..1000) < chances.fault;
        let go = if fails { Go::Fail } else { Go::On };
        // A request that has just been dropped does not want it any more.
        next.open.send(go).unwrap_or_default();
    }
    let left = std::mem::take(&mut *world.tasks());
    for (request, task) in tasks.into_iter().chain(left) {
        if let Err(error) = task.await
            && error.is_panic()
        {
            world.model().violate(format!("r{request} panicked: {error}"));
        }
    }
    depth
}
