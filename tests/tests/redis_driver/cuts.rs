//! A connection that is cut in the middle of a command.

use std::time::Duration;

use session_schema::{Driver, Expected, OwnerIndex, RedisDriver, SessionLayer, Written};
use session_tests::App;
use session_tests::servers::{Redis, Relay};

use super::{create, done, driver, key, record};

async fn behind_a_relay() -> (RedisDriver, Relay) {
    let relay = Relay::to(Redis::shared().port()).await;
    let driver = driver(&format!("redis://127.0.0.1:{}/", relay.port())).await;
    (driver, relay)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let (driver, relay) = behind_a_relay().await;
    let (key, owned) = (key(), record("first").with_owner("ann"));
    relay.cut_next_answer();
    let created = create(&driver, &key, &owned).await;
    assert_eq!(relay.cuts(), 1);
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.version(), read.payload()), (created, owned.payload()));
    assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 1);

    relay.cut_next_answer();
    let replaced = done(
        driver
            .write(&key, &record("second"), Expected::Version(created))
            .await
            .unwrap(),
    );
    assert_eq!(relay.cuts(), 2);
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.version(), read.payload()), (replaced, record("second").payload()));
    assert!(driver.sessions_of("ann").await.unwrap().is_empty());

    relay.cut_next_answer();
    let late = driver
        .write(&key, &record("late"), Expected::Version(created))
        .await
        .unwrap();
    assert!(matches!(late, Written::Conflict(Some(_))), "{late:?}");
    assert_eq!(relay.cuts(), 3);
}

#[tokio::test]
async fn what_does_not_get_to_the_server_is_sent_once_more() {
    let (driver, relay) = behind_a_relay().await;
    let key = key();
    relay.cut_next_request();
    let version = create(&driver, &key, &record("first")).await;
    relay.cut_next_request();
    assert_eq!(driver.read(&key).await.unwrap().unwrap().version(), version);
    relay.cut_next_request();
    assert!(driver.touch(&key, record("").expires_at()).await.unwrap());
    relay.cut_next_request();
    assert!(driver.destroy(&key).await.unwrap());
    assert_eq!(relay.cuts(), 4);
}

#[tokio::test]
async fn every_request_counts_once_however_often_the_connection_is_cut() {
    let (driver, relay) = behind_a_relay().await;
    let app = App::new(SessionLayer::new(driver));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    for number in 0..60 {
        match number % 3 {
            0 => relay.cut_next_answer(),
            1 => relay.cut_next_request(),
            _ => {}
        }
        let visit = browser
            .visit(|session| session.increment("count", 1).map(drop).unwrap())
            .await;
        assert_eq!(visit.status, 200);
        // Whatever was not cut by the read is left to the write.
        let visit = browser.visit_async(async |session| {
            session.increment("count", 1).unwrap();
        });
        assert_eq!(visit.await.status, 200);
    }
    assert!(relay.cuts() >= 40);
    assert_eq!(
        browser
            .visit(|session| session.get::<u64>("count").unwrap())
            .await
            .value(),
        Some(120)
    );
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_counts_once() {
    let (driver, relay) = behind_a_relay().await;
    let relay = std::sync::Arc::new(relay);
    let app = App::new(SessionLayer::new(driver));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    for _ in 0..10 {
        let wire = relay.clone();
        // The session is loaded; what is cut is the save.
        let visit = browser.visit(move |session| {
            session.increment("count", 1).unwrap();
            wire.cut_next_answer();
        });
        assert_eq!(visit.await.status, 200);
    }
    assert_eq!(relay.cuts(), 10);
    assert_eq!(
        browser
            .visit(|session| session.get::<u64>("count").unwrap())
            .await
            .value(),
        Some(10)
    );
}

#[tokio::test]
async fn a_connection_over_which_nothing_comes_back_is_replaced_by_the_next_request() {
    let (driver, relay) = behind_a_relay().await;
    let layer = SessionLayer::new(driver).with_store_timeout(Duration::from_millis(1500));
    let browser = App::new(layer).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    relay.silence();
    assert_eq!(browser.visit(|session| session.has("a")).await.status, 503);
    assert_eq!(browser.visit(|session| session.has("a")).await.status, 200);
}
