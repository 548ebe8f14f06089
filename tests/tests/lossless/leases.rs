//! The right to be the only one: prolonged while its holder lives, lost by who is halted for too long, and never given back by another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::http::StatusCode;
use session_schema::{Driver, DriverError, Expected, MemoryDriver, Record, StoreKey, Version, Written};
use session_tests::{Backing, Browser, Log, Site};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::Level;

use super::exclusive::{begun, charge_within, die_holding, holding};

/// Longer than the pause between two renewals, by the clock of tokio, which is paused here and runs ahead.
const A_RENEWAL: Duration = Duration::from_millis(3_500);

/// A site over a driver that does something else than others.
fn site_over<D: Driver>(driver: impl FnOnce(MemoryDriver) -> D) -> Site {
    let mut site = Site::over(Backing::Memory);
    site.store = Arc::new(driver(MemoryDriver::new().with_clock(site.clock.clone())));
    site.driver = site.store.clone();
    site
}

/// Whether somebody has the session exclusively.
async fn is_taken(site: &Site, browser: &Browser) -> bool {
    charge_within(site, browser, Duration::ZERO).await == StatusCode::LOCKED
}

fn warnings(log: &Log) -> Vec<String> {
    log.at(Level::WARN).into_iter().map(|entry| entry.message).collect()
}

/// The handler goes on for five times nine seconds, and then ends.
async fn stays_taken_until_the_end(site: &Site, browser: &Browser, holder: JoinHandle<StatusCode>, end: &Notify) {
    for _ in 0..5 {
        site.clock.advance(Duration::from_secs(9));
        tokio::time::sleep(A_RENEWAL).await;
    }
    assert!(is_taken(site, browser).await);
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    assert!(!is_taken(site, browser).await);
}

#[tokio::test(start_paused = true)]
async fn who_lives_has_it_for_as_long_as_he_needs_it() {
    let (log, site) = (Log::capture(), Site::over(Backing::Memory));
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    stays_taken_until_the_end(&site, &browser, holder, &end).await;
    assert!(warnings(&log).is_empty(), "{:?}", warnings(&log));
}

#[tokio::test(start_paused = true)]
async fn who_was_halted_and_overtaken_does_not_prolong_what_another_has_and_is_in_the_log() {
    let (log, site) = (Log::capture(), Site::over(Backing::Memory));
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let halted = holding(&browser, end.clone()).await;
    site.clock.advance(Duration::from_secs(10));
    die_holding(&site, &browser);
    site.clock.advance(Duration::from_secs(5));
    tokio::time::sleep(A_RENEWAL).await;
    site.clock.advance(Duration::from_secs(5));
    assert!(
        !is_taken(&site, &browser).await,
        "the dead holder's ten seconds are over"
    );
    end.notify_one();
    assert_eq!(halted.await.unwrap(), StatusCode::OK);
    let warned = warnings(&log);
    assert!(warned.len() == 1 && warned[0].contains("ran out"), "{warned:?}");
}

#[tokio::test]
async fn who_was_overtaken_frees_nothing_where_the_version_is_a_hash_of_the_content() {
    let (log, site) = (Log::capture(), site_over(Hashing));
    let browser = begun(&site).await;
    let (halted_end, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let halted = holding(&browser, halted_end.clone()).await;
    site.clock.advance(Duration::from_secs(10));
    let holder = holding(&browser, end.clone()).await;
    halted_end.notify_one();
    assert_eq!(halted.await.unwrap(), StatusCode::OK);
    assert!(is_taken(&site, &browser).await);
    let warned = warnings(&log);
    assert!(warned.len() == 1 && warned[0].contains("ran out"), "{warned:?}");
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    assert!(!is_taken(&site, &browser).await);
}

#[tokio::test(start_paused = true)]
async fn a_holder_knows_his_own_though_the_answer_to_a_renewal_got_lost() {
    let (log, site) = (Log::capture(), Site::over(Backing::Memory));
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    site.faults.lose_next_answer();
    stays_taken_until_the_end(&site, &browser, holder, &end).await;
    let warned = warnings(&log);
    assert!(
        warned.len() == 1 && warned[0].contains("could not be prolonged"),
        "{warned:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_long_asks_the_store_ever_less_often() {
    let site = Site::over(Backing::Memory);
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    site.calls.take();
    let waited = charge_within(&site, &browser, Duration::from_secs(9)).await;
    assert_eq!(waited, StatusCode::LOCKED);
    let asked = site.calls.take().write;
    assert!(asked < 150, "{asked} times in 9 seconds");
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
}

/// A store that has no counter: the version of a record is a hash of its content.
struct Hashing(MemoryDriver);

fn hashed(record: Record) -> Record {
    let mut hasher = DefaultHasher::new();
    (record.payload(), record.owner()).hash(&mut hasher);
    record.with_version(Version::from(hasher.finish()))
}

#[async_trait]
impl Driver for Hashing {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        Ok(self.0.read(key).await?.map(hashed))
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let expected = match (expected, self.0.read(key).await?) {
            (Expected::Version(_), None) => return Ok(Written::Gone),
            (Expected::Version(version), Some(there)) => {
                let counted = there.version();
                let there = hashed(there);
                if there.version() != version {
                    return Ok(Written::Conflict(Some(there)));
                }
                Expected::Version(counted)
            }
            (Expected::Absent, _) => Expected::Absent,
        };
        Ok(match self.0.write(key, record, expected).await? {
            Written::Done(_) => Written::Done(hashed(record.clone()).version()),
            Written::Conflict(there) => Written::Conflict(there.map(hashed)),
            Written::Gone => Written::Gone,
        })
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
}
