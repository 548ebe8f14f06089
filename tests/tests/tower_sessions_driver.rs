//! The driver over a store that was written for tower-sessions: the whole contract, within one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use session_schema::testing::{Harness, ManualClock, driver_contract};
use session_schema::{Clock, Driver, Expected, Record, SessionLayer, StoreKey, TowerSessionsDriver, Written};
use session_tests::{App, Log, invalidate, some_id, user};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower_sessions_core::session::{self, Id};
use tower_sessions_core::session_store::{Error, ExpiredDeletion, Result, SessionStore};
use tower_sessions_memory_store::MemoryStore;
use tracing::Level;

#[path = "tower_sessions_driver/stores.rs"]
mod stores;

use stores::{Gate, Plain, Tidy};

driver_contract! {
    mod memory_store;
    owners: false;
    harness: {
        let (clock, store) = (ManualClock::new(), MemoryStore::default());
        let driver = TowerSessionsDriver::new(store.clone()).with_clock(clock.clone());
        let time = clock.clone();
        let reopen = move || std::future::ready(TowerSessionsDriver::new(store.clone()).with_clock(time.clone()));
        Harness::new(driver).with_clock(&clock).with_reopen(reopen).forgetting_by_itself()
    };
}

// One that goes through an encoding, has no `create` of its own, and takes its time.
driver_contract! {
    mod plain_store;
    owners: false;
    harness: {
        let clock = ManualClock::new();
        Harness::new(TowerSessionsDriver::new(Plain::default()).with_clock(clock.clone())).with_clock(&clock).forgetting_by_itself()
    };
}

// By the clock of the system.
driver_contract! {
    mod by_the_systems_clock;
    owners: false;
    harness: Harness::new(TowerSessionsDriver::new(MemoryStore::default())).forgetting_by_itself();
}

fn key() -> StoreKey {
    session_tests::key(&some_id())
}

fn record(text: &str) -> Record {
    Record::new(
        format!("{{\"text\":{text:?}}}").into_bytes(),
        SystemTime::now() + Duration::from_secs(60),
    )
}

#[tokio::test]
async fn start_says_what_such_a_store_cannot_do() {
    let log = Log::capture();
    let app = App::new(SessionLayer::new(TowerSessionsDriver::new(MemoryStore::default())));
    let browser = app.browser();
    for user in 0..3 {
        browser
            .visit(move |session| session.put("user", user).unwrap())
            .await
            .value();
    }
    let warned = log.at(Level::WARN);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].message.contains("compare and swap"), "{warned:?}");
}

#[tokio::test]
async fn an_application_has_its_sessions_there() {
    let app = App::new(SessionLayer::new(TowerSessionsDriver::new(MemoryStore::default())));
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let old = browser.copy();
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    assert_eq!((user(&browser).await, user(&old).await), (Some(7), None));
    let slow = browser.copy().begin(|session| session.put("late", 1).unwrap()).await;
    let after = browser.copy();
    browser.visit(invalidate).await.value();
    slow.finish().await.value();
    assert_eq!(user(&after).await, None, "a slow request does not bring it back");
}

#[tokio::test]
async fn sessions_of_tower_sessions_in_the_same_store_are_left_alone() {
    let store = MemoryStore::default();
    let expiry_date = (SystemTime::now() + Duration::from_secs(60)).into();
    let data = [("user".to_owned(), 7.into())].into_iter().collect();
    let mut theirs = session::Record {
        id: Id::default(),
        data,
        expiry_date,
    };
    store.create(&mut theirs).await.unwrap();
    let driver = TowerSessionsDriver::new(store.clone());
    let key = key();
    driver.write(&key, &record("ours"), Expected::Absent).await.unwrap();
    assert!(driver.destroy(&key).await.unwrap());
    assert_eq!(store.load(&theirs.id).await.unwrap(), Some(theirs));
}

#[tokio::test]
async fn what_expired_by_our_clock_makes_room_though_the_store_still_has_it() {
    let (clock, store) = (ManualClock::new(), MemoryStore::default());
    let driver = TowerSessionsDriver::new(store).with_clock(clock.clone());
    let (key, until) = (key(), clock.now() + Duration::from_secs(60));
    driver
        .write(&key, &record("old").with_expires_at(until), Expected::Absent)
        .await
        .unwrap();
    clock.advance(Duration::from_secs(60));
    let new = record("new").with_expires_at(until + Duration::from_secs(60));
    let written = driver.write(&key, &new, Expected::Absent).await.unwrap();
    assert!(matches!(written, Written::Done(_)), "{written:?}");
    assert_eq!(driver.read(&key).await.unwrap().unwrap().payload(), new.payload());
}

