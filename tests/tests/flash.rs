//! Flash: what is there for one more request.

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use session_schema::Session;
use session_tests::{Browser, Counts, Site, on_every_driver};

/// What a request for a page says that the visitor may never see.
const SPECULATIVE: [(&str, &str); 4] = [
    ("sec-purpose", "prefetch;prerender"),
    ("purpose", "prefetch"),
    ("x-moz", "prefetch"),
    ("precognition", "true"),
];

/// What a visit sees under a key.
async fn sees(browser: &Browser, key: &'static str) -> Option<Value> {
    browser
        .visit(move |session| session.get::<Value>(key).unwrap())
        .await
        .value()
}

/// A browser that has been flashed these, with counters at zero.
async fn flashed(site: &Site, keys: &'static [&'static str]) -> Browser {
    let browser = site.app().browser();
    let flash = |session: Session| keys.iter().for_each(|key| session.flash(key, *key).unwrap());
    browser.visit(flash).await.value();
    site.calls.take();
    browser
}

async fn flash_is_seen_now_and_by_the_next_request_and_then_gone(site: Site) {
    // FLASH-01
    let browser = site.app().browser();
    let flash = |session: Session| {
        session.flash("notice", "saved").unwrap();
        session.get::<String>("notice").unwrap()
    };
    assert_eq!(browser.visit(flash).await.value().as_deref(), Some("saved"));
    assert_eq!(sees(&browser, "notice").await, Some(json!("saved")));
    assert_eq!(sees(&browser, "notice").await, None);
}

async fn falsy_values_are_flashed_as_they_are(site: Site) {
    // FLASH-03
    let browser = site.app().browser();
    let flash = |session: Session| {
        session.flash("zero", 0).unwrap();
        session.flash("false", false).unwrap();
        session.flash("empty", "").unwrap();
        session.flash("null", None::<u8>).unwrap();
    };
    browser.visit(flash).await.value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(
        Value::Object(all),
        json!({"zero": 0, "false": false, "empty": "", "null": null})
    );
    assert!(browser.visit(|session| session.all()).await.value().is_empty());
}

async fn what_was_flashed_is_stored_as_old_and_nothing_as_new(site: Site) {
    // FLASH-04
    let browser = flashed(&site, &["b", "a"]).await;
    let payload = site.payload(&browser.id()).await;
    assert_eq!(
        (&payload["_flash.new"], &payload["_flash.old"]),
        (&json!([]), &json!(["b", "a"]))
    );
    sees(&browser, "a").await;
    let payload = site.payload(&browser.id()).await;
    assert_eq!(
        (&payload["_flash.new"], &payload["_flash.old"]),
        (&json!([]), &json!([]))
    );
    assert!(!payload.contains_key("a") && !payload.contains_key("b"));
}

async fn a_value_for_now_is_never_stored(site: Site) {
    // FLASH-06
    let browser = site.app().browser();
    let now = |session: Session| {
        session.put("b", 1).unwrap();
        session.now("a", "shown").unwrap();
        session.now("b", "instead").unwrap();
        (session.get::<String>("a").unwrap(), session.get::<String>("b").unwrap())
    };
    assert_eq!(
        browser.visit(now).await.value(),
        (Some("shown".into()), Some("instead".into()))
    );
    assert_eq!(Value::Object(site.payload(&browser.id()).await), json!({"b": 1}));
}

async fn a_visitor_who_is_only_shown_something_now_leaves_nothing(site: Site) {
    // FLASH-06, LIFE-02
    let browser = site.app().browser();
    let visit = browser.visit(|session| session.now("a", 1).unwrap()).await;
    assert!(visit.cookie().is_none());
    visit.value();
    assert_eq!(site.calls.take(), Counts::NONE);
}

async fn keep_keeps_what_it_names_in_that_order(site: Site) {
    // FLASH-07
    let browser = flashed(&site, &["age", "language", "name", "other"]).await;
    let keep = |session: Session| {
        session.keep(["name", "age"]).unwrap();
        session.keep(["age", "language"]).unwrap();
    };
    browser.visit(keep).await.value();
    let payload = site.payload(&browser.id()).await;
    assert_eq!(payload["_flash.old"], json!(["name", "age", "language"]));
    assert_eq!(sees(&browser, "age").await, Some(json!("age")));
    assert_eq!(sees(&browser, "age").await, None);
}

async fn keep_does_not_turn_permanent_data_into_flash(site: Site) {
    // FLASH-08
    let browser = site.app().browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.calls.take();
    browser
        .visit(|session| session.keep(["user", "absent"]).unwrap())
        .await
        .value();
    assert_eq!(site.calls.take(), Counts::ONE_READ);
    sees(&browser, "user").await;
    assert_eq!(sees(&browser, "user").await, Some(json!(7)));
}

