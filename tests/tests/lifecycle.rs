//! From the first request to the last: when a session begins, is loaded, saved and ended. Expiry is in `expiry.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use session_schema::{ErrorKind, Session};
use session_tests::{CHANGES, Change, Counts, Log, Site, TYPED_CHANGES, all_changes, on_every_driver, signed_in, user};
use tracing::Level;

fn page() -> Request {
    Request::new(Body::empty())
}

async fn a_request_that_does_not_touch_its_session_leaves_nothing(site: Site) {
    // LIFE-01, HTTP-02
    let visit = site
        .app()
        .browser()
        .send(page(), async |_| "hello".into_response())
        .await;
    assert!(visit.cookies().is_empty() && visit.headers.get("vary").is_none());
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn reading_a_new_session_leaves_nothing(site: Site) {
    // LIFE-02
    let read = |session: Session| {
        (
            session.all().len(),
            session.id().as_str().len(),
            session.is_new(),
            session.owner(),
        )
    };
    let visit = site.app().browser().visit(read).await;
    assert!(visit.cookie().is_none());
    assert_eq!(visit.value(), (0, 40, true, None));
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn a_session_that_nobody_asks_for_costs_no_call_of_the_store(site: Site) {
    // LIFE-03, HTTP-02
    let browser = signed_in(&site).await;
    let visit = browser.send(page(), async |request| {
        // Having the handle is not asking for what is in it.
        let session = Session::of(&request).unwrap();
        assert!(!session.is_started());
        "hello".into_response()
    });
    let visit = visit.await;
    assert!(visit.cookies().is_empty() && visit.headers.get("vary").is_none());
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn a_session_is_loaded_once_however_many_ask_for_it(site: Site) {
    // LIFE-04, CONC-12
    let browser = signed_in(&site).await;
    let handler = async |request: Request| {
        let (mut parts, _) = request.into_parts();
        let one = Session::from_request_parts(&mut parts, &()).await.unwrap();
        let two = Session::from_request_parts(&mut parts, &()).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let session = one.clone();
                tokio::spawn(async move {
                    session.start().await.unwrap();
                    session.increment("tasks", 1).unwrap();
                    tokio::task::yield_now().await;
                    session.increment("tasks", 1).unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(
            two.get::<u8>("tasks").unwrap(),
            Some(16),
            "all handles are the same session"
        );
        StatusCode::OK.into_response()
    };
    browser.send(page(), handler).await.value();
    assert_eq!(site.calls.take(), Counts::READ_AND_WRITE);
    assert_eq!(site.payload(&browser.id()).await["tasks"], 16);
}

async fn a_changed_session_does_not_set_its_cookie_again(site: Site) {
    // LIFE-06
    let browser = signed_in(&site).await;
    let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
    assert!(visit.cookies().is_empty());
    assert_eq!(user(&browser).await, Some(8));
}

async fn an_emptied_session_stays_and_shows_no_stale_data(site: Site) {
    // LIFE-07
    let browser = signed_in(&site).await;
    let id = browser.id();
    let visit = browser.visit(|session| session.forget(["user"]).unwrap()).await;
    assert!(visit.cookies().is_empty());
    assert_eq!(Value::Object(site.payload(&id).await), json!({}));
    assert_eq!(user(&browser).await, None);
    browser.visit(|session| session.put("user", 9).unwrap()).await.value();
    assert_eq!((browser.id(), user(&browser).await), (id, Some(9)));
}

async fn a_new_session_that_ends_empty_is_not_stored(site: Site) {
    // LIFE-08
    let put_and_remove = |session: Session| {
        session.put("a", 1).unwrap();
        session.flash("b", 1).unwrap();
        session.forget(["a", "b"]).unwrap();
        session.set_lifetime(std::time::Duration::from_secs(60)).unwrap();
    };
    let visit = site.app().browser().visit(put_and_remove).await;
    assert!(visit.cookies().is_empty());
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn invalidate_destroys_the_record_and_removes_the_cookie(site: Site) {
    // LIFE-09
    let browser = signed_in(&site).await;
    let old_tab = browser.copy();
    let visit = browser.visit(|session| {
        session.invalidate().unwrap();
        (session.exists("user"), session.is_new())
    });
    let visit = visit.await;
    let cookie = visit.cookie().expect("the cookie is removed");
    assert_eq!((cookie.value(), visit.value()), ("", (false, true)));
    assert!(site.record(&old_tab.id()).await.is_none());
    assert_eq!(user(&old_tab).await, None);
}

async fn what_was_changed_before_invalidate_is_gone(site: Site) {
    // LIFE-11
    let browser = signed_in(&site).await;
    let end = |session: Session| {
        session.put("a", 1).unwrap();
        session.increment("n", 1).unwrap();
        session.set_owner(Some("ann")).unwrap();
        session.invalidate().unwrap();
    };
    browser.visit(end).await.value();
    let id = site.calls.written_keys();
    assert_eq!(browser.maybe_id(), None);
    for key in id {
        assert!(site.store.read(&key).await.unwrap().is_none());
    }
}

async fn invalidate_beats_regenerate_in_either_order(site: Site) {
    // LIFE-12
    let orders: [fn(&Session); 3] = [
        |session| {
            session.invalidate().unwrap();
            session.regenerate().unwrap();
        },
        |session| {
            session.regenerate().unwrap();
            session.invalidate().unwrap();
        },
        |session| {
            session.invalidate().unwrap();
            session.invalidate().unwrap();
        },
    ];
    for order in orders {
        let browser = signed_in(&site).await;
        let old_tab = browser.copy();
        browser.visit(move |session| order(&session)).await.value();
        assert_eq!((browser.maybe_id(), user(&old_tab).await), (None, None));
    }
}

async fn invalidating_nothing_says_nothing(site: Site) {
    // D33
    let visit = site
        .app()
        .browser()
        .visit(|session| session.invalidate().unwrap())
        .await;
    assert!(visit.cookies().is_empty());
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn a_logout_may_forget_the_user_alone(site: Site) {
    // LIFE-39: without an owner. What belongs to one does not outlive them.
    let browser = signed_in(&site).await;
    let count = |session: Session| session.increment("visits", 1).unwrap();
    browser.visit(count).await.value();
    let signed_in = browser.copy();
    let sign_out = |session: Session| {
        session.forget(["user"]).unwrap();
        session.regenerate().unwrap();
    };
    browser.visit(sign_out).await.value();
    let left = |session: Session| Value::Object(session.all());
    assert_eq!(browser.visit(left).await.value(), json!({"visits": 1}));
    assert_eq!(user(&signed_in).await, None);
}

async fn a_session_is_new_in_the_request_that_begins_it(site: Site) {
    // LIFE-28
    let browser = site.app().browser();
    let is_new = |session: Session| {
        session.increment("n", 1).unwrap();
        session.is_new()
    };
    assert!(browser.visit(is_new).await.value());
    assert!(!browser.visit(is_new).await.value());
}

async fn what_is_done_takes_effect_whatever_the_response_says(site: Site) {
    // LIFE-31
    for status in [200, 302, 304, 404, 500] {
        let status = StatusCode::from_u16(status).unwrap();
        let browser = signed_in(&site).await;
        let answer = |change: fn(&Session)| {
            browser.send(page(), async move |request: Request| {
                let session = Session::of(&request).unwrap();
                session.start().await.unwrap();
                change(&session);
                status.into_response()
            })
        };
        let before = browser.id();
        let visit = answer(|session| session.put("n", 1).unwrap()).await;
        assert_eq!(visit.status, status);
        answer(|session| session.regenerate().unwrap()).await;
        let after = browser.id();
        assert_ne!(after, before);
        assert_eq!(site.payload(&after).await["n"], 1);
        answer(|session| session.invalidate().unwrap()).await;
        assert_eq!(browser.maybe_id(), None);
        assert!(site.record(&after).await.is_none());
    }
}

async fn a_handler_that_panics_saves_nothing(site: Site) {
    // LIFE-32, STORE-27
    let browser = signed_in(&site).await;
    let crashing = browser.clone();
    let crash = tokio::spawn(async move {
        let crash = |session: Session| {
            session.put("user", 8).unwrap();
            session.regenerate().unwrap();
            panic!("a panic that belongs to the test");
        };
        crashing.visit(crash).await;
    });
    assert!(crash.await.unwrap_err().is_panic());
    assert_eq!(site.calls.take(), Counts::ONE_READ);
    assert_eq!(user(&browser).await, Some(7));
}

async fn a_change_after_the_response_is_an_error_that_is_logged(site: Site) {
    // LIFE-33, D40, OBS-07
    let log = Log::capture();
    let browser = signed_in(&site).await;
    let session = browser.visit(|session| session).await.value();
    for (count, (name, change)) in all_changes().enumerate() {
        assert_eq!(
            change(&session).map_err(|error| error.kind()),
            Err(ErrorKind::Committed),
            "{name}"
        );
        assert_eq!(log.at(Level::ERROR).len(), count + 1, "{name}");
    }
    assert_eq!(session.get::<u8>("user").unwrap(), Some(7), "reading goes on");
    assert_eq!(session.token().len(), 40);
    assert_eq!(user(&browser).await, Some(7));
}

async fn an_early_save_is_durable_at_once_and_later_changes_are_saved_too(site: Site) {
    // LIFE-34
    let browser = site.app().browser();
    let store = site.clone();
    let visit = browser.visit_async(async move |session| {
        session.put("a", 1).unwrap();
        session.save().await.unwrap();
        let id = session.id().as_str().to_owned();
        assert_eq!(store.payload(&id).await["a"], 1);
        session.put("b", 2).unwrap();
        id
    });
    let visit = visit.await;
    assert!(visit.cookie().is_some());
    assert_eq!(visit.value(), browser.id());
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"a": 1, "b": 2})
    );
}

on_every_driver! {
    a_request_that_does_not_touch_its_session_leaves_nothing,
    reading_a_new_session_leaves_nothing,
    a_session_that_nobody_asks_for_costs_no_call_of_the_store,
    a_session_is_loaded_once_however_many_ask_for_it,
    a_changed_session_does_not_set_its_cookie_again,
    an_emptied_session_stays_and_shows_no_stale_data,
    a_new_session_that_ends_empty_is_not_stored,
    invalidate_destroys_the_record_and_removes_the_cookie,
    what_was_changed_before_invalidate_is_gone,
    invalidate_beats_regenerate_in_either_order,
    invalidating_nothing_says_nothing,
    a_logout_may_forget_the_user_alone,
    a_session_is_new_in_the_request_that_begins_it,
    what_is_done_takes_effect_whatever_the_response_says,
    a_handler_that_panics_saves_nothing,
    a_change_after_the_response_is_an_error_that_is_logged,
    an_early_save_is_durable_at_once_and_later_changes_are_saved_too,
}

/// The signatures of a type's public methods that take it by reference: the source tells.
fn methods(module: &str) -> BTreeMap<String, String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../session/src");
    let folder = sources.join(module).read_dir().unwrap();
    let files = folder
        .map(|file| file.unwrap().path())
        .chain([sources.join(module).with_extension("rs")]);
    let source: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let signatures = source.split("\n    pub ").skip(1);
    let signatures = signatures.map(|rest| rest.split(" {\n").next().unwrap());
    let methods = signatures.filter(|signature| signature.contains("fn ") && signature.contains("&self"));
    let name = |signature: &str| {
        let name = signature.split("fn ").nth(1).unwrap();
        name.split(['<', '(']).next().unwrap().to_owned()
    };
    methods
        .map(|signature| (name(signature), signature.to_owned()))
        .collect()
}

/// The names of those that can refuse, and are no more than a call.
fn fallible_methods(module: &str) -> BTreeSet<String> {
    let methods = methods(module).into_iter();
    let fallible = methods.filter(|(_, signature)| signature.starts_with("fn ") && signature.contains("-> Result<"));
    fallible.map(|(name, _)| name).collect()
}

#[test]
fn no_method_of_a_session_that_names_no_key_is_missing_from_the_typed_one() {
    // DESIGN 4
    let names_a_key = |signature: &str| {
        ["key: &str", "keys: impl", "content: Map"]
            .iter()
            .any(|word| signature.contains(word))
    };
    let dynamic = methods("session").into_iter();
    let without = dynamic.filter(|(_, signature)| !names_a_key(signature));
    let mut wanted: BTreeSet<String> = without.map(|(name, _)| name).collect();
    for not in ["attach", "all", "owner"] {
        assert!(wanted.remove(not), "{not}");
    }
    let typed = methods("typed");
    let missing: Vec<_> = wanted.iter().filter(|name| !typed.contains_key(*name)).collect();
    assert!(missing.is_empty(), "`TypedSession` has not {missing:?}");
}

#[test]
fn the_lists_of_changes_have_every_method_that_can_refuse_and_does_not_only_read() {
    // LIFE-33
    let listed = |changes: &[(&str, Change)], readers: &[&str]| -> BTreeSet<String> {
        let names = changes.iter().map(|(name, _)| name.split(' ').next().unwrap());
        names.chain(readers.iter().copied()).map(str::to_owned).collect()
    };
    assert_eq!(fallible_methods("session"), listed(CHANGES, &["get", "get_or"]));
    assert_eq!(fallible_methods("typed"), listed(TYPED_CHANGES, &["get", "snapshot"]));
}
