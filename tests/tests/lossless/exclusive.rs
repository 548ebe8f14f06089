//! Handlers with effects that cannot be replayed: one at a time, if they ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{FromRequestParts, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Body};
use session_schema::{Exclusive, Session};
use session_tests::{Backing, Browser, Site, on_every_driver};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// A browser with a session of Ann's. (Nothing follows a guest to another id.)
pub(crate) async fn begun(site: &Site) -> Browser {
    let browser = site.app().browser();
    let sign_in = |session: Session| {
        session.put("begun", true).unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    browser.visit(sign_in).await.value();
    browser
}

fn request() -> Request {
    Request::new(Body::empty())
}

/// Asks for the session exclusively, as the extractor does.
async fn exclusive(request: Request) -> Result<Exclusive<Session>, Response> {
    let (mut parts, _) = request.into_parts();
    let session = Exclusive::from_request_parts(&mut parts, &()).await;
    session.map_err(IntoResponse::into_response)
}

/// A request that holds its session exclusively until it is told to end.
pub(crate) async fn holding(browser: &Browser, end: Arc<Notify>) -> tokio::task::JoinHandle<StatusCode> {
    let (browser, (begun, held)) = (browser.copy(), tokio::sync::oneshot::channel());
    let task = tokio::spawn(async move {
        let handler = async move |request| match exclusive(request).await {
            Err(rejection) => rejection,
            Ok(session) => {
                begun.send(()).unwrap();
                end.notified().await;
                session.increment("held", 1).unwrap();
                StatusCode::OK.into_response()
            }
        };
        browser.send(request(), handler).await.status
    });
    held.await.unwrap();
    task
}

/// A request that asks for its session exclusively, and is done with it at once.
async fn charge(browser: &Browser) -> StatusCode {
    let handler = async move |request| match exclusive(request).await {
        Err(rejection) => rejection,
        Ok(session) => {
            session.increment("charged", 1).unwrap();
            StatusCode::OK.into_response()
        }
    };
    browser.send(request(), handler).await.status
}

async fn handlers_that_ask_for_it_run_one_at_a_time_and_see_what_the_last_one_stored(site: Site) {
    let browser = begun(&site).await;
    let (inside, charged) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (browser, inside, charged) = (browser.copy(), inside.clone(), charged.clone());
        let handler = async move |request| {
            let Ok(session) = exclusive(request).await else {
                return StatusCode::LOCKED.into_response();
            };
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two handlers run at once");
            if !session.has("paid") {
                tokio::time::sleep(Duration::from_millis(2)).await;
                charged.fetch_add(1, Ordering::SeqCst);
                session.put("paid", true).unwrap();
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            StatusCode::OK.into_response()
        };
        tasks.spawn(async move { browser.send(request(), handler).await.status });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    assert_eq!(charged.load(Ordering::SeqCst), 1);
}

async fn who_does_not_ask_for_it_never_waits(site: Site) {
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    browser
        .visit(|session| session.increment("free", 1).unwrap())
        .await
        .value();
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    let payload = site.payload(&browser.id()).await;
    assert_eq!((&payload["free"], &payload["held"]), (&1.into(), &1.into()));
}

async fn other_sessions_do_not_wait(site: Site) {
    let (one, other) = (begun(&site).await, begun(&site).await);
    let end = Arc::new(Notify::new());
    let holder = holding(&one, end.clone()).await;
    assert_eq!(charge(&other).await, StatusCode::OK);
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
}

async fn a_request_that_is_dropped_frees_it(site: Site) {
    let browser = begun(&site).await;
    let holder = holding(&browser, Arc::new(Notify::new())).await;
    // The client hangs up in the middle of the handler.
    holder.abort();
    assert!(holder.await.unwrap_err().is_cancelled());
    assert_eq!(charge(&browser).await, StatusCode::OK);
    assert_eq!(site.payload(&browser.id()).await.get("held"), None);
}

async fn a_handler_that_panics_frees_it(site: Site) {
    let browser = begun(&site).await;
    let holder = {
        let browser = browser.copy();
        let handler = async move |request| {
            let _session = exclusive(request).await.unwrap();
            panic!("a handler panics, as it is to do here");
        };
        tokio::spawn(async move { browser.send(request(), handler).await.status })
    };
    assert!(holder.await.unwrap_err().is_panic());
    assert_eq!(charge(&browser).await, StatusCode::OK);
}

async fn a_visitor_without_a_session_has_it_to_himself(site: Site) {
    let browser = site.app().browser();
    assert_eq!(charge(&browser).await, StatusCode::OK);
    assert_eq!(site.payload(&browser.id()).await["charged"], 1);
}

async fn who_has_waited_while_the_session_got_a_new_id_is_rejected_with_423_and_loses_nothing(site: Site) {
    let browser = begun(&site).await;
    let (regenerated, end) = (browser.copy(), Arc::new(Notify::new()));
    let holder = holding(&browser, end.clone()).await;
    // It has changed the session before it asks for it exclusively, and waits.
    let in_flight = {
        let (browser, begun) = (browser.copy(), Arc::new(Notify::new()));
        let tell = begun.clone();
        let handler = async move |request: Request| {
            let (mut parts, _) = request.into_parts();
            let session = Session::from_request_parts(&mut parts, &()).await.unwrap();
            session.put("before", 1).unwrap();
            tell.notify_one();
            let rejected = Exclusive::<Session>::from_request_parts(&mut parts, &()).await;
            assert!(!session.has("secret"), "it reads what is stored under the new id");
            rejected.unwrap_err().into_response()
        };
        let task = tokio::spawn(async move { browser.send(request(), handler).await.status });
        begun.notified().await;
        task
    };
    let sign_in = |session: Session| {
        session.regenerate().unwrap();
        session.put("secret", 7).unwrap();
    };
    regenerated.visit(sign_in).await.value();
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    assert_eq!(in_flight.await.unwrap(), StatusCode::LOCKED);
    let payload = site.payload(&regenerated.id()).await;
    assert_eq!((&payload["held"], &payload["before"]), (&1.into(), &1.into()));
    // It holds nothing.
    assert_eq!(charge(&regenerated).await, StatusCode::OK);
}

async fn who_has_it_has_it_under_the_new_id_too_that_another_request_gives_the_session(site: Site) {
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    let soon = Duration::from_millis(50);
    let changes: [fn(Session); 3] = [
        |session| session.regenerate().unwrap(),
        |session| session.forget(["begun"]).unwrap(),
        |session| session.regenerate().unwrap(),
    ];
    for change in changes {
        browser.visit(change).await.value();
        assert_eq!(charge_within(&site, &browser, soon).await, StatusCode::LOCKED);
    }
    assert!(browser.visit(|session| session.all()).await.value().is_empty());
    // A session that begins anew has nothing to do with it.
    let other = browser.copy();
    let anew = |session: Session| {
        session.invalidate().unwrap();
        session.put("anew", 1).unwrap();
    };
    let kept = site.record(&browser.id()).await.unwrap();
    other.visit(anew).await.value();
    assert_eq!(charge_within(&site, &other, soon).await, StatusCode::OK);
    assert_eq!(site.payload(&other.id()).await.len(), 1);
    assert!(String::from_utf8_lossy(kept.payload()).contains("_lease"));
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
}

async fn it_is_free_under_the_new_id_when_its_holder_is_done(site: Site) {
    let browser = begun(&site).await;
    let (renewed, end) = (browser.copy(), Arc::new(Notify::new()));
    let holder = holding(&browser, end.clone()).await;
    renewed.visit(|session| session.regenerate().unwrap()).await.value();
    let waiting = {
        let renewed = renewed.clone();
        tokio::spawn(async move { charge(&renewed).await })
    };
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    // And nothing is noted where nobody has it.
    let other = begun(&site).await;
    assert_eq!(charge(&other).await, StatusCode::OK);
    other.visit(|session| session.regenerate().unwrap()).await.value();
    assert_eq!(site.payload(&other.id()).await.get("_lease"), None);
}

pub(crate) async fn charge_within(site: &Site, browser: &Browser, wait: Duration) -> StatusCode {
    let layer = site.layer().with_exclusive_wait(wait);
    let app = Router::new()
        .fallback(async |session: Exclusive<Session>| drop(session))
        .layer(layer);
    let mut request = request();
    let cookie = format!("__Host-session={}", browser.id());
    request.headers_mut().insert(header::COOKIE, cookie.parse().unwrap());
    app.oneshot(request).await.unwrap().status()
}

on_every_driver! { in_parallel:
    handlers_that_ask_for_it_run_one_at_a_time_and_see_what_the_last_one_stored,
    who_does_not_ask_for_it_never_waits,
    other_sessions_do_not_wait,
    a_request_that_is_dropped_frees_it,
    a_handler_that_panics_frees_it,
    a_visitor_without_a_session_has_it_to_himself,
    who_has_it_has_it_under_the_new_id_too_that_another_request_gives_the_session,
    it_is_free_under_the_new_id_when_its_holder_is_done,
    who_has_waited_while_the_session_got_a_new_id_is_rejected_with_423_and_loses_nothing,
}

#[tokio::test(start_paused = true)]
async fn who_waits_longer_than_allowed_is_rejected_with_423_locked() {
    let site = Site::over(Backing::Memory);
    let browser = begun(&site).await;
    let end = Arc::new(Notify::new());
    let holder = holding(&browser, end.clone()).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(
        charge_within(&site, &browser, Duration::from_secs(3)).await,
        StatusCode::LOCKED
    );
    let waited = begun.elapsed();
    assert!(
        waited >= Duration::from_secs(3) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    end.notify_one();
    assert_eq!(holder.await.unwrap(), StatusCode::OK);
    assert_eq!(
        charge_within(&site, &browser, Duration::from_secs(3)).await,
        StatusCode::OK
    );
}

/// Somebody gets the session exclusively, in a process that dies then: a runtime that is gone cannot give anything back, as a process that is
/// killed cannot.
pub(crate) fn die_holding(site: &Site, browser: &Browser) {
    let (id, dying) = (browser.id(), site.clone());
    let dead = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let browser = dying.app().browser();
            browser.set_id(&id);
            drop(holding(&browser, Arc::new(Notify::new())).await);
        });
        runtime.shutdown_background();
    });
    dead.join().unwrap();
}

#[tokio::test]
async fn a_process_that_dies_frees_it_after_ten_seconds_and_not_before() {
    let site = Site::over(Backing::Memory);
    let browser = begun(&site).await;
    die_holding(&site, &browser);
    site.clock.advance(Duration::from_millis(9_999));
    assert_eq!(charge_within(&site, &browser, Duration::ZERO).await, StatusCode::LOCKED);
    site.clock.advance(Duration::from_millis(1));
    assert_eq!(charge_within(&site, &browser, Duration::ZERO).await, StatusCode::OK);
}
