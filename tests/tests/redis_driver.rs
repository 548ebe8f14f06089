//! What Redis alone can get wrong: how often it is asked, what it forgets, and what becomes of sessions when it, or the way to it, fails.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use session_schema::{Driver, DriverError, Expected, Record, RedisDriver, StoreKey, Version, Written};
use session_tests::servers::Redis;

#[path = "redis_driver/asking.rs"]
mod asking;
#[path = "redis_driver/cluster.rs"]
mod cluster;
#[path = "redis_driver/connecting.rs"]
mod connecting;
#[path = "redis_driver/cuts.rs"]
mod cuts;
#[path = "redis_driver/forgetting.rs"]
mod forgetting;
#[path = "redis_driver/outages.rs"]
mod outages;
#[path = "redis_driver/prolonging.rs"]
mod prolonging;
#[path = "redis_driver/sentinel.rs"]
mod sentinel;
#[path = "redis_driver/tls.rs"]
mod tls;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// How long a test waits for what has to come about in the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver with a prefix of its own, over a server that it may share.
async fn driver(url: &str) -> RedisDriver {
    static DRIVERS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("driver {}:", DRIVERS.fetch_add(1, Ordering::Relaxed));
    RedisDriver::connect(url)
        .await
        .expect("the server answers")
        .with_prefix(prefix)
}

async fn shared() -> RedisDriver {
    driver(&Redis::shared().url()).await
}

/// A key that no other test uses.
fn key() -> StoreKey {
    session_tests::key(&session_tests::some_id())
}

fn record(text: &str) -> Record {
    Record::new(
        format!("{{\"text\":\"{text}\"}}").into_bytes(),
        SystemTime::now() + HOUR,
    )
}

async fn create(driver: &RedisDriver, key: &StoreKey, record: &Record) -> Version {
    done(
        driver
            .write(key, record, Expected::Absent)
            .await
            .expect("the record is written"),
    )
}

#[track_caller]
fn done(written: Written) -> Version {
    match written {
        Written::Done(version) => version,
        other => panic!("expected `Written::Done`, got {other:?}"),
    }
}

/// Tries until it succeeds.
async fn in_the_end<T>(what: impl AsyncFn() -> Result<T, DriverError>) -> T {
    let since = Instant::now();
    loop {
        match what().await {
            Ok(value) => return value,
            Err(error) => assert!(
                since.elapsed() < PATIENCE && error.is_unavailable(),
                "it does not succeed in the end: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
