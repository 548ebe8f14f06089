//! The data API: what is there.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use session_schema::{ErrorKind, Session, SessionSchema, TypedSession};
use session_tests::{Site, on_every_driver};

/// A request stores `content`, and another one reads it.
async fn reading<T: Send + 'static>(
    site: &Site,
    content: Value,
    read: impl FnOnce(Session) -> T + Send + 'static,
) -> T {
    let Value::Object(content) = content else {
        panic!("a session is an object")
    };
    let browser = site.app().browser();
    browser
        .visit(move |session| session.merge(content).unwrap())
        .await
        .value();
    browser.visit(read).await.value()
}

async fn what_is_put_is_read_in_the_same_request_and_in_later_ones(site: Site) {
    // DATA-01
    let browser = site.app().browser();
    let put_and_get = |session: Session| {
        session.put("color", "green").unwrap();
        session.get::<String>("color").unwrap()
    };
    assert_eq!(browser.visit(put_and_get).await.value().as_deref(), Some("green"));
    let get = |session: Session| {
        let there = session.get::<String>("color").unwrap();
        (
            there,
            session.get::<String>("size").unwrap(),
            session.get_or("size", "small".to_owned()).unwrap(),
        )
    };
    let read = browser.visit(get).await.value();
    assert_eq!(read, (Some("green".into()), None, "small".into()));
}

async fn null_exists_but_the_session_does_not_have_it(site: Site) {
    // DATA-03, DATA-08
    let asked = |session: Session| {
        ["null", "value", "absent"].map(|key| {
            let value = session.get::<Value>(key).unwrap();
            (session.has(key), session.exists(key), session.missing(key), value)
        })
    };
    let answers = reading(&site, json!({"null": null, "value": 0}), asked).await;
    assert_eq!(
        answers,
        [
            (false, true, false, None),
            (true, true, false, Some(json!(0))),
            (false, false, true, None),
        ]
    );
}

async fn none_is_stored_as_null(site: Site) {
    // DATA-03
    let browser = site.app().browser();
    browser
        .visit(|session| session.put("nobody", None::<u8>).unwrap())
        .await
        .value();
    assert_eq!(site.payload(&browser.id()).await["nobody"], Value::Null);
}

async fn a_default_stands_for_absent_and_for_null(site: Site) {
    // DATA-04: DESIGN beats the row, which wants null to be returned as it is.
    let read = |session: Session| (session.get_or("null", 7).unwrap(), session.get_or("absent", 7).unwrap());
    assert_eq!(reading(&site, json!({"null": null}), read).await, (7, 7));
}

async fn has_any_wants_one_key_that_is_not_null(site: Site) {
    // DATA-06, DATA-07
    let asked = |session: Session| {
        let none: [&str; 0] = [];
        [
            session.has_any(["absent", "value"]),
            session.has_any(["absent", "null"]),
            session.has_any(none),
        ]
    };
    assert_eq!(
        reading(&site, json!({"null": null, "value": 1}), asked).await,
        [true, false, false]
    );
}

async fn keys_with_dots_are_literal(site: Site) {
    // DATA-09
    let asked = |session: Session| {
        (
            session.get::<u8>("a.b").unwrap(),
            session.exists("a"),
            session.exists("c.d"),
        )
    };
    let answer = reading(&site, json!({"a.b": 1, "c": {"d": 2}}), asked).await;
    assert_eq!(answer, (Some(1), false, false));
}

async fn keys_that_look_like_numbers_or_like_nothing_are_keys(site: Site) {
    // DATA-12
    let asked = |session: Session| ["123", "", " ", "ключ", "a\"b\\c\n"].map(|key| session.get::<u8>(key).unwrap());
    let content = json!({"123": 1, "": 2, " ": 3, "ключ": 4, "a\"b\\c\n": 5});
    assert_eq!(reading(&site, content, asked).await, [1, 2, 3, 4, 5].map(Some));
}

