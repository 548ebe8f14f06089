//! What a driver has in memory is what it would answer, or do, if it were asked.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use session_schema::testing::ManualClock;
use session_schema::{
    CachedDriver, Config, Driver, Expected, MemoryDriver, Record, Session, SessionLayer, SessionManager, StoreKey,
    Written,
};
use session_tests::{App, Call, Faults, FaultyDriver, Site, on_every_driver, signed_in, user};

const MINUTE: Duration = Duration::from_secs(60);

fn key() -> StoreKey {
    "k".repeat(64).parse().unwrap()
}

async fn store(driver: &impl Driver) -> Record {
    let record = Record::new(br#"{"a":1}"#.to_vec(), SystemTime::now() + MINUTE).with_owner("ann");
    let written = driver.write(&key(), &record, Expected::Absent).await.unwrap();
    assert!(matches!(written, Written::Done(_)));
    record
}

/// Both are asked, and agree on everything.
async fn both(driver: &impl Driver) -> Option<Record> {
    let (at_hand, read) = (
        driver.at_hand(&key(), SystemTime::now()),
        driver.read(&key()).await.unwrap(),
    );
    let facts = |record: &Record| {
        let owner = record.owner().map(str::to_owned);
        (record.payload().to_vec(), record.version(), record.expires_at(), owner)
    };
    assert_eq!(at_hand.as_ref().map(facts), read.as_ref().map(facts));
    at_hand
}

#[tokio::test]
async fn memory_has_at_hand_what_it_reads() {
    let driver = MemoryDriver::new();
    assert!(both(&driver).await.is_none());
    let record = store(&driver).await;
    assert_eq!(both(&driver).await.unwrap().payload(), record.payload());
    assert!(
        driver
            .at_hand(&key(), record.expires_at() - Duration::from_millis(1))
            .is_some()
    );
    assert!(driver.at_hand(&key(), record.expires_at()).is_none(), "it has expired");
    driver.destroy(&key()).await.unwrap();
    assert!(both(&driver).await.is_none());
}

#[tokio::test]
async fn a_cache_has_at_hand_what_it_has_read_and_no_more() {
    let store_below = MemoryDriver::new();
    let record = store(&store_below).await;
    let driver = CachedDriver::new(store_below.clone(), MINUTE);
    driver.open().await.unwrap();
    assert!(
        driver.at_hand(&key(), SystemTime::now()).is_none(),
        "nobody has read it"
    );
    driver.read(&key()).await.unwrap();
    assert!(both(&driver).await.is_some());
    assert!(driver.at_hand(&key(), SystemTime::now() + MINUTE / 2).is_some());
    assert!(driver.at_hand(&key(), record.expires_at()).is_none(), "it has expired");
    driver.destroy(&key()).await.unwrap();
    assert!(both(&driver).await.is_none());
}

#[tokio::test]
async fn who_has_a_clock_of_its_own_is_asked() {
    let clock = ManualClock::new();
    let memory = MemoryDriver::new().with_clock(clock.clone());
    let record = Record::new(b"{}".to_vec(), session_schema::Clock::now(&clock) + MINUTE);
    memory.write(&key(), &record, Expected::Absent).await.unwrap();
    let cached = CachedDriver::new(memory.clone(), MINUTE).with_clock(clock);
    assert!(cached.read(&key()).await.unwrap().is_some());
    for driver in [&memory as &dyn Driver, &cached] {
        assert!(driver.at_hand(&key(), SystemTime::UNIX_EPOCH).is_none());
        assert!(driver.in_memory().is_none());
    }
}

#[tokio::test]
async fn a_cache_is_waited_for_when_it_writes() {
    assert!(CachedDriver::new(MemoryDriver::new(), MINUTE).in_memory().is_none());
}

#[tokio::test]
async fn what_is_written_at_hand_is_written() {
    let driver: Arc<dyn Driver> = Arc::new(Box::new(MemoryDriver::new()));
    let memory = driver.in_memory().unwrap();
    let now = SystemTime::now();
    let record = |payload: &str| Record::new(payload.into(), now + MINUTE);
    let Written::Done(first) = memory.write_now(&key(), record("{}"), Expected::Absent, now) else {
        panic!("nothing was there");
    };
    assert_eq!(both(&driver).await.unwrap().version(), first);
    let late = memory.write_now(&key(), record("{}"), Expected::Absent, now);
    assert!(matches!(late, Written::Conflict(Some(there)) if there.version() == first));
    let second = memory.write_now(&key(), record(r#"{"a":1}"#), Expected::Version(first), now);
    assert!(matches!(second, Written::Done(version) if version != first));
    assert_eq!(both(&driver).await.unwrap().payload(), br#"{"a":1}"#);
    let gone = memory.write_now(&key(), record("{}"), Expected::Version(first), now + MINUTE);
    assert!(matches!(gone, Written::Gone), "at that moment it has expired");
}

#[tokio::test]
async fn the_memory_of_a_manager_is_at_hand_unless_it_has_another_clock() {
    let mut config = Config::default();
    config.driver = "memory".into();
    let manager = SessionManager::new(config).unwrap();
    assert!(manager.driver(None).await.unwrap().in_memory().is_some());
    let manager = manager.with_clock(ManualClock::new());
    assert!(manager.driver(None).await.unwrap().in_memory().is_none());
}

#[tokio::test]
async fn layers_of_which_one_has_another_clock_share_a_driver_that_has_its_own() {
    let driver = MemoryDriver::new();
    let here = App::new(SessionLayer::new(driver.clone()));
    let ahead = || SystemTime::now() + 24 * 60 * MINUTE;
    let tomorrow = App::new(SessionLayer::new(driver).with_clock(ahead));
    let browsers: Vec<_> = (0..300).map(|_| here.browser()).collect();
    for browser in &browsers {
        browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    }
    for _ in 0..600 {
        let browser = tomorrow.browser();
        browser.visit(|session| session.put("user", 8).unwrap()).await.value();
    }
    for browser in &browsers {
        assert_eq!(user(browser).await, Some(7));
    }
}

/// A subscriber of the log that adds the owner of the current session to each line.
struct Enriched(Arc<Mutex<Option<Session>>>);

impl tracing::Subscriber for Enriched {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let session = self.0.lock().unwrap().clone();
        session.map(|session| session.owner());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Looks at the session when it is dropped.
struct Farewell(Session);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.has("user");
    }
}

/// Runs what may wait for a lock that its own thread has, so that the test fails then.
fn in_time<F: Future<Output = ()>>(visits: impl FnOnce() -> F + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(visits());
        done.send(()).unwrap();
    });
    let finished = finished.recv_timeout(Duration::from_secs(20));
    finished.expect("nobody waits for a lock that he has himself");
}

#[test]
fn the_log_may_look_at_the_session_of_which_it_is_told() {
    in_time(async || {
        let current = Arc::new(Mutex::new(None));
        let _subscriber = tracing::subscriber::set_default(Enriched(current.clone()));
        let browser = App::new(SessionLayer::new(MemoryDriver::new())).browser();
        for user in 0..3 {
            let current = current.clone();
            let visit = browser.visit(move |session| {
                session.put("user", user).unwrap();
                *current.lock().unwrap() = Some(session);
            });
            visit.await.value();
        }
        let visit = browser.send(Request::new(Body::empty()), async move |request: Request| {
            let session = Session::of(&request).unwrap();
            *current.lock().unwrap() = Some(session.clone());
            session.start().await.map(|()| "started").into_response()
        });
        assert_eq!(visit.await.body, "started");
    });
}

#[test]
fn what_a_function_holds_may_look_at_the_session_when_it_is_dropped() {
    for saved_by_hand in [true, false] {
        in_time(async move || {
            let browser = App::new(SessionLayer::new(MemoryDriver::new())).browser();
            browser.visit(|session| session.put("user", 7).unwrap()).await.value();
            let visit = browser.visit_async(async move |session: Session| {
                let farewell = Farewell(session.clone());
                let update = move |count: &mut u32| {
                    let _held = &farewell;
                    *count += 1;
                };
                session.update("count", update).unwrap();
                if saved_by_hand {
                    session.save().await.unwrap();
                }
            });
            visit.await.value();
        });
    }
}

#[test]
fn who_loads_or_saves_in_a_loop_lets_others_go_on() {
    in_time(async || {
        let browser = App::new(SessionLayer::new(MemoryDriver::new())).browser();
        browser.visit(|session| session.put("user", 7).unwrap()).await.value();
        let visit = browser.visit_async(async |session: Session| {
            let later = async |change: fn(&Session)| {
                let session = session.clone();
                tokio::spawn(async move { change(&session) });
            };
            later(|session| session.put("done", true).unwrap()).await;
            while !session.has("done") {
                session.reload().await.unwrap();
            }
            later(|session| session.forget(["done"]).unwrap()).await;
            while session.has("done") {
                session.increment("turns", 1).unwrap();
                session.save().await.unwrap();
            }
        });
        visit.await.value();
    });
}

async fn what_was_changed_is_saved_though_the_store_has_to_be_asked_after_all(site: Site) {
    let browser = signed_in(&site).await;
    site.calls.take();
    let visit = |key: &'static str| browser.visit(move |session| session.increment(key, 1).unwrap());
    assert_eq!(visit("at hand").await.value(), 1);
    let slow = browser.begin(|session| session.increment("at hand", 1).unwrap()).await;
    assert_eq!(visit("at hand").await.value(), 2);
    // It has seen what the other had not changed yet.
    assert_eq!(slow.finish().await.value(), 2);
    assert_eq!(
        browser
            .visit(|session| session.get::<i64>("at hand").unwrap())
            .await
            .value(),
        Some(3)
    );
    assert_eq!(user(&browser).await, Some(7));
}

on_every_driver! { what_was_changed_is_saved_though_the_store_has_to_be_asked_after_all }

#[tokio::test]
async fn a_pointer_to_a_driver_has_at_hand_what_the_driver_has() {
    let driver: Arc<dyn Driver> = Arc::new(Box::new(MemoryDriver::new()));
    store(&driver).await;
    assert!(both(&driver).await.is_some());
}

#[tokio::test]
async fn what_is_at_hand_is_read_while_the_store_is_down_and_spared() {
    let faults = Faults::default();
    let store_below = FaultyDriver::new(MemoryDriver::new(), faults.clone());
    let app = App::new(SessionLayer::new(CachedDriver::new(store_below, MINUTE)));
    let known = app.browser();
    known.visit(|session| session.put("user", 7).unwrap()).await.value();
    faults.unreachable(Call::Read);
    for _ in 0..10 {
        let stranger = app.browser();
        stranger.set_id(&"s".repeat(40));
        assert_eq!(stranger.visit(|_| ()).await.status, 503);
    }
    let user = known.visit(|session| session.get::<u32>("user").unwrap()).await;
    assert_eq!(user.value(), Some(7));
}
