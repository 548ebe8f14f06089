//! When the store fails, or holds what cannot be read, or the request does.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::get;
use proptest::prelude::*;
use serde_json::{Value, json};
use session_schema::{ErrorKind, Exclusive, SaveErrors, Session, SessionSchema, TypedSession};
use session_tests::{
    App, Backing, Call, Counts, Log, SECRET_DETAIL, Site, Visit, key, on_every_driver, signed_in, some_id, user,
};
use tokio::runtime::Builder;
use tower::ServiceExt;
use tracing::Level;

/// A response that says nothing but its status.
fn assert_opaque<T>(visit: &Visit<T>, status: u16) {
    assert_eq!(visit.status, status);
    assert!(visit.body.is_empty());
    let headers = format!("{:?}", visit.headers);
    assert!(!headers.contains(SECRET_DETAIL), "{headers}");
}

async fn a_store_that_fails_at_load_is_an_opaque_error_and_the_handler_is_not_called(site: Site) {
    // ERR-01, ERR-03, ERR-18
    let browser = signed_in(&site).await;
    let id = browser.id();
    for (unreachable, status) in [(false, 500), (true, 503)] {
        match unreachable {
            true => site.faults.unreachable_next(Call::Read),
            false => site.faults.fail_next(Call::Read),
        }
        let log = Log::capture();
        let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
        assert_opaque(&visit, status);
        assert!(!visit.was_handled() && visit.cookies().is_empty());
        let errors = log.at(Level::ERROR);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0].field("err").unwrap().contains(SECRET_DETAIL),
            "operators are told what the store said"
        );
        // OBS-06
        assert!(
            log.at(Level::TRACE)
                .iter()
                .any(|entry| entry.field("rejection").is_some_and(|r| r.contains("LoadFailed")))
        );
    }
    assert_eq!((browser.id(), user(&browser).await), (id, Some(7)));
}

async fn a_store_that_fails_at_load_is_never_an_empty_session_saved_over_the_stored_one(site: Site) {
    // ERR-02
    let browser = signed_in(&site).await;
    site.faults.fail_next(Call::Read);
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        let session = Session::of(&request).unwrap();
        assert_eq!(session.start().await.unwrap_err().kind(), ErrorKind::Driver);
        // The handler goes on regardless; so does the store, by now.
        session.put("other", 1).unwrap();
        "done".into_response()
    });
    visit.await.value();
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"user": 7, "other": 1})
    );
}

async fn a_store_that_cannot_be_opened_is_tried_again(site: Site) {
    // ERR-01
    let browser = site.app().browser();
    site.faults.unreachable_next(Call::Open);
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    assert_opaque(&visit, 503);
    assert!(visit.cookies().is_empty());
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    user(&browser).await;
    assert_eq!(site.calls.take().open, 2, "and once it is open, it is open");
}

async fn a_save_that_fails_replaces_the_response_and_sets_no_cookie(site: Site) {
    // ERR-07, ERR-08, ERR-18, OBS-04
    for (unreachable, status) in [(false, 500), (true, 503)] {
        match unreachable {
            true => site.faults.unreachable_next(Call::Write),
            false => site.faults.fail_next(Call::Write),
        }
        let log = Log::capture();
        let browser = site.app().browser();
        let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
            Session::of(&request).unwrap().put("user", 7).unwrap();
            ([("x-detail", "secret")], "all is well").into_response()
        });
        let visit = visit.await;
        assert_opaque(&visit, status);
        assert!(visit.cookies().is_empty() && visit.headers.get("x-detail").is_none());
        let errors = log.at(Level::ERROR);
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].field("err").unwrap().contains(SECRET_DETAIL));
    }
}

async fn a_save_that_fails_can_be_let_pass_but_is_logged_and_sets_no_cookie(site: Site) {
    // ERR-07 (D72), ERR-08
    let log = Log::capture();
    let browser = site.app_with(|layer| layer.with_save_errors(SaveErrors::Log)).browser();
    site.faults.fail_next(Call::Write);
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    assert!(visit.cookies().is_empty());
    visit.value();
    assert_eq!(log.at(Level::ERROR).len(), 1);
}

async fn a_logout_that_fails_is_an_error_and_still_removes_the_cookie(site: Site) {
    // ERR-09, D73
    for call in [Call::Write, Call::Destroy] {
        let browser = signed_in(&site).await;
        site.faults.unreachable_next(call);
        let visit = browser.visit(|session| session.invalidate().unwrap()).await;
        assert_opaque(&visit, 503);
        assert_eq!(visit.cookie().expect("the cookie is removed").value(), "");
        assert_eq!(browser.maybe_id(), None);
    }
}

