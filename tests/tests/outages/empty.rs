//! Requests that go on with an empty session, because the application asks for it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use session_schema::{ErrorKind, Exclusive, LoadErrors, Session};
use session_tests::{
    App, Backing, Browser, Call, Counts, Log, SECRET_DETAIL, Site, all_changes, on_every_driver, signed_in, user,
};
use tracing::Level;

fn app(site: &Site) -> App {
    site.app_with(|layer| layer.with_load_errors(LoadErrors::Empty))
}

/// A visitor with a session, in an application that goes on without.
async fn visitor(site: &Site) -> Browser {
    let browser = app(site).browser();
    browser.set_id(&signed_in(site).await.id());
    assert_eq!(user(&browser).await, Some(7));
    site.calls.take();
    browser
}

async fn a_store_that_fails_at_load_is_an_empty_session_and_the_stored_one_stays_as_it_is(site: Site) {
    let browser = visitor(&site).await;
    for unreachable in [true, false] {
        match unreachable {
            true => site.faults.unreachable_next(Call::Read),
            false => site.faults.fail_next(Call::Read),
        }
        let log = Log::capture();
        let look = |session: Session| {
            assert!(session.is_read_only() && session.is_started() && session.is_new());
            assert!(session.all().is_empty() && session.owner().is_none());
            session.get::<u32>("user").unwrap()
        };
        let visit = browser.visit(look).await;
        assert!(visit.cookies().is_empty());
        assert_eq!(visit.header("vary").as_deref(), Some("Cookie"));
        assert_eq!(visit.value(), None);
        let warned = log.at(Level::WARN);
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert!(warned[0].field("err").unwrap().contains(SECRET_DETAIL));
        assert!(log.at(Level::ERROR).is_empty());
        assert_eq!(site.calls.take(), Counts::ONE_READ);
    }
    let visit = browser.visit(|session| session.is_read_only()).await;
    assert!(!visit.value());
    assert_eq!(user(&browser).await, Some(7));
}

async fn every_change_is_refused_and_nothing_is_stored_or_sent(site: Site) {
    let browser = visitor(&site).await;
    for (name, change) in all_changes() {
        site.faults.unreachable_next(Call::Read);
        let visit = browser
            .visit(move |session| change(&session).map_err(|error| error.kind()))
            .await;
        assert!(visit.cookies().is_empty(), "{name}");
        assert_eq!(visit.value(), Err(ErrorKind::Unavailable), "{name}");
        assert_eq!(site.calls.take(), Counts::ONE_READ, "{name}");
        assert_eq!(user(&browser).await, Some(7), "{name}");
        // So that the circuit stays closed the store has to answer a call. What is at hand it is not asked for.
        site.calls.take();
        let stranger = browser.copy();
        stranger.set_id(&"s".repeat(40));
        stranger.visit(|_| ()).await.value();
        assert_eq!(site.calls.take(), Counts::ONE_READ);
    }
}

async fn a_handler_that_insists_on_a_change_is_a_503(site: Site) {
    let browser = visitor(&site).await;
    site.faults.unreachable_next(Call::Read);
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        session.invalidate().map(|()| "signed out").into_response()
    });
    let visit = visit.await;
    assert_eq!(visit.status, 503);
    assert!(visit.cookies().is_empty() && visit.body.is_empty());
    assert_eq!(user(&browser).await, Some(7));
}

async fn its_token_is_no_sessions_token(site: Site) {
    let browser = visitor(&site).await;
    let real = browser.visit(|session| session.token()).await.value();
    site.faults.unreachable_next(Call::Read);
    let tokens = browser.visit(|session| (session.token(), session.token())).await;
    assert!(tokens.cookies().is_empty());
    let (token, again) = tokens.value();
    assert_eq!((token.len(), &token), (40, &again), "all forms of a page have the same");
    assert_ne!(token, real);
    site.faults.unreachable_next(Call::Read);
    assert_ne!(browser.visit(|session| session.token()).await.value(), token);
    assert_eq!(browser.visit(|session| session.token()).await.value(), real);
}

async fn the_store_is_asked_once_for_a_request_however_many_ask_for_the_session(site: Site) {
    let browser = visitor(&site).await;
    site.faults.unreachable(Call::Read);
    let visit = browser.visit_async(async |session: Session| {
        session.start().await.unwrap();
        session.save().await.unwrap();
        session.is_read_only()
    });
    assert!(visit.await.value());
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn a_reload_tries_again(site: Site) {
    let browser = visitor(&site).await;
    site.faults.unreachable_next(Call::Read);
    let visit = browser.visit_async(async |session: Session| {
        assert!(session.is_read_only());
        session.reload().await.unwrap();
        assert!(!session.is_read_only());
        session.put("seen", session.get::<u32>("user").unwrap()).unwrap();
    });
    visit.await.value();
    assert_eq!(site.payload(&browser.id()).await["seen"], 7);
}

async fn what_was_changed_before_is_not_forgotten_but_an_error(site: Site) {
    let browser = visitor(&site).await;
    site.faults.unreachable_next(Call::Read);
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        let session = Session::of(&request).unwrap();
        session.put("early", 1).unwrap();
        let error = session.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        "done".into_response()
    });
    visit.await.value();
    assert_eq!(
        site.payload(&browser.id()).await["early"],
        1,
        "the store was back when it was saved"
    );

    site.faults.unreachable(Call::Read);
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        Session::of(&request).unwrap().put("late", 1).unwrap();
        "done".into_response()
    });
    assert_eq!(visit.await.status, 503);
}

async fn who_wants_it_alone_gets_an_error(site: Site) {
    use axum::extract::FromRequestParts;

    let browser = visitor(&site).await;
    site.faults.unreachable_next(Call::Read);
    let visit = browser.send(Request::new(Body::empty()), async |request: Request| {
        let (mut parts, _) = request.into_parts();
        match Exclusive::<Session>::from_request_parts(&mut parts, &()).await {
            Ok(_) => "alone".into_response(),
            Err(rejection) => rejection.into_response(),
        }
    });
    assert_eq!(visit.await.status, 503);
}

on_every_driver! {
    a_store_that_fails_at_load_is_an_empty_session_and_the_stored_one_stays_as_it_is,
    every_change_is_refused_and_nothing_is_stored_or_sent,
    a_handler_that_insists_on_a_change_is_a_503,
    its_token_is_no_sessions_token,
    the_store_is_asked_once_for_a_request_however_many_ask_for_the_session,
    a_reload_tries_again,
    what_was_changed_before_is_not_forgotten_but_an_error,
    who_wants_it_alone_gets_an_error,
}

#[tokio::test(start_paused = true)]
async fn while_the_circuit_is_open_requests_go_on_too() {
    let site = Site::over(Backing::Memory);
    let browser = visitor(&site).await;
    site.faults.unreachable(Call::Read);
    for _ in 0..20 {
        assert!(browser.visit(|session| session.is_read_only()).await.value());
    }
    assert_eq!(site.calls.take().read, 5);
    site.faults.heal();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    assert_eq!(user(&browser).await, Some(7));
}
