//! Drivers by name, sessions by hand, garbage, owners.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use session_schema::testing::ManualClock;
use session_schema::{
    Config, Driver, DriverError, ErrorKind, Expected, MemoryDriver, Record, Session, SessionManager, StoreKey, Written,
};
use session_tests::{App, Backing, Browser, Call, Counts, Log, SECRET_DETAIL, Site, key, on_every_driver};
use tracing::Level;

fn config(driver: &str) -> Config {
    let mut config = Config::default();
    config.driver = driver.into();
    config
}

/// The text of an error and all its sources.
fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}\n{source}")
}

/// A browser whose session belongs to this owner.
async fn signed_in(app: &App, owner: &'static str) -> Browser {
    let browser = app.browser();
    let sign_in = move |session: Session| {
        session.put("user", owner).unwrap();
        session.set_owner(Some(owner)).unwrap();
    };
    browser.visit(sign_in).await.value();
    browser
}

async fn is_signed_in(browser: &Browser) -> bool {
    browser.visit(|session| session.has("user")).await.value()
}

#[tokio::test]
async fn a_url_in_the_place_of_a_driver_is_an_error_that_does_not_repeat_it() {
    let manager = SessionManager::new(config("redis://:secret@h/")).unwrap();
    let text = chain(&manager.driver(None).await.err().unwrap());
    assert!(
        text.contains("`driver`") && text.contains("`url`") && !text.contains("secret"),
        "{text}"
    );
}

#[tokio::test]
async fn a_url_without_a_driver_that_has_one_is_warned_of() {
    let log = Log::capture();
    let mut files = config("file");
    files.url = Some("redis://:secret@h/".into());
    SessionManager::new(files).unwrap();
    let warnings = log.at(Level::WARN);
    assert!(
        warnings.len() == 1 && warnings[0].message.contains("`url`"),
        "{warnings:?}"
    );
    assert!(!log.text().contains("secret"));
}

#[tokio::test]
async fn an_unknown_driver_is_an_error_that_names_what_is_known() {
    // STORE-42
    let manager = SessionManager::new(config("cassandra")).unwrap();
    manager.extend("mine", async || Ok(MemoryDriver::new()));
    for error in [
        manager.driver(None).await.err(),
        manager.driver(Some("other")).await.err(),
        manager.layer().await.err(),
    ] {
        let text = error.expect("there is no such driver").to_string();
        assert!(
            text.contains("`driver`") && text.contains("`mine`") && text.contains("`memory`"),
            "{text}"
        );
    }
    assert_eq!(manager.gc().await.unwrap_err().kind(), ErrorKind::Driver);
}

#[tokio::test]
async fn a_driver_that_is_not_built_yet_is_not_said_to_be_a_feature() {
    let manager = SessionManager::new(config("dynamodb")).unwrap();
    let text = manager
        .driver(None)
        .await
        .err()
        .expect("there is no such driver")
        .to_string();
    assert!(
        text.contains("`SessionManager::extend`") && !text.contains("feature"),
        "{text}"
    );
}

#[tokio::test]
async fn clones_of_a_manager_share_their_drivers() {
    let manager = SessionManager::new(config("mine")).unwrap();
    let clone = manager.clone();
    manager.extend("mine", async || Ok(MemoryDriver::new()));
    let (one, other) = (manager.driver(None).await.unwrap(), clone.driver(None).await.unwrap());
    assert!(Arc::ptr_eq(&one, &other));
}

#[tokio::test]
async fn a_clock_keeps_the_drivers_that_were_registered_before() {
    let manager = SessionManager::new(config("mine")).unwrap();
    manager.extend("mine", async || Ok(MemoryDriver::new()));
    let manager = manager.with_clock(ManualClock::new());
    assert!(manager.driver(None).await.is_ok());
}

