//! The data API: what changes, what does not, and what is written for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;
use serde_json::{Map, Value, json};
use session_schema::{ErrorKind, Session};
use session_tests::{Browser, Counts, Site, on_every_driver};

/// A browser whose session holds this, and counters at zero.
async fn with(site: &Site, content: Value) -> Browser {
    let Value::Object(content) = content else {
        panic!("a session is an object")
    };
    let browser = site.app().browser();
    browser
        .visit(move |session| session.merge(content).unwrap())
        .await
        .value();
    site.calls.take();
    browser
}

async fn the_second_put_of_a_key_is_the_one_that_counts(site: Site) {
    // DATA-02
    let browser = with(&site, json!({"a": 1})).await;
    let put = |session: Session| {
        session.put("a", 2).unwrap();
        session.put("a", 3).unwrap();
        session.get::<u8>("a").unwrap()
    };
    assert_eq!(browser.visit(put).await.value(), Some(3));
    assert_eq!(site.payload(&browser.id()).await["a"], 3);
    assert_eq!(site.calls.take(), Counts::READ_AND_WRITE);
}

async fn a_change_leaves_other_keys_in_place(site: Site) {
    // DATA-36
    let browser = with(&site, json!({"a": 1, "b": [1, {"x": null}]})).await;
    browser.visit(|session| session.put("c", "new").unwrap()).await.value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"a": 1, "b": [1, {"x": null}], "c": "new"}));
}

async fn pull_takes_a_value_away(site: Site) {
    // DATA-13
    let browser = with(&site, json!({"a": 1, "null": null})).await;
    let pull = |session: Session| {
        let first = session.pull::<u8>("a").unwrap();
        let second = session.pull::<u8>("a").unwrap();
        (
            first,
            second,
            session.pull_or("a", 9_u8).unwrap(),
            session.pull::<u8>("null").unwrap(),
        )
    };
    assert_eq!(browser.visit(pull).await.value(), (Some(1), None, 9, None));
    assert!(site.payload(&browser.id()).await.is_empty());
}

async fn forgetting_what_is_not_there_changes_nothing(site: Site) {
    // DATA-14, DATA-16
    let browser = with(&site, json!({"a": 1})).await;
    let forget = |session: Session| {
        session.forget(["b", "c"]).unwrap();
        session.pull::<u8>("d").unwrap()
    };
    let visit = browser.visit(forget).await;
    assert!(visit.cookie().is_none());
    assert_eq!(visit.value(), None);
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn forget_takes_several_keys_and_null_too(site: Site) {
    // DATA-16
    let browser = with(&site, json!({"a": 1, "b": null, "c": 3})).await;
    browser
        .visit(|session| session.forget(["a", "b", "unknown"]).unwrap())
        .await
        .value();
    assert_eq!(Value::Object(site.payload(&browser.id()).await), json!({"c": 3}));
}

async fn flush_empties_everything_and_keeps_the_id(site: Site) {
    // DATA-17, FLASH-14
    let browser = site.app().browser();
    let fill = |session: Session| {
        session.put("a", 1).unwrap();
        session.flash("b", 2).unwrap();
        session.now("c", 3).unwrap();
        session.token()
    };
    let token = browser.visit(fill).await.value();
    let id = browser.id();
    let flush = |session: Session| {
        session.now("d", 4).unwrap();
        session.flush().unwrap();
        session.flush().unwrap();
        (session.all().len(), session.id().as_str().to_owned())
    };
    assert_eq!(browser.visit(flush).await.value(), (0, id.clone()));
    assert_eq!(browser.id(), id);
    assert_ne!(
        site.payload(&id).await["_token"],
        token,
        "the old token is not there any more"
    );
    let second = browser.visit(|session| session.token()).await.value();
    browser.visit(|session| session.flush().unwrap()).await.value();
    let third = browser.visit(|session| session.token()).await.value();
    assert!(second.len() == 40 && second != token && third != second && third != token);
}

async fn a_token_can_be_asked_for_after_flush_and_after_invalidate(site: Site) {
    // DATA-41
    let browser = with(&site, json!({"a": 1})).await;
    let tokens = |session: Session| {
        let before = session.token();
        session.flush().unwrap();
        let flushed = session.token();
        session.invalidate().unwrap();
        [before, flushed, session.token()]
    };
    let [before, flushed, invalidated] = browser.visit(tokens).await.value();
    assert!([&before, &flushed, &invalidated].iter().all(|token| token.len() == 40));
    assert!(before != flushed && flushed != invalidated && before != invalidated);
}

async fn replace_swaps_the_content_and_merge_adds_to_it(site: Site) {
    // D6
    let browser = with(&site, json!({"a": 1, "b": 2})).await;
    let map = |value: Value| value.as_object().unwrap().clone();
    let token = browser.visit(|session| session.token()).await.value();
    browser
        .visit(move |session| session.merge(map(json!({"b": 3, "c": null}))).unwrap())
        .await
        .value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"a": 1, "b": 3, "c": null}));
    browser
        .visit(move |session| session.replace(map(json!({"b": 4}))).unwrap())
        .await
        .value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(Value::Object(all), json!({"b": 4}));
    assert_eq!(browser.visit(|session| session.token()).await.value(), token);
}