async fn reflash_keeps_everything_for_one_more_request(site: Site) {
    // FLASH-09
    let browser = flashed(&site, &["a", "b"]).await;
    let reflash = |session: Session| {
        session.now("c", "c").unwrap();
        session.reflash().unwrap();
    };
    browser.visit(reflash).await.value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"a": "a", "b": "b", "c": "c"}));
    assert!(browser.visit(|session| session.all()).await.value().is_empty());
}

async fn put_makes_flash_permanent(site: Site) {
    // FLASH-11
    let browser = flashed(&site, &["other", "same"]).await;
    let put = |session: Session| {
        session.put("other", "another").unwrap();
        session.put("same", "same").unwrap();
    };
    browser.visit(put).await.value();
    for _ in 0..2 {
        let all = browser.visit(|session| session.all()).await.value();
        assert_eq!(Value::Object(all), json!({"other": "another", "same": "same"}));
    }
    let payload = site.payload(&browser.id()).await;
    assert_eq!(payload["_flash.old"], json!([]));
}

async fn flash_ages_once_per_request_however_often_it_is_saved(site: Site) {
    // FLASH-12
    let browser = flashed(&site, &["old"]).await;
    let save = async move |session: Session| {
        session.flash("new", 1).unwrap();
        session.save().await.unwrap();
        session.put("a", 1).unwrap();
        session.save().await.unwrap();
        (session.get::<String>("old").unwrap(), session.get::<u8>("new").unwrap())
    };
    let seen = browser.visit_async(save).await.value();
    assert_eq!(
        seen,
        (Some("old".into()), Some(1)),
        "the request that saved sees both to its end"
    );
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"new": 1, "a": 1}));
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"a": 1}));
}

async fn a_request_that_only_reads_writes_so_that_flash_leaves_the_store(site: Site) {
    // FLASH-13
    let browser = flashed(&site, &["a"]).await;
    browser.visit(|_| ()).await.value();
    assert_eq!(site.calls.take(), Counts::READ_AND_WRITE);
    browser.visit(|_| ()).await.value();
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn flush_and_invalidate_clear_flash_and_its_lists(site: Site) {
    // FLASH-14
    let clearing: [fn(&Session); 2] = [
        |session| session.flush().unwrap(),
        |session| session.invalidate().unwrap(),
    ];
    for clear in clearing {
        let browser = flashed(&site, &["old"]).await;
        let cleared = move |session: Session| {
            session.flash("new", 1).unwrap();
            clear(&session);
            session.put("a", 1).unwrap();
            (session.exists("old"), session.exists("new"))
        };
        assert_eq!(browser.visit(cleared).await.value(), (false, false));
        let payload = site.payload(&browser.id()).await;
        assert!(
            payload.get("_flash.old").is_none_or(|list| *list == json!([])),
            "{payload:?}"
        );
        assert_eq!(payload["a"], 1);
    }
}

async fn a_request_that_the_visitor_may_not_see_consumes_no_flash(site: Site) {
    // FLASH-16, HTTP-08
    let browser = flashed(&site, &["notice"]).await;
    for (name, value) in SPECULATIVE {
        let request = Request::builder().header(name, value).body(Body::empty()).unwrap();
        let seen = browser
            .visit_as(request, async |session| session.get::<String>("notice").unwrap())
            .await;
        assert_eq!(seen.value().as_deref(), Some("notice"));
        assert_eq!(site.calls.take(), Counts::ONE_READ, "{name}");
    }
    assert_eq!(sees(&browser, "notice").await, Some(json!("notice")));
    assert_eq!(sees(&browser, "notice").await, None);
}

async fn a_prefetch_whose_session_is_started_by_hand_consumes_no_flash(site: Site) {
    // FLASH-16, HTTP-08: as a middleware does, or a service without axum.
    let browser = flashed(&site, &["notice"]).await;
    let request = Request::builder().header("sec-purpose", "prefetch").body(Body::empty());
    let handler = async |request: Request| {
        let session = Session::of(&request).unwrap();
        session.start().await.unwrap();
        session.get_or("notice", String::new()).unwrap().into_response()
    };
    assert_eq!(browser.send(request.unwrap(), handler).await.body, "notice");
    assert_eq!(site.calls.take(), Counts::ONE_READ);
    assert_eq!(sees(&browser, "notice").await, Some(json!("notice")));
}

async fn a_prefetch_leaves_what_goravel_has_left_as_new(site: Site) {
    // FLASH-16, HTTP-08: what is new is seen by two more requests.
    let planted = site.plant(r#"{"_flash.new":["notice"],"_flash.old":[],"notice":"hi"}"#);
    let browser = site.app().browser();
    browser.set_id(&planted.await);
    for (name, value) in SPECULATIVE {
        let request = Request::builder().header(name, value).body(Body::empty()).unwrap();
        let seen = browser.visit_as(request, async |session| session.has("notice")).await;
        assert!(seen.value());
        assert_eq!(site.calls.take().write, 0, "{name}");
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(sees(&browser, "notice").await.is_some());
    }
    assert_eq!(seen, [true, true, false]);
}

async fn what_the_handler_of_a_prefetch_changes_is_saved_and_flash_stays(site: Site) {
    // HTTP-08: a header that the client chooses must not switch a counter off.
    let browser = flashed(&site, &["notice"]).await;
    for (visits, (name, value)) in (1..).zip(SPECULATIVE) {
        let request = Request::builder().header(name, value).body(Body::empty()).unwrap();
        let seen = browser
            .visit_as(request, async |session| session.increment("visits", 1).unwrap())
            .await;
        assert_eq!(seen.value(), visits, "{name}");
        assert_eq!(site.calls.take(), Counts::READ_AND_WRITE, "{name}");
        let payload = site.payload(&browser.id()).await;
        assert_eq!(
            (&payload["visits"], &payload["notice"]),
            (&json!(visits), &json!("notice")),
            "{name}"
        );
    }
    assert_eq!(sees(&browser, "notice").await, Some(json!("notice")));
    assert_eq!(sees(&browser, "notice").await, None);
    assert_eq!(sees(&browser, "visits").await, Some(json!(SPECULATIVE.len())));
}

async fn a_request_that_does_not_ask_for_its_session_consumes_no_flash(site: Site) {
    // FLASH-17
    let browser = flashed(&site, &["notice"]).await;
    for _ in 0..3 {
        browser
            .send(Request::new(Body::empty()), async |_| "an image".into_response())
            .await;
    }
    assert_eq!(site.calls.take(), Counts::NONE);
    assert_eq!(sees(&browser, "notice").await, Some(json!("notice")));
}

async fn flash_that_is_flashed_again_gets_another_request(site: Site) {
    // FLASH-04
    let browser = flashed(&site, &["a"]).await;
    browser
        .visit(|session| session.flash("a", "again").unwrap())
        .await
        .value();
    assert_eq!(sees(&browser, "a").await, Some(json!("again")));
    assert_eq!(sees(&browser, "a").await, None);
}

async fn flash_over_permanent_data_takes_its_place_and_goes(site: Site) {
    // FLASH-01
    let browser = site.app().browser();
    browser.visit(|session| session.put("a", "kept").unwrap()).await.value();
    browser
        .visit(|session| session.flash("a", "flashed").unwrap())
        .await
        .value();
    assert_eq!(sees(&browser, "a").await, Some(json!("flashed")));
    assert_eq!(sees(&browser, "a").await, None);
}

async fn a_slow_request_does_not_age_away_what_another_has_flashed_meanwhile(site: Site) {
    // DESIGN 3
    let browser = flashed(&site, &["notice", "error"]).await;
    let slow = browser.begin(|session| session.put("slow", 1).unwrap()).await;
    let flash = |session: Session| {
        session.flash("notice", "notice").unwrap();
        session.flash("info", "new").unwrap();
    };
    browser.visit(flash).await.value();
    slow.finish().await.value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(
        Value::Object(all),
        json!({"notice": "notice", "info": "new", "slow": 1})
    );
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"slow": 1}));
}

