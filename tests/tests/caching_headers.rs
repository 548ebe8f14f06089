//! What caches between server and browser are told.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, VARY};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use session_schema::{ErrorKind, Session};
use session_tests::{Browser, Call, Site, Visit, on_every_driver};

async fn signed_in(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    browser
}

fn vary<T>(visit: &Visit<T>) -> Option<String> {
    visit.header(VARY)
}

/// A visit whose handler reads the session, or changes it, and responds with these headers.
async fn with_headers(browser: &Browser, changes: bool, headers: &'static [(&'static str, &'static str)]) -> Visit<()> {
    let handler = async move |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        if changes {
            session.regenerate().unwrap();
            session.increment("n", 1).unwrap();
        }
        let mut response = StatusCode::OK.into_response();
        for (name, value) in headers {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    };
    browser.send(Request::new(Body::empty()), handler).await
}

async fn every_way_to_look_at_a_session_makes_the_response_vary_by_cookie(site: Site) {
    // HTTP-01
    let ways: [fn(&Session) -> bool; 7] = [
        |session| session.get::<u8>("user").is_ok(),
        |session| session.exists("absent"),
        |session| session.has_any(["user"]),
        |session| session.all().is_empty(),
        |session| session.is_new(),
        |session| session.id().as_str().is_empty(),
        |_| true,
    ];
    for way in ways {
        let visit = signed_in(&site).await.visit(move |session| way(&session)).await;
        assert_eq!(vary(&visit).as_deref(), Some("Cookie"));
        let visit = site.app().browser().visit(move |session| way(&session)).await;
        assert_eq!(
            vary(&visit).as_deref(),
            Some("Cookie"),
            "also for a visitor without a session"
        );
        assert!(visit.headers.get(CACHE_CONTROL).is_none());
    }
}

async fn a_response_that_sets_or_removes_the_cookie_varies_by_it_and_is_private(site: Site) {
    // HTTP-01, HTTP-04
    let browser = site.app().browser();
    let changes: [fn(&Session); 3] = [
        |session| session.put("user", 7).unwrap(),
        |session| session.regenerate().unwrap(),
        |session| session.invalidate().unwrap(),
    ];
    for change in changes {
        let visit = browser.visit(move |session| change(&session)).await;
        assert!(visit.cookie().is_some());
        assert_eq!(vary(&visit).as_deref(), Some("Cookie"));
        assert_eq!(visit.header(CACHE_CONTROL).as_deref(), Some("private"));
    }
}

async fn a_session_that_is_not_touched_leaves_the_response_cacheable(site: Site) {
    // HTTP-02
    let browser = signed_in(&site).await;
    let respond = async |_| ([("cache-control", "public, max-age=60")], "an image").into_response();
    let visit = browser.send(Request::new(Body::empty()), respond).await;
    assert_eq!(
        (vary(&visit), visit.header(CACHE_CONTROL).as_deref()),
        (None, Some("public, max-age=60"))
    );
}

async fn vary_is_merged(site: Site) {
    // HTTP-03
    let browser = signed_in(&site).await;
    for (headers, merged) in [
        (&[("vary", "Accept")][..], "Accept, Cookie"),
        (&[("vary", "Cookie")], "Cookie"),
        (&[("vary", "accept, COOKIE")], "accept, COOKIE"),
        (&[("vary", "*")], "*"),
        (&[("vary", "Accept"), ("vary", "Origin")], "Accept, Origin, Cookie"),
        (&[("vary", "Accept"), ("vary", "cookie")], "Accept, cookie"),
        (&[("vary", "X-Cookie-Name")], "X-Cookie-Name, Cookie"),
    ] {
        for changes in [false, true] {
            let visit = with_headers(&browser, changes, headers).await;
            assert_eq!(vary(&visit).as_deref(), Some(merged));
        }
    }
}

async fn no_shared_cache_is_told_to_keep_a_sessions_cookie(site: Site) {
    // A6, HTTP-04, D77
    let browser = signed_in(&site).await;
    for (said, kept) in [
        (&[("cache-control", "no-store")][..], "no-store"),
        (&[("cache-control", "public, max-age=60")], "private, max-age=60"),
        (
            &[("cache-control", "max-age=60"), ("cache-control", "S-MAXAGE=9")],
            "private, max-age=60",
        ),
        (
            &[("cache-control", "max-age=0"), ("cache-control", "no-cache")],
            "max-age=0, no-cache",
        ),
    ] {
        let visit = with_headers(&browser, true, said).await;
        assert!(visit.cookie().is_some());
        assert_eq!(visit.header(CACHE_CONTROL).as_deref(), Some(kept));
    }
}

async fn a_page_of_somebody_signed_in_is_not_shown_again_after_the_sign_out(site: Site) {
    // D77, DESIGN 9
    let browser = signed_in(&site).await;
    browser
        .visit(|session| session.set_owner(Some("7")).unwrap())
        .await
        .value();
    let read = browser.visit(|session| session.get::<u8>("user").unwrap()).await;
    assert_eq!(read.header(CACHE_CONTROL).as_deref(), Some("no-store"));
    let written = browser.visit(|session| session.increment("n", 1).unwrap()).await;
    assert_eq!(written.header(CACHE_CONTROL).as_deref(), Some("no-store"));
    let renewed = browser.visit(|session| session.regenerate().unwrap()).await;
    assert!(renewed.cookie().is_some());
    assert_eq!(renewed.header(CACHE_CONTROL).as_deref(), Some("no-store"));

    let chosen = with_headers(&browser, false, &[("cache-control", "max-age=60")]).await;
    assert_eq!(chosen.header(CACHE_CONTROL).as_deref(), Some("max-age=60"));
    let unused = browser
        .send(Request::new(Body::empty()), async |_| "".into_response())
        .await;
    assert_eq!(unused.header(CACHE_CONTROL), None);
    let guest = signed_in(&site)
        .await
        .visit(|session| session.get::<u8>("user").unwrap())
        .await;
    assert_eq!(guest.header(CACHE_CONTROL), None);
}

