//! The touch that rides on a read: one command, and what it must not do.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use session_schema::testing::ManualClock;
use session_schema::{Clock, Driver, Expiry, OwnerIndex, RedisDriver, Session, SessionLayer};
use session_tests::servers::{Monitor, Redis};
use session_tests::{App, Browser, assert_silent, invalidate, regenerate};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Applications over a server, whose sessions live for an hour, and what the server is asked.
struct Site {
    server: Redis,
    clock: ManualClock,
    driver: RedisDriver,
    monitor: Monitor,
}

impl Site {
    async fn new() -> Self {
        let (server, clock) = (Redis::start(&[]), ManualClock::new());
        let driver = RedisDriver::connect(&server.url())
            .await
            .unwrap()
            .with_clock(clock.clone());
        let monitor = Monitor::of(&server);
        Self {
            server,
            clock,
            driver,
            monitor,
        }
    }

    /// An application of another process, for all that one can tell.
    fn app(&self, settings: impl FnOnce(SessionLayer) -> SessionLayer) -> App {
        let layer = SessionLayer::new(self.driver.clone())
            .with_clock(self.clock.clone())
            .with_lifetime(HOUR);
        App::new(settings(layer))
    }

    fn asked(&mut self) -> usize {
        self.monitor.take().0.len()
    }

    /// How much longer a session lives.
    async fn left(&self, browser: &Browser) -> Duration {
        let record = self
            .driver
            .read(&session_tests::key(&browser.id()))
            .await
            .unwrap()
            .unwrap();
        let left = record.expires_at().duration_since(self.clock.now()).unwrap();
        // The store keeps milliseconds.
        Duration::from_millis(left.as_micros().div_ceil(1000) as u64)
    }
}

async fn signed_in(app: &App) -> Browser {
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    browser
}

fn read(session: Session) -> bool {
    session.has("user")
}

/// The lifetimes that a response gives cookies.
fn max_ages<T>(visit: &session_tests::Visit<T>) -> Vec<Option<i64>> {
    visit
        .cookies()
        .iter()
        .map(|cookie| cookie.max_age().map(|age| age.whole_seconds()))
        .collect()
}

#[tokio::test]
async fn a_read_that_prolongs_is_one_command_and_the_browser_is_told() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    site.clock.advance(HOUR / 10 - Duration::from_secs(1));
    site.asked();
    assert_silent(&browser.visit(read).await);
    assert_eq!(site.asked(), 1);
    assert_eq!(
        site.left(&browser).await,
        HOUR * 9 / 10 + Duration::from_secs(1),
        "it was not worth it"
    );

    site.clock.advance(Duration::from_secs(1));
    site.asked();
    let visit = browser.visit(read).await;
    assert_eq!(site.asked(), 1);
    assert_eq!(max_ages(&visit), [Some(3600)]);
    assert_eq!(site.left(&browser).await, HOUR);
    let expiry: i64 = {
        let keys: Vec<String> = site.server.ask(&["KEYS", "*"]);
        site.server.ask(&["PEXPIRETIME", &keys[0]])
    };
    let end = (site.clock.now() + HOUR).duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(expiry, end.as_millis() as i64);
    assert!(visit.value());
}

#[tokio::test]
async fn a_write_after_a_read_that_prolonged_tells_the_browser_too() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    site.clock.advance(HOUR / 2);
    site.asked();
    let visit = browser.visit(|session| session.put("more", 1).unwrap()).await;
    assert_eq!((site.asked(), max_ages(&visit)), (2, vec![Some(3600)]));
    assert_eq!(site.left(&browser).await, HOUR);
}

#[tokio::test]
async fn a_request_that_the_visitor_may_never_see_prolongs_nothing() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    site.clock.advance(HOUR / 2);
    site.asked();
    let request = Request::builder()
        .header("sec-purpose", "prefetch")
        .body(Body::empty())
        .unwrap();
    let visit = browser.visit_as(request, async |session| read(session)).await;
    assert_silent(&visit);
    assert_eq!(site.asked(), 1);
    assert_eq!(site.left(&browser).await, HOUR / 2);
}

#[tokio::test]
async fn a_session_is_prolonged_by_its_own_lifetime_and_not_beyond_its_deadline() {
    let mut site = Site::new().await;
    let app = site.app(|layer| layer.with_absolute_lifetime(100 * MINUTE));
    let browser = app.browser();
    browser
        .visit(|session| session.set_lifetime(20 * MINUTE).and(session.put("user", 7)).unwrap())
        .await
        .value();
    for _ in 0..5 {
        site.clock.advance(15 * MINUTE);
        site.asked();
        let visit = browser.visit(read).await;
        assert_eq!((site.asked(), max_ages(&visit)), (1, vec![Some(20 * 60)]));
        assert_eq!(site.left(&browser).await, 20 * MINUTE);
    }
    // 75 of its 100 minutes have gone by.
    site.clock.advance(15 * MINUTE);
    let visit = browser.visit(read).await;
    assert_eq!(max_ages(&visit), [Some(10 * 60)]);
    assert_eq!(site.left(&browser).await, 10 * MINUTE);
    site.clock.advance(10 * MINUTE);
    assert!(!browser.visit(read).await.value());
}

