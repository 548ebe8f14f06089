//! Applications that share a store, and layers that are around one another.

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use session_schema::{ErrorKind, MemoryDriver, Session, SessionLayer, SessionManager, StoreKey};
use session_tests::{App, Backing, Site, on_every_driver};
use std::sync::Arc;

fn app_in(site: &Site, namespace: &str) -> App {
    App::new(site.layer().with_namespace(namespace))
}

fn manager_in(site: &Site, namespace: &str) -> SessionManager {
    let mut config = session_schema::Config::default();
    (config.driver, config.namespace) = ("site".into(), Some(namespace.into()));
    site.manager_with(config)
}

async fn an_id_of_one_application_opens_nothing_in_another(site: Site) {
    // A11
    let (shop, admin) = (app_in(&site, "shop"), app_in(&site, "admin"));
    let browser = shop.browser();
    let key = browser.visit(|session| {
        session.put("user", 7).unwrap();
        session.store_key()
    });
    let key = key.await.value();
    let id: session_schema::SessionId = browser.id().parse().unwrap();
    assert_ne!(key, StoreKey::from(&id));
    assert!(site.store.read(&key).await.unwrap().is_some(), "that is where it is");
    for app in [admin, site.app()] {
        let thief = app.browser();
        thief.set_id(id.as_str());
        assert!(thief.visit(|session| session.is_new()).await.value());
    }
    // Nor the other way round: without a namespace, and in the one that the cookie's name makes.
    let plain = site.app().browser();
    plain.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert!(site.record(&plain.id()).await.is_some());
    let named = App::with_name(site.layer().with_cookie_name("shop"), "shop");
    for app in [shop, named] {
        let thief = app.browser();
        thief.set_id(&plain.id());
        assert!(thief.visit(|session| session.is_new()).await.value());
    }
}

async fn a_sign_out_everywhere_ends_nobodys_sessions_in_another_application(site: Site) {
    // A11
    let names = ["shop", "admin", ""];
    let browsers = names.map(|name| app_in(&site, name).browser());
    for browser in &browsers {
        let signed_in = browser.visit(|session| {
            session.set_owner(Some("42")).unwrap();
            session.put("n", 1).unwrap();
        });
        signed_in.await.value();
        let owner = browser.visit(|session| session.owner());
        assert_eq!(owner.await.value().as_deref(), Some("42"), "the application's own name");
    }
    let shop = manager_in(&site, "shop");
    assert_eq!(shop.sessions_of("42").await.unwrap().len(), 1);
    assert!(shop.sessions_of("shop\u{1f}42").await.unwrap().is_empty());
    assert!(
        manager_in(&site, "")
            .sessions_of("shop\u{1f}42")
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(shop.destroy_sessions_of("42", None).await.unwrap(), 1);
    let mut left = Vec::new();
    for browser in &browsers {
        left.push(browser.visit(|session| session.has("n")).await.value());
    }
    assert_eq!(left, [false, true, true]);
}

async fn a_session_in_a_namespace_is_given_a_new_id_and_keeps_its_owner(site: Site) {
    let browser = app_in(&site, "shop").browser();
    let visit = browser.visit(|session| {
        session.set_owner(Some("42")).unwrap();
        session.put("n", 1).unwrap();
    });
    visit.await.value();
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    let other = browser.copy();
    let slow = browser.begin(|session| session.increment("n", 1).unwrap()).await;
    other.visit(|session| session.increment("n", 1).unwrap()).await.value();
    slow.finish().await.value();
    let seen = browser.visit(|session| (session.owner(), session.get::<u8>("n").unwrap()));
    assert_eq!(seen.await.value(), (Some("42".to_owned()), Some(3)));
    let manager = manager_in(&site, "shop");
    let id = browser.id().parse().unwrap();
    assert_eq!(manager.destroy_sessions_of("42", Some(&id)).await.unwrap(), 0);
    assert_eq!(manager.destroy_sessions_of("42", None).await.unwrap(), 1);
}

async fn an_inner_layer_that_differs_is_not_ignored(site: Site) {
    // A11
    let (outer, inner) = (site.layer(), site.layer().with_cookie_name("admin"));
    let between = async |request: Request, next: Next| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        let response = next.run(request).await;
        session.increment("outer", 1).unwrap();
        response
    };
    let app = App::around("admin", |router| {
        router.layer(inner).layer(from_fn(between)).layer(outer)
    });
    let browser = app.browser();
    for visits in 1..=2 {
        let visit = browser.visit(|session| {
            session.increment("inner", 1).unwrap();
            (session.name(), session.get::<u8>("outer").unwrap())
        });
        let visit = visit.await;
        let names: Vec<_> = visit.cookies().iter().map(|cookie| cookie.name().to_owned()).collect();
        assert_eq!(names.len(), if visits == 1 { 2 } else { 0 }, "{names:?}");
        assert_eq!(visit.value(), ("admin".to_owned(), None));
    }
    let admin = browser.visit(|session| session.get::<u8>("inner").unwrap());
    assert_eq!(admin.await.value(), Some(2));
    assert!(
        site.record(&browser.id()).await.is_none(),
        "the inner one's key has its namespace"
    );
}

