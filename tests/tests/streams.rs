//! Sessions that are used longer than their request: behind a stream of events, a WebSocket, in a task.

use serde_json::json;
use session_schema::Session;
use session_tests::{Browser, Log, Site, on_every_driver};
use tracing::Level;

async fn visitor(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser.visit(|session| session.put("cart", 1).unwrap()).await.value();
    browser
}

/// What a handler leaves in a stream.
async fn stream(browser: &Browser) -> Session {
    browser.visit(|session| session).await.value()
}

fn sign_in(session: Session) {
    session.regenerate().unwrap();
    session.put("user", 42).unwrap();
}

async fn a_stream_sees_what_other_requests_store_and_saves_on_its_own(site: Site) {
    let browser = visitor(&site).await;
    let stream = stream(&browser).await;
    browser.visit(|session| session.put("cart", 2).unwrap()).await.value();
    stream.reload().await.unwrap();
    assert_eq!(stream.get("cart").unwrap(), Some(2));
    stream.put("seen", true).unwrap();
    stream.save().await.unwrap();
    let stored = browser.visit(|session| session.all()).await.value();
    assert_eq!(serde_json::Value::Object(stored), json!({"cart": 2, "seen": true}));
}

async fn a_stream_under_a_planted_id_sees_nothing_of_who_signs_in(site: Site) {
    // DESIGN 6: who planted an id neither reads nor writes the session of who signed in under it.
    let attacker = visitor(&site).await;
    let stream = stream(&attacker).await;
    let victim = attacker.copy();
    victim.visit(sign_in).await.value();
    for _ in 0..2 {
        stream.reload().await.unwrap();
        assert!(stream.all().is_empty(), "the stream goes on as the victim");
        stream.put("user", 666).unwrap();
        stream.save().await.unwrap();
        victim.visit(|session| session.put("card", 4111).unwrap()).await.value();
    }
    let stored = victim.visit(|session| session.all()).await.value();
    assert_eq!(
        serde_json::Value::Object(stored),
        json!({"cart": 1, "user": 42, "card": 4111})
    );
}

async fn what_a_stream_changed_and_did_not_save_is_reported(site: Site) {
    let log = Log::capture();
    let stream = stream(&visitor(&site).await).await;
    assert!(stream.put("a", 1).is_err(), "the response has been sent");
    stream.reload().await.unwrap();
    stream.put("a", 1).unwrap();
    drop(stream);
    let errors = log.at(Level::ERROR);
    assert!(
        errors.iter().any(|entry| entry.message.contains("dropped unsaved")),
        "{errors:?}"
    );
}

on_every_driver! {
    a_stream_sees_what_other_requests_store_and_saves_on_its_own,
    a_stream_under_a_planted_id_sees_nothing_of_who_signs_in,
    what_a_stream_changed_and_did_not_save_is_reported,
}
