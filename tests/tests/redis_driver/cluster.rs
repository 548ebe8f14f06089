//! A cluster that loses a master.

use std::time::{Duration, Instant};

use redis::cluster::ClusterClient;
use redis::cluster_read_routing::RandomReplicaStrategy;
use session_schema::testing::ManualClock;
use session_schema::{Driver, Expected, OwnerIndex, RedisDriver, Session, SessionLayer, StoreKey, Version};
use session_tests::App;
use session_tests::servers::{Redis, RedisCluster};

use super::{HOUR, PATIENCE, create, done, driver, in_the_end, key, record};

/// Sessions of Ann in all parts of the cluster.
async fn populate(driver: &RedisDriver) -> Vec<(StoreKey, Version)> {
    let mut sessions = Vec::new();
    for _ in 0..30 {
        let key = key();
        sessions.push((key, create(driver, &key, &record("one").with_owner("ann")).await));
    }
    sessions
}

fn is_master(node: &Redis) -> bool {
    node.ask::<String>(&["INFO", "replication"]).contains("role:master")
}

/// Waits until the replicas know what the masters know; Redis does not promise when that is.
fn wait_for_replicas(cluster: &RedisCluster) {
    let since = Instant::now();
    let told = |node: &Redis| {
        let info: String = node.ask(&["INFO", "replication"]);
        let number = |line: &str, name: &str| line.split(name).nth(1)?.split([',', '\r']).next()?.parse::<u64>().ok();
        let said = info.lines().find_map(|line| number(line, "master_repl_offset:"));
        let heard = info
            .lines()
            .find_map(|line| number(line, "offset=").filter(|_| line.starts_with("slave0:")));
        !info.contains("role:master") || said.is_some() && said == heard
    };
    while !cluster.nodes.iter().all(told) {
        assert!(since.elapsed() < PATIENCE, "the replicas do not follow");
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn all_go_on(driver: &RedisDriver, sessions: Vec<(StoreKey, Version)>) {
    for (key, version) in &sessions {
        let read = in_the_end(async || driver.read(key).await)
            .await
            .expect("the session is there");
        assert_eq!(read.version(), *version);
        let changed = record("changed").with_owner("ann");
        let written = in_the_end(async || driver.write(key, &changed, Expected::Version(*version)).await).await;
        done(written);
    }
    let listed = in_the_end(async || driver.sessions_of("ann").await).await;
    assert_eq!(listed.len(), sessions.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_replaced_and_the_sessions_go_on() {
    let mut cluster = RedisCluster::start(1);
    let driver = driver(&cluster.url()).await;
    let sessions = populate(&driver).await;
    wait_for_replicas(&cluster);
    let master = cluster.nodes.iter().position(is_master).unwrap();
    cluster.nodes[master].kill();
    all_go_on(&driver, sessions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_keeps_silent_is_replaced_and_the_sessions_go_on() {
    let cluster = RedisCluster::start(1);
    let driver = driver(&cluster.url()).await;
    let sessions = populate(&driver).await;
    wait_for_replicas(&cluster);
    let master = cluster.nodes.iter().find(|node| is_master(node)).unwrap();
    master.process().signal("STOP");
    all_go_on(&driver, sessions).await;
    master.process().signal("CONT");
}

/// What a failover may do: the set of an owner forgets what it was told last, the sessions are there.
fn forget_owners(cluster: &RedisCluster) {
    for node in &cluster.nodes {
        for set in node.ask::<Vec<String>>(&["KEYS", "*owner*"]) {
            node.ask::<i64>(&["DEL", &set]);
        }
    }
}

#[tokio::test]
async fn a_session_that_is_in_use_is_not_missing_from_its_owners_for_longer_than_a_minute() {
    let (cluster, clock) = (RedisCluster::start(0), ManualClock::new());
    let driver = driver(&cluster.url()).await.with_clock(clock.clone());
    let owned = || record("ann's").with_owner("ann");
    let listed = async || driver.sessions_of("ann").await.unwrap().len();
    let (written, touched) = (key(), key());
    let version = create(&driver, &written, &owned()).await;
    create(&driver, &touched, &owned()).await;
    assert_eq!(listed().await, 2);
    forget_owners(&cluster);
    assert_eq!(listed().await, 0);
    clock.advance(Duration::from_secs(61));

    let version = done(
        driver
            .write(&written, &owned(), Expected::Version(version))
            .await
            .unwrap(),
    );
    assert_eq!(listed().await, 1);
    assert!(driver.touch(&touched, owned().expires_at()).await.unwrap());
    assert_eq!(listed().await, 2);
    let app = App::new(
        SessionLayer::new(driver.clone())
            .with_clock(clock.clone())
            .with_lifetime(HOUR),
    );
    let browser = app.browser();
    let sign_in = |session: Session| {
        session.put("a", 1).unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    browser.visit(sign_in).await.value();
    assert_eq!(listed().await, 3);
    forget_owners(&cluster);
    clock.advance(HOUR / 5);
    assert!(browser.visit(|session| session.has("a")).await.value());
    assert_eq!(listed().await, 1);

    // What was noted anew is forgotten with the session.
    done(
        driver
            .write(&written, &owned(), Expected::Version(version))
            .await
            .unwrap(),
    );
    assert!(driver.touch(&touched, owned().expires_at()).await.unwrap());
    assert_eq!(driver.destroy_sessions_of("ann", None).await.unwrap(), 3);
    for node in &cluster.nodes {
        assert_eq!(node.ask::<Vec<String>>(&["KEYS", "*owner*"]).len(), 0);
    }
}

#[tokio::test]
async fn all_of_a_session_is_in_one_slot_and_an_owner_is_in_one_too() {
    let cluster = RedisCluster::start(0);
    let driver = driver(&cluster.url()).await;
    let keys = populate(&driver).await;
    let mut stored: Vec<String> = Vec::new();
    for node in &cluster.nodes {
        stored.extend(node.ask::<Vec<String>>(&["KEYS", "*"]));
    }
    assert_eq!(stored.len(), keys.len() + 1);
    for (key, _) in keys {
        // What stands in braces is what counts for the slot.
        assert!(
            stored
                .iter()
                .any(|stored| stored.ends_with(&format!("{{{}}}", key.as_str())))
        );
    }
}

#[tokio::test]
async fn a_client_that_reads_from_replicas_reads_no_session_there() {
    let cluster = RedisCluster::start(1);
    populate(&driver(&cluster.url()).await).await;
    // Only a replica that has replicated something is shown to clients.
    let shown = |node: &Redis| {
        let slots: Vec<Vec<redis::Value>> = node.ask(&["CLUSTER", "SLOTS"]);
        slots.iter().all(|slots| slots.len() == 4)
    };
    let since = Instant::now();
    while !cluster.nodes.iter().all(shown) {
        assert!(since.elapsed() < PATIENCE, "the replicas are not shown");
        std::thread::sleep(Duration::from_millis(10));
    }
    let client = ClusterClient::builder(vec![cluster.nodes[0].url()]).read_routing_strategy(RandomReplicaStrategy);
    let driver = RedisDriver::from_cluster_client(client.build().unwrap());
    let browser = App::new(SessionLayer::new(driver)).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    for _ in 0..10 {
        // A replica may not know yet that there is one.
        assert!(browser.visit(|session| session.has("a")).await.value());
    }
    for node in cluster.nodes.iter().filter(|node| !is_master(node)) {
        let asked: String = node.ask(&["INFO", "commandstats"]);
        assert!(!asked.contains("cmdstat_get:"), "{asked}");
    }
}
