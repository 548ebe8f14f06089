//! What a driver has in memory is what it would answer if it were asked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use session_schema::testing::ManualClock;
use session_schema::{CachedDriver, Driver, Expected, MemoryDriver, Record, SessionLayer, StoreKey, Written};
use session_tests::{App, Call, Faults, FaultyDriver};

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
    }
}

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
