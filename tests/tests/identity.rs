//! Ids: where they come from, when they change, and which ones nobody gets.

use std::collections::{BTreeSet, HashSet};

use axum::body::Body;
use axum::extract::Request;
use session_schema::{Session, SessionId, StoreKey};
use session_tests::{Counts, Log, Site, key, on_every_driver, regenerate, signed_in, some_id, user};
use tracing::Level;

async fn ids_are_240_random_bits_in_40_characters_that_need_no_escapes(site: Site) {
    // ID-01, ID-32
    let app = site.app();
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        let browser = app.browser();
        browser.visit(|session| session.put("a", 1).unwrap()).await.value();
        let id = browser.id();
        assert!(
            id.len() == 40
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        ids.insert(id);
    }
    assert_eq!(ids.len(), 50);
    // Each of the 40 places takes many values: none is a prefix, a counter or a clock.
    for place in 0..40 {
        let at: BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[place]).collect();
        assert!(at.len() > 10, "place {place}: {}", at.len());
    }
}

async fn what_is_not_40_characters_of_base64url_is_no_id(site: Site) {
    // ID-03, ID-04
    let good = some_id();
    assert!(good.parse::<SessionId>().is_ok());
    for bad in [
        "",
        "wrong",
        &good[1..],
        &format!("{good}x"),
        &good.replacen('x', "+", 1),
        &good.replacen('x', "/", 1),
        &good.replacen('x', "=", 1),
        &good.replacen('x', ".", 1),
        &good.replacen('x', "\0", 1),
        &good.replacen("xx", "é", 1),
        "../../../../../../../../../../etc/passwd",
        &format!(" {}", &good[1..]),
    ] {
        assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        // One that somebody builds a session with is replaced.
        let session = site.manager().build_session(site.driver.clone(), Some(bad));
        session.start().await.unwrap();
        session.put("a", 1).unwrap();
        session.save().await.unwrap();
        assert_ne!(session.id().as_str(), bad);
    }
}

async fn an_id_that_the_server_did_not_issue_is_never_adopted(site: Site) {
    // ID-06
    let browser = site.app().browser();
    let planted = some_id();
    browser.set_id(&planted);
    let visit = browser
        .visit(|session| (session.is_new(), session.get::<u8>("user").unwrap()))
        .await;
    assert!(visit.cookie().is_none());
    assert_eq!(visit.value(), (true, None));
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert_ne!(browser.id(), planted);
    assert!(site.record(&planted).await.is_none());
    assert_eq!(user(&browser).await, Some(7));
}

async fn an_unknown_id_given_by_hand_is_not_adopted_either(site: Site) {
    // ID-06
    let planted = some_id();
    let session = site.manager().build_session(site.driver.clone(), Some(&planted));
    session.start().await.unwrap();
    session.put("user", 7).unwrap();
    session.save().await.unwrap();
    assert_ne!(session.id().as_str(), planted);
    assert!(site.record(&planted).await.is_none());
}

async fn an_expired_id_is_not_used_again(site: Site) {
    // ID-07
    let browser = signed_in(&site).await;
    let expired = browser.id();
    site.clock.advance(std::time::Duration::from_secs(7200));
    browser.visit(|session| session.put("other", 1).unwrap()).await.value();
    assert_ne!(browser.id(), expired);
    assert!(site.record(&expired).await.is_none());
    assert_eq!(user(&browser).await, None);
}

async fn regenerate_gives_a_new_id_keeps_the_data_and_ends_the_old_id_at_once(site: Site) {
    // ID-08, ID-12, ID-22
    let browser = signed_in(&site).await;
    let thief = browser.copy();
    let old = browser.id();
    let visit = browser.visit(regenerate).await;
    let cookie = visit.cookie().expect("the new id is in the same response");
    let new = visit.value();
    assert_eq!(cookie.value(), new);
    assert_ne!(new, old);
    assert_eq!(user(&browser).await, Some(7));
    assert_eq!(user(&thief).await, None);
}

