//! What the server forgets by itself, what it must not, and what stands under a session's key that is none.

use std::time::{Duration, Instant, SystemTime};

use session_schema::{Driver, Expected, OwnerIndex, Record, RedisDriver, Session, SessionLayer, Written};
use session_tests::servers::Redis;
use session_tests::{App, Log};
use tracing::Level;

use super::{HOUR, PATIENCE, create, done, driver, key, record};

/// The keys of a server of the test's own.
fn keys(server: &Redis) -> Vec<String> {
    let mut keys: Vec<String> = server.ask(&["KEYS", "*"]);
    keys.sort();
    keys
}

async fn wait_until_empty(server: &Redis) {
    let since = Instant::now();
    while !keys(server).is_empty() {
        assert!(since.elapsed() < PATIENCE, "the server keeps {:?}", keys(server));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_forgets_sessions_and_owners_by_itself() {
    // GC-14, IDX-17
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let soon = SystemTime::now() + Duration::from_millis(700);
    for _ in 0..3 {
        create(
            &driver,
            &key(),
            &record("short").with_expires_at(soon).with_owner("ann"),
        )
        .await;
    }
    assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 3);
    assert_eq!(keys(&server).len(), 4);
    wait_until_empty(&server).await;
    assert_eq!(driver.gc().await.unwrap(), 0);
}

#[tokio::test]
async fn the_set_of_an_owner_forgets_what_has_gone() {
    // IDX-02, IDX-06, IDX-08
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let [destroyed, changed, ended, touched, listed] = [key(), key(), key(), key(), key()];
    let owned = record("ann's").with_owner("ann");
    let mut versions = Vec::new();
    for key in [destroyed, changed, ended, touched, listed] {
        versions.push(create(&driver, &key, &owned).await);
    }
    let set = keys(&server).into_iter().find(|key| key.contains("owner")).unwrap();
    let members = || server.ask::<usize>(&["ZCARD", &set]);
    assert_eq!(members(), 5);
    assert!(driver.destroy(&destroyed).await.unwrap());
    assert_eq!(members(), 4);
    done(
        driver
            .write(
                &changed,
                &record("bob's").with_owner("bob"),
                Expected::Version(versions[1]),
            )
            .await
            .unwrap(),
    );
    assert_eq!(members(), 3);
    let past = Record::new(Vec::new(), SystemTime::UNIX_EPOCH);
    done(
        driver
            .write(&ended, &past, Expected::Version(versions[2]))
            .await
            .unwrap(),
    );
    assert_eq!(members(), 2);
    assert!(driver.touch(&touched, SystemTime::UNIX_EPOCH).await.unwrap());
    assert_eq!(members(), 1);
    assert_eq!(driver.destroy_sessions_of("ann", None).await.unwrap(), 1);
    assert_eq!(members(), 0);
    assert!(!keys(&server).contains(&set), "an empty set is no key");
}

#[tokio::test]
async fn a_record_without_an_expiry_gets_it_back_when_it_is_read() {
    // STORE-18
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let (session, record) = (key(), record("one"));
    create(&driver, &session, &record).await;
    let stored = &keys(&server)[0];
    let expiry = || server.ask::<i64>(&["PEXPIRETIME", stored]);
    let before = expiry();
    assert!(before > 0);
    assert_eq!(server.ask::<i64>(&["PERSIST", stored]), 1);
    assert_eq!(expiry(), -1);
    assert!(driver.read(&session).await.unwrap().is_some());
    assert_eq!(expiry(), before);
}

#[tokio::test]
async fn what_is_no_session_reads_as_nothing_and_is_left_alone() {
    // STORE-21, STORE-39, ERR-04
    let server = Redis::start(&[]);
    let driver = RedisDriver::connect(&server.url()).await.unwrap();
    let (session, log) = (key(), Log::capture());
    create(&driver, &session, &record("one").with_owner("ann")).await;
    let stored = keys(&server).into_iter().find(|key| !key.contains("owner")).unwrap();
    let plantings: [&[&str]; 5] = [
        &["SET", &stored, "something else"],
        &["SET", &stored, ""],
        &[
            "SET",
            &stored,
            "ss2 00000000000000ff 001767225600000 001767229200000 0 0 - {}",
        ],
        &["HSET", &stored, "a field", "that was left"],
        &["RPUSH", &stored, "a list"],
    ];
    for planting in plantings {
        server.ask::<redis::Value>(&["DEL", &stored]);
        server.ask::<redis::Value>(planting);
        let dump = || server.ask::<Vec<u8>>(&["DUMP", &stored]);
        let before = dump();
        assert!(driver.read(&session).await.unwrap().is_none());
        assert!(!driver.touch(&session, SystemTime::now() + HOUR).await.unwrap());
        assert!(!driver.destroy(&session).await.unwrap());
        assert!(driver.sessions_of("ann").await.unwrap().is_empty());
        assert_eq!(driver.destroy_sessions_of("ann", None).await.unwrap(), 0);
        for expected in [Expected::Absent, Expected::Version(0.into())] {
            let written = driver.write(&session, &record("new"), expected).await.unwrap();
            assert!(matches!(written, Written::Conflict(None)), "{written:?}");
        }
        assert_eq!(dump(), before, "{planting:?}");
        let warnings = log.at(Level::WARN);
        assert!(
            warnings.iter().any(|entry| entry.message.contains("is no session")),
            "{planting:?}"
        );
        assert!(!format!("{warnings:?}").contains(session.as_str()));
    }
}

#[tokio::test]
async fn who_takes_an_owner_out_of_its_set_late_leaves_in_what_was_noted_since() {
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let (key, anns) = (key(), record("ann's").with_owner("ann"));
    let version = create(&driver, &key, &anns).await;
    let set = keys(&server).into_iter().find(|key| key.contains("owner")).unwrap();
    let noted = || server.ask::<Option<u64>>(&["ZSCORE", &set, key.as_str()]);
    let before = noted().unwrap();
    let bobs = record("bob's").with_owner("bob");
    let version = done(driver.write(&key, &bobs, Expected::Version(version)).await.unwrap());
    assert_eq!(noted(), None);
    // As if that had not come to its end yet when the session is ann's again.
    server.ask::<u64>(&["ZADD", &set, &before.to_string(), key.as_str()]);
    let version = done(driver.write(&key, &anns, Expected::Version(version)).await.unwrap());
    let after = noted().unwrap();
    assert_ne!(
        after, before,
        "whoever takes out what was noted before does not find it"
    );
    assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 1);

    // What the record says of that is what is taken out when it changes hands once more.
    done(driver.write(&key, &bobs, Expected::Version(version)).await.unwrap());
    assert_eq!(noted(), None);
}