async fn increment_counts_from_nothing_and_may_go_below(site: Site) {
    // DATA-21
    let browser = with(&site, json!({"null": null})).await;
    let count = |session: Session| {
        [
            session.increment("up", 1).unwrap(),
            session.increment("up", 4).unwrap(),
            session.decrement("down", 1).unwrap(),
            session.increment("null", 2).unwrap(),
        ]
    };
    assert_eq!(browser.visit(count).await.value(), [1, 5, -1, 2]);
    assert_eq!(
        browser
            .visit(|session| session.decrement("up", 10).unwrap())
            .await
            .value(),
        -5
    );
}

async fn what_is_no_integer_or_has_no_room_is_not_incremented(site: Site) {
    // DATA-21
    let content = json!({"text": "1", "float": 1.0, "list": [], "most": i64::MAX, "least": i64::MIN, "huge": u64::MAX});
    let browser = with(&site, content).await;
    let count = |session: Session| {
        let kinds = [
            session.increment("text", 1),
            session.increment("float", 1),
            session.increment("list", 1),
            session.increment("most", 1),
            session.decrement("least", 1),
            session.increment("huge", 1),
            session.decrement("most", i64::MIN),
        ];
        kinds.map(|result| result.unwrap_err().kind())
    };
    assert_eq!(browser.visit(count).await.value(), [ErrorKind::WrongType; 7]);
    assert_eq!(site.calls.take(), Counts::ONE_READ, "nothing was changed");
    let huge_step = |session: Session| session.decrement("least", i64::MIN).unwrap();
    assert_eq!(browser.visit(huge_step).await.value(), 0);
}

async fn push_appends_and_refuses_what_is_no_list(site: Site) {
    // DATA-22
    let browser = with(&site, json!({"list": [1], "null": null, "text": "x"})).await;
    let push = |session: Session| {
        session.push("list", "two").unwrap();
        session.push("new", json!({"a": 1})).unwrap();
        session.push("null", None::<u8>).unwrap();
        session.push("text", 1).unwrap_err().kind()
    };
    assert_eq!(browser.visit(push).await.value(), ErrorKind::WrongType);
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(
        Value::Object(all),
        json!({"list": [1, "two"], "new": [{"a": 1}], "null": [null], "text": "x"})
    );
}

async fn remember_makes_a_value_once(site: Site) {
    // DATA-23
    let browser = with(&site, json!({"null": null})).await;
    let made = Arc::new(AtomicU32::new(0));
    for _ in 0..2 {
        let made = made.clone();
        let remember = move |session: Session| {
            let make = || made.fetch_add(1, Ordering::SeqCst) + 7;
            (
                session.remember("null", make).unwrap(),
                session.remember("null", make).unwrap(),
            )
        };
        assert_eq!(browser.visit(remember).await.value(), (7, 7));
    }
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

async fn an_equal_value_is_no_change(site: Site) {
    // DATA-27
    let browser = with(&site, json!({"n": 1, "map": {"b": [1, 2], "a": "x"}, "null": null})).await;
    let put = |session: Session| {
        session.put("n", 1_u64).unwrap();
        session.put("map", json!({"a": "x", "b": [1, 2]})).unwrap();
        session.put("null", None::<u8>).unwrap();
        session.increment("n", 0).unwrap();
        session.update("n", |n: &mut u64| *n *= 1).unwrap();
        session.put("n", 2).unwrap();
        session.put("n", 1).unwrap();
    };
    let visit = browser.visit(put).await;
    assert!(visit.cookie().is_none());
    visit.value();
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn the_order_in_which_a_hash_map_comes_is_no_change(site: Site) {
    // DATA-27
    let pairs: BTreeMap<String, u32> = (0..20).map(|n| (format!("key {n}"), n)).collect();
    let backwards: Vec<_> = pairs.clone().into_iter().rev().collect();
    let browser = site.app().browser();
    browser
        .visit(move |session| session.put("map", pairs).unwrap())
        .await
        .value();
    site.calls.take();
    let text = backwards
        .iter()
        .map(|(key, n)| format!("{key:?}:{n}"))
        .collect::<Vec<_>>()
        .join(",");
    let value: Box<serde_json::value::RawValue> = serde_json::from_str(&format!("{{{text}}}")).unwrap();
    browser
        .visit(move |session| session.put("map", value).unwrap())
        .await
        .value();
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn update_changes_a_value_in_place_and_is_saved(site: Site) {
    // DATA-28
    let browser = with(&site, json!({"cart": ["a"]})).await;
    let update = |session: Session| {
        session
            .update("cart", |cart: &mut Vec<String>| cart.push("b".into()))
            .unwrap();
        session.update("views", |views: &mut u32| *views += 1).unwrap();
        session.get::<Vec<String>>("cart").unwrap()
    };
    assert_eq!(browser.visit(update).await.value(), Some(vec!["a".into(), "b".into()]));
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"cart": ["a", "b"], "views": 1})
    );
}

