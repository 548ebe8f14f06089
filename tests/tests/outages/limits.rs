//! What is no call of the hot path ends, too: with an answer, a limit of its own, or a panic that ends nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use session_schema::{
    Config, Driver, DriverError, ErrorKind, Expected, MemoryDriver, OwnerIndex, Record, SessionLayer, SessionManager,
    StoreKey, Written,
};
use session_tests::{App, Backing, Browser, Call, Log, Site, some_id};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};
use tracing::Level;

const MINUTE: Duration = Duration::from_secs(60);

/// A driver whose calls beside the hot path never end, or panic.
#[derive(Clone, Default)]
struct Stuck {
    inner: MemoryDriver,
    panics: bool,
    collections: Arc<AtomicU64>,
}

#[async_trait]
impl Driver for Stuck {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.inner.read(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.inner.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.inner.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.inner.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.collections.fetch_add(1, Ordering::SeqCst);
        match self.panics {
            true => panic!("a driver with a mistake"),
            false => std::future::pending().await,
        }
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

#[async_trait]
impl OwnerIndex for Stuck {
    async fn sessions_of(&self, _: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        std::future::pending().await
    }

    async fn destroy_sessions_of(&self, _: &str, _: Option<&StoreKey>) -> Result<u64, DriverError> {
        std::future::pending().await
    }
}

fn manager(driver: &Stuck) -> SessionManager {
    let mut config = Config::default();
    config.driver = "stuck".into();
    let manager = SessionManager::new(config).unwrap();
    let driver = driver.clone();
    manager.extend("stuck", move || std::future::ready(Ok(driver.clone())));
    manager
}

/// Lets tokio's time go by, and other tasks run before and after.
async fn pass(time: Duration) {
    let others = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    others().await;
    advance(time).await;
    others().await;
}

/// A request that reads its session.
fn request(browser: &Browser) -> JoinHandle<u16> {
    let browser = browser.clone();
    tokio::spawn(async move { browser.visit(|session| session.has("user")).await.status.as_u16() })
}

fn visitor(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser.set_id(&some_id());
    browser
}

#[tokio::test]
async fn opening_goes_on_when_the_client_hangs_up_and_is_not_begun_again() {
    let site = Site::over(Backing::Memory);
    let (mut opening, browser) = (site.faults.hold(Call::Open), visitor(&site));
    let first = request(&browser);
    opening.reached().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = request(&browser);
    opening.release();
    assert_eq!((second.await.unwrap(), site.calls.take().open), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn opening_goes_on_when_a_request_has_waited_for_long_enough() {
    let site = Site::over(Backing::Memory);
    let (mut opening, browser) = (site.faults.hold(Call::Open), visitor(&site));
    let begun = Instant::now();
    let first = request(&browser);
    opening.reached().await;
    assert_eq!((first.await.unwrap(), begun.elapsed().as_secs()), (503, 5));
    opening.release();
    assert_eq!((request(&browser).await.unwrap(), site.calls.take().open), (200, 1));
}

#[tokio::test(start_paused = true)]
async fn opening_that_never_ends_is_begun_again_after_a_minute() {
    let site = Site::over(Backing::Memory);
    let (mut opening, browser) = (site.faults.hold(Call::Open), visitor(&site));
    let first = request(&browser);
    opening.reached().await;
    assert_eq!(first.await.unwrap(), 503);
    pass(MINUTE).await;
    assert_eq!((request(&browser).await.unwrap(), site.calls.take().open), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn all_sessions_of_an_owner_are_waited_for_a_minute() {
    let manager = manager(&Stuck::default());
    let begun = Instant::now();
    let error = manager.sessions_of("ann").await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::Unavailable, 60));
    let error = manager.destroy_sessions_of("ann", None).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::Unavailable, 120));
}

#[tokio::test(start_paused = true)]
async fn owners_are_not_asked_for_while_the_store_is_down() {
    let manager = manager(&Stuck::default());
    for _ in 0..5 {
        manager.sessions_of("ann").await.unwrap_err();
    }
    let begun = Instant::now();
    let error = manager.destroy_sessions_of("ann", None).await.unwrap_err();
    assert_eq!(
        (error.kind(), begun.elapsed()),
        (ErrorKind::Unavailable, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_waited_for_an_hour() {
    let driver = Stuck::default();
    let begun = Instant::now();
    let error = manager(&driver).gc().await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed()), (ErrorKind::Unavailable, 60 * MINUTE));

    let log = Log::capture();
    let app = App::new(SessionLayer::new(driver.clone()).with_gc_interval(MINUTE));
    app.browser()
        .visit(|session| session.put("a", 1).unwrap())
        .await
        .value();
    pass(MINUTE).await;
    assert_eq!(
        driver.collections.swap(0, Ordering::SeqCst),
        2,
        "that of the manager, and the first of the layer"
    );
    pass(59 * MINUTE).await;
    assert_eq!(
        (driver.collections.load(Ordering::SeqCst), log.at(Level::WARN).len()),
        (0, 0)
    );
    pass(MINUTE).await;
    assert_eq!(log.at(Level::WARN).len(), 1);
    pass(MINUTE).await;
    assert_eq!(driver.collections.load(Ordering::SeqCst), 1, "it is tried again");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_collection_is_logged_and_ends_no_later_one() {
    let driver = Stuck {
        panics: true,
        ..Stuck::default()
    };
    let log = Log::capture();
    let app = App::new(SessionLayer::new(driver.clone()).with_gc_interval(MINUTE));
    app.browser()
        .visit(|session| session.put("a", 1).unwrap())
        .await
        .value();
    for count in 1..=3 {
        pass(MINUTE).await;
        assert_eq!(driver.collections.load(Ordering::SeqCst), count);
        let warned = log.at(Level::WARN);
        assert_eq!(warned.len() as u64, count, "{warned:?}");
        assert!(warned[0].field("err").unwrap().contains("panicked"));
    }
}
