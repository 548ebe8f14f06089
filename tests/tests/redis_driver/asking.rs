//! How often the server is asked, as it sees the commands arrive. What a script does inside does not count.

use std::time::Duration;

use session_schema::testing::ManualClock;
use session_schema::{Driver, Expected, OwnerIndex, RedisDriver, Session, SessionLayer};
use session_tests::servers::{Monitor, Redis, RedisCluster};
use session_tests::{App, Log};
use tracing::Level;

use super::{HOUR, create, done, driver, key, record};

/// An application over a server of its own, and what that is asked.
async fn site() -> (App, ManualClock, Monitor, Redis) {
    let server = Redis::start(&[]);
    let clock = ManualClock::new();
    let driver = RedisDriver::connect(&server.url())
        .await
        .unwrap()
        .with_clock(clock.clone());
    let app = App::new(SessionLayer::new(driver).with_clock(clock.clone()));
    let monitor = Monitor::of(&server);
    (app, clock, monitor, server)
}

#[track_caller]
fn assert_asked(monitor: &mut Monitor, times: usize) {
    let (arrived, _) = monitor.take();
    assert_eq!(arrived.len(), times, "{arrived:#?}");
    let is_ours = |command: &String| {
        let names = ["\"EVALSHA\"", "\"GETEX\"", "\"SET\""];
        names.iter().any(|name| command.starts_with(name))
    };
    assert!(arrived.iter().all(is_ours), "{arrived:#?}");
}

#[tokio::test]
async fn a_request_asks_as_little_as_it_can() {
    let (app, _clock, mut monitor, _server) = site().await;
    let browser = app.browser();

    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    assert_asked(&mut monitor, 1);

    browser.visit(|session| assert!(session.has("a"))).await.value();
    assert_asked(&mut monitor, 1);

    browser.visit(|session| session.put("a", 2).unwrap()).await.value();
    assert_asked(&mut monitor, 2);

    let hello = async |_| axum::response::IntoResponse::into_response("hello");
    let untouched = browser.send(axum::extract::Request::default(), hello).await;
    assert_eq!(untouched.status, 200);
    assert_asked(&mut monitor, 0);
}

#[tokio::test]
async fn a_session_with_an_owner_costs_no_command_more() {
    let (app, _clock, mut monitor, _server) = site().await;
    let browser = app.browser();
    let sign_in = |session: Session| session.set_owner(Some("ann")).unwrap();
    browser.visit(sign_in).await.value();
    assert_asked(&mut monitor, 1);
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    assert_asked(&mut monitor, 2);
}

#[tokio::test]
async fn the_set_of_an_owner_is_told_of_one_touch_in_ten_and_of_no_write_within_a_minute_in_a_cluster() {
    let cluster = RedisCluster::start(0);
    let driver = driver(&cluster.url()).await.with_clock(ManualClock::new());
    let mut monitors: Vec<_> = cluster.nodes.iter().map(Monitor::of).collect();
    let mut asked = || {
        let scripts = |monitor: &mut Monitor| {
            let (arrived, _) = monitor.take();
            arrived
                .iter()
                .filter(|command| command.starts_with("\"EVALSHA\""))
                .count()
        };
        monitors.iter_mut().map(scripts).sum::<usize>()
    };
    let (key, owned) = (key(), record("owned").with_owner("ann"));
    let version = create(&driver, &key, &owned).await;
    assert_eq!(asked(), 2, "the set is in another slot");
    let mut version = done(driver.write(&key, &owned, Expected::Version(version)).await.unwrap());
    assert_eq!(asked(), 1);

    let mut expiry = owned.expires_at();
    for _ in 0..9 {
        expiry += HOUR / 10;
        assert!(driver.touch(&key, expiry).await.unwrap());
    }
    assert_eq!(
        asked(),
        9,
        "it was told of twice the lifetime, as it was when the record was written"
    );
    assert!(driver.touch(&key, expiry + HOUR / 5).await.unwrap());
    assert_eq!(asked(), 3);

    version = done(
        driver
            .write(&key, &record("bob's").with_owner("bob"), Expected::Version(version))
            .await
            .unwrap(),
    );
    assert_eq!(asked(), 4, "tried, told, written, and taken from who had it");
    done(
        driver
            .write(&key, &record("nobody's"), Expected::Version(version))
            .await
            .unwrap(),
    );
    assert_eq!(asked(), 2);
    assert!(driver.sessions_of("ann").await.unwrap().is_empty());
    assert!(driver.sessions_of("bob").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_record_gets_its_expiry_with_its_content() {
    // STORE-18, STORE-19
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let mut monitor = Monitor::of(&server);
    let (key, record) = (key(), record("one"));
    let millis = |record: &session_schema::Record| {
        let since_1970 = record.expires_at().duration_since(std::time::UNIX_EPOCH).unwrap();
        since_1970.as_millis().to_string()
    };
    let one_set = |commands: &[String], end: &str| {
        let sets: Vec<_> = commands
            .iter()
            .filter(|command| command.starts_with("\"SET\""))
            .collect();
        let expiry = format!("\"PXAT\" \"{}\"{end}", millis(&record));
        assert!(sets.len() == 1 && sets[0].ends_with(&expiry), "{commands:#?}");
    };
    let version = create(&driver, &key, &record).await;
    one_set(&monitor.take().0, " \"NX\"");
    done(driver.write(&key, &record, Expected::Version(version)).await.unwrap());
    one_set(&monitor.take().1, "");

    let later = record
        .clone()
        .with_expires_at(record.expires_at() + Duration::from_secs(60));
    assert!(driver.touch(&key, later.expires_at()).await.unwrap());
    let (_, inside) = monitor.take();
    let moves: Vec<_> = inside
        .iter()
        .filter(|command| command.starts_with("\"PEXPIREAT\""))
        .collect();
    assert!(
        moves.len() == 1 && moves[0].ends_with(&format!("\"{}\"", millis(&later))),
        "{inside:#?}"
    );
}

#[tokio::test]
async fn a_read_that_has_nothing_to_prolong_is_no_script_once_that_is_known() {
    let (app, clock, mut monitor, server) = site().await;
    let browser = app.browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    monitor.take();
    let mut read = async || {
        monitor.take();
        let found = browser.visit(|session| session.has("a")).await.value();
        let (arrived, _) = monitor.take();
        let names: Vec<_> = arrived.iter().filter_map(|command| command.split('"').nth(1)).collect();
        (found, names.join(" "))
    };
    assert_eq!(read().await, (true, "EVALSHA".to_owned()));
    assert_eq!(read().await, (true, "GETEX".to_owned()));
    // A tenth of the lifetime, which is two hours unless said otherwise.
    clock.advance(HOUR / 5);
    assert_eq!(read().await, (true, "EVALSHA".to_owned()));
    assert_eq!(read().await, (true, "GETEX".to_owned()));

    // Something of another type has been put there: the script sees what it is.
    let stored: Vec<String> = server.ask(&["KEYS", "*"]);
    server.ask::<redis::Value>(&["DEL", &stored[0]]);
    server.ask::<redis::Value>(&["HSET", &stored[0], "a field", "of somebody"]);
    let log = Log::capture();
    assert_eq!(read().await, (false, "GETEX EVALSHA".to_owned()));
    let warnings = log.at(Level::WARN);
    assert!(warnings.iter().any(|entry| entry.message.contains("is no session")));
}