#[tokio::test]
async fn of_two_processes_that_create_at_once_one_conflicts_where_the_stores_creation_is_atomic() {
    // Two drivers share no lock, as two processes share none.
    let store = MemoryStore::default();
    let gate = Gate::new(store.clone());
    let (slow, fast) = (TowerSessionsDriver::new(gate.clone()), TowerSessionsDriver::new(store));
    let key = key();
    let late = tokio::spawn(async move { slow.write(&key, &record("late"), Expected::Absent).await.unwrap() });
    // It has found nothing, and is about to create.
    gate.reached().await;
    fast.write(&key, &record("first"), Expected::Absent).await.unwrap();
    gate.open();
    match late.await.unwrap() {
        Written::Conflict(Some(there)) => assert_eq!(there.payload(), record("first").payload()),
        other => panic!("{other:?}"),
    }
    assert_eq!(gate.count().await, 1, "and leaves nothing behind");
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_keeps_others_away_until_it_is_done() {
    let store = MemoryStore::default();
    let gate = Gate::new(store.clone());
    let (driver, key) = (TowerSessionsDriver::new(gate.clone()), key());
    let created = TowerSessionsDriver::new(store)
        .write(&key, &record("first"), Expected::Absent)
        .await;
    let Ok(Written::Done(seen)) = created else {
        panic!("{created:?}")
    };
    let write = |text| {
        let driver = driver.clone();
        async move {
            driver
                .write(&key, &record(text), Expected::Version(seen))
                .await
                .unwrap()
        }
    };
    let abandoned = tokio::spawn(write("slow"));
    gate.reached().await;
    abandoned.abort();
    assert!(abandoned.await.unwrap_err().is_cancelled());
    let second = tokio::spawn(write("second"));
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    gate.open();
    assert!(
        matches!(second.await.unwrap(), Written::Conflict(Some(_))),
        "its writer has not seen what was stored"
    );
    assert_eq!(
        driver.read(&key).await.unwrap().unwrap().payload(),
        record("slow").payload()
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_store_never_answers_keeps_others_away_for_a_minute_and_no_longer() {
    let (log, gate, key) = (Log::capture(), Gate::new(MemoryStore::default()), key());
    let driver = TowerSessionsDriver::new(gate.clone());
    let (begun, lost) = (Instant::now(), record("lost"));
    // As the layer does, which waits no longer.
    let lost = timeout(Duration::from_secs(5), driver.write(&key, &lost, Expected::Absent));
    assert!(lost.await.is_err());
    gate.reached().await;
    let next = tokio::spawn(async move { driver.write(&key, &record("next"), Expected::Absent).await.unwrap() });
    let reached = timeout(Duration::from_secs(60 * 60), gate.reached()).await;
    reached.expect("the next writer has its turn");
    assert_eq!(begun.elapsed().as_secs(), 60);
    gate.open();
    assert!(matches!(next.await.unwrap(), Written::Done(_)));
    let warned = log.at(Level::WARN);
    assert!(
        warned.len() == 1 && warned[0].message.contains("given up"),
        "{warned:?}"
    );
}

#[tokio::test]
async fn the_stores_own_deletion_runs_with_gc_if_it_is_asked_for() {
    let store = Tidy::default();
    TowerSessionsDriver::new(store.clone()).gc().await.unwrap();
    assert_eq!(store.deletions(), 0);
    let driver = TowerSessionsDriver::new(store.clone()).with_expired_deletion();
    assert_eq!(driver.gc().await.unwrap(), 0, "the store does not say how many");
    assert_eq!(store.deletions(), 1);
    store.fail(Error::Backend("no connection".into()));
    assert!(driver.gc().await.unwrap_err().is_unavailable());
}

#[tokio::test]
async fn errors_of_the_store_keep_their_sort_and_no_content() {
    let store = Tidy::default();
    let driver = TowerSessionsDriver::new(store.clone());
    store.fail(Error::Backend("no connection".into()));
    let error = driver.read(&key()).await.unwrap_err();
    assert!(error.is_unavailable() && format!("{error:?}").contains("no connection"));
    for error in [
        Error::Encode("bad value \"ann\"".into()),
        Error::Decode("bad value \"ann\"".into()),
    ] {
        store.fail(error);
        let error = driver.write(&key(), &record("a"), Expected::Absent).await.unwrap_err();
        assert!(!error.is_unavailable() && !format!("{error:?}").contains("ann"));
    }
}

#[tokio::test]
async fn a_store_that_answers_a_read_and_then_refuses_a_change_is_not_out_of_reach() {
    let store = Tidy::default();
    let driver = TowerSessionsDriver::new(store.clone());
    let refused = || store.refuse(Error::Backend("an item has 400 KB at most".into()));
    let key = key();
    refused();
    let creation = driver.write(&key, &record("a"), Expected::Absent).await;
    let Written::Done(version) = driver.write(&key, &record("a"), Expected::Absent).await.unwrap() else {
        panic!("there is nothing yet")
    };
    refused();
    let change = driver.write(&key, &record("b"), Expected::Version(version)).await;
    refused();
    let touch = driver.touch(&key, SystemTime::now() + Duration::from_secs(90)).await;
    refused();
    let end = driver.destroy(&key).await;
    for error in [creation.err(), change.err(), touch.err(), end.err()] {
        let error = error.expect("the store refuses");
        assert!(
            !error.is_unavailable() && format!("{error:?}").contains("400 KB"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn debug_shows_nothing_of_the_store() {
    let driver = TowerSessionsDriver::new(MemoryStore::default());
    driver.write(&key(), &record("secret"), Expected::Absent).await.unwrap();
    assert_eq!(format!("{driver:?}"), "TowerSessionsDriver { .. }");
}

/// A store that answers about the session that was saved last, whichever it is asked for.
#[derive(Debug, Default)]
struct OutOfStep(MemoryStore, std::sync::Mutex<Option<Id>>);

#[async_trait::async_trait]
impl SessionStore for OutOfStep {
    async fn save(&self, record: &session::Record) -> Result<()> {
        *self.1.lock().unwrap() = Some(record.id);
        self.0.save(record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<session::Record>> {
        let last = self.1.lock().unwrap().unwrap_or(*id);
        self.0.load(&last).await
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.0.delete(id).await
    }
}

#[tokio::test]
async fn another_visitors_session_is_not_read_from_a_store_that_is_out_of_step() {
    let driver = TowerSessionsDriver::new(OutOfStep::default());
    driver.write(&key(), &record("theirs"), Expected::Absent).await.unwrap();
    let error = driver.read(&key()).await.unwrap_err();
    assert!(
        !error.is_unavailable() && format!("{error:?}").contains("another session"),
        "{error:?}"
    );
}

/// A store that takes a second for each call, and for some that save for ever.
#[derive(Debug, Default)]
struct Slow {
    inner: MemoryStore,
    hangs: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl SessionStore for Slow {
    async fn create(&self, record: &mut session::Record) -> Result<()> {
        self.inner.create(record).await
    }

    async fn save(&self, record: &session::Record) -> Result<()> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        sleep(Duration::from_secs(1)).await;
        self.inner.save(record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<session::Record>> {
        sleep(Duration::from_secs(1)).await;
        self.inner.load(id).await
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        self.inner.delete(id).await
    }
}

/// So many requests that change one session at once: the status of each, and how long it took.
async fn at_once(requests: u32, store: Slow) -> Vec<(u16, u64)> {
    let hangs = store.hangs.clone();
    let will_hang = hangs.swap(false, Ordering::Relaxed);
    let app = App::new(SessionLayer::new(TowerSessionsDriver::new(store)));
    let browser = app.browser();
    browser.visit(|session| session.put("count", 0).unwrap()).await.value();
    hangs.store(will_hang, Ordering::Relaxed);
    let mut visits = JoinSet::new();
    for _ in 0..requests {
        let browser = browser.copy();
        visits.spawn(async move {
            let begun = Instant::now();
            let visit = browser.visit(|session| session.increment("count", 1).map(drop).unwrap());
            (visit.await.status.as_u16(), begun.elapsed().as_secs())
        });
    }
    visits.join_all().await
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_refused_because_it_waits_for_its_turn_behind_others_that_are_served() {
    let visits = at_once(20, Slow::default()).await;
    assert!(visits.iter().all(|(status, _)| *status == 200), "{visits:?}");
    assert!(visits.iter().any(|(_, seconds)| *seconds > 10), "{visits:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_his_turn_at_a_store_that_serves_nobody() {
    let store = Slow::default();
    store.hangs.store(true, Ordering::Relaxed);
    for (status, seconds) in at_once(20, store).await {
        // One second for the session, one for what a change reads, and the limit.
        assert!(status == 503 && seconds <= 12, "{status} after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_his_turn_for_ever() {
    let clock = ManualClock::new();
    let driver = TowerSessionsDriver::new(Slow::default()).with_clock(clock.clone());
    let browser = App::new(SessionLayer::new(driver).with_clock(clock.clone())).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    // Each request prolongs the session, which conflicts with no other.
    clock.advance(Duration::from_secs(60 * 60));
    let mut visits = JoinSet::new();
    for _ in 0..40 {
        let browser = browser.copy();
        visits.spawn(async move {
            let begun = Instant::now();
            browser.visit(|session| assert!(session.has("a"))).await;
            begun.elapsed().as_secs()
        });
    }
    let longest = visits.join_all().await.into_iter().max();
    assert!((25..=35).contains(&longest.unwrap()), "{longest:?}");
}
