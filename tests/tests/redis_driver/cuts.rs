//! A connection that is cut in the middle of a command.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use redis::cluster::{ClusterClient, NodeAddress};
use session_schema::{
    Driver, DriverError, Expected, OwnerIndex, RedisDriver, SessionLayer, StoreKey, Version, Written,
};
use session_tests::App;
use session_tests::servers::{Redis, RedisCluster, Relay};
use tokio::task::JoinHandle;

use super::{create, done, driver, key, record};

async fn behind_a_relay() -> (RedisDriver, Relay) {
    let relay = Relay::to(Redis::shared().port()).await;
    let driver = driver(&format!("redis://127.0.0.1:{}/", relay.port())).await;
    (driver, relay)
}

#[tokio::test]
async fn another_visitors_session_is_not_read_over_a_connection_that_is_out_of_step() {
    let (driver, relay) = behind_a_relay().await;
    let [ours, theirs] = [key(), key()];
    let version = create(&driver, &ours, &record("ours").with_owner("ann")).await;
    create(&driver, &theirs, &record("theirs").with_owner("bob")).await;
    let out_of_step = |error: DriverError| {
        let told = format!("{error:?}");
        assert!(!error.is_unavailable() && told.contains("about another key"), "{told}");
        for text in [ours.as_str(), theirs.as_str(), "theirs", "bob"] {
            assert!(!told.contains(text), "{told}");
        }
    };
    relay.swap(ours.as_str(), theirs.as_str());
    out_of_step(driver.read(&ours).await.unwrap_err());
    let late = driver.write(&ours, &record("late"), Expected::Version(version)).await;
    out_of_step(late.unwrap_err());
    let app = App::new(SessionLayer::new(driver.clone()));
    relay.swap("", "");
    let [browser, other] = [app.browser(), app.browser()];
    for browser in [&browser, &other] {
        browser.visit(|session| session.put("a", 1).unwrap()).await.value();
        // A script, after which a plain command will do.
        browser.visit(|session| assert!(session.has("a"))).await.value();
    }
    relay.swap(
        session_tests::key(&browser.id()).as_str(),
        session_tests::key(&other.id()).as_str(),
    );
    assert_eq!(browser.visit(|session| session.has("a")).await.status, 500);

    // printf ann | sha256sum, and bob, which are in the names of their sets.
    relay.swap(
        "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1",
        "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9",
    );
    out_of_step(driver.sessions_of("ann").await.unwrap_err());
    relay.swap("", "");
    assert_eq!(driver.read(&ours).await.unwrap().unwrap().version(), version);
    assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 1);
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

/// A session, a driver whose connections can be cut, and one whose cannot.
struct Scene {
    /// Before the server that has the session.
    relay: Relay,
    driver: RedisDriver,
    direct: RedisDriver,
    key: StoreKey,
    version: Version,
}

impl Scene {
    async fn on_one_server() -> Self {
        let relay = Relay::to(Redis::shared().port()).await;
        let direct = driver(&Redis::shared().url()).await;
        let through = redis::Client::open(format!("redis://127.0.0.1:{}/", relay.port())).unwrap();
        Self::of(direct, |_| (relay, RedisDriver::from_client(through))).await
    }

    async fn in_a_cluster() -> Self {
        let cluster = RedisCluster::shared();
        let mut relays = Vec::new();
        for node in &cluster.nodes {
            relays.push((node, Relay::to(node.port()).await));
        }
        let address = |port| NodeAddress::new("127.0.0.1", port);
        let places: HashMap<_, _> = relays
            .iter()
            .map(|(node, relay)| (address(node.port()), address(relay.port())))
            .collect();
        let client = ClusterClient::builder(vec![cluster.nodes[0].url()]).node_address_map(places);
        let through = RedisDriver::from_cluster_client(client.build().unwrap());
        let direct = driver(&cluster.url()).await;
        let of_session = |key: &StoreKey| {
            let has_it = |node: &Redis| {
                let keys: Vec<String> = node.ask(&["KEYS", &format!("*{}*", key.as_str())]);
                !keys.is_empty()
            };
            let found = relays.into_iter().find(|(node, _)| has_it(node));
            (found.expect("a node has the session").1, through)
        };
        Self::of(direct, of_session).await
    }

    async fn of(direct: RedisDriver, through: impl FnOnce(&StoreKey) -> (Relay, RedisDriver)) -> Self {
        let direct = direct.with_prefix("cuts:");
        let key = key();
        let version = create(&direct, &key, &record("first")).await;
        let (relay, driver) = through(&key);
        let driver = driver.with_prefix("cuts:");
        driver.open().await.unwrap();
        Self {
            relay,
            driver,
            direct,
            key,
            version,
        }
    }

    /// A write through the relay.
    fn write(&self, text: &'static str, expected: Expected) -> JoinHandle<Result<Written, DriverError>> {
        let (driver, key) = (self.driver.clone(), self.key);
        tokio::spawn(async move { driver.write(&key, &record(text), expected).await })
    }

    /// A write of somebody else.
    async fn replace(&self, text: &str) {
        let seen = self.direct.read(&self.key).await.unwrap().unwrap().version();
        let next = record(text);
        let written = self.direct.write(&self.key, &next, Expected::Version(seen));
        done(written.await.unwrap());
    }

