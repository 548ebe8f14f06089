//! Sessions that a Goravel application has written (`data/README.md`): read, continued, and left so that it can go on.

use std::time::Duration;

use serde_json::{Map, Value, json};
use session_schema::{Config, Session};
use session_tests::{App, Browser, Counts, Site, on_every_driver};

macro_rules! payloads {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../data/", $name, ".payload")))),*]
    };
}

const PAYLOADS: &[(&str, &str)] = payloads![
    "a1_put_basic_types.save1",
    "a1_put_basic_types.save2",
    "a1_put_basic_types.save3",
    "b1_flash_lifecycle.save1",
    "b1_flash_lifecycle.save2",
    "b1_flash_lifecycle.save3",
    "c1_now.save1",
    "c1_now.save2",
    "c2_reflash.save1",
    "c2_reflash.save2",
    "c2_reflash.save3",
    "c2_reflash.save4",
    "d2_token_in_file_kept.save1",
    "f1_pull_forget_remove.save1",
    "f1_pull_forget_remove.save2",
    "f1_pull_forget_remove.save3",
];

const TOKEN: &str = "GoldenCsrfToken0000000000000000000000001";

fn payload(name: &str) -> &'static str {
    let (_, text) = PAYLOADS
        .iter()
        .find(|(found, _)| *found == name)
        .expect("there is such a payload");
    text
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).expect("Goravel writes JSON objects")
}

/// A browser whose session Goravel wrote.
async fn of_goravel(site: &Site, name: &str) -> Browser {
    let browser = site
        .app_with(|layer| layer.with_absolute_lifetime(Duration::ZERO))
        .browser();
    browser.set_id(&site.plant(payload(name)).await);
    browser
}

async fn every_payload_is_read_as_it_was_written(site: Site) {
    // STORE-39, DESIGN 3
    for (name, text) in PAYLOADS {
        let browser = of_goravel(&site, name).await;
        let (all, token) = browser.visit(|session| (session.all(), session.token())).await.value();
        let mut expected = object(text);
        expected.retain(|key, _| !key.starts_with('_'));
        assert_eq!((all, token.as_str()), (expected, TOKEN), "{name}");
    }
}

async fn every_payload_is_continued_and_keeps_what_was_in_it(site: Site) {
    // DATA-36
    for (name, text) in PAYLOADS {
        let browser = of_goravel(&site, name).await;
        let id = browser.id();
        browser.visit(|session| session.put("rust", 1).unwrap()).await.value();
        assert_eq!(browser.id(), id);
        let mut expected = object(text);
        for flash in expected["_flash.old"].as_array().unwrap().clone() {
            expected.remove(flash.as_str().unwrap());
        }
        expected.insert("_flash.old".into(), json!([]));
        expected.insert("rust".into(), json!(1));
        assert_eq!(site.payload(&id).await, expected, "{name}");
    }
}

