//! A server that is killed, started again, silent, or has lost the scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_schema::{Driver, Expected, RedisDriver, Session, SessionLayer};
use session_tests::servers::Redis;
use session_tests::{App, Browser};

use super::{PATIENCE, create, done, driver, key, record};

#[tokio::test]
async fn a_server_that_has_lost_the_scripts_is_given_them_again() {
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let key = key();
    let flush = || server.ask::<redis::Value>(&["SCRIPT", "FLUSH"]);
    flush();
    let version = create(&driver, &key, &record("first")).await;
    flush();
    assert!(driver.read(&key).await.unwrap().is_some());
    flush();
    done(
        driver
            .write(&key, &record("second"), Expected::Version(version))
            .await
            .unwrap(),
    );
    flush();
    assert!(driver.touch(&key, record("").expires_at()).await.unwrap());
    flush();
    assert!(driver.destroy(&key).await.unwrap());
}

#[tokio::test]
async fn a_server_that_is_started_again_is_used_again_at_once() {
    let mut server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let driver = driver(&server.url()).await;
    let key = key();
    create(&driver, &key, &record("one")).await;
    server.kill();
    let error = driver.read(&key).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    server.start_again();
    assert!(driver.read(&key).await.unwrap().is_some(), "the first request finds it");
}

/// Increments for as long as it may, and counts what came of it.
async fn count(browser: Browser, go_on: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>, failed: Arc<AtomicU64>) {
    while go_on.load(Ordering::SeqCst) {
        let visit = browser
            .visit(|session| session.increment("count", 1).map(drop).unwrap())
            .await;
        match visit.status.as_u16() {
            200 => acknowledged.fetch_add(1, Ordering::SeqCst),
            503 => failed.fetch_add(1, Ordering::SeqCst),
            other => panic!("status {other}"),
        };
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_loses_nothing_it_has_answered_for() {
    let mut server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let app = App::new(SessionLayer::new(driver(&server.url()).await));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    let go_on = Arc::new(AtomicBool::new(true));
    let (acknowledged, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counting = [(); 4].map(|()| {
        tokio::spawn(count(
            browser.copy(),
            go_on.clone(),
            acknowledged.clone(),
            failed.clone(),
        ))
    });
    let wait_for_more = async |counter: &AtomicU64| {
        let (since, before) = (Instant::now(), counter.load(Ordering::SeqCst));
        while counter.load(Ordering::SeqCst) < before + 20 {
            assert!(since.elapsed() < PATIENCE, "nothing happens any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for _ in 0..3 {
        wait_for_more(&acknowledged).await;
        server.kill();
        wait_for_more(&failed).await;
        server = tokio::task::spawn_blocking(move || {
            server.start_again();
            server
        })
        .await
        .unwrap();
    }
    wait_for_more(&acknowledged).await;
    go_on.store(false, Ordering::SeqCst);
    for counting in counting {
        counting.await.unwrap();
    }
    let count = browser
        .visit(|session| session.get::<u64>("count").unwrap().unwrap())
        .await
        .value();
    let (acknowledged, failed) = (acknowledged.load(Ordering::SeqCst), failed.load(Ordering::SeqCst));
    assert!(count >= acknowledged, "{count} of {acknowledged} changes are left");
    assert!(
        count <= acknowledged + failed,
        "{count} changes, of which {acknowledged} succeeded and {failed} failed"
    );
}

#[tokio::test]
async fn a_server_that_keeps_silent_is_not_waited_for_and_is_used_again_when_it_speaks() {
    let server = Redis::start(&[]);
    let layer = SessionLayer::new(driver(&server.url()).await).with_store_timeout(Duration::from_millis(300));
    let browser = App::new(layer).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    server.process().signal("STOP");
    for _ in 0..3 {
        let since = Instant::now();
        assert_eq!(browser.visit(|session| session.has("a")).await.status, 503);
        assert!(since.elapsed() < Duration::from_secs(3));
    }
    server.process().signal("CONT");
    let since = Instant::now();
    while browser.visit(|session| assert!(session.has("a"))).await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "the server is not used again");
    }
}

#[tokio::test]
async fn who_uses_a_driver_without_a_layer_is_not_kept_waiting_for_ever() {
    let server = Redis::start(&[]);
    let driver = driver(&server.url()).await;
    let key = key();
    create(&driver, &key, &record("one")).await;
    server.process().signal("STOP");
    let (first, second) = tokio::join!(driver.read(&key), driver.read(&key));
    for answer in [first, second, driver.read(&key).await] {
        assert!(answer.unwrap_err().is_unavailable());
    }
    server.process().signal("CONT");
    assert!(super::in_the_end(async || driver.read(&key).await).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_and_fifty_six_requests_at_once_all_count() {
    let app = App::new(SessionLayer::new(super::shared().await).with_store_timeout(Duration::from_secs(30)));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    let change = |session: Session| {
        session.increment("count", 1).unwrap();
        session.push("list", 1).unwrap();
    };
    let mut slow = Vec::new();
    for _ in 0..256 {
        slow.push(browser.begin(change).await);
    }
    let mut visits = tokio::task::JoinSet::new();
    slow.into_iter().for_each(|slow| drop(visits.spawn(slow.finish())));
    for visit in visits.join_all().await {
        assert_eq!(visit.status, 200);
    }
    let (count, list) = browser
        .visit(|session| {
            (
                session.get::<u64>("count").unwrap(),
                session.get::<Vec<u8>>("list").unwrap(),
            )
        })
        .await
        .value();
    assert_eq!((count, list.map(|list| list.len())), (Some(256), Some(256)));
}

#[tokio::test]
async fn a_driver_that_is_closed_can_be_used_again() {
    let driver: RedisDriver = super::shared().await;
    let key = key();
    create(&driver, &key, &record("one")).await;
    driver.close().await.unwrap();
    assert!(driver.read(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_and_cuts_nobody_off_is_not_read_any_more() {
    let (master, server) = (Redis::start(&[]), Redis::start(&[]));
    let app = App::new(SessionLayer::new(driver(&server.url()).await));
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let read = |session: Session| session.get::<u64>("user").unwrap();
    // The first one looks whether there is something to prolong, the others know that there is not.
    for _ in 0..3 {
        assert_eq!(browser.visit(read).await.value(), Some(7));
    }
    let port = master.port().to_string();
    drop(master);
    server.ask::<redis::Value>(&["REPLICAOF", "127.0.0.1", &port]);
    for _ in 0..3 {
        assert_eq!(browser.visit(read).await.status, 503);
    }
    server.ask::<redis::Value>(&["REPLICAOF", "NO", "ONE"]);
    let since = Instant::now();
    while browser.visit(read).await.status != 200 {
        assert!(since.elapsed() < PATIENCE, "it is a master again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
