//! A store that reports changes: they are seen at once, and while it cannot nothing is read from the cache.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use session_schema::{CachedDriver, Driver, MemoryDriver, StoreKey, Version};
use session_tests::{Call, Calls, CountingDriver, Counts, Faults, FaultyDriver};

use super::drivers::{Reporting, create, key, record, replace, text};

const HOUR: Duration = Duration::from_secs(3600);

struct Reported {
    store: Reporting,
    calls: Calls,
    faults: Faults,
    driver: Arc<CachedDriver<CountingDriver<FaultyDriver<Reporting>>>>,
    key: StoreKey,
    version: Version,
}

impl Reported {
    /// A session that was read.
    async fn new() -> Self {
        let (memory, calls, key) = (MemoryDriver::new(), Calls::default(), key());
        let version = create(&memory, &key, &of("first")).await;
        let store = Reporting::new(memory);
        let faults = Faults::default();
        let inside = FaultyDriver::new(store.clone(), faults.clone());
        let driver = Arc::new(CachedDriver::new(CountingDriver::new(inside, calls.clone()), HOUR));
        driver.open().await.unwrap();
        let session = Self {
            store,
            calls,
            faults,
            driver,
            key,
            version,
        };
        assert_eq!(session.read().await, (Some("first".to_owned()), 1));
        assert_eq!(session.read().await, (Some("first".to_owned()), 0));
        session
    }

    /// What is read, and how often the store is asked for it.
    async fn read(&self) -> (Option<String>, u64) {
        self.calls.take();
        let text = text(&*self.driver, &self.key).await;
        (text, self.calls.take().read)
    }
}

fn of(text: &str) -> session_schema::Record {
    record(text, SystemTime::now() + HOUR)
}

#[tokio::test]
async fn what_is_changed_elsewhere_is_seen_at_once() {
    let session = Reported::new().await;
    session.store.replace_elsewhere(&session.key, &of("second")).await;
    assert_eq!(session.read().await, (Some("second".to_owned()), 1));
    assert_eq!(session.read().await, (Some("second".to_owned()), 0));
    session.store.destroy_elsewhere(&session.key).await;
    assert_eq!(session.read().await, (None, 1));
}

#[tokio::test]
async fn while_reports_may_be_lost_the_store_is_asked_and_after_that_nothing_from_before_counts() {
    let session = Reported::new().await;
    let watcher = session.store.watcher();
    watcher.lost();
    for _ in 0..3 {
        assert_eq!(session.read().await, (Some("first".to_owned()), 1));
    }
    watcher.lost();
    watcher.watching();
    assert_eq!(session.read().await, (Some("first".to_owned()), 1));
    assert_eq!(session.read().await, (Some("first".to_owned()), 0));
    // A gap that is over before anybody reads.
    watcher.lost();
    watcher.watching();
    assert_eq!(session.read().await, (Some("first".to_owned()), 1));
    watcher.watching();
    assert_eq!(session.read().await, (Some("first".to_owned()), 1));
}

#[tokio::test]
async fn what_was_only_written_is_read_once_because_its_changes_may_not_be_reported() {
    let session = Reported::new().await;
    replace(&*session.driver, &session.key, &of("second"), session.version).await;
    session.store.replace_elsewhere(&session.key, &of("third")).await;
    assert_eq!(session.read().await, (Some("third".to_owned()), 1));
    assert_eq!(session.read().await, (Some("third".to_owned()), 0));
}

#[tokio::test]
async fn a_report_that_overtakes_the_answer_of_a_read_counts() {
    let session = Reported::new().await;
    session.store.replace_elsewhere(&session.key, &of("second")).await;
    let mut held = session.faults.hold(Call::Read);
    let (driver, key) = (session.driver.clone(), session.key);
    let read = tokio::spawn(async move { text(&*driver, &key).await });
    held.reached().await;
    session.store.watcher().changed(&session.key);
    held.release();
    read.await.unwrap();
    assert_eq!(session.read().await.1, 1);
}

#[tokio::test]
async fn a_store_that_reports_nothing_is_not_waited_for() {
    let calls = Calls::default();
    let driver = CachedDriver::new(CountingDriver::new(MemoryDriver::new(), calls.clone()), HOUR);
    driver.open().await.unwrap();
    driver.open().await.unwrap();
    let key = key();
    create(&driver, &key, &of("first")).await;
    calls.take();
    assert_eq!(text(&driver, &key).await.as_deref(), Some("first"));
    assert_eq!(calls.take(), Counts::NONE);
}

#[tokio::test]
async fn a_store_that_turns_out_to_report_nothing_is_not_waited_for_until_it_does() {
    let session = Reported::new().await;
    let watcher = session.store.watcher();
    watcher.unsupported();
    let second = replace(&*session.driver, &session.key, &of("second"), session.version).await;
    assert_eq!(session.read().await, (Some("second".to_owned()), 0));
    watcher.watching();
    assert_eq!(session.read().await, (Some("second".to_owned()), 1));
    replace(&*session.driver, &session.key, &of("third"), second).await;
    assert_eq!(
        session.read().await,
        (Some("third".to_owned()), 1),
        "only what was read is reported"
    );
    assert_eq!(session.read().await, (Some("third".to_owned()), 0));
}