async fn who_becomes_another_user_gets_another_id(site: Site) {
    // ID-23, IDX-07
    let browser = site.app().browser();
    let manager = site.manager();
    let mut tabs = Vec::new();
    for name in ["ann", "bob", "bob"] {
        let sign_in = move |session: Session| {
            session.put("user", 7).unwrap();
            session.set_owner(Some(name)).unwrap();
            session.regenerate().unwrap();
        };
        browser.visit(sign_in).await.value();
        let listed = manager.sessions_of(name).await.unwrap();
        assert_eq!(
            listed.iter().map(|found| *found.key()).collect::<Vec<_>>(),
            [key(&browser.id())]
        );
        for tab in &tabs {
            assert_eq!(user(tab).await, None, "who {name} was before");
        }
        tabs.push(browser.copy());
    }
    assert!(manager.sessions_of("ann").await.unwrap().is_empty());
}

async fn regenerate_changes_the_csrf_token(site: Site) {
    // ID-09
    let browser = signed_in(&site).await;
    let before = browser.visit(|session| session.token()).await.value();
    let tokens = |session: Session| {
        session.regenerate().unwrap();
        session.token()
    };
    let after = browser.visit(tokens).await.value();
    assert_ne!(before, after);
    assert_eq!(browser.visit(|session| session.token()).await.value(), after);
}

async fn of_several_regenerations_the_last_id_counts(site: Site) {
    // ID-13
    let browser = signed_in(&site).await;
    let thief = browser.copy();
    let ids = browser
        .visit(|session| [regenerate(session.clone()), regenerate(session)])
        .await
        .value();
    assert_eq!(browser.id(), ids[1]);
    assert!(site.record(&ids[0]).await.is_none());
    assert_eq!((user(&browser).await, user(&thief).await), (Some(7), None));
}

async fn of_several_saved_regenerations_the_last_id_counts(site: Site) {
    // ID-13, LIFE-34
    let browser = signed_in(&site).await;
    let copies: Vec<_> = (0..2).map(|_| browser.copy()).collect();
    let twice = async |session: Session| {
        let first = regenerate(session.clone());
        session.save().await.unwrap();
        (first, regenerate(session))
    };
    let visit = browser.visit_async(twice).await;
    assert!(visit.cookie().is_some());
    let (first, second) = visit.value();
    assert_eq!(browser.id(), second);
    copies[1].set_id(&first);
    assert_eq!(
        (user(&browser).await, user(&copies[0]).await, user(&copies[1]).await),
        (Some(7), None, None)
    );
}

async fn a_session_that_was_never_saved_is_stored_under_its_new_id_only(site: Site) {
    // ID-14
    let browser = site.app().browser();
    let first = |session: Session| {
        session.put("user", 7).unwrap();
        let first = session.id().as_str().to_owned();
        (first, regenerate(session))
    };
    let (first, second) = browser.visit(first).await.value();
    assert_eq!(browser.id(), second);
    assert!(site.record(&first).await.is_none());
    assert_eq!(site.calls.written_keys(), [key(&second)]);
}

async fn regenerating_a_session_that_was_destroyed_meanwhile_creates_nothing(site: Site) {
    // ID-16
    let browser = signed_in(&site).await;
    let old = browser.id();
    let slow = browser.begin(regenerate).await;
    browser.visit(|session| session.invalidate().unwrap()).await.value();
    let slow = slow.finish().await;
    assert!(slow.cookie().is_none());
    let new = slow.value();
    assert!(site.record(&old).await.is_none() && site.record(&new).await.is_none());
    assert_eq!(browser.maybe_id(), None);
}