async fn without_a_cookie_a_guests_page_may_be_cached(site: Site) {
    // HTTP-04, D77
    let browser = signed_in(&site).await;
    let visit = browser.visit(|session| session.put("n", 0).unwrap()).await;
    assert!(visit.cookie().is_none());
    assert_eq!(
        visit.header(CACHE_CONTROL),
        None,
        "without a cookie there is nothing to keep private"
    );
}

async fn an_error_response_varies_by_cookie_too(site: Site) {
    // HTTP-01
    let browser = signed_in(&site).await;
    site.faults.fail_next(Call::Write);
    let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
    assert_eq!((visit.status.as_u16(), vary(&visit).as_deref()), (500, Some("Cookie")));
    site.faults.fail_next(Call::Read);
    let visit = browser.visit(|_| ()).await;
    assert_eq!((visit.status.as_u16(), vary(&visit).as_deref()), (500, Some("Cookie")));
    assert!(visit.header(CACHE_CONTROL).is_none());
}

async fn a_page_that_is_shown_because_the_load_failed_varies_by_cookie(site: Site) {
    // HTTP-01: a cache must not show it to who is signed in.
    let browser = signed_in(&site).await;
    site.faults.fail_next(Call::Read);
    let handler = async |request: Request| match Session::of(&request).unwrap().start().await {
        Ok(()) => "welcome back".into_response(),
        Err(_) => "welcome, stranger".into_response(),
    };
    let visit = browser.send(Request::new(Body::empty()), handler).await;
    assert_eq!(visit.body, "welcome, stranger");
    assert_eq!(vary(&visit).as_deref(), Some("Cookie"));
}

async fn the_session_is_saved_before_the_first_byte_of_the_body(site: Site) {
    // HTTP-06, HTTP-07, LIFE-33
    let browser = site.app().browser();
    let store = site.clone();
    let handler = async move |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        session.put("user", 7).unwrap();
        let body = LateBody(Some((session, store)));
        Response::new(Body::new(body))
    };
    let visit = browser.send(Request::new(Body::empty()), handler).await;
    assert!(visit.cookie().is_some());
    assert_eq!(visit.body, "saved, and closed");
}

/// A body that looks, when it is first asked for bytes, at what has become of the session.
struct LateBody(Option<(Session, Site)>);

impl axum::body::HttpBody for LateBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let Some((session, site)) = self.0.take() else {
            return std::task::Poll::Ready(None);
        };
        let saved = site.calls.take().write == 1;
        let closed = session
            .put("late", 1)
            .is_err_and(|error| error.kind() == ErrorKind::Committed);
        let says = match (saved, closed) {
            (true, true) => "saved, and closed",
            (true, false) => "saved, and open",
            (false, _) => "not saved",
        };
        std::task::Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(says.as_bytes())))))
    }
}

async fn an_unchanged_session_puts_no_cookie_on_304_and_on_preflights(site: Site) {
    // HTTP-09
    let browser = signed_in(&site).await;
    for (method, status) in [
        (Method::GET, StatusCode::NOT_MODIFIED),
        (Method::OPTIONS, StatusCode::NO_CONTENT),
    ] {
        let request = Request::builder().method(method).body(Body::empty()).unwrap();
        let read = async move |request: Request| {
            let session = Session::of(&request).unwrap();
            session.start().await.unwrap();
            status.into_response()
        };
        let visit = browser.send(request, read).await;
        assert_eq!(visit.status, status);
        assert!(visit.cookies().is_empty());
    }
}

async fn extensions_of_a_response_pass_through(site: Site) {
    // HTTP-07: an upgrade travels in them.
    use tower::{Layer, ServiceExt};
    #[derive(Clone, Debug, PartialEq)]
    struct Upgrade(u8);
    let service = tower::service_fn(|request: Request| async move {
        let session = Session::of(&request).unwrap();
        session.put("user", 7).unwrap();
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        response.extensions_mut().insert(Upgrade(1));
        Ok::<_, std::convert::Infallible>(response)
    });
    let response = site
        .layer()
        .layer(service)
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.extensions().get(), Some(&Upgrade(1)));
    assert!(response.headers().contains_key("set-cookie"));
}

on_every_driver! {
    every_way_to_look_at_a_session_makes_the_response_vary_by_cookie,
    a_response_that_sets_or_removes_the_cookie_varies_by_it_and_is_private,
    a_session_that_is_not_touched_leaves_the_response_cacheable,
    vary_is_merged,
    no_shared_cache_is_told_to_keep_a_sessions_cookie,
    a_page_of_somebody_signed_in_is_not_shown_again_after_the_sign_out,
    without_a_cookie_a_guests_page_may_be_cached,
    an_error_response_varies_by_cookie_too,
    a_page_that_is_shown_because_the_load_failed_varies_by_cookie,
    the_session_is_saved_before_the_first_byte_of_the_body,
    an_unchanged_session_puts_no_cookie_on_304_and_on_preflights,
    extensions_of_a_response_pass_through,
}
