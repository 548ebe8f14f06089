//! What is read without asking the store, and how old it may be.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use session_schema::testing::ManualClock;
use session_schema::{
    CachedDriver, Clock, Driver, DriverError, Expected, MemoryDriver, OwnerIndex, Record, StoreKey, Written,
};
use session_tests::{Call, Counts};

use super::drivers::{Pair, STALENESS, create, key, record, replace, text};

const MOMENT: Duration = Duration::from_nanos(1);
const WRITE: Counts = Counts {
    write: 1,
    ..Counts::NONE
};

#[tokio::test]
async fn the_store_is_asked_once_and_what_was_written_is_not_asked_for() {
    let pair = Pair::new();
    let (key, version) = pair.known().await;
    for _ in 0..5 {
        assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("first"));
    }
    assert_eq!(pair.calls.take(), Counts::NONE);
    replace(&*pair.here, &key, &pair.record("second"), version).await;
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("second"));
    assert_eq!(pair.calls.take(), WRITE);

    let elsewhere = key_made_elsewhere(&pair).await;
    for _ in 0..5 {
        assert_eq!(text(&*pair.here, &elsewhere).await.as_deref(), Some("elsewhere"));
    }
    assert_eq!(pair.calls.take(), Counts::ONE_READ);
}

async fn key_made_elsewhere(pair: &Pair) -> session_schema::StoreKey {
    let key = key();
    create(&*pair.there, &key, &pair.record("elsewhere")).await;
    key
}

#[tokio::test]
async fn what_is_known_is_the_record_itself_with_owner_expiry_and_version() {
    let pair = Pair::new();
    let key = key();
    let record = pair.record("first").with_owner("ann");
    let version = create(&*pair.here, &key, &record).await;
    for read in [
        pair.here.read(&key).await.unwrap().unwrap(),
        pair.store.read(&key).await.unwrap().unwrap(),
    ] {
        assert!(std::ptr::eq(read.payload(), record.payload()), "the payload is shared");
        assert_eq!(
            (read.owner(), read.expires_at(), read.version()),
            (Some("ann"), record.expires_at(), version)
        );
    }
}

#[tokio::test]
async fn a_session_that_is_not_there_is_asked_for_each_time() {
    let pair = Pair::new();
    let key = key();
    assert_eq!(text(&*pair.here, &key).await, None);
    create(&*pair.there, &key, &pair.record("elsewhere")).await;
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("elsewhere"));
}

#[tokio::test]
async fn what_another_server_did_is_seen_when_the_time_has_gone_by_and_no_later() {
    let pair = Pair::new();
    let (key, version) = pair.known().await;
    replace(&*pair.there, &key, &pair.record("second"), version).await;
    pair.clock.advance(STALENESS - MOMENT);
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("first"));
    pair.clock.advance(MOMENT);
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("second"));
    // A sign-out.
    pair.there.destroy(&key).await.unwrap();
    assert_eq!(text(&*pair.there, &key).await, None);
    pair.clock.advance(STALENESS - MOMENT);
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("second"));
    pair.clock.advance(MOMENT);
    assert_eq!(text(&*pair.here, &key).await, None);
}

#[tokio::test]
async fn being_read_or_touched_makes_nothing_younger() {
    let pair = Pair::new();
    let (key, version) = pair.known().await;
    replace(&*pair.there, &key, &pair.record("second"), version).await;
    for _ in 0..10 {
        pair.clock.advance((STALENESS - MOMENT) / 10);
        text(&*pair.here, &key).await;
    }
    pair.clock.advance(MOMENT * 10);
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("second"));

    let (key, version) = pair.known().await;
    replace(&*pair.there, &key, &pair.record("second"), version).await;
    assert!(pair.here.touch(&key, pair.clock.now() + 2 * STALENESS).await.unwrap());
    let read = pair.here.read(&key).await.unwrap().unwrap();
    assert_eq!(read.payload(), pair.record("second").payload());
    assert_eq!(read.expires_at(), pair.clock.now() + 2 * STALENESS);
}

#[tokio::test]
async fn a_write_on_what_is_out_of_date_conflicts_and_shows_what_is_there() {
    let pair = Pair::new();
    let (key, version) = pair.known().await;
    replace(&*pair.there, &key, &pair.record("second"), version).await;
    let stale = pair.here.read(&key).await.unwrap().unwrap();
    assert_eq!(stale.version(), version);
    let written = pair
        .here
        .write(&key, &pair.record("mine"), Expected::Version(version))
        .await
        .unwrap();
    assert!(matches!(written, Written::Conflict(Some(there)) if there.payload() == pair.record("second").payload()));
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("second"));

    pair.there.destroy(&key).await.unwrap();
    let written = pair
        .here
        .write(&key, &pair.record("mine"), Expected::Version(stale.version()))
        .await
        .unwrap();
    assert!(matches!(written, Written::Gone), "{written:?}");
    assert_eq!(text(&*pair.here, &key).await, None);
}

#[tokio::test]
async fn who_has_to_know_is_told_what_the_store_says() {
    let pair = Pair::new();
    let (key, version) = pair.known().await;
    replace(&*pair.there, &key, &pair.record("second"), version).await;
    let fresh = pair.here.read_fresh(&key).await.unwrap().unwrap();
    assert_eq!(fresh.payload(), pair.record("second").payload());
    assert_eq!(
        text(&*pair.here, &key).await.as_deref(),
        Some("second"),
        "and so is everybody after"
    );
    pair.there.destroy(&key).await.unwrap();
    assert!(pair.here.read_fresh(&key).await.unwrap().is_none());
    assert_eq!(text(&*pair.here, &key).await, None);
}