async fn nobody_finds_a_session_that_has_not_been_loaded(site: Site) {
    let browser = site.app().browser();
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        assert!(request.extensions().get::<Session>().is_none());
        let (mut parts, _) = request.into_parts();
        let session = Session::of_parts(&parts).unwrap();
        assert!(!session.is_started());
        session.put("n", 1).unwrap();
        let extracted = Session::from_request_parts(&mut parts, &()).await.unwrap();
        assert!(extracted.has("n"), "the same one");
        "".into_response()
    });
    visit.await.value();
}

/// What comes of a request through both layers: its status and the kind of an error.
async fn through(outer: SessionLayer, inner: SessionLayer) -> (u16, Option<ErrorKind>) {
    use tower::ServiceExt;
    let app = axum::Router::new()
        .fallback(async |session: Session| session.put("n", 1))
        .layer(inner)
        .layer(outer);
    let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
    let kind = response.extensions().get().copied();
    (response.status().as_u16(), kind)
}

#[tokio::test]
async fn two_sessions_in_cookies_of_one_name_are_not_mixed_up() {
    let refused = (500, Some(ErrorKind::Unsupported));
    let layer = SessionLayer::new(MemoryDriver::new());
    let other = SessionLayer::new(MemoryDriver::new());
    let log = session_tests::Log::capture();
    assert_eq!(through(layer.clone(), other).await, refused);
    let errors = log.at(tracing::Level::ERROR);
    assert!(
        errors.len() == 1 && errors[0].message.contains("with_cookie_name"),
        "{errors:?}"
    );
    assert_eq!(
        through(layer.clone(), layer.clone().with_namespace("shop")).await,
        refused
    );
    assert_eq!(through(layer.clone(), layer.clone()).await, (200, None));
    assert_eq!(
        through(layer.clone(), layer.clone().with_max_bytes(100)).await,
        (200, None)
    );
}

#[tokio::test]
async fn layers_over_one_arc_of_a_driver_share_one_session() {
    let driver = Arc::new(MemoryDriver::new());
    let layers = [(); 2].map(|()| SessionLayer::new(driver.clone()));
    assert_eq!(through(layers[0].clone(), layers[1].clone()).await, (200, None));
    let dynamic: Arc<dyn session_schema::Driver> = driver.clone();
    assert_eq!(
        through(layers[0].clone(), SessionLayer::new(dynamic)).await,
        (200, None)
    );
    let site = Site::over(Backing::Memory);
    let manager = site.manager();
    let by_hand = SessionLayer::new(manager.driver(None).await.unwrap());
    assert_eq!(through(manager.layer().await.unwrap(), by_hand).await, (200, None));
}

on_every_driver! {
    an_id_of_one_application_opens_nothing_in_another,
    a_sign_out_everywhere_ends_nobodys_sessions_in_another_application,
    a_session_in_a_namespace_is_given_a_new_id_and_keeps_its_owner,
    an_inner_layer_that_differs_is_not_ignored,
    nobody_finds_a_session_that_has_not_been_loaded,
}