async fn a_value_that_cannot_be_written_fails_at_once_and_changes_nothing(site: Site) {
    // DATA-29, ERR-17
    #[derive(Clone, Serialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Compound(u8, u8);
    let browser = with(&site, json!({"a": 1, "list": []})).await;
    let put = |session: Session| {
        let compound = BTreeMap::from([(Compound(1, 2), 3)]);
        let results = [
            session.put("a", f64::NAN),
            session.put("a", vec![f64::INFINITY]),
            session.put("a", compound.clone()),
            session.put("a", Some(None::<u8>)),
            session.push("list", f64::NAN),
            session.flash("a", f64::NEG_INFINITY),
            session.now("a", compound),
            session.update("a", |a: &mut f64| *a = f64::NAN),
            session.remember("new", || f64::NAN).map(|_| ()),
        ];
        (results.map(|result| result.unwrap_err().kind()), session.all())
    };
    let (kinds, all) = browser.visit(put).await.value();
    assert_eq!(kinds, [ErrorKind::Encode; 9]);
    assert_eq!(Value::Object(all), json!({"a": 1, "list": []}));
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn keys_of_the_library_cannot_be_written(site: Site) {
    // DESIGN 3: keys that begin with `_` are reserved.
    let browser = with(&site, json!({"a": 1})).await;
    let map = || Map::from_iter([("b".to_owned(), json!(1)), ("_flash.old".to_owned(), json!(["a"]))]);
    let write = move |session: Session| {
        let results = [
            session.put("_token", "mine"),
            session.forget(["a", "_token"]),
            session.merge(map()),
            session.replace(map()),
            session.flash("_x", 1),
            session.now("_x", 1),
            session.keep(["_x"]),
            session.push("_x", 1),
            session.pull::<u8>("_x").map(|_| ()),
            session.increment("_x", 1).map(|_| ()),
            session.decrement("_x", 1).map(|_| ()),
            session.remember("_x", || 1).map(|_| ()),
            session.update("_x", |x: &mut u8| *x = 1),
        ];
        (results.map(|result| result.unwrap_err().kind()), session.all())
    };
    let (kinds, all) = browser.visit(write).await.value();
    assert_eq!(kinds, [ErrorKind::ReservedKey; 13]);
    assert_eq!(Value::Object(all), json!({"a": 1}));
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn what_is_changed_before_loading_is_applied_to_what_is_loaded(site: Site) {
    // DESIGN 3
    let browser = with(&site, json!({"count": 5, "list": [1], "gone": 1, "b": 2})).await;
    let session = site.manager().build_session(site.driver.clone(), Some(&browser.id()));
    session.increment("count", 2).unwrap();
    session.push("list", 2).unwrap();
    session.forget(["gone"]).unwrap();
    session.put("b", 3).unwrap();
    assert_eq!(session.get::<u8>("count").unwrap(), Some(2));
    assert_eq!(site.calls.take(), Counts::NONE);
    session.start().await.unwrap();
    assert_eq!(
        Value::Object(session.all()),
        json!({"count": 7, "list": [1, 2], "b": 3})
    );
    session.save().await.unwrap();
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"count": 7, "list": [1, 2], "b": 3})
    );
}