#[tokio::test]
async fn a_clock_keeps_a_driver_that_was_registered_under_the_name_of_one_of_this_crate() {
    let site = Site::over(Backing::Memory);
    let manager = SessionManager::new(config("file")).unwrap();
    let driver = site.driver.clone();
    manager.extend("file", move || std::future::ready(Ok(driver.clone())));
    let manager = manager.with_clock(site.clock.clone());
    let session = manager.build_session(manager.driver(None).await.unwrap(), None);
    session.put("a", 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(site.payload(session.id().as_str()).await["a"], 1);
}

#[tokio::test]
async fn a_driver_is_made_and_opened_once_however_many_ask_for_it_at_once() {
    // STORE-42, DESIGN 5
    let site = Site::over(Backing::Memory);
    let made = Arc::new(AtomicU32::new(0));
    let manager = Arc::new(SessionManager::new(config("mine")).unwrap());
    let (driver, count) = (site.driver.clone(), made.clone());
    manager.extend("mine", move || {
        let (driver, count) = (driver.clone(), count.clone());
        async move {
            tokio::task::yield_now().await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(driver)
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 0, "not before it is used");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let manager = manager.clone();
            tokio::spawn(async move { manager.driver(None).await.unwrap() })
        })
        .collect();
    let mut drivers = Vec::new();
    for task in tasks {
        drivers.push(task.await.unwrap());
    }
    assert!(drivers.iter().all(|driver| Arc::ptr_eq(driver, &drivers[0])));
    let browser = App::new(manager.layer().await.unwrap()).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    let session = manager.build_session(drivers[0].clone(), Some(&browser.id()));
    session.start().await.unwrap();
    assert_eq!((made.load(Ordering::SeqCst), site.calls.take().open), (1, 1));
}

#[tokio::test]
async fn a_driver_that_is_given_to_a_session_by_hand_is_opened_once_and_let_go_with_its_last_holder() {
    let (site, manager) = (
        Site::over(Backing::Memory),
        SessionManager::new(config("memory")).unwrap(),
    );
    let given: Arc<dyn Driver> = Arc::new(site.driver.clone());
    for _ in 0..3 {
        let session = manager.build_session(given.clone(), None);
        session.put("a", 1).unwrap();
        session.save().await.unwrap();
    }
    assert_eq!(site.calls.take().open, 1);
    let last = Arc::downgrade(&given);
    drop(given);
    drop(manager.build_session(Arc::new(MemoryDriver::new()), None));
    assert!(last.upgrade().is_none());
}

#[tokio::test]
async fn a_driver_that_is_given_to_sessions_by_hand_is_spared_by_all_of_them_while_it_is_down() {
    let (site, manager) = (
        Site::over(Backing::Memory),
        SessionManager::new(config("memory")).unwrap(),
    );
    site.faults.unreachable(Call::Write);
    for _ in 0..20 {
        let session = manager.build_session(site.driver.clone(), None);
        session.put("a", 1).unwrap();
        assert_eq!(session.save().await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let asked = site.calls.take().write;
    assert!(asked < 10, "asked {asked} times");
}

#[tokio::test]
async fn a_factory_that_fails_is_an_error_and_tried_again_the_next_time() {
    // STORE-42
    let manager = SessionManager::new(config("mine")).unwrap();
    let tries = Arc::new(AtomicU32::new(0));
    manager.extend("mine", move || {
        let try_number = tries.fetch_add(1, Ordering::SeqCst);
        async move {
            match try_number {
                0 => Err(DriverError::backend(SECRET_DETAIL)),
                1 => Err(DriverError::unavailable(SECRET_DETAIL)),
                _ => Ok(MemoryDriver::new()),
            }
        }
    });
    let error = manager.driver(None).await.err().unwrap();
    assert!(
        error.to_string().contains("`mine`") && chain(&error).contains(SECRET_DETAIL),
        "{}",
        chain(&error)
    );
    assert_eq!(manager.gc().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(manager.gc().await.unwrap(), 0);
}

#[tokio::test]
async fn a_driver_that_cannot_be_opened_is_an_error_and_tried_again() {
    // STORE-42
    let site = Site::over(Backing::Memory);
    let manager = site.manager();
    site.faults.unreachable_next(Call::Open);
    assert_eq!(
        manager.sessions_of("ann").await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(manager.sessions_of("ann").await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_factory_that_never_answers_is_not_waited_for_for_ever() {
    let manager = SessionManager::new(config("stuck")).unwrap();
    manager.extend("stuck", async || {
        std::future::pending::<()>().await;
        Ok(MemoryDriver::new())
    });
    let begun = tokio::time::Instant::now();
    let error = manager.driver(None).await.err().unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
    assert!(error.to_string().contains("`stuck` could not be opened"), "{error}");
    // It is out of reach, and may be asked again.
    assert_eq!(manager.gc().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_errors_at_start() {
    // ERR-22
    let broken = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        SessionManager::new(config).unwrap_err().to_string()
    };
    assert!(broken(|config| config.same_site = "sometimes".into()).contains("`same_site`"));
    assert!(broken(|config| config.lifetime = 0).contains("`lifetime`"));
    assert!(broken(|config| (config.namespace, config.raw_ids) = (Some("shop".into()), true)).contains("`raw_ids`"));
    assert!(broken(|config| config.cookie = "a b".into()).contains("`cookie`"));
    let secureless = broken(|config| (config.same_site, config.secure) = ("none".into(), false));
    assert!(secureless.contains("`secure`"));
}

async fn the_layer_of_a_manager_has_its_settings(site: Site) {
    // COOK-08, DESIGN 5
    let mut config = config("site");
    (config.cookie, config.path, config.lifetime) = ("shop".into(), "/shop".into(), 10);
    (config.domain, config.same_site, config.http_only) = (Some("example.com".into()), "Strict".into(), false);
    let layer = site.manager_with(config).layer().await.unwrap();
    let visit = App::with_name(layer, "shop")
        .browser()
        .visit(|session| session.put("a", 1).unwrap())
        .await;
    let cookie = visit.cookie().unwrap();
    assert_eq!(
        (cookie.name(), cookie.path(), cookie.domain()),
        ("shop", Some("/shop"), Some("example.com"))
    );
    assert_eq!((cookie.http_only(), cookie.secure()), (None, Some(true)));
    assert_eq!(cookie.max_age().unwrap().whole_minutes(), 10);
}

async fn a_session_by_hand_goes_on_where_the_layer_left_off_and_back(site: Site) {
    // DATA-42, DESIGN 5
    let manager = site.manager();
    let browser = App::new(manager.layer().await.unwrap()).browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    let session = manager.build_session(manager.driver(None).await.unwrap(), Some(&browser.id()));
    assert_eq!(
        (session.id().as_str(), session.name().as_str()),
        (&*browser.id(), "__Host-session")
    );
    session.start().await.unwrap();
    session.increment("a", 1).unwrap();
    session.save().await.unwrap();
    session.increment("a", 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(
        browser.visit(|session| session.get::<u8>("a").unwrap()).await.value(),
        Some(3)
    );
}

async fn a_new_session_by_hand_is_stored_under_the_id_it_says(site: Site) {
    // ID-14
    let manager = site.manager();
    let session = manager.build_session(site.driver.clone(), None);
    let before = session.id();
    session.put("a", 1).unwrap();
    session.save().await.unwrap();
    assert_eq!(session.id(), before);
    assert_eq!(Value::Object(site.payload(before.as_str()).await), json!({"a": 1}));
}

async fn the_sessions_of_an_owner_are_his_and_all_that_live(site: Site) {
    // IDX-01, IDX-02, IDX-03, IDX-04, IDX-06, IDX-14
    let app = site.app_with(|layer| layer.with_lifetime(Duration::from_secs(3600)));
    let manager = site.manager();
    let [one, two] = [signed_in(&app, "ann").await, signed_in(&app, "ann").await];
    let other = signed_in(&app, "bob").await;
    app.browser()
        .visit(|session| session.put("anonymous", 1).unwrap())
        .await
        .value();
    let listed = async |owner: &str| {
        let mut keys: Vec<_> = manager
            .sessions_of(owner)
            .await
            .unwrap()
            .iter()
            .map(|found| *found.key())
            .collect();
        keys.sort();
        keys
    };
    let mut both = vec![key(&one.id()), key(&two.id())];
    both.sort();
    assert_eq!(
        (listed("ann").await, listed("bob").await),
        (both.clone(), vec![key(&other.id())])
    );
    for nobody in ["", "ANN", "an", "ann ", "a%", "*", "null"] {
        assert!(listed(nobody).await.is_empty(), "{nobody}");
    }
    one.visit(|session| session.put("unrelated", 1).unwrap()).await.value();
    assert_eq!(listed("ann").await, both);
    let found = manager.sessions_of("bob").await.unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(found[0].payload()).unwrap()["user"],
        "bob"
    );
    assert_eq!(found[0].expires_at(), site.now() + Duration::from_secs(3600));
    two.visit(|session| session.set_owner(None).unwrap()).await.value();
    assert_eq!(listed("ann").await, [key(&one.id())]);
    other.visit(|session| session.invalidate().unwrap()).await.value();
    assert!(listed("bob").await.is_empty());
    site.clock.advance(Duration::from_secs(3600));
    assert!(listed("ann").await.is_empty());
}

async fn a_session_keeps_its_owner_through_a_regeneration_and_is_listed_once(site: Site) {
    // IDX-07, IDX-09
    let browser = site.app().browser();
    browser.visit(|session| session.put("cart", 1).unwrap()).await.value();
    let sign_in = |session: Session| {
        session.regenerate().unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    browser.visit(sign_in).await.value();
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    let listed = site.manager().sessions_of("ann").await.unwrap();
    assert_eq!(
        listed.iter().map(|found| *found.key()).collect::<Vec<_>>(),
        [key(&browser.id())]
    );
    assert_eq!(
        browser.visit(|session| session.owner()).await.value().as_deref(),
        Some("ann")
    );
}

async fn the_same_owner_again_is_no_change(site: Site) {
    // IDX-18
    let browser = signed_in(&site.app(), "ann").await;
    site.calls.take();
    browser
        .visit(|session| session.set_owner(Some("ann")).unwrap())
        .await
        .value();
    // A second read sees whether another request has ended the session: nobody is told "Welcome" who is not signed in.
    assert_eq!(
        site.calls.take(),
        Counts {
            read: 2,
            ..Counts::NONE
        }
    );
}

async fn log_out_everywhere_else_keeps_the_one_session(site: Site) {
    // IDX-11, IDX-12
    let app = site.app();
    let manager = site.manager();
    let here = signed_in(&app, "ann").await;
    let elsewhere = [signed_in(&app, "ann").await, signed_in(&app, "ann").await];
    let other = signed_in(&app, "bob").await;
    let id = here.id().parse().unwrap();
    assert_eq!(manager.destroy_sessions_of("ann", Some(&id)).await.unwrap(), 2);
    assert!(is_signed_in(&here).await && is_signed_in(&other).await);
    for browser in elsewhere {
        assert!(!is_signed_in(&browser).await);
    }
    assert_eq!(manager.destroy_sessions_of("ann", None).await.unwrap(), 1);
    assert!(!is_signed_in(&here).await && is_signed_in(&other).await);
    assert_eq!(manager.destroy_sessions_of("nobody", None).await.unwrap(), 0);
}

/// A driver that keeps no index.
struct Plain(MemoryDriver);

#[async_trait::async_trait]
impl Driver for Plain {
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.0.read(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.0.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: std::time::SystemTime) -> Result<bool, DriverError> {
        self.0.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.0.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.0.gc().await
    }
}

#[tokio::test]
async fn a_driver_of_the_applications_own_serves_and_says_that_it_keeps_no_owners() {
    // STORE-42
    let log = Log::capture();
    let manager = SessionManager::new(config("plain")).unwrap();
    manager.extend("plain", async || Ok(Plain(MemoryDriver::new())));
    let browser = App::new(manager.layer().await.unwrap()).browser();
    browser
        .visit(|session| session.put("user", "ann").unwrap())
        .await
        .value();
    assert!(is_signed_in(&browser).await);
    let error = manager.sessions_of("ann-2718").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert!(error.to_string().contains("owners"));
    assert!(!log.text().contains("2718") && log.at(Level::ERROR).is_empty());
}

on_every_driver! {
    the_layer_of_a_manager_has_its_settings,
    a_session_by_hand_goes_on_where_the_layer_left_off_and_back,
    a_new_session_by_hand_is_stored_under_the_id_it_says,
    the_sessions_of_an_owner_are_his_and_all_that_live,
    a_session_keeps_its_owner_through_a_regeneration_and_is_listed_once,
    the_same_owner_again_is_no_change,
    log_out_everywhere_else_keeps_the_one_session,
}