async fn a_new_id_that_is_taken_is_not_used(site: Site) {
    // ID-18, ID-19
    let browser = site.app().browser();
    let other = signed_in(&site).await;
    // The id is known before it is stored, so somebody can be put in its place.
    let store = site.store.clone();
    let record = site.record(&other.id()).await.unwrap();
    let visit = browser.visit_async(async move |session| {
        session.put("user", 8).unwrap();
        let id = session.id();
        store
            .write(&(&id).into(), &record, session_schema::Expected::Absent)
            .await
            .unwrap();
        id.as_str().to_owned()
    });
    let taken = visit.await.value();
    assert_ne!(browser.id(), taken);
    assert_eq!(
        site.payload(&taken).await["user"],
        7,
        "the session that was there is not touched"
    );
    assert_eq!(user(&browser).await, Some(8));
}

async fn after_eight_taken_ids_a_new_session_is_an_error(site: Site) {
    // ID-19, D23
    let log = Log::capture();
    let browser = site.app().browser();
    site.faults.take_ids(8);
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    assert_eq!(visit.status, 500);
    assert!(visit.cookies().is_empty() && visit.body.is_empty());
    assert_eq!(site.calls.take().write, 8);
    assert_eq!(HashSet::<StoreKey>::from_iter(site.calls.written_keys()).len(), 8);
    assert_eq!(log.at(Level::ERROR).len(), 1);
}

async fn after_seven_taken_ids_the_eighth_is_the_sessions(site: Site) {
    // ID-19, D23
    let browser = site.app().browser();
    site.faults.take_ids(7);
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert_eq!(site.calls.take().write, 8);
    let keys = site.calls.written_keys();
    assert_eq!(HashSet::<&StoreKey>::from_iter(&keys).len(), 8);
    assert_eq!(keys.last(), Some(&key(&browser.id())));
    assert_eq!(user(&browser).await, Some(7));
}

async fn regenerating_nothing_is_harmless(site: Site) {
    // ID-21
    let browser = site.app().browser();
    let visit = browser.visit(regenerate).await;
    assert!(visit.cookie().is_none());
    visit.value();
    assert_eq!(site.calls.take(), Counts::NONE);
    let put = |session: Session| {
        let id = regenerate(session.clone());
        session.put("user", 7).unwrap();
        id
    };
    assert_eq!(browser.visit(put).await.value(), browser.id());
}

async fn changes_after_regenerate_do_not_undo_it(site: Site) {
    // ID-24
    let browser = signed_in(&site).await;
    let old = browser.id();
    let change = |session: Session| {
        let new = regenerate(session.clone());
        session.put("a", 1).unwrap();
        session.forget(["user"]).unwrap();
        session.flush().unwrap();
        session.put("b", 1).unwrap();
        new
    };
    let new = browser.visit(change).await.value();
    assert_eq!(browser.id(), new);
    assert_ne!(new, old);
    assert_eq!(site.payload(&new).await["b"], 1);
}

