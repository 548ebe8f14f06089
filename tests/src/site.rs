use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use session_schema::testing::ManualClock;
use session_schema::{
    CachedDriver, Clock, Config, Driver, Expected, FileDriver, MemoryDriver, Record, RedisDriver, SessionId,
    SessionLayer, SessionManager, StoreKey, TowerSessionsDriver,
};
use tempfile::TempDir;
use tower_sessions_memory_store::MemoryStore;

use crate::app::App;
use crate::at_hand::{AtHand, SiteClock};
use crate::counting::{Calls, CountingDriver};
use crate::faults::{Faults, FaultyDriver};
use crate::servers::{Redis, RedisCluster};
use crate::tables;

/// Where a [`Site`] keeps its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// `MemoryDriver`
    Memory,
    /// The same, where a session that is there is loaded without asking: what the layer does with [`MemoryDriver`] and [`CachedDriver`] outside of tests.
    AtHand,
    /// `FileDriver`, in a directory of its own.
    File,
    /// `RedisDriver`, over a server that the tests of a process share, with a prefix of its own.
    Redis,
    /// `SqliteDriver`, over a file of its own.
    Sqlite,
    /// `PostgresDriver`, over a server that the tests of a process share, with a table of its own.
    Postgres,
    /// `MySqlDriver`, the same.
    MySql,
    /// `RedisDriver`, over a cluster that the tests of a process share, with a prefix of its own.
    Cluster,
    /// `CachedDriver` over what [`Redis`](Self::Redis) is.
    Cached,
    /// `TowerSessionsDriver`, over a store in memory.
    TowerSessions,
}

/// A driver with a clock, counted calls and faults on demand, and the applications over it.
#[derive(Clone)]
pub struct Site {
    /// The clock of layer and driver.
    pub clock: ManualClock,
    /// What the driver was asked to do.
    pub calls: Calls,
    /// What is to go wrong.
    pub faults: Faults,
    /// The driver, counted and faulty.
    pub driver: Arc<dyn Driver>,
    /// The driver itself: what is done with it is not counted and does not fail.
    pub store: Arc<dyn Driver>,
    /// Whether the store forgets what has expired by itself.
    forgets: bool,
    /// What is in memory is used without asking.
    is_at_hand: bool,
    /// The directory of files, for as long as the site is in use.
    directory: Option<Arc<TempDir>>,
}

impl Site {
    /// A site over a new store. Its time begins at a whole second, so that what is rounded to seconds stays as it is.
    pub fn over(backing: Backing) -> Self {
        let (clock, calls, faults) = (ManualClock::new(), Calls::default(), Faults::default());
        let since_1970 = clock
            .now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("it is later than 1970");
        clock.advance(Duration::from_nanos(
            1_000_000_000 - u64::from(since_1970.subsec_nanos()),
        ));
        let in_files = matches!(backing, Backing::File | Backing::Sqlite);
        let directory = in_files.then(|| TempDir::new().expect("a directory can be made"));
        let store: Arc<dyn Driver> = match (backing, &directory) {
            (Backing::Postgres, _) => Arc::new(tables::postgres(&clock)),
            (Backing::MySql, _) => Arc::new(tables::mysql(&clock)),
            (Backing::Sqlite, Some(directory)) => Arc::new(tables::sqlite(&clock, directory)),
            (Backing::Redis, _) => Arc::new(redis(&clock)),
            (Backing::Cluster, _) => Arc::new(cluster(&clock)),
            (Backing::Cached, _) => Arc::new(CachedDriver::new(redis(&clock), STALENESS).with_clock(clock.clone())),
            (Backing::TowerSessions, _) => Arc::new(tower_sessions(&clock)),
            (_, Some(directory)) => Arc::new(FileDriver::new(directory.path()).with_clock(clock.clone())),
            (Backing::AtHand, _) => Arc::new(AtHand(MemoryDriver::new().with_clock(clock.clone()))),
            (_, None) => Arc::new(MemoryDriver::new().with_clock(clock.clone())),
        };
        let faulty = FaultyDriver::new(store.clone(), faults.clone());
        let driver = Arc::new(CountingDriver::new(faulty, calls.clone()));
        Self {
            clock,
            calls,
            faults,
            driver,
            store,
            forgets: matches!(
                backing,
                Backing::Redis | Backing::Cluster | Backing::Cached | Backing::TowerSessions
            ),
            is_at_hand: backing == Backing::AtHand,
            directory: directory.map(Arc::new),
        }
    }

