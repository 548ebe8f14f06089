//! Many writers of one session, and every change accounted for.
//!
//! * [`distant`](the_store_is_distant): over a store that takes its time, as one behind a network does. The clock stands still, so this
//!   costs no waiting, and chance comes from a seed: every run is the same. `LOSSLESS_REQUESTS=1000` makes each writer send more.
//! * The others on several threads, over every driver there is.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use fastrand::Rng;
use serde_json::json;
use session_schema::{Driver, DriverError, Expected, Record, Session, StoreKey, Written};
use session_tests::{Backing, Browser, Site, on_every_driver};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A driver that counts conflicts, and whose calls take a while.
struct Watched {
    driver: Arc<dyn Driver>,
    /// How long a call is on its way, in microseconds; half of the time there, half of the time back.
    distance: Option<Mutex<Rng>>,
    conflicts: AtomicU64,
}

impl Watched {
    fn put_before(site: &mut Site, is_distant: bool) -> Arc<Self> {
        let watched = Arc::new(Self {
            driver: site.driver.clone(),
            distance: is_distant.then(|| Mutex::new(Rng::with_seed(7))),
            conflicts: AtomicU64::new(0),
        });
        site.driver = watched.clone();
        watched
    }

    /// Takes the answer of a call on its way.
    async fn call<T>(&self, call: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
        self.travel().await;
        let answer = call.await;
        self.travel().await;
        answer
    }