async fn ids_are_taken_from_the_cookie_only(site: Site) {
    // ID-27
    let browser = signed_in(&site).await;
    let id = browser.id();
    let stranger = site.app().browser();
    let request = Request::post(format!("/?session={id}&id={id}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("x-auth-token", &id)
        .header("authorization", format!("Bearer {id}"))
        .body(Body::from(format!("__Host-session={id}")))
        .unwrap();
    let seen = stranger
        .visit_as(request, async |session| session.get::<u8>("user").unwrap())
        .await;
    assert_eq!(seen.value(), None);
}

async fn changing_data_does_not_change_the_id(site: Site) {
    // ID-29
    let browser = signed_in(&site).await;
    let id = browser.id();
    let change = |session: Session| {
        session.put("a", 1).unwrap();
        session.flush().unwrap();
        session.regenerate_token().unwrap();
        session.id().as_str().to_owned()
    };
    assert_eq!(browser.visit(change).await.value(), id);
    assert_eq!(browser.id(), id);
}

async fn what_is_stored_after_invalidate_begins_a_new_session(site: Site) {
    // ID-31
    let browser = signed_in(&site).await;
    let old = browser.id();
    let again = |session: Session| {
        session.put("before", 1).unwrap();
        session.invalidate().unwrap();
        session.put("after", 1).unwrap();
        (session.is_new(), session.id().as_str().to_owned())
    };
    let visit = browser.visit(again).await;
    assert_eq!(visit.cookies().len(), 1);
    let (is_new, new) = visit.value();
    assert!(is_new && new != old && new == browser.id());
    assert!(site.record(&old).await.is_none());
    assert_eq!(
        serde_json::Value::Object(site.payload(&new).await),
        serde_json::json!({"after": 1})
    );
}

async fn the_store_sees_a_hash_of_the_id(site: Site) {
    // ID-26 (D26): raw ids are an option, and then there is no hash.
    let browser = signed_in(&site).await;
    let id = browser.id();
    assert!(
        site.calls
            .written_keys()
            .iter()
            .all(|key| key.as_str() != id && key.as_str().len() == 64)
    );
    assert!(site.store.read(&id.parse().unwrap()).await.unwrap().is_none());
    let mut config = session_schema::Config::default();
    (config.driver, config.raw_ids) = ("site".into(), true);
    let layer = site.manager_with(config).layer().await.unwrap();
    let browser = session_tests::App::new(layer).browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert!(site.store.read(&browser.id().parse().unwrap()).await.unwrap().is_some());
    assert!(site.record(&browser.id()).await.is_none());
    assert_eq!(user(&browser).await, Some(7));
    // Nothing is looked up both ways.
    let stranger = site.app().browser();
    stranger.set_id(&browser.id());
    assert_eq!(user(&stranger).await, None);
    browser.set_id(&id);
    assert_eq!(user(&browser).await, None);
}

async fn nothing_shows_an_id(site: Site) {
    // ID-28, OBS-09
    let browser = signed_in(&site).await;
    let manager = site.manager();
    let session = manager.build_session(site.driver.clone(), Some(&browser.id()));
    session.start().await.unwrap();
    session.put("secret", "value-2718").unwrap();
    session.set_owner(Some("owner-2718")).unwrap();
    session.save().await.unwrap();
    let stored = manager.sessions_of("owner-2718").await.unwrap();
    let record = site.record(&browser.id()).await.unwrap();
    let visit = browser.visit(regenerate).await;
    let shown = format!(
        "{session:?} {:?} {:?} {stored:?} {manager:?} {record:?} {:?} {:?} {:#?}",
        session.id(),
        stored[0].key(),
        site.layer(),
        session_schema::Written::Conflict(Some(record.clone())),
        visit.headers
    );
    let ids = [session.id().as_str().to_owned(), browser.id()];
    let keys = ids.each_ref().map(|id| key(id).as_str().to_owned());
    for secret in ids
        .iter()
        .chain(&keys)
        .map(String::as_str)
        .chain(["value-2718", "owner-2718"])
    {
        assert!(!shown.contains(secret), "{shown}");
    }
}

on_every_driver! {
    ids_are_240_random_bits_in_40_characters_that_need_no_escapes,
    what_is_not_40_characters_of_base64url_is_no_id,
    an_id_that_the_server_did_not_issue_is_never_adopted,
    an_unknown_id_given_by_hand_is_not_adopted_either,
    an_expired_id_is_not_used_again,
    regenerate_gives_a_new_id_keeps_the_data_and_ends_the_old_id_at_once,
    who_becomes_another_user_gets_another_id,
    regenerate_changes_the_csrf_token,
    of_several_regenerations_the_last_id_counts,
    of_several_saved_regenerations_the_last_id_counts,
    a_session_that_was_never_saved_is_stored_under_its_new_id_only,
    regenerating_a_session_that_was_destroyed_meanwhile_creates_nothing,
    a_new_id_that_is_taken_is_not_used,
    after_eight_taken_ids_a_new_session_is_an_error,
    after_seven_taken_ids_the_eighth_is_the_sessions,
    regenerating_nothing_is_harmless,
    changes_after_regenerate_do_not_undo_it,
    ids_are_taken_from_the_cookie_only,
    changing_data_does_not_change_the_id,
    what_is_stored_after_invalidate_begins_a_new_session,
    the_store_sees_a_hash_of_the_id,
    nothing_shows_an_id,
}