async fn reading_a_payload_without_flash_writes_nothing(site: Site) {
    // DATA-27
    let browser = of_goravel(&site, "a1_put_basic_types.save1").await;
    browser.visit(|_| ()).await.value();
    site.calls.take();
    browser.visit(|session| (session.token(), session.all())).await.value();
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

#[expect(clippy::approx_constant, reason = "3.14 is what the payload holds")]
async fn every_type_comes_back_exactly(site: Site) {
    // DATA-33
    let browser = of_goravel(&site, "a1_put_basic_types.save3").await;
    let read = |session: Session| {
        assert_eq!(session.get::<i32>("int").unwrap(), Some(42));
        assert_eq!(session.get::<u64>("int").unwrap(), Some(42));
        assert_eq!(session.get::<i8>("negint").unwrap(), Some(-7));
        assert_eq!(session.get::<f64>("float").unwrap(), Some(3.14));
        assert_eq!(session.get::<f64>("float_whole").unwrap(), Some(100.0));
        assert_eq!(session.get::<u8>("float_whole").unwrap(), Some(100));
        assert_eq!(session.get::<bool>("true").unwrap(), Some(true));
        assert_eq!(session.get::<bool>("false").unwrap(), Some(false));
        assert_eq!(session.get::<String>("empty").unwrap().as_deref(), Some(""));
        assert_eq!(session.get::<String>("str").unwrap().as_deref(), Some("hello"));
        assert_eq!(
            session.get::<String>("unicode").unwrap().as_deref(),
            Some("Zażółć gęślą 日本語 🎉 e\u{301}")
        );
        assert_eq!(session.get::<String>("ключ").unwrap().as_deref(), Some("unicode key"));
        assert_eq!(
            session.get::<String>("user.name").unwrap().as_deref(),
            Some("dotted key is literal")
        );
        assert_eq!(
            session.get::<Value>("array").unwrap(),
            Some(json!([3, 1, "x", null, [], {}]))
        );
        assert_eq!(
            session.get::<Value>("map").unwrap(),
            Some(json!({"a": {"deep": [1, "two", null, false, 2.5]}, "b": 1}))
        );
        assert_eq!((session.exists("nil"), session.has("nil")), (true, false));
        assert_eq!(session.increment("int", 1).unwrap(), 43);
        session.push("array", "more").unwrap();
    };
    browser.visit(read).await.value();
    let payload = site.payload(&browser.id()).await;
    assert_eq!((&payload["int"], &payload["float"]), (&json!(43), &json!(3.14)));
    assert_eq!(payload["array"], json!([3, 1, "x", null, [], {}, "more"]));
}

async fn flash_goes_on_where_goravel_left_it(site: Site) {
    // FLASH-01, FLASH-04
    let browser = of_goravel(&site, "b1_flash_lifecycle.save1").await;
    let seen = browser
        .visit(|session| session.get::<String>("status").unwrap())
        .await
        .value();
    assert_eq!(seen.as_deref(), Some("saved!"));
    // Byte for byte what Goravel itself made of it.
    let record = site.record(&browser.id()).await.unwrap();
    assert_eq!(
        std::str::from_utf8(record.payload()).unwrap(),
        payload("b1_flash_lifecycle.save2").trim_end()
    );
    let seen = browser
        .visit(|session| (session.exists("status"), session.get::<String>("stay").unwrap()))
        .await
        .value();
    assert_eq!(seen, (false, Some("here".into())));
}

async fn reflash_goes_on_where_goravel_left_it(site: Site) {
    // FLASH-09
    let browser = of_goravel(&site, "c2_reflash.save1").await;
    browser.visit(|session| session.reflash().unwrap()).await.value();
    let mut kept = site.payload(&browser.id()).await;
    kept.retain(|key, _| key != "_flash.at");
    assert_eq!(kept, object(payload("c2_reflash.save2")));
    browser.visit(|_| ()).await.value();
    assert_eq!(site.payload(&browser.id()).await, object(payload("c2_reflash.save3")));
}

async fn what_another_program_left_as_new_is_seen_by_one_more_request(site: Site) {
    // FLASH-04: a save that Goravel did not age.
    let browser = site.app().browser();
    let text = r#"{"_flash.new":["fresh"],"_flash.old":["stale"],"_token":"t","fresh":1,"stale":2}"#;
    browser.set_id(&site.plant(text).await);
    let all = |session: Session| Value::Object(session.all());
    assert_eq!(browser.visit(all).await.value(), json!({"fresh": 1, "stale": 2}));
    assert_eq!(browser.visit(all).await.value(), json!({"fresh": 1}));
    assert_eq!(browser.visit(all).await.value(), json!({}));
}

async fn pull_and_forget_do_what_goravel_does(site: Site) {
    // DATA-13, DATA-16
    let browser = of_goravel(&site, "f1_pull_forget_remove.save1").await;
    let change = |session: Session| {
        assert_eq!(session.pull::<u8>("a").unwrap(), Some(1));
        session.forget(["b", "c", "d", "e.x"]).unwrap();
    };
    browser.visit(change).await.value();
    let record = site.record(&browser.id()).await.unwrap();
    assert_eq!(
        std::str::from_utf8(record.payload()).unwrap(),
        payload("f1_pull_forget_remove.save2").trim_end()
    );
}

async fn a_store_with_raw_ids_is_shared_by_the_same_cookie(site: Site) {
    // ID-26
    let id = "GoravelId_000000000000000000000000000001";
    let mut config = Config::default();
    (config.driver, config.raw_ids, config.cookie) = ("site".into(), true, "goravel_session".into());
    let until = site.now() + std::time::Duration::from_secs(60);
    let record = session_schema::Record::new(payload("b1_flash_lifecycle.save2").into(), until);
    site.store.open().await.unwrap();
    let written = site
        .store
        .write(&id.parse().unwrap(), &record, session_schema::Expected::Absent)
        .await
        .unwrap();
    assert!(matches!(written, session_schema::Written::Done(_)));
    let app = App::with_name(site.manager_with(config).layer().await.unwrap(), "goravel_session");
    let browser = app.browser();
    browser.set_id(id);
    let seen = browser.visit(|session| session.get::<String>("stay").unwrap()).await;
    assert_eq!(seen.value().as_deref(), Some("here"));
}

on_every_driver! {
    every_payload_is_read_as_it_was_written,
    every_payload_is_continued_and_keeps_what_was_in_it,
    reading_a_payload_without_flash_writes_nothing,
    every_type_comes_back_exactly,
    flash_goes_on_where_goravel_left_it,
    reflash_goes_on_where_goravel_left_it,
    what_another_program_left_as_new_is_seen_by_one_more_request,
    pull_and_forget_do_what_goravel_does,
    a_store_with_raw_ids_is_shared_by_the_same_cookie,
}