async fn long_keys_are_read_back(site: Site) {
    // DATA-11: keys are literal, so a look-up does not depend on their depth; this is the length.
    let browser = site.app().browser();
    let key = "a.".repeat(50_000);
    let same = key.clone();
    browser
        .visit(move |session| session.put(&key, 1).unwrap())
        .await
        .value();
    assert_eq!(
        browser
            .visit(move |session| session.get::<u8>(&same).unwrap())
            .await
            .value(),
        Some(1)
    );
}

async fn only_and_except_divide_the_content(site: Site) {
    // DATA-18, DATA-19
    let divide = |session: Session| {
        (
            session.only(["a", "absent"]),
            session.except(["a", "absent"]),
            session.all(),
        )
    };
    let (only, except, all) = reading(&site, json!({"a": null, "b": 2, "c": 3}), divide).await;
    assert_eq!(Value::Object(only), json!({"a": null}));
    assert_eq!(Value::Object(except), json!({"b": 2, "c": 3}));
    assert_eq!(Value::Object(all), json!({"a": null, "b": 2, "c": 3}));
}

async fn bookkeeping_is_neither_shown_nor_read(site: Site) {
    // DATA-19
    let browser = site.app().browser();
    let write = |session: Session| {
        session.token();
        session.flash("notice", "hello").unwrap();
    };
    browser.visit(write).await.value();
    assert!(site.payload(&browser.id()).await.contains_key("_token"));
    let look = |session: Session| {
        let read = session.get::<Value>("_token").unwrap();
        (
            session.all(),
            session.only(["_token"]),
            session.exists("_flash.old"),
            read,
        )
    };
    let (all, only, exists, read) = browser.visit(look).await.value();
    assert_eq!(Value::Object(all), json!({"notice": "hello"}));
    assert_eq!((only, exists, read), (Map::new(), false, None));
}

async fn the_content_comes_in_the_order_of_its_keys(site: Site) {
    // DATA-24
    let keys = |session: Session| {
        let keys: Vec<String> = session.all().keys().cloned().collect();
        // Removing while iterating over what was returned.
        keys.iter().for_each(|key| session.forget([key]).unwrap());
        (keys, session.all().len())
    };
    let (keys, left) = reading(&site, json!({"c": 1, "a": 1, "b": 1}), keys).await;
    assert_eq!((keys, left), (vec!["a".into(), "b".into(), "c".into()], 0));
}

async fn a_value_of_another_type_is_an_error_and_stays(site: Site) {
    // DATA-14 (D5), D7: a wrong type is not the same as nothing.
    let read = |session: Session| {
        let got = session.get::<u64>("name").unwrap_err().kind();
        let or = session.get_or("name", 1_u64).unwrap_err().kind();
        let pulled = session.pull::<u64>("name").unwrap_err().kind();
        let remembered = session.remember("name", || 1_u64).unwrap_err().kind();
        ([got, or, pulled, remembered], session.get::<String>("name").unwrap())
    };
    let (kinds, name) = reading(&site, json!({"name": "Ann"}), read).await;
    assert_eq!(kinds, [ErrorKind::WrongType; 4]);
    assert_eq!(name.as_deref(), Some("Ann"));
}

async fn a_type_error_names_the_key_and_the_type_and_not_the_value(site: Site) {
    // OBS-11, ERR-18
    let read = |session: Session| {
        let error = session.get::<u64>("name").unwrap_err();
        let source = std::error::Error::source(&error).map(|source| source.to_string());
        format!("{error} {error:?} {source:?}")
    };
    let text = reading(&site, json!({"name": "Ann-2718"}), read).await;
    assert!(text.contains("`name`") && text.contains("u64"), "{text}");
    assert!(!text.contains("2718"), "{text}");
}

async fn a_struct_is_read_back_though_its_fields_have_changed_places(site: Site) {
    // DATA-34, ERR-16
    #[derive(Serialize)]
    struct Before {
        id: u32,
        removed: &'static str,
        name: &'static str,
    }
    #[derive(Debug, Deserialize, PartialEq)]
    struct After {
        name: String,
        #[serde(default)]
        added: bool,
        id: u32,
    }
    let browser = site.app().browser();
    let before = Before {
        id: 7,
        removed: "-",
        name: "Ann",
    };
    browser
        .visit(|session| session.put("user", before).unwrap())
        .await
        .value();
    let after = browser
        .visit(|session| session.get::<After>("user").unwrap())
        .await
        .value();
    assert_eq!(
        after,
        Some(After {
            name: "Ann".into(),
            added: false,
            id: 7
        })
    );
}

