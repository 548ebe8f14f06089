//! The contract of drivers, for those of this process, for one that was written from its documentation alone, and for some that break it.
// STORE-41: on every store, and on one behind a cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use session_schema::testing::{Harness, ManualClock, driver_contract};
use session_schema::{
    CachedDriver, Driver, FileDriver, MemoryDriver, MySqlDriver, PostgresDriver, RedisDriver, SqliteDriver,
};
use session_tests::servers::{MariaDb, Postgres, Redis, RedisCluster, RedisSentinel};

#[path = "contract/smallest_driver.rs"]
mod smallest_driver;
#[path = "contract/wrong_drivers.rs"]
mod wrong_drivers;

driver_contract! {
    mod memory;
    owners: true;
    harness: {
        let clock = ManualClock::new();
        let driver = MemoryDriver::new().with_clock(clock.clone());
        let same = driver.clone();
        Harness::new(driver).with_clock(&clock).with_reopen(move || std::future::ready(same.clone()))
    };
}

driver_contract! {
    mod file;
    owners: true;
    harness: {
        let (clock, directory) = (ManualClock::new(), directory());
        let driver = FileDriver::new(directory.path()).with_clock(clock.clone());
        let (path, time) = (directory.path().to_owned(), clock.clone());
        let reopen = move || std::future::ready(FileDriver::new(&path).with_clock(time.clone()));
        Harness::new(driver).with_clock(&clock).with_reopen(reopen).with_guard(directory)
    };
}

driver_contract! {
    mod file_that_waits_for_the_disk;
    owners: true;
    harness: {
        let (clock, directory) = (ManualClock::new(), directory());
        let driver = FileDriver::new(directory.path().join("made/by/the/driver")).with_clock(clock.clone()).with_fsync(true);
        Harness::new(driver).with_clock(&clock).with_guard(directory)
    };
}

driver_contract! {
    mod sqlite;
    owners: true;
    harness: {
        let (clock, directory) = (ManualClock::new(), directory());
        let (url, time) = (sqlite_file(&directory), clock.clone());
        let connect = move || {
            let (url, time) = (url.clone(), time.clone());
            async move { SqliteDriver::connect(&url).await.expect("the file can be opened").with_clock(time) }
        };
        Harness::new(connect().await).with_clock(&clock).with_reopen(connect).with_guard(directory)
    };
}

driver_contract! {
    mod postgres;
    owners: true;
    harness: {
        let (clock, table) = (ManualClock::new(), table());
        let time = clock.clone();
        let connect = move || {
            let (table, time) = (table.clone(), time.clone());
            async move {
                let driver = PostgresDriver::connect(&Postgres::shared().url("")).await.expect("the server runs");
                driver.with_table(&table).expect("a name").with_clock(time)
            }
        };
        Harness::new(connect().await).with_clock(&clock).with_reopen(connect)
    };
}

driver_contract! {
    mod mysql;
    owners: true;
    harness: {
        let (clock, table) = (ManualClock::new(), table());
        let time = clock.clone();
        let connect = move || {
            let (table, time) = (table.clone(), time.clone());
            async move {
                let driver = MySqlDriver::connect(&MariaDb::shared().url("")).await.expect("the server runs");
                driver.with_table(&table).expect("a name").with_clock(time)
            }
        };
        Harness::new(connect().await).with_clock(&clock).with_reopen(connect)
    };
}

driver_contract! {
    mod redis;
    owners: true;
    harness: redis_harness(Redis::shared().url()).await;
}

// It reports changes, and a cache believes it: for an hour nothing is forgotten for its age alone.
driver_contract! {
    mod cached_redis;
    owners: true;
    harness: cached_redis_harness(Redis::shared().url()).await;
}

driver_contract! {
    mod redis_cluster;
    owners: true;
    harness: redis_harness(RedisCluster::shared().url()).await;
}

driver_contract! {
    mod redis_sentinel;
    owners: true;
    harness: redis_harness(RedisSentinel::shared().url()).await;
}

driver_contract! {
    mod arc_dyn_driver;
    owners: true;
    harness: {
        let clock = ManualClock::new();
        let driver: Arc<dyn Driver> = Arc::new(MemoryDriver::new().with_clock(clock.clone()));
        Harness::new(driver).with_clock(&clock)
    };
}

driver_contract! {
    mod smallest;
    owners: false;
    harness: Harness::new(smallest_driver::SmallestDriver::default());
}

fn sqlite_file(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("sessions.db").display())
}

/// A table for one test.
fn table() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("sessions_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for the test is made")
}

/// A driver over a server that the tests share: each has a prefix, which is an empty store.
async fn redis_harness(url: String) -> Harness {
    let (clock, connect) = redis_connector(url);
    let driver = connect().await;
    Harness::new(driver)
        .with_clock(&clock)
        .with_reopen(connect)
        .forgetting_by_itself()
}

/// The same behind a cache each time.
async fn cached_redis_harness(url: String) -> Harness {
    let (clock, connect) = redis_connector(url);
    let time = clock.clone();
    let connect = move || {
        let (inner, time) = (connect(), time.clone());
        async move {
            let driver = CachedDriver::new(inner.await, Duration::from_secs(60 * 60)).with_clock(time);
            driver.open().await.expect("the server answers");
            driver
        }
    };
    let driver = connect().await;
    Harness::new(driver)
        .with_clock(&clock)
        .with_reopen(connect)
        .forgetting_by_itself()
}

/// What connects to one store again and again, and its time.
fn redis_connector(url: String) -> (ManualClock, impl Fn() -> Connecting + Send + Sync + 'static) {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("test {}:", TESTS.fetch_add(1, Ordering::Relaxed));
    let clock = ManualClock::new();
    // The server forgets by a clock of its own, which goes on while a test takes its time. It must not come first.
    clock.advance(Duration::from_secs(60 * 60));
    let time = clock.clone();
    let connect = move || -> Connecting {
        let (url, prefix, time) = (url.clone(), prefix.clone(), time.clone());
        Box::pin(async move {
            let driver = RedisDriver::connect(&url).await.expect("the server answers");
            driver.with_prefix(prefix).with_clock(time)
        })
    };
    (clock, connect)
}

type Connecting = std::pin::Pin<Box<dyn Future<Output = RedisDriver> + Send>>;