#[tokio::test]
async fn a_session_with_an_owner_is_prolonged_beyond_what_its_set_knows_when_memory_is_full() {
    let server = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let driver = driver(&server.url()).await;
    let (key, record) = (key(), record("ann's").with_owner("ann"));
    create(&driver, &key, &record).await;
    server.ask::<redis::Value>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(driver.touch(&key, record.expires_at() + 5 * HOUR).await.unwrap());
    let error = driver.write(&key, &record, Expected::Absent).await.unwrap_err();
    let said = format!("{error:?}");
    assert!(!error.is_unavailable() && said.contains("memory is full"), "{said}");
}

#[tokio::test]
async fn sessions_can_be_used_and_ended_when_memory_is_full() {
    let server = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let driver = driver(&server.url()).await;
    let app = App::new(SessionLayer::new(driver));
    let browser = app.browser();
    let sign_in = |session: Session| {
        session.put("user", 7).unwrap();
        session.set_owner(Some("7")).unwrap();
    };
    browser.visit(sign_in).await.value();
    server.ask::<redis::Value>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(
        browser
            .visit(|session| session.get::<u64>("user").unwrap())
            .await
            .value(),
        Some(7)
    );
    let refused = browser
        .visit(|session| session.put("more", "x".repeat(1000)).unwrap())
        .await;
    assert_eq!(refused.status, 500, "the server answered with an error");
    browser.visit(|session| session.invalidate().unwrap()).await.value();
    assert_eq!(
        keys(&server),
        [""; 0],
        "neither the session nor its owner's set is left"
    );
}
