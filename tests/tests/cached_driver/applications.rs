//! Applications over a cache: two servers, each with its own, lose nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::response::IntoResponse;
use session_schema::{CachedDriver, Driver, Exclusive, Session, SessionLayer};
use session_tests::{App, Backing, Call, Counts, Site, assert_silent, invalidate, key, user};
use tokio::task::JoinSet;

use super::drivers::STALENESS;

/// Two servers over a site's store, each with a cache.
fn servers(site: &Site) -> (App, App) {
    let server = || {
        let driver = CachedDriver::new(site.driver.clone(), STALENESS).with_clock(site.clock.clone());
        App::new(SessionLayer::new(driver).with_clock(site.clock.clone()))
    };
    (server(), server())
}

/// The same visitor at the other server.
fn at(app: &App, id: &str) -> session_tests::Browser {
    let browser = app.browser();
    browser.set_id(id);
    browser
}

#[tokio::test]
async fn a_request_that_reads_costs_nothing_and_one_that_writes_the_write() {
    let site = Site::over(Backing::Memory);
    let (here, _) = servers(&site);
    let browser = here.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.calls.take();
    for _ in 0..3 {
        assert_eq!(user(&browser).await, Some(7));
    }
    assert_eq!(site.calls.take(), Counts::NONE);
    browser.visit(|session| session.put("user", 8).unwrap()).await.value();
    assert_eq!(
        site.calls.take(),
        Counts {
            write: 1,
            ..Counts::NONE
        }
    );
    assert_eq!(user(&browser).await, Some(8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_writers_at_two_servers_lose_nothing() {
    for backing in [Backing::Memory, Backing::File] {
        let site = Site::over(backing);
        let (here, there) = servers(&site);
        let browser = here.browser();
        browser.visit(|session| session.put("count", 0).unwrap()).await.value();
        let id = browser.id();
        let mut writers = JoinSet::new();
        for number in 0..64 {
            let browser = at(if number % 2 == 0 { &here } else { &there }, &id);
            writers.spawn(async move {
                let visit = browser.visit(move |session| {
                    session.increment("count", 1).unwrap();
                    session.push("who", number).unwrap();
                });
                visit.await.value();
            });
        }
        writers.join_all().await;
        let payload = site.payload(&id).await;
        let mut who: Vec<_> = payload["who"]
            .as_array()
            .unwrap()
            .iter()
            .map(|who| who.as_u64().unwrap())
            .collect();
        who.sort_unstable();
        assert_eq!((payload["count"].as_u64(), who), (Some(64), (0..64).collect()));
    }
}

#[tokio::test]
async fn a_sign_out_at_another_server_is_not_undone_by_who_has_not_seen_it() {
    let site = Site::over(Backing::Memory);
    let (here, there) = servers(&site);
    let browser = here.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let id = browser.id();
    at(&there, &id).visit(invalidate).await.value();
    assert_eq!(
        user(&browser.copy()).await,
        Some(7),
        "for a moment it is not known here"
    );
    let visit = browser.copy().visit(|session| session.put("late", 1).unwrap()).await;
    assert_silent(&visit);
    assert!(site.record(&id).await.is_none());
    assert_eq!(user(&browser.copy()).await, None, "whose write has been refused knows");

    let browser = there.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert_eq!(user(&at(&here, &browser.id())).await, Some(7));
    let old = browser.copy();
    browser.visit(invalidate).await.value();
    assert_eq!(user(&old).await, None, "where it was done it is known at once");
    site.clock.advance(STALENESS);
    assert_eq!(user(&at(&here, &old.id())).await, None);
}

#[tokio::test]
async fn a_new_id_given_at_another_server_is_not_followed_by_what_a_cache_still_has() {
    // DESIGN 6: whether the request began before the new id was given, nobody can tell.
    let site = Site::over(Backing::Memory);
    let (here, there) = servers(&site);
    let browser = here.browser();
    browser
        .visit(|session| session.set_owner(Some("ann")).unwrap())
        .await
        .value();
    let (old, new) = (browser.copy(), at(&there, &browser.id()));
    assert_eq!(
        old.visit(|session| session.owner()).await.value().as_deref(),
        Some("ann")
    );
    new.visit(|session| session.regenerate().unwrap()).await.value();
    let visit = old.visit(|session| session.put("late", 1).unwrap()).await;
    assert_eq!((visit.status.as_u16(), visit.cookies().len()), (409, 0));
    assert!(!site.payload(&new.id()).await.contains_key("late"));
    // Where the new id was given at this server, its cache has known since.
    let slow = new.begin(|session| session.put("slow", 1).unwrap()).await;
    new.visit(|session| session.regenerate().unwrap()).await.value();
    assert_silent(&slow.finish().await);
    assert_eq!(site.payload(&new.id()).await["slow"], 1);
}

#[tokio::test]
async fn an_expiry_is_not_moved_for_a_session_that_has_got_a_new_id_at_another_server() {
    let site = Site::over(Backing::Memory);
    let server = || {
        let driver = CachedDriver::new(site.driver.clone(), STALENESS).with_clock(site.clock.clone());
        let layer = SessionLayer::new(driver).with_clock(site.clock.clone());
        App::new(layer.with_lifetime(6 * STALENESS))
    };
    let (here, there) = (server(), server());
    let browser = here.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let (old, new) = (browser.copy(), at(&there, &browser.id()));
    new.visit(|session| session.regenerate().unwrap()).await.value();
    // A tenth of the lifetime has gone by, and the session is still known here under its old id.
    site.clock.advance(STALENESS - Duration::from_secs(1));
    site.calls.take();
    let visit = old.visit(|session| session.has("user")).await;
    assert_silent(&visit);
    assert_eq!(site.calls.take().touch, 1);
}

#[tokio::test]
async fn who_has_a_session_alone_decides_on_what_the_store_says() {
    let site = Site::over(Backing::Memory);
    let (here, there) = servers(&site);
    let browser = here.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let id = browser.id();
    let pay = async |app: &App| {
        let browser = at(app, &id);
        let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
            let (mut parts, _) = request.into_parts();
            let session = Exclusive::<Session>::from_request_parts(&mut parts, &()).await.unwrap();
            let paid = session.has("paid");
            session.put("paid", true).unwrap();
            paid.to_string().into_response()
        });
        String::from_utf8(visit.await.body.to_vec()).unwrap()
    };
    assert_eq!(user(&browser).await, Some(7), "it is known here, as not paid");
    assert_eq!(
        (pay(&there).await, pay(&here).await),
        ("false".to_owned(), "true".to_owned())
    );
}

#[tokio::test]
async fn sessions_that_are_known_are_read_while_the_store_is_down() {
    let site = Site::over(Backing::Memory);
    let (here, _) = servers(&site);
    let browser = here.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.faults.unreachable(Call::Read);
    site.faults.unreachable(Call::Write);
    assert_eq!(user(&browser).await, Some(7));
    let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
    assert_eq!(visit.status, 503);
    assert_eq!(
        browser.visit(|_| ()).await.status,
        503,
        "whether the write was done is not known"
    );
    site.faults.heal();
    assert_eq!(user(&browser).await, Some(7));
}

#[tokio::test]
async fn pointers_to_a_cache_are_caches() {
    let site = Site::over(Backing::Memory);
    let driver: Arc<dyn Driver> =
        Arc::new(CachedDriver::new(site.driver.clone(), STALENESS).with_clock(site.clock.clone()));
    let app = App::new(SessionLayer::new(driver.clone()).with_clock(site.clock.clone()));
    let browser = app.browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let key = key(&browser.id());
    site.store.destroy(&key).await.unwrap();
    assert!(driver.read(&key).await.unwrap().is_some());
    assert!(driver.read_fresh(&key).await.unwrap().is_none());
}
