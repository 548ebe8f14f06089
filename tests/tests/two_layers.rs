//! Warnings that a process gives once, so that these tests have one of their own.

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use session_schema::Session;
use session_tests::{App, Backing, Log, Site};
use tracing::Level;

#[tokio::test]
async fn two_layers_warn_once() {
    // ID-33, D28
    let site = Site::over(Backing::Memory);
    let (outer, inner) = (site.layer(), site.layer());
    let app = App::around("__Host-session", |router| router.layer(inner).layer(outer));
    let log = Log::capture();
    for _ in 0..3 {
        let visit = app.browser().visit(|session| session.put("n", 1).unwrap()).await;
        visit.value();
        let warnings = log.at(Level::WARN);
        assert!(
            warnings.len() == 1 && warnings[0].message.contains("two `SessionLayer`s"),
            "{warnings:?}"
        );
    }
}

#[tokio::test]
async fn a_shared_cache_that_was_invited_is_warned_of_once() {
    // A6, D77
    let app = Site::over(Backing::Memory).app();
    let log = Log::capture();
    for _ in 0..3 {
        let browser = app.browser();
        let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
            Session::of(&request).unwrap().put("n", 1).unwrap();
            ([("cache-control", "public, max-age=60")], "a page").into_response()
        });
        assert_eq!(visit.await.headers["cache-control"], "private, max-age=60");
        let warnings = log.at(Level::WARN);
        assert!(
            warnings.len() == 1 && warnings[0].message.contains("`public`"),
            "{warnings:?}"
        );
    }
}
