//! A server that Sentinels watch.

use std::time::{Duration, Instant};

use session_schema::{Driver, Expected};
use session_tests::servers::RedisSentinel;

use super::{PATIENCE, create, done, driver, in_the_end, key, record};

/// Waits until the replica knows what the master knows; Redis does not promise when that is.
fn wait_for_the_replica(servers: &RedisSentinel) {
    let since = Instant::now();
    let offset = |of: usize, name: &str| {
        let info: String = servers.servers[of].ask(&["INFO", "replication"]);
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    while offset(0, "master_repl_offset:") != offset(1, "slave_repl_offset:") {
        assert!(since.elapsed() < PATIENCE, "the replica does not follow");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_replaced_and_the_sessions_go_on() {
    let mut servers = RedisSentinel::start();
    let driver = driver(&servers.url()).await;
    let key = key();
    let version = create(&driver, &key, &record("one")).await;
    wait_for_the_replica(&servers);
    servers.servers[0].kill();
    let read = in_the_end(async || driver.read(&key).await)
        .await
        .expect("the session is there");
    assert_eq!(read.version(), version);
    done(in_the_end(async || driver.write(&key, &record("two"), Expected::Version(version)).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_has_become_a_replica_is_not_read_any_more() {
    let servers = RedisSentinel::start();
    let driver = driver(&servers.url()).await;
    let key = key();
    create(&driver, &key, &record("one")).await;
    wait_for_the_replica(&servers);
    servers.failover();
    let since = Instant::now();
    loop {
        // Whatever is written now must be what is read, whoever is the master.
        let expected = match in_the_end(async || driver.read(&key).await).await {
            Some(record) => Expected::Version(record.version()),
            None => panic!("the session is there"),
        };
        let written = in_the_end(async || driver.write(&key, &record("two"), expected).await).await;
        let is_new: String = servers.servers[1].ask(&["INFO", "replication"]);
        let is_old: String = servers.servers[0].ask(&["INFO", "replication"]);
        if is_new.contains("role:master") && is_old.contains("role:slave") {
            drop(written);
            break;
        }
        assert!(since.elapsed() < PATIENCE, "the masters do not change");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = in_the_end(async || driver.read(&key).await)
        .await
        .expect("the session is there");
    done(
        in_the_end(async || {
            driver
                .write(&key, &record("three"), Expected::Version(read.version()))
                .await
        })
        .await,
    );
    let stored: Vec<String> = servers.servers[1].ask(&["KEYS", "*"]);
    let content: Vec<u8> = servers.servers[1].ask(&["GET", &stored[0]]);
    assert!(
        String::from_utf8_lossy(&content).contains("three"),
        "the new master has it"
    );
}