    async fn travel(&self) {
        if let Some(distance) = &self.distance {
            let micros = distance.lock().unwrap_or_else(PoisonError::into_inner).u64(500..1500);
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }
}

#[async_trait]
impl Driver for Watched {
    async fn open(&self) -> Result<(), DriverError> {
        self.driver.open().await
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.call(self.driver.read(key)).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let written = self.call(self.driver.write(key, record, expected)).await?;
        if let Written::Conflict(_) = written {
            self.conflicts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(written)
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.call(self.driver.touch(key, expires_at)).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.call(self.driver.destroy(key)).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.call(self.driver.gc()).await
    }
}

async fn begun(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser
        .visit(|session| session.put("begun", true).unwrap())
        .await
        .value();
    browser
}

/// Each writer sends its requests one after the other, all writers at once; all of them count.
async fn every_request_counts(mut site: Site, is_distant: bool, writers: u64, requests: u64) {
    let watched = Watched::put_before(&mut site, is_distant);
    let first = begun(&site).await;
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for writer in 0..writers {
        let browser = first.copy();
        tasks.spawn(async move {
            for _ in 0..requests {
                let visit = browser.visit_async(async move |session: Session| {
                    session.increment("all", 1).unwrap();
                    session.increment(&format!("writer {writer}"), 1).unwrap();
                    // Whoever is handled at the same time has loaded the same.
                    tokio::task::yield_now().await;
                    session.update("sum", move |sum: &mut u64| *sum += writer + 1).unwrap();
                });
                visit.await.value();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let (saves, conflicts) = (writers * requests, watched.conflicts.load(Ordering::Relaxed));
    let (time, each) = (begun.elapsed(), conflicts as f64 / saves as f64);
    println!("{writers} writers x {requests} requests: {each:.2} conflicts per save, {time:?} in all");
    let payload = site.payload(&first.id()).await;
    assert_eq!(payload["all"], saves);
    assert_eq!(payload["sum"], requests * writers * (writers + 1) / 2);
    for writer in 0..writers {
        assert_eq!(payload[&format!("writer {writer}")], requests);
    }
}

#[tokio::test(start_paused = true)]
async fn the_store_is_distant() {
    let requests =
        std::env::var("LOSSLESS_REQUESTS").map_or(20, |text| text.parse().expect("`LOSSLESS_REQUESTS` is a number"));
    for (writers, requests) in [(1, 20), (2, requests), (16, requests), (64, requests), (256, requests)] {
        fastrand::seed(7);
        every_request_counts(Site::over(Backing::Memory), true, writers, requests).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_one_of_256_writers_times_100_requests_counts() {
    every_request_counts(Site::over(Backing::Memory), false, 256, 100).await;
}

async fn every_one_of_16_writers_times_10_requests_counts(site: Site) {
    every_request_counts(site, false, 16, 10).await;
}

async fn every_one_of_256_writers_times_2_requests_counts(site: Site) {
    every_request_counts(site, false, 256, 2).await;
}

/// 64 requests that have all loaded the same session save at once.
async fn at_once(
    site: &Site,
    change: impl Fn(&Session, u64) + Send + Sync + Clone + 'static,
) -> serde_json::Map<String, serde_json::Value> {
    let browser = begun(site).await;
    let mut slow = Vec::new();
    for number in 0..64 {
        let change = change.clone();
        slow.push(browser.begin(move |session| change(&session, number)).await);
    }
    let mut visits = JoinSet::new();
    slow.into_iter().for_each(|slow| drop(visits.spawn(slow.finish())));
    while let Some(visit) = visits.join_next().await {
        visit.unwrap().value();
    }
    site.payload(&browser.id()).await
}

async fn of_64_puts_at_once_every_key_is_there(site: Site) {
    let payload = at_once(&site, |session, number| {
        session.put(&format!("key {number}"), number).unwrap()
    })
    .await;
    for number in 0..64 {
        assert_eq!(payload[&format!("key {number}")], number);
    }
}

async fn of_64_puts_of_one_key_at_once_one_is_there_whole(site: Site) {
    let payload = at_once(&site, |session, number| {
        session.put("list", vec![number; 1000]).unwrap()
    })
    .await;
    let list: Vec<u64> = serde_json::from_value(payload["list"].clone()).unwrap();
    assert_eq!(list, vec![list[0]; 1000]);
}

async fn of_64_increments_at_once_all_count(site: Site) {
    let payload = at_once(&site, |session, number| {
        assert!(session.increment("sum", number as i64).is_ok())
    })
    .await;
    assert_eq!(payload["sum"], 63 * 64 / 2);
}

async fn of_64_pushes_at_once_all_are_there_once(site: Site) {
    let payload = at_once(&site, |session, number| session.push("list", number).unwrap()).await;
    let mut list: Vec<u64> = serde_json::from_value(payload["list"].clone()).unwrap();
    list.sort_unstable();
    assert_eq!(json!(list), json!((0..64).collect::<Vec<_>>()));
}

async fn of_64_updates_at_once_all_count(site: Site) {
    let update = |session: &Session, number| session.update("sum", move |sum: &mut u64| *sum += number).unwrap();
    assert_eq!(at_once(&site, update).await["sum"], 63 * 64 / 2);
}

async fn a_slow_handler_does_not_delay_a_fast_one_of_the_same_session(site: Site) {
    let browser = begun(&site).await;
    // It has loaded the session and changed it, and has not returned.
    let slow = browser.begin(|session| session.put("slow", 1).unwrap()).await;
    // If anything were held meanwhile, none of these would ever come back.
    for number in 0..10 {
        browser
            .visit(move |session| session.put("fast", number).unwrap())
            .await
            .value();
    }
    slow.finish().await.value();
    let payload = site.payload(&browser.id()).await;
    assert_eq!((&payload["slow"], &payload["fast"]), (&json!(1), &json!(9)));
}

on_every_driver! { everywhere:
    every_one_of_16_writers_times_10_requests_counts,
    every_one_of_256_writers_times_2_requests_counts,
    of_64_puts_at_once_every_key_is_there,
    of_64_puts_of_one_key_at_once_one_is_there_whole,
    of_64_increments_at_once_all_count,
    of_64_pushes_at_once_all_are_there_once,
    of_64_updates_at_once_all_count,
    a_slow_handler_does_not_delay_a_fast_one_of_the_same_session,
}
