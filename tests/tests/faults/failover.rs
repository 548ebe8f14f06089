//! A Redis master that dies under load and is replaced by its replica.
//!
//! Redis answers before its replicas know (its own documentation says so), so the last changes before the death may be lost. Whole sessions are not, and no
//! visitor gets another one's.

use std::time::{Duration, Instant};

use session_schema::{RedisDriver, SessionLayer};
use session_tests::servers::{Redis, RedisCluster, RedisSentinel};
use session_tests::{App, Log};
use tracing::Level;

use crate::load::{Load, PATIENCE, Summary, assert_logged};

/// Kills a master under load, and says how long it takes until all visitors are served again.
async fn is_replaced(url: &str, kill: impl AsyncFnOnce()) -> (Duration, Summary) {
    let driver = RedisDriver::connect(url).await.unwrap();
    let load = Load::begin(&App::new(SessionLayer::new(driver)), 12, &[503]).await;
    load.served().await;
    kill().await;
    let recovered = load.served().await;
    // Both are set to take a second of silence for death.
    assert!(recovered < Duration::from_secs(30), "{recovered:?}");
    (recovered, load.end_with_losses().await)
}

fn is_master(node: &Redis) -> bool {
    node.ask::<String>(&["INFO", "replication"]).contains("role:master")
}

/// Waits until every replica has told its master that it knows what the master knew when this began, while the load goes on.
async fn wait_for_replicas(servers: &[Redis]) {
    for master in servers.iter().filter(|server| is_master(server)) {
        let (_, said) = offsets(master);
        let since = Instant::now();
        while offsets(master).0.is_none_or(|heard| heard < said) {
            assert!(since.elapsed() < PATIENCE, "a replica does not follow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How far a master's replica is, and the master itself.
fn offsets(master: &Redis) -> (Option<u64>, u64) {
    let info: String = master.ask(&["INFO", "replication"]);
    let number = |name: &str| info.split(name).nth(1)?.split([',', '\r']).next()?.parse().ok();
    let said = number("master_repl_offset:").expect("a master counts");
    // slave0:ip=127.0.0.1,port=6379,state=online,offset=1234,lag=1
    (number("state=online,offset="), said)
}

#[tokio::test]
async fn a_master_of_a_cluster_that_dies_under_load_is_replaced_and_all_visitors_are_served_again() {
    let mut cluster = RedisCluster::start(1);
    let url = cluster.url();
    let (recovered, summary) = is_replaced(&url, async || {
        wait_for_replicas(&cluster.nodes).await;
        let master = cluster.nodes.iter().position(is_master).unwrap();
        cluster.nodes[master].kill();
    })
    .await;
    println!("Redis cluster, a master killed: all served {recovered:.1?} later; {summary:?}");
}

#[tokio::test]
async fn a_master_of_a_sentinel_that_dies_under_load_is_replaced_and_all_visitors_are_served_again() {
    let log = Log::capture();
    let mut sentinel = RedisSentinel::start();
    let url = sentinel.url();
    let (recovered, summary) = is_replaced(&url, async || {
        wait_for_replicas(&sentinel.servers).await;
        sentinel.servers[0].kill();
    })
    .await;
    println!("Redis with Sentinel, the master killed: all served {recovered:.1?} later; {summary:?}");
    assert_logged(&log, Level::ERROR, "a session could not be", "");
    assert_logged(&log, Level::WARN, "the session store is out of reach", "");
    assert_logged(&log, Level::INFO, "the session store answers again", "");
}