#[tokio::test]
async fn a_session_that_ends_at_a_moment_is_not_prolonged_by_a_read() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    let moment = site.clock.now() + HOUR / 2;
    browser
        .visit(move |session| session.set_expiry(Some(Expiry::At(moment))).unwrap())
        .await
        .value();
    for minutes in [20, 10] {
        site.clock.advance(10 * MINUTE);
        site.asked();
        assert_silent(&browser.visit(read).await);
        assert_eq!((site.asked(), site.left(&browser).await), (1, minutes * MINUTE));
    }
    site.clock.advance(10 * MINUTE);
    assert!(!browser.visit(read).await.value());
}

#[tokio::test]
async fn a_session_that_ends_with_the_browser_is_prolonged_by_a_read() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    browser
        .visit(|session| session.set_expiry(Some(Expiry::OnClose)).unwrap())
        .await
        .value();
    site.clock.advance(HOUR / 2);
    site.asked();
    assert_silent(&browser.visit(read).await);
    assert_eq!((site.asked(), site.left(&browser).await), (1, HOUR));
}

#[tokio::test]
async fn a_cookie_that_lasts_until_the_browser_is_closed_is_not_sent_again() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer.with_expire_on_close(true))).await;
    site.clock.advance(HOUR / 2);
    site.asked();
    assert_silent(&browser.visit(read).await);
    assert_eq!(site.asked(), 1);
    assert_eq!(site.left(&browser).await, HOUR);
}

#[tokio::test]
async fn an_owner_keeps_a_session_that_is_prolonged_again_and_again() {
    let site = Site::new().await;
    let browser = site.app(|layer| layer).browser();
    browser
        .visit(|session| session.set_owner(Some("ann")).unwrap())
        .await
        .value();
    for _ in 0..10 {
        site.clock.advance(HOUR / 2);
        assert_eq!(
            max_ages(&browser.visit(|session| drop(session.all())).await),
            [Some(3600)]
        );
        assert_eq!(site.left(&browser).await, HOUR);
        assert_eq!(site.driver.sessions_of("ann").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn who_only_looks_at_a_session_by_hand_does_not_prolong_it() {
    let site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    site.clock.advance(HOUR / 2);
    let manager = session_schema::SessionManager::new(session_schema::Config::default()).unwrap();
    let manager = manager.with_clock(site.clock.clone());
    let session = manager.build_session(std::sync::Arc::new(site.driver.clone()), Some(&browser.id()));
    session.start().await.unwrap();
    assert!(session.has("user"));
    assert_eq!(site.left(&browser).await, HOUR / 2);
}

#[tokio::test]
async fn the_mark_of_an_old_id_is_not_prolonged() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    let old_tab = browser.copy();
    browser.visit(regenerate).await.value();
    let ends = |site: &Site| -> i64 {
        let keys: Vec<String> = site.server.ask(&["KEYS", "*"]);
        let mark = keys
            .iter()
            .find(|key| key.contains(session_tests::key(&old_tab.id()).as_str()))
            .unwrap();
        site.server.ask(&["PEXPIRETIME", mark])
    };
    let before = ends(&site);
    site.clock.advance(Duration::from_secs(29));
    assert!(!old_tab.visit(read).await.value());
    assert_eq!(ends(&site), before);
    site.asked();
}

#[tokio::test]
async fn a_slow_response_does_not_set_the_cookie_of_a_session_that_was_ended_meanwhile() {
    // CONC-03, D74
    let site = Site::new().await;
    let (app, elsewhere) = (site.app(|layer| layer), site.app(|layer| layer));
    for end in [invalidate, |session| drop(regenerate(session))] {
        // Here, at any speed.
        let browser = signed_in(&app).await;
        site.clock.advance(HOUR / 2);
        let slow = browser.begin(read).await;
        browser.visit(end).await.value();
        assert_silent(&slow.finish().await);

        // In another process, by who was slow.
        let browser = signed_in(&app).await;
        site.clock.advance(HOUR / 2);
        let (slow, begun) = (browser.begin(read).await, Instant::now());
        let there = elsewhere.browser();
        there.set_id(&browser.id());
        there.visit(end).await.value();
        while begun.elapsed() < Duration::from_millis(120) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_silent(&slow.finish().await);
    }
}

#[tokio::test]
async fn a_slow_response_renews_the_cookie_of_a_session_that_is_still_there() {
    let mut site = Site::new().await;
    let browser = signed_in(&site.app(|layer| layer)).await;
    site.clock.advance(HOUR / 2);
    site.asked();
    let (slow, begun) = (browser.begin(read).await, Instant::now());
    while begun.elapsed() < Duration::from_millis(120) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let visit = slow.finish().await;
    assert_eq!((site.asked(), max_ages(&visit)), (2, vec![Some(3600)]));
}
