//! Records that are no session: damaged, too large, or of another program's shape.

use std::time::Duration;

use serde_json::{Value, json};
use session_schema::{ErrorKind, Session};
use session_tests::{Log, Site, key, on_every_driver, some_id, user};
use tracing::Level;

async fn what_cannot_be_read_is_an_empty_session_and_is_left_alone(site: Site) {
    // ERR-04, ERR-06, D71
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for payload in [
        "",
        "no JSON",
        "{\"user\":7",
        "[1]",
        "7",
        "null",
        "\"text\"",
        "{} {}",
        "\u{feff}{}",
        &deep,
    ] {
        let log = Log::capture();
        let browser = site.app().browser();
        let id = site.plant(payload).await;
        browser.set_id(&id);
        let visit = browser.visit(|session| (session.all().len(), session.is_new())).await;
        assert!(visit.cookies().is_empty());
        assert_eq!(visit.value(), (0, true), "{payload}");
        assert_eq!(log.at(Level::WARN).len(), 1, "{payload}");
        browser.visit(|session| session.put("user", 8).unwrap()).await.value();
        assert_ne!(browser.id(), id);
        assert_eq!(user(&browser).await, Some(8));
        assert_eq!(site.record(&id).await.unwrap().payload(), payload.as_bytes());
    }
}

async fn what_is_not_utf_8_is_an_empty_session(site: Site) {
    // ERR-04
    let id = some_id();
    let until = site.now() + Duration::from_secs(60);
    let record = session_schema::Record::new(b"{\"user\":\"\xff\"}".to_vec(), until);
    site.store.open().await.unwrap();
    site.store
        .write(&key(&id), &record, session_schema::Expected::Absent)
        .await
        .unwrap();
    let browser = site.app().browser();
    browser.set_id(&id);
    assert!(browser.visit(|session| session.all().is_empty()).await.value());
}

async fn bookkeeping_of_another_shape_is_no_error(site: Site) {
    // ERR-04, ERR-16
    let payload = r#"{"user":7,"_token":[1],"_flash.new":7,"_flash.old":{"a":1},"_flash.at":"x","_lifetime":"long",
        "_created":null,"_moved":7,"_until":"never","_other":{}}"#;
    let browser = site
        .app_with(|layer| layer.with_absolute_lifetime(Duration::from_secs(7200)))
        .browser();
    browser.set_id(&site.plant(payload).await);
    assert_eq!(user(&browser).await, Some(7));
    let use_it = |session: Session| {
        session.flash("notice", 1).unwrap();
        session.increment("user", 1).unwrap();
        session.token()
    };
    let token = browser.visit(use_it).await.value();
    assert_eq!(token.len(), 40);
    assert_eq!(browser.visit(|session| session.token()).await.value(), token);
    assert_eq!(user(&browser).await, Some(8));
    assert_eq!(
        site.payload(&browser.id()).await["_other"],
        json!({}),
        "what is not ours stays"
    );
}

async fn a_payload_that_is_too_large_is_refused_at_save_and_at_load(site: Site) {
    // ERR-19
    let browser = site.app_with(|layer| layer.with_max_bytes(1000)).browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let visit = browser
        .visit(|session| session.put("big", "x".repeat(1000)).unwrap())
        .await;
    assert!(visit.status == 500 && visit.cookies().is_empty() && visit.body.is_empty());
    let early = browser.visit_async(async |session| {
        session.put("big", "x".repeat(1000)).unwrap();
        let kind = session.save().await.unwrap_err().kind();
        session.forget(["big"]).unwrap();
        kind
    });
    assert_eq!(early.await.value(), ErrorKind::TooLarge);
    assert_eq!(Value::Object(site.payload(&browser.id()).await), json!({"user": 7}));
    browser.set_id(
        &site
            .plant(&format!("{{\"user\":7,\"big\":\"{}\"}}", "x".repeat(1000)))
            .await,
    );
    assert_eq!(user(&browser).await, None);
}

on_every_driver! {
    what_cannot_be_read_is_an_empty_session_and_is_left_alone,
    what_is_not_utf_8_is_an_empty_session,
    bookkeeping_of_another_shape_is_no_error,
    a_payload_that_is_too_large_is_refused_at_save_and_at_load,
}