async fn reading_before_the_session_is_loaded_finds_nothing(site: Site) {
    // DESIGN 3: before `start` a session reads as empty.
    let browser = site.app().browser();
    browser.visit(|session| session.put("a", 1).unwrap()).await.value();
    let manager = site.manager();
    let session = manager.build_session(site.driver.clone(), Some(&browser.id()));
    assert_eq!(
        (
            session.get::<u8>("a").unwrap(),
            session.is_started(),
            session.all().len()
        ),
        (None, false, 0)
    );
    session.start().await.unwrap();
    assert_eq!((session.get::<u8>("a").unwrap(), session.is_started()), (Some(1), true));
}

async fn a_typed_key_and_its_name_are_the_same_place(site: Site) {
    // DATA-31
    #[derive(SessionSchema)]
    struct Shop {
        cart: Vec<String>,
        views: u64,
        #[session(flash)]
        notice: Option<String>,
    }
    let both_ways = |session: Session| {
        let typed = TypedSession::<Shop>::from(session.clone());
        typed.put_cart(vec!["a".to_owned()]).unwrap();
        session.push("cart", "b").unwrap();
        session.put("views", 2).unwrap();
        typed.increment(Shop::VIEWS, 1).unwrap();
        typed.flash_notice("typed").unwrap();
        assert_eq!(typed.get_cart().unwrap(), ["a", "b"]);
        assert_eq!(typed.pull(Shop::VIEWS).unwrap(), 3);
        assert!(session.missing("views") && !typed.has(Shop::VIEWS) && session.has("notice"));
    };
    let browser = site.app().browser();
    browser.visit(both_ways).await.value();
    let payload = site.payload(&browser.id()).await;
    assert_eq!(
        (&payload["cart"], &payload["_flash.old"]),
        (&json!(["a", "b"]), &json!(["notice"]))
    );
}

async fn what_a_value_cannot_hold_is_left_out_of_all_with_a_warning(site: Site) {
    // Well-formed JSON, from another program or a `RawValue`, that `serde_json::Value` refuses.
    for text in ["1e400", r#""\ud800""#, "[1e999]"] {
        let log = session_tests::Log::capture();
        let browser = site.app().browser();
        browser.set_id(&site.plant(&format!(r#"{{"odd":{text},"plain":1}}"#)).await);
        let seen = browser
            .visit(|session| (session.all(), session.has("odd")))
            .await
            .value();
        assert_eq!(
            (serde_json::Value::Object(seen.0), seen.1),
            (serde_json::json!({"plain": 1}), true)
        );
        assert!(
            log.at(tracing::Level::WARN)
                .iter()
                .any(|entry| entry.message.contains("left out"))
        );
        assert!(!log.text().contains(text), "a value is in the log");
    }
}

on_every_driver! {
    what_a_value_cannot_hold_is_left_out_of_all_with_a_warning,
    what_is_put_is_read_in_the_same_request_and_in_later_ones,
    null_exists_but_the_session_does_not_have_it,
    none_is_stored_as_null,
    a_default_stands_for_absent_and_for_null,
    has_any_wants_one_key_that_is_not_null,
    keys_with_dots_are_literal,
    keys_that_look_like_numbers_or_like_nothing_are_keys,
    long_keys_are_read_back,
    only_and_except_divide_the_content,
    bookkeeping_is_neither_shown_nor_read,
    the_content_comes_in_the_order_of_its_keys,
    a_value_of_another_type_is_an_error_and_stays,
    a_type_error_names_the_key_and_the_type_and_not_the_value,
    a_struct_is_read_back_though_its_fields_have_changed_places,
    reading_before_the_session_is_loaded_finds_nothing,
    a_typed_key_and_its_name_are_the_same_place,
}
