//! Two servers with a cache each over one Redis, which says what has changed. What they may show is bounded by an hour, so whatever is seen sooner was reported.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use session_schema::{CachedDriver, Driver, OwnerIndex, Record, RedisDriver, SessionLayer, StoreKey, Version, Watcher};
use session_tests::servers::{Monitor, Redis, RedisCluster, RedisSentinel, Relay};
use session_tests::{App, Calls, CountingDriver, Counts};
use tokio::task::JoinSet;

use super::drivers::{LateAnswers, create, key, record, replace, text};

const HOUR: Duration = Duration::from_secs(3600);
/// How long a test waits for what is to be reported: a small part of the hour, but time enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

type Cached = Arc<CachedDriver<CountingDriver<RedisDriver>>>;

/// Another server with its own connection, and a session that was read here and is known.
struct Pair {
    here: Cached,
    there: Cached,
    /// What `here` asks the store.
    calls: Calls,
    key: StoreKey,
    version: Version,
}

impl Pair {
    async fn at(url: &str) -> Self {
        Self::between(url, url).await
    }

    /// One where `here` gets to the server in another way than the other.
    async fn between(here: &str, there: &str) -> Self {
        let (calls, prefix) = (Calls::default(), prefix());
        let (here, there) = (
            cached(here, &prefix, &calls).await,
            cached(there, &prefix, &Calls::default()).await,
        );
        let key = key();
        let version = create(&*there, &key, &of("first")).await;
        let pair = Self {
            here,
            there,
            calls,
            key,
            version,
        };
        pair.becomes_known("first").await;
        pair
    }

    /// What is read here, and how often the store is asked for it.
    async fn read(&self) -> (Option<String>, u64) {
        self.calls.take();
        let text = text(&*self.here, &self.key).await;
        (text, self.calls.take().read)
    }

    /// Waits until this is read here.
    async fn is_seen(&self, expected: Option<&str>) {
        eventually(async || text(&*self.here, &self.key).await.as_deref() == expected).await;
    }

    /// Waits until this is read here without a question to the store.
    async fn becomes_known(&self, expected: &str) {
        eventually(async || self.read().await == (Some(expected.to_owned()), 0)).await;
    }
}

async fn cached(url: &str, prefix: &str, calls: &Calls) -> Cached {
    let store = RedisDriver::connect(url).await.unwrap().with_prefix(prefix);
    let driver = CachedDriver::new(CountingDriver::new(store, calls.clone()), HOUR);
    driver.open().await.unwrap();
    Arc::new(driver)
}

fn prefix() -> String {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    format!("cached {}:", TESTS.fetch_add(1, Ordering::Relaxed))
}

fn of(text: &str) -> Record {
    record(text, SystemTime::now() + HOUR)
}

