//! The stores that histories run over: the real drivers, with the real servers behind them.
//!
//! A history's clock stands still, and a server takes its time. So a call of such a driver runs beside, in a runtime whose clock goes on, and the thread of the
//! history waits for it: to the history it is one step, as a call of a store in memory is.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, mpsc};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use session_schema::{
    CachedDriver, Clock, Driver, DriverError, Expected, FileDriver, MemoryDriver, MySqlDriver, PostgresDriver, Record,
    RedisDriver, SqliteDriver, StoreKey, TowerSessionsDriver, Written,
};
use session_tests::Backing;
use session_tests::servers::{Folder, MariaDb, Postgres, Redis, RedisCluster};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower_sessions_memory_store::MemoryStore;

/// Tables and prefixes of the histories, which share the servers with the tests of sites.
const NAME: &str = "histories";
/// Longer than any session of a history lives.
const STALENESS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What goes on while a history stands still.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made")
});

/// A store for one history. Servers are shared by all of them, each of which has keys of its own there.
pub(crate) fn store(backing: Backing, clock: impl Clock + Clone) -> (Arc<dyn Driver>, Option<TempDir>) {
    let store: Arc<dyn Driver> = match backing {
        Backing::Memory | Backing::AtHand => Arc::new(MemoryDriver::new().with_clock(clock)),
        Backing::File => {
            let directory = TempDir::new().expect("a directory can be made");
            let driver = FileDriver::new(directory.path()).with_clock(clock);
            return (Arc::new(driver), Some(directory));
        }
        Backing::Sqlite => beside(sqlite().with_clock(clock)),
        Backing::Postgres => beside(postgres().with_clock(clock)),
        Backing::MySql => beside(mysql().with_clock(clock)),
        Backing::Redis => beside(redis().with_clock(clock)),
        Backing::Cluster => beside(cluster().with_clock(clock)),
        Backing::Cached => beside(CachedDriver::new(redis().with_clock(clock.clone()), STALENESS).with_clock(clock)),
        Backing::TowerSessions => beside(TowerSessionsDriver::new(MemoryStore::default()).with_clock(clock)),
    };
    (store, None)
}

/// A driver whose calls run beside the history that makes them.
struct Beside {
    driver: Arc<dyn Driver>,
    /// The number of the history.
    history: u64,
}

fn beside(driver: impl Driver) -> Arc<dyn Driver> {
    static HISTORIES: AtomicU64 = AtomicU64::new(0);
    let driver = Beside {
        driver: Arc::new(driver),
        history: HISTORIES.fetch_add(1, Ordering::Relaxed),
    };
    driver
        .wait(async |driver| driver.open().await)
        .expect("the store can be opened");
    Arc::new(driver)
}

impl Beside {
    /// Keeps the thread until the call has come back: nothing else of the history happens meanwhile.
    fn wait<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<dyn Driver>) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let call = call(self.driver.clone());
        RUNTIME.spawn(async move { tell.send(call.await) });
        told.recv().expect("a driver does not panic")
    }

    /// A key of this history alone: what is told to all sessions of an owner lies under the same one in every history.
    fn own(&self, key: &StoreKey) -> StoreKey {
        let own = format!("{:016x}{}", self.history, &key.as_str()[16..]);
        own.parse().expect("it is a key as well")
    }
}

#[async_trait]
impl Driver for Beside {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let key = self.own(key);
        self.wait(async move |driver| driver.read(&key).await)
    }

    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let key = self.own(key);
        self.wait(async move |driver| driver.read_fresh(&key).await)
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let (key, record) = (self.own(key), record.clone());
        self.wait(async move |driver| driver.write(&key, &record, expected).await)
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let key = self.own(key);
        self.wait(async move |driver| driver.touch(&key, expires_at).await)
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let key = self.own(key);
        self.wait(async move |driver| driver.destroy(&key).await)
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.wait(async move |driver| driver.gc().await)
    }
}

/// The driver that all histories share, connected in the runtime that it runs in.
fn shared<D: Clone + Send + Sync + 'static, F>(place: &OnceLock<D>, connect: impl FnOnce() -> F) -> D
where
    F: Future<Output = Result<D, DriverError>> + Send + 'static,
{
    let connected = place.get_or_init(|| {
        let (tell, told) = mpsc::channel();
        let connect = connect();
        RUNTIME.spawn(async move { tell.send(connect.await) });
        let connected = told.recv().expect("connecting does not panic");
        connected.expect("the server is there")
    });
    connected.clone()
}

fn sqlite() -> SqliteDriver {
    static SHARED: OnceLock<SqliteDriver> = OnceLock::new();
    // What is shared is never dropped: the next process removes the folder.
    static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::new("histories", None));
    shared(&SHARED, || {
        let file = FOLDER.path().join("sessions.db");
        async move { SqliteDriver::connect(file.to_str().expect("the path is text")).await }
    })
}

fn postgres() -> PostgresDriver {
    static SHARED: OnceLock<PostgresDriver> = OnceLock::new();
    let driver = shared(&SHARED, || {
        let url = Postgres::shared().url("");
        async move { PostgresDriver::connect(&url).await }
    });
    driver.with_table(NAME).expect("it is a name")
}

fn mysql() -> MySqlDriver {
    static SHARED: OnceLock<MySqlDriver> = OnceLock::new();
    let driver = shared(&SHARED, || {
        let url = MariaDb::shared().url("");
        async move { MySqlDriver::connect(&url).await }
    });
    driver.with_table(NAME).expect("it is a name")
}

fn redis() -> RedisDriver {
    static SHARED: OnceLock<RedisDriver> = OnceLock::new();
    let driver = shared(&SHARED, || {
        let url = Redis::shared().url();
        async move { RedisDriver::connect(&url).await }
    });
    driver.with_prefix(NAME)
}

fn cluster() -> RedisDriver {
    static SHARED: OnceLock<RedisDriver> = OnceLock::new();
    let driver = shared(&SHARED, || {
        let url = RedisCluster::shared().url();
        async move { RedisDriver::connect(&url).await }
    });
    driver.with_prefix(NAME)
}
