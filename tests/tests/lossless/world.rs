//! The world of one history: the store, the clock, the browsers, and the model that watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use session_schema::{Driver, SessionId, StoreKey};
use session_tests::Backing;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::model::Model;
use crate::play;
use crate::script::{Chances, Cookie, History, Op, Script};
use crate::stage::{self, Depth, Stage};
use crate::stores;

/// When histories begin, in milliseconds since 1970: so late that a store with a clock of its own does not forget before the history's clock says so.
const BEGIN: u64 = 4_000_000_000_000;

pub(crate) struct World {
    pub(crate) stage: Stage,
    pub(crate) store: Arc<dyn Driver>,
    /// Where the store is, if it is in files.
    _directory: Option<TempDir>,
    clock: Arc<AtomicU64>,
    model: Mutex<Model>,
    browsers: Mutex<Vec<Browser>>,
    /// What handlers have left behind.
    left: Mutex<Vec<(usize, JoinHandle<()>)>>,
    /// Every id that anybody has ever heard of.
    ids: Mutex<Vec<SessionId>>,
}

/// A browser's cookie, and the one that it had when the concurrent requests began.
#[derive(Clone, Debug, Default)]
struct Browser {
    current: Option<SessionId>,
    initial: Option<SessionId>,
}

impl World {
    fn new(browsers: usize, backing: Backing) -> Self {
        let clock = Arc::new(AtomicU64::new(BEGIN));
        let now = clock_of(&clock);
        let (store, directory) = stores::store(backing, now.clone());
        Self {
            stage: Stage::default(),
            store,
            _directory: directory,
            model: Mutex::new(Model::new(now())),
            clock,
            browsers: Mutex::new(vec![Browser::default(); browsers]),
            left: Mutex::default(),
            ids: Mutex::default(),
        }
    }

    pub(crate) fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
        clock_of(&self.clock)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        let mut model = self.model();
        model.now += by;
        model.note(|| format!("{by:?} go by"));
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn browsers(&self) -> MutexGuard<'_, Vec<Browser>> {
        self.browsers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cookie that a request comes with.
    pub(crate) fn cookie_of(&self, script: &Script) -> Option<SessionId> {
        let browser = self.browsers()[script.browser].clone();
        match script.cookie {
            Cookie::Current => browser.current,
            Cookie::Initial => browser.initial,
            Cookie::Unknown => format!("unknown-{:032}", fastrand::u64(..)).parse().ok(),
            Cookie::None => None,
        }
    }

    /// The browser takes note of what a response says.
    pub(crate) fn receive(&self, browser: usize, cookie: Option<SessionId>) {
        self.browsers()[browser].current = cookie;
        cookie.into_iter().for_each(|id| self.heard_of(id));
    }

    /// A handler leaves a task behind.
    pub(crate) fn left(&self, request: usize, task: JoinHandle<()>) {
        self.tasks().push((request, task));
    }

    pub(crate) fn tasks(&self) -> MutexGuard<'_, Vec<(usize, JoinHandle<()>)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn heard_of(&self, id: SessionId) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !ids.iter().any(|known| known.as_str() == id.as_str()) {
            ids.push(id);
        }
    }

    /// Whether the store holds what the model says it has to, and nothing else.
    async fn check_store(&self) {
        let wanted: Vec<(StoreKey, Option<Vec<u8>>)> = self
            .model()
            .records()
            .map(|(key, record)| (key, record.map(|record| record.payload().to_vec())))
            .collect();
        for (key, wanted) in wanted {
            let found = self.store.read(&key).await.expect("the store works");
            if found.map(|record| record.payload().to_vec()) != wanted {
                self.model().violate("the store holds what it should not");
            }
        }
    }
}

fn clock_of(clock: &Arc<AtomicU64>) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
    let clock = clock.clone();
    move || SystemTime::UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::Relaxed))
}

/// How a history went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) depth: Depth,
    pub(crate) counts: crate::model::Counts,
}

impl History {
    /// Runs the history from beginning to end.
    pub(crate) fn run(&self, backing: Backing, trace: bool) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime can be made");
        fastrand::seed(self.schedule);
        runtime.block_on(self.play(backing, trace))
    }

    async fn play(&self, backing: Backing, trace: bool) -> Outcome {
        let world = Arc::new(World::new(self.setup.len(), backing));
        world.model().trace = trace.then(Vec::new);
        let mut rng = Rng::with_seed(self.schedule);
        for script in &self.setup {
            let alone = play::spawn(&world, script.clone());
            stage::run(&world, vec![alone], &mut rng, Chances::default()).await;
        }
        for browser in world.browsers().iter_mut() {
            browser.initial = browser.current;
        }
        world.advance(Duration::from_secs(self.jump));
        let now = world.model().now;
        world.model().begun = Some(now);
        let tasks = self
            .requests
            .iter()
            .map(|script| play::spawn(&world, script.clone()))
            .collect();
        let depth = stage::run(&world, tasks, &mut rng, self.chances).await;
        if world.model().violation.is_none() {
            self.look_back(&world, &mut rng).await;
        }
        let mut model = world.model();
        Outcome {
            violation: model.violation.take(),
            trace: model.trace.take().unwrap_or_default(),
            depth,
            counts: model.counts,
        }
    }

    /// Looks at all that is left.
    async fn look_back(&self, world: &Arc<World>, rng: &mut Rng) {
        world.model().check_end();
        world.check_store().await;
        let ids = world.ids.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in &ids {
            self.come_back(world, rng, *id, Vec::new()).await;
        }
        // Marks are void by now, even if they were touched. Who comes with an id that was given up is a visitor like all others.
        world.advance(Duration::from_secs(31));
        for id in ids {
            self.come_back(world, rng, id, vec![Op::Increment("n", 1)]).await;
        }
        world.check_store().await;
    }

    /// A request with an id that somebody has heard of.
    async fn come_back(&self, world: &Arc<World>, rng: &mut Rng, id: SessionId, ops: Vec<Op>) {
        if world.model().violation.is_some() || world.model().is_unborn(&StoreKey::from(&id)) {
            return; // its regeneration failed half way: no browser has ever been told the id
        }
        world.browsers()[0].current = Some(id);
        let last = play::spawn(world, Script::look(ops));
        stage::run(world, vec![last], rng, Chances::default()).await;
    }
}