    /// The time it is on the site.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// What `gc` says when so many records have expired: that many, but 0 where the store forgets them by itself.
    pub fn garbage(&self, expired: u64) -> u64 {
        if self.forgets { 0 } else { expired }
    }

    /// The quick way to sessions.
    pub fn layer(&self) -> SessionLayer {
        SessionLayer::new(self.driver.clone()).with_clock(self.layers_clock())
    }

    fn layers_clock(&self) -> SiteClock {
        SiteClock {
            clock: self.clock.clone(),
            is_systems: self.is_at_hand,
        }
    }

    /// An application with default settings.
    pub fn app(&self) -> App {
        App::new(self.layer())
    }

    /// An application with other settings.
    pub fn app_with(&self, settings: impl FnOnce(SessionLayer) -> SessionLayer) -> App {
        App::new(settings(self.layer()))
    }

    /// The configured way to sessions: the driver is registered as `site`, and the default.
    pub fn manager(&self) -> SessionManager {
        let mut config = Config::default();
        config.driver = "site".into();
        self.manager_with(config)
    }

    /// The same with other settings.
    pub fn manager_with(&self, config: Config) -> SessionManager {
        let manager = SessionManager::new(config)
            .expect("the settings are good")
            .with_clock(self.layers_clock());
        let driver = self.driver.clone();
        manager.extend("site", move || std::future::ready(Ok(driver.clone())));
        manager
    }

    /// What is stored under an id.
    pub async fn record(&self, id: &str) -> Option<Record> {
        self.store.read(&key(id)).await.expect("the store works")
    }

    /// The same as JSON, without when the session began.
    ///
    /// # Panics
    ///
    /// When there is no record, or no JSON object in it.
    pub async fn payload(&self, id: &str) -> Map<String, Value> {
        let record = self.record(id).await.expect("a record is stored under the id");
        let mut payload: Map<String, Value> =
            serde_json::from_slice(record.payload()).expect("a payload is a JSON object");
        payload.remove("_created");
        payload
    }

    /// Stores a payload as another program might have left it, for an hour, and returns the id.
    pub async fn plant(&self, payload: &str) -> String {
        let id = some_id();
        let until = self.clock.now() + Duration::from_secs(3600);
        let record = Record::new(payload.into(), until);
        self.store.open().await.expect("the store works");
        self.store
            .write(&key(&id), &record, Expected::Absent)
            .await
            .expect("the store works");
        id
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("clock", &self.clock)
            .field("calls", &self.calls)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// How long a cache keeps what it knows.
const STALENESS: Duration = Duration::from_secs(5);

fn redis(clock: &ManualClock) -> RedisDriver {
    let client = redis::Client::open(Redis::shared().url()).expect("the URL is one");
    of_a_site(RedisDriver::from_client(client), clock)
}

fn cluster(clock: &ManualClock) -> RedisDriver {
    let nodes = RedisCluster::shared().nodes.iter().map(Redis::url);
    let client = redis::cluster::ClusterClient::new(nodes).expect("the URLs are some");
    of_a_site(RedisDriver::from_cluster_client(client), clock)
}

/// With a prefix of its own.
fn of_a_site(driver: RedisDriver, clock: &ManualClock) -> RedisDriver {
    static SITES: AtomicU64 = AtomicU64::new(0);
    hurry(clock);
    let prefix = format!("site {}:", SITES.fetch_add(1, Ordering::Relaxed));
    driver.with_prefix(prefix).with_clock(clock.clone())
}

fn tower_sessions(clock: &ManualClock) -> TowerSessionsDriver<MemoryStore> {
    hurry(clock);
    TowerSessionsDriver::new(MemoryStore::default()).with_clock(clock.clone())
}

/// Such a store forgets by a clock of its own, which goes on while a test takes its time. It must not come first.
fn hurry(clock: &ManualClock) {
    clock.advance(Duration::from_secs(60 * 60));
}

/// What the store sees of an id.
pub fn key(id: &str) -> StoreKey {
    StoreKey::from(&id.parse::<SessionId>().expect("an id is well-formed"))
}

/// A well-formed id that no server has issued; each time another one.
pub fn some_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:x>40}", COUNT.fetch_add(1, Ordering::Relaxed))
}