#[tokio::test]
async fn what_has_expired_here_may_have_been_prolonged_elsewhere() {
    let pair = Pair::new();
    let (key, until) = (key(), pair.clock.now() + STALENESS / 2);
    create(&*pair.here, &key, &pair.record("short").with_expires_at(until)).await;
    assert!(pair.there.touch(&key, until + STALENESS).await.unwrap());
    pair.clock.advance(STALENESS / 2);
    assert_eq!(text(&*pair.here, &key).await.as_deref(), Some("short"));
    pair.clock.advance(STALENESS);
    assert_eq!(text(&*pair.here, &key).await, None);
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing_that_could_be_wrong() {
    let pair = Pair::new();
    for call in [Call::Write, Call::Touch, Call::Destroy] {
        let (key, version) = pair.known().await;
        pair.faults.unreachable_next(call);
        match call {
            Call::Write => drop(
                pair.here
                    .write(&key, &pair.record("second"), Expected::Version(version))
                    .await
                    .unwrap_err(),
            ),
            Call::Touch => drop(pair.here.touch(&key, pair.clock.now()).await.unwrap_err()),
            _ => drop(pair.here.destroy(&key).await.unwrap_err()),
        }
        // The answer may have been lost on the way, and not the question.
        pair.store.destroy(&key).await.unwrap();
        assert_eq!(text(&*pair.here, &key).await, None, "{call:?}");
    }
}

#[tokio::test]
async fn an_owners_sessions_are_seen_as_they_are_and_gone_when_they_are_destroyed() {
    let pair = Pair::new();
    let (mine, other, anns) = (key(), key(), key());
    for key in [&mine, &other] {
        create(&*pair.here, key, &pair.record("bob's").with_owner("bob")).await;
    }
    create(&*pair.here, &anns, &pair.record("ann's").with_owner("ann")).await;
    pair.calls.take();
    let owners = pair.here.owners().unwrap();
    assert_eq!(owners.sessions_of("bob").await.unwrap().len(), 2);
    assert_eq!(owners.destroy_sessions_of("bob", Some(&mine)).await.unwrap(), 1);
    assert_eq!(text(&*pair.here, &other).await, None);
    assert_eq!(pair.calls.take().read, 1);
    assert_eq!(text(&*pair.here, &mine).await.as_deref(), Some("bob's"));
    assert_eq!(text(&*pair.here, &anns).await.as_deref(), Some("ann's"));
    assert_eq!(pair.calls.take(), Counts::NONE, "those that are left are known still");
    // One whose owner is another's here, because it changed hands elsewhere.
    let version = pair.here.read(&anns).await.unwrap().unwrap().version();
    replace(
        &*pair.there,
        &anns,
        &pair.record("bob's now").with_owner("bob"),
        version,
    )
    .await;
    assert_eq!(owners.destroy_sessions_of("bob", None).await.unwrap(), 2);
    assert_eq!(text(&*pair.here, &anns).await, None);
}

#[tokio::test]
async fn without_staleness_nothing_is_kept() {
    let pair = Pair::new();
    let driver = session_schema::CachedDriver::new(pair.store.clone(), Duration::ZERO).with_clock(pair.clock.clone());
    let key = key();
    let version = create(&driver, &key, &pair.record("first")).await;
    assert_eq!(text(&driver, &key).await.as_deref(), Some("first"));
    replace(&pair.store, &key, &pair.record("second"), version).await;
    assert_eq!(text(&driver, &key).await.as_deref(), Some("second"));
}

#[tokio::test]
async fn the_longest_staleness_there_is_can_be_asked_for() {
    let pair = Pair::new();
    let driver = session_schema::CachedDriver::new(pair.store.clone(), Duration::MAX).with_clock(pair.clock.clone());
    let key = key();
    create(&driver, &key, &pair.record("first")).await;
    assert_eq!(text(&driver, &key).await.as_deref(), Some("first"));
}

/// A driver that cannot list the sessions of an owner, because one of them is damaged for instance, but can destroy them.
struct Damaged(MemoryDriver);

#[async_trait]
impl Driver for Damaged {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.0.read(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.0.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.0.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.0.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.0.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

#[async_trait]
impl OwnerIndex for Damaged {
    async fn sessions_of(&self, _: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        Err(DriverError::backend("a row is damaged"))
    }

    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        self.0.destroy_sessions_of(owner, except).await
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_listed_does_not_keep_the_owners_others_alive() {
    let clock = ManualClock::new();
    let driver = Damaged(MemoryDriver::new().with_clock(clock.clone()));
    let driver = CachedDriver::new(driver, STALENESS).with_clock(clock.clone());
    driver.open().await.unwrap();
    let (mine, other) = (key(), key());
    let record = record("bob's", clock.now() + 2 * STALENESS).with_owner("bob");
    for key in [&mine, &other] {
        create(&driver, key, &record).await;
    }
    let owners = driver.owners().unwrap();
    assert_eq!(owners.destroy_sessions_of("bob", Some(&mine)).await.unwrap(), 1);
    assert_eq!(text(&driver, &other).await, None);
    assert_eq!(text(&driver, &mine).await.as_deref(), Some("bob's"));
}