    async fn payload(&self) -> Option<Vec<u8>> {
        let read = self.direct.read(&self.key).await.unwrap();
        read.map(|record| record.payload().to_vec())
    }
}

#[track_caller]
fn assert_not_known(written: Result<Written, DriverError>) {
    let error = written.unwrap_err();
    let source = error.source().unwrap().to_string();
    assert!(error.is_unavailable() && source.contains("not known"), "{source}");
}

async fn a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_and_not_a_conflict(scene: Scene) {
    // A conflict would make the writer add its change to a record that may have it already.
    let mut cut = scene.relay.lose_answer("the lost one");
    let write = scene.write("the lost one", Expected::Version(scene.version));
    cut.reached().await;
    assert_eq!(scene.payload().await.unwrap(), record("the lost one").payload());
    scene.replace("of another").await;
    scene.replace("of a third").await;
    cut.go_on();
    assert_not_known(write.await.unwrap());
    assert_eq!(scene.payload().await.unwrap(), record("of a third").payload());
    // What was not sent twice is known.
    let late = scene.write("late", Expected::Version(scene.version)).await.unwrap();
    assert!(matches!(late, Ok(Written::Conflict(Some(_)))), "{late:?}");
}

#[tokio::test]
async fn a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_on_one_server() {
    let scene = Scene::on_one_server().await;
    a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_and_not_a_conflict(scene).await;
}

#[tokio::test]
async fn a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_in_a_cluster() {
    let scene = Scene::in_a_cluster().await;
    a_write_of_which_nobody_can_tell_whether_it_was_done_is_an_error_and_not_a_conflict(scene).await;
}

async fn a_creation_of_which_nobody_can_tell_whether_it_was_done_is_an_error(scene: Scene) {
    assert!(scene.direct.destroy(&scene.key).await.unwrap());
    let mut cut = scene.relay.lose_answer("the lost one");
    let write = scene.write("the lost one", Expected::Absent);
    cut.reached().await;
    scene.replace("of another").await;
    cut.go_on();
    assert_not_known(write.await.unwrap());
    assert_eq!(scene.payload().await.unwrap(), record("of another").payload());
}

#[tokio::test]
async fn a_creation_of_which_nobody_can_tell_whether_it_was_done_is_an_error_on_one_server() {
    a_creation_of_which_nobody_can_tell_whether_it_was_done_is_an_error(Scene::on_one_server().await).await;
}

#[tokio::test]
async fn a_creation_of_which_nobody_can_tell_whether_it_was_done_is_an_error_in_a_cluster() {
    a_creation_of_which_nobody_can_tell_whether_it_was_done_is_an_error(Scene::in_a_cluster().await).await;
}

async fn what_is_destroyed_stays_so_whatever_answers_are_lost(scene: Scene) {
    let mut cut = scene.relay.lose_answer("the lost one");
    let write = scene.write("the lost one", Expected::Version(scene.version));
    cut.reached().await;
    assert!(scene.direct.destroy(&scene.key).await.unwrap());
    cut.go_on();
    let written = write.await.unwrap();
    assert!(matches!(written, Ok(Written::Gone)), "{written:?}");
    assert_eq!(scene.payload().await, None);

    create(&scene.direct, &scene.key, &record("again")).await;
    scene.relay.lose_answer(scene.key.as_str()).go_on();
    assert!(scene.driver.destroy(&scene.key).await.unwrap(), "there was one");
    assert_eq!(scene.relay.cuts(), 2);
    assert_eq!(scene.payload().await, None);
    assert!(!scene.driver.destroy(&scene.key).await.unwrap());
}

#[tokio::test]
async fn what_is_destroyed_stays_so_whatever_answers_are_lost_on_one_server() {
    what_is_destroyed_stays_so_whatever_answers_are_lost(Scene::on_one_server().await).await;
}

#[tokio::test]
async fn what_is_destroyed_stays_so_whatever_answers_are_lost_in_a_cluster() {
    what_is_destroyed_stays_so_whatever_answers_are_lost(Scene::in_a_cluster().await).await;
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_does_not_count_twice_when_another_follows_it() {
    let scene = Scene::on_one_server().await;
    let browser = App::new(SessionLayer::new(scene.driver.clone())).browser();
    let elsewhere = App::new(SessionLayer::new(scene.direct.clone())).browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    elsewhere.set_id(&browser.id());
    let mut cut = scene.relay.lose_answer("the lost one");
    let tab = browser.clone();
    let lost = tokio::spawn(async move {
        let visit = tab.visit(|session| {
            session.increment("count", 1).unwrap();
            session.put("text", "the lost one").unwrap();
        });
        visit.await.status
    });
    cut.reached().await;
    elsewhere
        .visit(|session| session.increment("count", 1).map(drop).unwrap())
        .await
        .value();
    cut.go_on();
    assert_eq!(lost.await.unwrap(), 503);
    let count = browser.visit(|session| session.get::<u64>("count").unwrap());
    assert_eq!(count.await.value(), Some(2));
}