async fn a_change_that_does_not_fit_what_is_loaded_fails_the_start(site: Site) {
    // DESIGN 3: an error, not a loss.
    let browser = with(&site, json!({"count": "many"})).await;
    let session = site.manager().build_session(site.driver.clone(), Some(&browser.id()));
    session.increment("count", 2).unwrap();
    assert_eq!(session.start().await.unwrap_err().kind(), ErrorKind::WrongType);
    assert!(!session.is_started());
    assert_eq!(site.payload(&browser.id()).await["count"], "many");
}

async fn an_update_whose_function_changes_its_own_key_is_an_error_and_not_for_ever(site: Site) {
    // DATA-28
    let browser = site.app().browser();
    let kind = browser.visit(|session| {
        let own = session.clone();
        let error = session
            .update("n", move |n: &mut u64| {
                own.increment("n", 1).unwrap();
                *n += 1;
            })
            .unwrap_err();
        assert!(
            error.to_string().contains("must do nothing but change the value"),
            "{error}"
        );
        error.kind()
    });
    assert_eq!(kind.await.value(), ErrorKind::Conflict);
}

/// Fails if `work` does not end, as it would not if it waited for itself.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (ended, waits) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        ended.send(()).ok();
    });
    match waits.recv_timeout(std::time::Duration::from_secs(60)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it waits for ever"),
        _ => thread.join().unwrap(),
    }
}

#[test]
fn a_key_that_asks_the_session_does_not_wait_for_ever() {
    // A8
    struct Key(Session);
    impl AsRef<str> for Key {
        fn as_ref(&self) -> &str {
            self.0.exists("a");
            "a"
        }
    }
    impl Drop for Key {
        fn drop(&mut self) {
            self.0.exists("a");
        }
    }
    ends(|| {
        let session = session_schema::testing::session();
        let keys = || [Key(session.clone()), Key(session.clone())];
        session.flash("a", 1).unwrap();
        session.keep(keys()).unwrap();
        assert_eq!((session.only(keys()).len(), session.except(keys()).len()), (1, 0));
        assert!(session.has_any(keys()));
        session.forget(keys()).unwrap();
        assert!(session.missing("a"));
    });
}

#[test]
fn a_function_that_asks_the_session_when_it_is_dropped_does_not_wait_for_ever() {
    // A8
    struct Asks(Session);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.exists("a");
        }
    }
    let after: [fn(&Session); 8] = [
        |session| session.put("a", 1).unwrap(),
        |session| session.forget(["a"]).unwrap(),
        |session| session.flash("a", 1).unwrap(),
        |session| session.flush().unwrap(),
        |session| session.replace(Default::default()).unwrap(),
        |session| session.invalidate().unwrap(),
        |session| {
            session.put("b", 1).unwrap();
            session.update("b", |_: &mut u32| ()).unwrap();
        },
        |session| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(session.save()).unwrap();
            runtime.block_on(session.reload()).unwrap();
        },
    ];
    for change in after {
        ends(move || {
            let session = session_schema::testing::session();
            let asks = Asks(session.clone());
            let add = move |value: &mut u32| {
                let _ = &asks;
                *value += 1;
            };
            session.update("a", add).unwrap();
            change(&session);
            session.put("a", 2).unwrap();
        });
    }
}

on_every_driver! {
    an_update_whose_function_changes_its_own_key_is_an_error_and_not_for_ever,
    the_second_put_of_a_key_is_the_one_that_counts,
    a_change_leaves_other_keys_in_place,
    pull_takes_a_value_away,
    forgetting_what_is_not_there_changes_nothing,
    forget_takes_several_keys_and_null_too,
    flush_empties_everything_and_keeps_the_id,
    a_token_can_be_asked_for_after_flush_and_after_invalidate,
    replace_swaps_the_content_and_merge_adds_to_it,
    increment_counts_from_nothing_and_may_go_below,
    what_is_no_integer_or_has_no_room_is_not_incremented,
    push_appends_and_refuses_what_is_no_list,
    remember_makes_a_value_once,
    an_equal_value_is_no_change,
    the_order_in_which_a_hash_map_comes_is_no_change,
    update_changes_a_value_in_place_and_is_saved,
    a_value_that_cannot_be_written_fails_at_once_and_changes_nothing,
    keys_of_the_library_cannot_be_written,
    what_is_changed_before_loading_is_applied_to_what_is_loaded,
    a_change_that_does_not_fit_what_is_loaded_fails_the_start,
}
