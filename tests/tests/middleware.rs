//! The session of a request in the hands of several layers and services.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderValue;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use session_schema::{Error, ErrorKind, Session};
use session_tests::{App, Call, Counts, Site, on_every_driver, signed_in, user};
use tower::{Layer, ServiceExt};

fn page() -> Request {
    Request::new(Body::empty())
}

async fn two_layers_on_one_request_share_one_session(site: Site) {
    // ID-33, D28
    let (outer, inner) = (site.layer(), site.layer());
    let between = async |request: Request, next: Next| {
        Session::of(&request).unwrap().increment("between", 1).unwrap();
        next.run(request).await
    };
    let app = App::around("__Host-session", |router| {
        router.layer(inner).layer(from_fn(between)).layer(outer)
    });
    let browser = app.browser();
    for _ in 0..2 {
        let visit = browser.visit(|session| session.increment("n", 1).unwrap()).await;
        assert!(visit.cookies().len() <= 1);
    }
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"n": 2, "between": 2})
    );
}

async fn a_session_can_be_made_by_hand_and_put_on_a_request(site: Site) {
    // DATA-42, LIFE-41
    let session = site.manager().build_session(site.driver.clone(), None);
    session.put("seeded", 1).unwrap();
    let mut request = page();
    session.attach(&mut request);
    let app = site.app();
    let visit = app.send(request, async |request: Request| {
        let (mut parts, _) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, &()).await.unwrap();
        session.increment("seeded", 1).unwrap();
        "ok".into_response()
    });
    visit.await.value();
    assert_eq!(session.get::<u8>("seeded").unwrap(), Some(2));
    session.save().await.unwrap();
    assert_eq!(site.payload(session.id().as_str()).await["seeded"], 2);
}

async fn what_an_outer_middleware_changes_is_merged_with_what_is_loaded(site: Site) {
    // LIFE-41
    let layer = site.layer();
    let count = async |request: Request, next: Next| {
        Session::of(&request).unwrap().increment("requests", 1).unwrap();
        next.run(request).await
    };
    let app = App::around("__Host-session", |router| router.layer(from_fn(count)).layer(layer));
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    browser
        .send(page(), async |_| "never asks".into_response())
        .await
        .value();
    let seen = browser
        .visit(|session| session.get::<u8>("requests").unwrap())
        .await
        .value();
    assert_eq!((seen, user(&browser).await), (Some(3), Some(7)));
}

async fn a_service_that_fails_saves_nothing(site: Site) {
    // LIFE-32
    let browser = signed_in(&site).await;
    let service = tower::service_fn(|request: Request| async move {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        session.put("user", 8).unwrap();
        Err::<axum::response::Response, _>("a failure that belongs to the test")
    });
    let request = Request::builder()
        .header("cookie", format!("__Host-session={}", browser.id()))
        .body(Body::empty())
        .unwrap();
    let failed = site.layer().layer(service).oneshot(request).await;
    assert!(failed.is_err());
    assert_eq!(
        site.calls.take(),
        Counts {
            open: 1,
            ..Counts::ONE_READ
        }
    );
    assert_eq!(user(&browser).await, Some(7));
}

async fn a_service_without_axum_has_sessions(site: Site) {
    // ERR-07
    let count = |request: http::Request<()>| async move {
        let session = Session::of(&request).unwrap();
        session.start().await?;
        Ok::<_, Error>(http::Response::new(session.increment("views", 1)?))
    };
    let service = site.layer().layer(tower::service_fn(count));
    let respond = |cookie: Option<HeaderValue>| {
        let mut request = http::Request::new(());
        request.headers_mut().extend(cookie.map(|cookie| (COOKIE, cookie)));
        service.clone().oneshot(request)
    };
    let first = respond(None).await.unwrap();
    let cookie = Some(first.headers()[SET_COOKIE].clone());
    let second = respond(cookie.clone()).await.unwrap();
    assert_eq!((*first.body(), *second.body()), (1, 2));
    site.faults.fail_next(Call::Write);
    let third = respond(cookie).await.unwrap();
    assert_eq!(
        (third.status().as_u16(), *third.body()),
        (500, 0),
        "the body is the default one"
    );
    assert_eq!(
        third.extensions().get(),
        Some(&ErrorKind::Driver),
        "of which a page can be made"
    );
}

on_every_driver! {
    two_layers_on_one_request_share_one_session,
    a_session_can_be_made_by_hand_and_put_on_a_request,
    what_an_outer_middleware_changes_is_merged_with_what_is_loaded,
    a_service_that_fails_saves_nothing,
    a_service_without_axum_has_sessions,
}