async fn a_logout_that_failed_is_told_to_a_handler_that_saves_and_can_be_tried_again(site: Site) {
    // ERR-09, ID-11
    let browser = signed_in(&site).await;
    let old_tab = browser.copy();
    site.faults.fail_next(Call::Destroy);
    let visit = browser.visit_async(async |session| {
        session.invalidate().unwrap();
        let failed = session.save().await.unwrap_err().kind();
        session.save().await.unwrap();
        failed
    });
    let visit = visit.await;
    assert_eq!(visit.cookie().unwrap().value(), "");
    assert_eq!(visit.value(), ErrorKind::Driver);
    assert!(site.record(&old_tab.id()).await.is_none());
}

async fn a_dead_or_malformed_cookie_is_left_alone(site: Site) {
    // ERR-11, D74
    let app = site.app();
    for id in ["wrong", "", &some_id()] {
        let cookie = format!("__Host-session={id}");
        let visit = app
            .visit_with_cookies(&[cookie.as_bytes()], |session| session.all())
            .await;
        assert!(visit.cookies().is_empty(), "{id}");
        assert!(visit.value().is_empty());
    }
}

async fn a_malformed_cookie_costs_no_call_of_the_store(site: Site) {
    // ERR-12
    let app = site.app();
    let visit = app
        .visit_with_cookies(
            &[b"__Host-session=wrong; __Host-session=\"x\"; __Host-session"],
            |session| session.all(),
        )
        .await;
    visit.value();
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn a_logout_ends_the_session_although_what_was_stored_after_it_cannot_be_saved(site: Site) {
    // LIFE-12, ERR-19
    let browser = site.app_with(|layer| layer.with_max_bytes(1000)).browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let id = browser.id();
    let visit = browser.visit(|session| {
        session.invalidate().unwrap();
        session.put("big", "x".repeat(1000)).unwrap();
    });
    let visit = visit.await;
    assert_opaque(&visit, 500);
    assert_eq!(visit.cookie().expect("the cookie is removed").value(), "");
    assert!(site.record(&id).await.is_none());
}

async fn after_invalidate_a_session_is_empty_and_can_be_used_on(site: Site) {
    // ERR-21
    let browser = signed_in(&site).await;
    let end = |session: Session| {
        let before = session.id().as_str().to_owned();
        session.invalidate().unwrap();
        let after = session.id().as_str().to_owned();
        (
            before != after,
            session.get::<u8>("user").unwrap(),
            session.increment("n", 1).unwrap(),
            session.all().len(),
        )
    };
    assert_eq!(browser.visit(end).await.value(), (true, None, 1, 1));
}

async fn a_handler_that_returns_the_error_of_a_session_responds_with_its_status(site: Site) {
    // DESIGN 7
    let app = Router::new()
        .route(
            "/",
            get(async |session: Session| session.get::<u8>("user").map(|user| format!("{user:?}"))),
        )
        .layer(site.layer());
    let id = site.plant(r#"{"user":"Ann-2718"}"#).await;
    let log = Log::capture();
    let request = Request::get("/")
        .header("cookie", format!("__Host-session={id}"))
        .body(Body::empty())
        .unwrap();
    let Ok(response) = app.oneshot(request).await;
    assert_eq!(response.status(), 500);
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap().len(), 0);
    assert!(!log.text().contains("2718") && log.at(Level::ERROR).len() == 1);
}

/// What a handler with a schema asks for.
#[derive(SessionSchema)]
struct Account {
    user: u64,
}

#[tokio::test]
async fn a_route_without_a_layer_is_a_500_whose_log_line_names_the_layer() {
    // ERR-14, OBS-06
    let app = Router::<()>::new()
        .route("/", get(async |_: Session| "never"))
        .route("/typed", get(async |_: TypedSession<Account>| "never"))
        .route("/exclusive", get(async |_: Exclusive<Session>| "never"))
        .route(
            "/maybe",
            get(async |session: Option<Session>| session.is_some().to_string()),
        )
        .route(
            "/typed/maybe",
            get(async |session: Option<TypedSession<Account>>| session.is_some().to_string()),
        );
    let page = async |path| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let Ok(response) = app.clone().oneshot(request).await;
        let (status, body) = (response.status(), response.into_body());
        (status.as_u16(), axum::body::to_bytes(body, 100).await.unwrap())
    };
    for path in ["/", "/typed", "/exclusive"] {
        let log = Log::capture();
        assert_eq!(page(path).await, (500, "".into()), "{path}");
        let errors = log.at(Level::ERROR);
        assert!(
            errors.len() == 1 && errors[0].message.contains("SessionLayer"),
            "{path}: {errors:?}"
        );
    }
    for path in ["/maybe", "/typed/maybe"] {
        let log = Log::capture();
        assert_eq!(page(path).await, (200, "false".into()), "{path}");
        assert!(log.at(Level::ERROR).is_empty(), "{path}: {log:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_out_of_reach_after_a_while() {
    // DESIGN 5, 6
    let site = Site::over(Backing::Memory);
    let browser = site
        .app_with(|layer| layer.with_store_timeout(Duration::from_secs(3)))
        .browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    for call in [Call::Read, Call::Write] {
        let held = site.faults.hold(call);
        let begun = tokio::time::Instant::now();
        let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
        assert_opaque(&visit, 503);
        assert_eq!(begun.elapsed().as_secs(), 3);
        drop(held);
    }
    assert_eq!(user(&browser).await, Some(7));
}

async fn no_response_of_the_library_is_one_of_which_no_page_can_be_made(site: Site) {
    use axum::response::Response;
    let page = async |response: Response| match response.extensions().get::<ErrorKind>() {
        Some(kind) => (response.status(), format!("our page about {kind:?}")).into_response(),
        None => response,
    };
    let pages = || axum::middleware::map_response(page);
    let app = App::around("__Host-session", |router| router.layer(site.layer()).layer(pages()));
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.faults.unreachable_next(Call::Read);
    let unread = browser.visit(|_| ()).await;
    assert_eq!(
        (unread.status.as_u16(), &*unread.body),
        (503, &b"our page about Unavailable"[..])
    );
    site.faults.fail_next(Call::Write);
    let unsaved = browser.visit(|session| session.put("user", 8).unwrap()).await;
    assert_eq!(
        (unsaved.status.as_u16(), &*unsaved.body),
        (500, &b"our page about Driver"[..])
    );
    let returned = browser.send(Request::new(Body::empty()), async |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        session.get::<bool>("user").unwrap_err().into_response()
    });
    assert_eq!(returned.await.body, "our page about WrongType");
    let without = App::around("__Host-session", |router| router.layer(pages()));
    let missing = without.browser().visit(|_| ()).await;
    assert_eq!(
        (missing.status.as_u16(), &*missing.body),
        (500, &b"our page about Unsupported"[..])
    );
}

on_every_driver! {
    no_response_of_the_library_is_one_of_which_no_page_can_be_made,
    a_store_that_fails_at_load_is_an_opaque_error_and_the_handler_is_not_called,
    a_store_that_fails_at_load_is_never_an_empty_session_saved_over_the_stored_one,
    a_store_that_cannot_be_opened_is_tried_again,
    a_save_that_fails_replaces_the_response_and_sets_no_cookie,
    a_save_that_fails_can_be_let_pass_but_is_logged_and_sets_no_cookie,
    a_logout_that_fails_is_an_error_and_still_removes_the_cookie,
    a_logout_that_failed_is_told_to_a_handler_that_saves_and_can_be_tried_again,
    a_dead_or_malformed_cookie_is_left_alone,
    a_malformed_cookie_costs_no_call_of_the_store,
    a_logout_ends_the_session_although_what_was_stored_after_it_cannot_be_saved,
    after_invalidate_a_session_is_empty_and_can_be_used_on,
    a_handler_that_returns_the_error_of_a_session_responds_with_its_status,
}

/// Bytes that an HTTP server takes in a header, often near a cookie that means something.
fn cookie_header() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![9..10_u8, 32..127_u8, 128..=255_u8];
    let part = prop_oneof![
        Just(b"__Host-session=".to_vec()),
        Just(b"; ".to_vec()),
        Just(b"__Host-session".to_vec()),
        Just(b"%5F_Host-session=".to_vec()),
        Just(some_id().into_bytes()),
        Just(vec![b'a'; 40]),
        "[A-Za-z0-9_-]{39,41}".prop_map(String::into_bytes),
        prop::collection::vec(byte, 0..20),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_cookie_header_whatever_is_an_error_or_gives_an_id(headers in prop::collection::vec(cookie_header(), 0..4)) {
        // ERR-13, ID-06
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::over(Backing::Memory);
            let headers: Vec<_> = headers.iter().map(|header| header.trim_ascii()).collect();
            let visit = site.app().visit_with_cookies(&headers, |session| session.all()).await;
            assert!(visit.cookies().is_empty());
            assert!(visit.value().is_empty());
            let visit = site.app().visit_with_cookies(&headers, |session| session.put("a", 1).unwrap()).await;
            let id = visit.cookie().expect("a session begins").value().to_owned();
            visit.value();
            assert!(!headers.iter().any(|header| header.windows(40).any(|part| part == id.as_bytes())));
            assert_eq!(site.calls.written_keys(), [key(&id)]);
        });
    }
}