#[track_caller]
fn eventually(holds: impl AsyncFn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let since = Instant::now();
        while !holds().await {
            assert!(since.elapsed() < PATIENCE, "it does not come about: {place}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn what_is_done_there_is_seen_here(url: &str) {
    let pair = Pair::at(url).await;
    let second = replace(&*pair.there, &pair.key, &of("second").with_owner("ann"), pair.version).await;
    pair.is_seen(Some("second")).await;
    pair.becomes_known("second").await;
    let until = SystemTime::now() + 2 * HOUR;
    assert!(pair.there.touch(&pair.key, until).await.unwrap());
    eventually(async || pair.here.read(&pair.key).await.unwrap().unwrap().expires_at() > until - HOUR).await;
    let there = pair.there.read(&pair.key).await.unwrap().unwrap();
    assert_eq!(there.version(), second);
    pair.becomes_known("second").await;
    assert_eq!(pair.there.destroy_sessions_of("ann", None).await.unwrap(), 1);
    pair.is_seen(None).await;
    // One of its own, which was known only because it was read.
    let key = key();
    let version = create(&*pair.here, &key, &of("mine")).await;
    eventually(async || {
        pair.calls.take();
        text(&*pair.here, &key).await.as_deref() == Some("mine") && pair.calls.take() == Counts::NONE
    })
    .await;
    replace(&*pair.there, &key, &of("theirs"), version).await;
    eventually(async || text(&*pair.here, &key).await.as_deref() == Some("theirs")).await;
    // A sign-out.
    assert!(pair.there.destroy(&key).await.unwrap());
    eventually(async || text(&*pair.here, &key).await.is_none()).await;
}

#[tokio::test]
async fn what_another_server_does_is_seen_at_once() {
    what_is_done_there_is_seen_here(&Redis::shared().url()).await;
}

#[tokio::test]
async fn what_another_server_does_is_seen_at_once_where_sentinels_name_the_server() {
    what_is_done_there_is_seen_here(&RedisSentinel::start().url()).await;
}

#[tokio::test]
async fn a_known_session_asks_nothing_and_a_write_is_one_command() {
    let server = Redis::start(&[]);
    let pair = Pair::at(&server.url()).await;
    let mut monitor = Monitor::of(&server);
    for _ in 0..50 {
        assert_eq!(pair.read().await, (Some("first".to_owned()), 0));
    }
    let arrived = |monitor: &mut Monitor| {
        let (mut arrived, _) = monitor.take();
        // The heartbeat of the two connections.
        arrived.retain(|command| command != "\"PING\"");
        arrived.len()
    };
    assert_eq!(arrived(&mut monitor), 0);
    replace(&*pair.here, &pair.key, &of("second"), pair.version).await;
    assert_eq!(arrived(&mut monitor), 1);
    assert_eq!(pair.read().await, (Some("second".to_owned()), 1));
    assert_eq!(arrived(&mut monitor), 1);
}

/// How many connections the server tracks the reads of.
fn tracked(server: &Redis) -> usize {
    let clients: String = server.ask(&["CLIENT", "LIST"]);
    clients
        .split_whitespace()
        .filter(|word| word.strip_prefix("flags=").is_some_and(|flags| flags.contains('t')))
        .count()
}

#[tokio::test]
async fn only_who_has_a_cache_has_its_reads_tracked() {
    let server = Redis::start(&[]);
    let driver = RedisDriver::connect(&server.url()).await.unwrap();
    assert!(driver.read(&key()).await.unwrap().is_none());
    assert_eq!(tracked(&server), 0);
    let driver = CachedDriver::new(driver, HOUR);
    driver.open().await.unwrap();
    driver.open().await.unwrap();
    assert!(driver.read(&key()).await.unwrap().is_none());
    assert_eq!(tracked(&server), 1);
}

#[tokio::test]
async fn when_the_connection_is_cut_nothing_from_before_is_shown_and_all_is_well_with_the_next() {
    let server = Redis::start(&[]);
    let mut pair = Pair::at(&server.url()).await;
    for text in ["second", "third"] {
        let killed: u32 = server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed >= 2, "{killed}");
        pair.version = replace(&*pair.there, &pair.key, &of(text), pair.version).await;
        pair.is_seen(Some(text)).await;
        pair.becomes_known(text).await;
    }
    pair.there.destroy(&pair.key).await.unwrap();
    pair.is_seen(None).await;
}

#[tokio::test]
async fn what_a_vanished_server_cannot_report_is_not_shown_for_long() {
    let relay = Relay::to(Redis::shared().port()).await;
    let pair = Pair::between(&format!("redis://127.0.0.1:{}/", relay.port()), &Redis::shared().url()).await;
    relay.silence();
    replace(&*pair.there, &pair.key, &of("second"), pair.version).await;
    // Nobody asks here but the heartbeat.
    pair.is_seen(Some("second")).await;
    pair.becomes_known("second").await;
}

#[tokio::test]
async fn what_a_server_knew_before_it_became_a_replica_is_not_shown_for_long() {
    let (master, server) = (Redis::start(&[]), Redis::start(&[]));
    let pair = Pair::at(&server.url()).await;
    let port = master.port().to_string();
    drop(master);
    server.ask::<redis::Value>(&["REPLICAOF", "127.0.0.1", &port]);
    let since = Instant::now();
    while pair.here.read(&pair.key).await.is_ok() {
        assert!(since.elapsed() < PATIENCE, "it is still shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn when_the_server_forgets_everything_so_do_the_caches() {
    let server = Redis::start(&[]);
    let pair = Pair::at(&server.url()).await;
    server.ask::<()>(&["FLUSHALL"]);
    pair.is_seen(None).await;
    create(&*pair.there, &pair.key, &of("again")).await;
    pair.becomes_known("again").await;
}

#[tokio::test]
async fn what_the_server_has_no_room_to_remember_is_forgotten_here_too() {
    let server = Redis::start(&["--tracking-table-max-keys", "1"]);
    let pair = Pair::at(&server.url()).await;
    for _ in 0..20 {
        text(&*pair.here, &key()).await;
    }
    replace(&*pair.there, &pair.key, &of("second"), pair.version).await;
    pair.is_seen(Some("second")).await;
}

#[tokio::test]
async fn a_read_that_began_before_a_change_is_not_kept() {
    let (url, prefix) = (Redis::shared().url(), prefix());
    let there = cached(&url, &prefix, &Calls::default()).await;
    let store = RedisDriver::connect(&url).await.unwrap().with_prefix(&prefix);
    let answers = LateAnswers::new(store);
    let here = Arc::new(CachedDriver::new(answers.clone(), HOUR));
    here.open().await.unwrap();
    let (key, other) = (key(), key());
    let version = create(&*there, &key, &of("first")).await;
    // From here on the connection reports.
    assert_eq!(text(&*here, &other).await, None);

    let answer = answers.hold();
    let driver = here.clone();
    let slow = tokio::spawn(async move { text(&*driver, &key).await });
    answer.given().await;
    let second = replace(&*there, &key, &of("second"), version).await;
    // What is answered after the report has arrived.
    assert_eq!(text(&*here, &other).await, None);
    answer.let_go();
    assert_eq!(slow.await.unwrap().as_deref(), Some("first"));
    assert_eq!(text(&*here, &key).await.as_deref(), Some("second"));

    // A sign-out: a destroyed session is not filled in again.
    replace(&*there, &key, &of("third"), second).await;
    assert_eq!(text(&*here, &other).await, None);
    let answer = answers.hold();
    let driver = here.clone();
    let slow = tokio::spawn(async move { text(&*driver, &key).await });
    answer.given().await;
    assert!(there.destroy(&key).await.unwrap());
    assert_eq!(text(&*here, &other).await, None);
    answer.let_go();
    assert_eq!(slow.await.unwrap().as_deref(), Some("third"));
    assert_eq!(text(&*here, &key).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_writers_at_two_servers_lose_nothing() {
    let (url, prefix) = (Redis::shared().url(), prefix());
    let mut apps = Vec::new();
    for _ in 0..2 {
        apps.push(App::new(SessionLayer::new(
            cached(&url, &prefix, &Calls::default()).await,
        )));
    }
    let browser = apps[0].browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    let mut writers = JoinSet::new();
    for number in 0..64 {
        let writer = apps[number % 2].browser();
        writer.set_id(&browser.id());
        writers.spawn(async move {
            let visit = writer.visit(move |session| {
                session.increment("count", 1).unwrap();
                session.push("who", number).unwrap();
            });
            visit.await.value();
        });
    }
    writers.join_all().await;
    let store = RedisDriver::connect(&url).await.unwrap().with_prefix(&prefix);
    let stored = store.read(&session_tests::key(&browser.id())).await.unwrap().unwrap();
    let payload: serde_json::Value = serde_json::from_slice(stored.payload()).unwrap();
    let mut who: Vec<u64> = serde_json::from_value(payload["who"].clone()).unwrap();
    who.sort_unstable();
    assert_eq!((payload["count"].as_u64(), who), (Some(64), (0..64).collect()));
}

#[tokio::test]
async fn a_server_that_must_not_be_asked_for_reports_is_not_waited_for() {
    let server = Redis::start(&[]);
    let user = [
        "ACL",
        "SETUSER",
        "limited",
        "on",
        ">pass",
        "~*",
        "&*",
        "+@all",
        "-client|tracking",
    ];
    server.ask::<()>(&user);
    let url = server.url().replace("redis://", "redis://limited:pass@");
    let calls = Calls::default();
    let driver = cached(&url, &prefix(), &calls).await;
    let (mine, others) = (key(), key());
    // The first command finds out.
    assert_eq!(text(&*driver, &others).await, None);
    create(&*driver, &mine, &of("first")).await;
    calls.take();
    assert_eq!(text(&*driver, &mine).await.as_deref(), Some("first"));
    assert_eq!(calls.take(), Counts::NONE, "as stale as it may be, and it is kept");
    assert_eq!(tracked(&server), 0);
}

#[tokio::test]
async fn a_cluster_reports_nothing() {
    struct Nobody;
    impl Watcher for Nobody {
        fn watching(&self) {}
        fn changed(&self, _: &StoreKey) {}
        fn lost(&self) {}
    }
    let driver = RedisDriver::connect(&RedisCluster::shared().url()).await.unwrap();
    assert!(!driver.watch(Arc::new(Nobody)));
}
