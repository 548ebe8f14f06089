//! What operators are told, and what nobody is.

use session_schema::Session;
use session_tests::{Browser, Call, Log, Site, key, on_every_driver, some_id};
use tracing::Level;

async fn signed_in(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser
        .visit(|session| session.put("user", "value-2718").unwrap())
        .await
        .value();
    browser
}

async fn nothing_that_happens_to_a_session_logs_an_id_a_key_or_a_value(site: Site) {
    // OBS-09, OBS-01, OBS-02, ERR-18
    let log = Log::capture();
    let browser = signed_in(&site).await;
    let mut ids = vec![browser.id(), some_id()];
    let old_tab = browser.copy();
    // A sign-in, and a request of the guest's that is refused because of it.
    let refused = browser
        .begin(|session| session.put("other", "value-2718").unwrap())
        .await;
    browser
        .visit(|session| session.set_owner(Some("owner-2718")).unwrap())
        .await
        .value();
    ids.push(browser.id());
    assert_eq!(refused.finish().await.status, 409);
    // Load, save, conflict.
    let slow = browser
        .begin(|session| session.put("other", "value-2718").unwrap())
        .await;
    browser
        .visit(|session| session.put("third", "value-2718").unwrap())
        .await
        .value();
    slow.finish().await.value();
    // A new id, a slow request that follows, one with the old id, one after the logout.
    let slow = browser
        .begin(|session| session.put("slow", "value-2718").unwrap())
        .await;
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    ids.push(browser.id());
    slow.finish().await.value();
    old_tab
        .visit(|session| session.put("old", "value-2718").unwrap())
        .await
        .value();
    let slow = browser
        .begin(|session| session.put("slow", "value-2718").unwrap())
        .await;
    browser.visit(|session| session.invalidate().unwrap()).await.value();
    slow.finish().await.value();
    // Unknown, malformed and corrupt, and a store that fails.
    browser.set_id(&ids[1]);
    browser.visit(|session| session.all()).await.value();
    browser.set_id("malformed-2718");
    browser.visit(|session| session.all()).await.value();
    ids.push(site.plant("corrupt value-2718").await);
    browser.set_id(ids.last().unwrap());
    browser.visit(|session| session.all()).await.value();
    for call in [Call::Read, Call::Write] {
        let browser = signed_in(&site).await;
        ids.push(browser.id());
        site.faults.fail_next(call);
        browser
            .visit(|session| session.put("user", "value-2718 again").unwrap())
            .await;
    }
    // A type that does not fit, and a change after the response.
    let browser = signed_in(&site).await;
    ids.push(browser.id());
    let session = browser
        .visit(|session| session.get::<u8>("user").map(|_| ()).map_err(|error| (error, session)))
        .await;
    let (error, session) = session.value().unwrap_err();
    tracing::info!(%error, ?error, ?session);
    assert!(session.put("late", "value-2718").is_err());
    site.manager().destroy_sessions_of("owner-2718", None).await.unwrap();
    site.manager().gc().await.unwrap();

    let text = log.text();
    assert!(log.entries().len() > 10, "{text}");
    assert!(!text.contains("2718"), "{text}");
    for id in ids {
        assert!(!text.contains(&id) && !text.contains(key(&id).as_str()), "{text}");
    }
}

async fn routine_requests_log_nothing_above_debug_and_open_no_span(site: Site) {
    // OBS-08, OBS-12
    let log = Log::capture();
    let browser = signed_in(&site).await;
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    browser.visit(|session| session.all()).await.value();
    site.app().browser().visit(|session| session.all()).await.value();
    browser.set_id(&some_id());
    browser.visit(|session| session.all()).await.value();
    let entries = log.entries();
    assert!(
        entries
            .iter()
            .all(|entry| entry.level >= Level::DEBUG && !entry.is_span),
        "{entries:?}"
    );
}

async fn what_happens_to_a_session_is_an_event(site: Site) {
    // OBS-02, OBS-13, DESIGN 7
    let log = Log::capture();
    let said = |word: &str| log.entries().iter().any(|entry| entry.message.contains(word));
    let timed = |word: &str| {
        let entries = log.entries();
        entries
            .iter()
            .any(|entry| entry.message.contains(word) && entry.field("elapsed").is_some())
    };
    let browser = signed_in(&site).await;
    assert!(timed("was saved"));
    browser.visit(|session| session.all()).await.value();
    assert!(timed("was loaded"));
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    assert!(said("new id"));
    let slow = browser.begin(|session| session.put("a", 1).unwrap()).await;
    browser.visit(|session| session.put("b", 1).unwrap()).await.value();
    slow.finish().await.value();
    assert!(said("write conflict"));
    browser.set_id(&some_id());
    browser.visit(|session: Session| session.all()).await.value();
    assert!(said("not known, or expired"));
}

on_every_driver! {
    nothing_that_happens_to_a_session_logs_an_id_a_key_or_a_value,
    routine_requests_log_nothing_above_debug_and_open_no_span,
    what_happens_to_a_session_is_an_event,
}
