//! A connection that is cut in the middle of a command.

use std::time::Duration;

use session_schema::{Driver, Expected, OwnerIndex, RedisDriver, SessionLayer, Written};
use session_tests::App;
use session_tests::servers::{Proxy, Redis};

use super::{create, done, driver, key, record};

async fn behind_a_proxy() -> (RedisDriver, Proxy) {
    let proxy = Proxy::before(Redis::shared().port()).await;
    let driver = driver(&format!("redis://127.0.0.1:{}/", proxy.port())).await;
    (driver, proxy)
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    let (driver, proxy) = behind_a_proxy().await;
    let (key, owned) = (key(), record("first").with_owner("ann"));
    proxy.cut_next_answer();
    let created = create(&driver, &key, &owned).await;
    assert_eq!(proxy.cuts(), 1);
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.version(), read.payload()), (created, owned.payload()));
    assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 1);

    proxy.cut_next_answer();
    let replaced = done(
        driver
            .write(&key, &record("second"), Expected::Version(created))
            .await
            .unwrap(),
    );
    assert_eq!(proxy.cuts(), 2);
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.version(), read.payload()), (replaced, record("second").payload()));
    assert!(driver.sessions_of("ann").await.unwrap().is_empty());

    proxy.cut_next_answer();
    let late = driver
        .write(&key, &record("late"), Expected::Version(created))
        .await
        .unwrap();
    assert!(matches!(late, Written::Conflict(Some(_))), "{late:?}");
    assert_eq!(proxy.cuts(), 3);
}

#[tokio::test]
async fn what_does_not_get_to_the_server_is_sent_once_more() {
    let (driver, proxy) = behind_a_proxy().await;
    let key = key();
    proxy.cut_next_question();
    let version = create(&driver, &key, &record("first")).await;
    proxy.cut_next_question();
    assert_eq!(driver.read(&key).await.unwrap().unwrap().version(), version);
    proxy.cut_next_question();
    assert!(driver.touch(&key, record("").expires_at()).await.unwrap());
    proxy.cut_next_question();
    assert!(driver.destroy(&key).await.unwrap());
    assert_eq!(proxy.cuts(), 4);
}

#[tokio::test]
async fn every_request_counts_once_however_often_the_connection_is_cut() {
    let (driver, proxy) = behind_a_proxy().await;
    let app = App::new(SessionLayer::new(driver));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    for number in 0..60 {
        match number % 3 {
            0 => proxy.cut_next_answer(),
            1 => proxy.cut_next_question(),
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
    assert!(proxy.cuts() >= 40);
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
    let (driver, proxy) = behind_a_proxy().await;
    let proxy = std::sync::Arc::new(proxy);
    let app = App::new(SessionLayer::new(driver));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    for _ in 0..10 {
        let wire = proxy.clone();
        // The session is loaded; what is cut is the save.
        let visit = browser.visit(move |session| {
            session.increment("count", 1).unwrap();
            wire.cut_next_answer();
        });
        assert_eq!(visit.await.status, 200);
    }
    assert_eq!(proxy.cuts(), 10);
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
    let (driver, proxy) = behind_a_proxy().await;
    let layer = SessionLayer::new(driver).with_store_timeout(Duration::from_millis(1500));
    let browser = App::new(layer).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    proxy.silence();
    assert_eq!(browser.visit(|session| session.has("a")).await.status, 503);
    assert_eq!(browser.visit(|session| session.has("a")).await.status, 200);
}