async fn kept_flash_comes_back_though_another_request_has_aged_it_away(site: Site) {
    // DESIGN 3, 6: what a request changed is not lost.
    let browser = flashed(&site, &["notice"]).await;
    let slow = browser.begin(|session| session.keep(["notice"]).unwrap()).await;
    browser.visit(|_| ()).await.value();
    slow.finish().await.value();
    assert_eq!(sees(&browser, "notice").await, Some(json!("notice")));
    assert_eq!(sees(&browser, "notice").await, None);
}

on_every_driver! {
    flash_is_seen_now_and_by_the_next_request_and_then_gone,
    falsy_values_are_flashed_as_they_are,
    what_was_flashed_is_stored_as_old_and_nothing_as_new,
    a_value_for_now_is_never_stored,
    a_visitor_who_is_only_shown_something_now_leaves_nothing,
    keep_keeps_what_it_names_in_that_order,
    keep_does_not_turn_permanent_data_into_flash,
    reflash_keeps_everything_for_one_more_request,
    put_makes_flash_permanent,
    flash_ages_once_per_request_however_often_it_is_saved,
    a_request_that_only_reads_writes_so_that_flash_leaves_the_store,
    flush_and_invalidate_clear_flash_and_its_lists,
    a_request_that_the_visitor_may_not_see_consumes_no_flash,
    a_prefetch_whose_session_is_started_by_hand_consumes_no_flash,
    a_prefetch_leaves_what_goravel_has_left_as_new,
    what_the_handler_of_a_prefetch_changes_is_saved_and_flash_stays,
    a_request_that_does_not_ask_for_its_session_consumes_no_flash,
    flash_that_is_flashed_again_gets_another_request,
    flash_over_permanent_data_takes_its_place_and_goes,
    a_slow_request_does_not_age_away_what_another_has_flashed_meanwhile,
    kept_flash_comes_back_though_another_request_has_aged_it_away,
}
