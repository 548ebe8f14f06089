//! Bookkeeping of a wrong shape, as another program might leave it, counts as absent.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use session_schema::Session;
use session_tests::{Backing, Site};
use tokio::runtime::{Builder, Runtime};

async fn open(site: &Site, id: &str) -> Session {
    let session = site.manager().build_session(site.driver.clone(), Some(id));
    session.start().await.unwrap();
    session
}

fn is_token(token: &str) -> bool {
    token.len() == 40
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[tokio::test]
async fn a_stored_token_that_is_none_is_not_handed_out() {
    // A14
    let x39 = "x".repeat(39);
    let tokens = [
        json!(""),
        json!("secret"),
        json!(x39),
        json!(format!("{x39}xx")),
        json!(format!("{x39}\u{e9}")),
        json!(format!("{x39}+")),
        json!(format!("{x39}\n")),
        json!(7),
        json!(null),
        json!(["x"]),
    ];
    let site = Site::over(Backing::Memory);
    for stored in tokens {
        let payload = json!({"_token": stored, "a": 1}).to_string();
        // Two requests at once agree on another, which stays.
        let id = site.plant(&payload).await;
        let (one, other) = (open(&site, &id).await, open(&site, &id).await);
        let token = one.token();
        assert!(is_token(&token), "{stored}");
        assert_eq!(other.token(), token, "{stored}");
        one.save().await.unwrap();
        other.save().await.unwrap();
        assert_eq!(open(&site, &id).await.token(), token, "{stored}");
        // What is none is not renewed either, and leaves with everything else.
        let id = site.plant(&payload).await;
        let session = open(&site, &id).await;
        session.flush().unwrap();
        session.save().await.unwrap();
        assert!(site.payload(&id).await.is_empty(), "{stored}");
    }
    let token = format!("-_{}", "aZ".repeat(19));
    let id = site.plant(&json!({"_token": token}).to_string()).await;
    assert_eq!(open(&site, &id).await.token(), token);
}

/// JSON of any shape, with names of keys among its strings.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (i64::MIN..0).prop_map(Value::from),
        (-1e9..-0.5).prop_map(Value::from),
        prop::sample::select(vec!["", "x", "_token", "_created", "_lifetime", "_flash.old", "flash"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let names = prop::sample::select(vec!["at", "flash", "_token", "_created", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..3).prop_map(|entries| entries
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

/// A payload with data, a good token, and bookkeeping of any shape.
fn payload() -> impl Strategy<Value = Map<String, Value>> {
    let key = prop::sample::select(vec![
        "_flash.new",
        "_flash.old",
        "_flash.at",
        "_flash.unread",
        "_created",
        "_lifetime",
        "_lease",
        "_moved",
        "_until",
    ]);
    let names = prop::sample::select(vec!["flash", "_token", "_created", "_flash.old", "x"]);
    let list = prop::collection::vec(names, 1..3).prop_map(Value::from);
    prop::collection::btree_map(key, prop_oneof![any_json(), list], 0..6).prop_map(|bookkeeping| {
        let mut payload: Map<String, Value> = bookkeeping
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        payload.insert("a".to_owned(), json!([1]));
        payload.insert("_token".to_owned(), json!("t".repeat(40)));
        payload
    })
}

async fn check(site: Site, payload: Map<String, Value>) {
    let id = site.plant(&Value::Object(payload).to_string()).await;
    for visit in 0..3 {
        let session = open(&site, &id).await;
        assert_eq!(session.get::<Value>("a").unwrap(), Some(json!([1])));
        assert_eq!(session.token(), "t".repeat(40));
        assert_eq!(session.expiry(), None);
        session.flash("flash", visit).unwrap();
        session.put("visit", visit).unwrap();
        session.save().await.unwrap();
    }
    let session = open(&site, &id).await;
    assert_eq!(session.get::<u32>("flash").unwrap(), Some(2));
    session.save().await.unwrap();
    let all = open(&site, &id).await.all();
    assert_eq!(Value::Object(all), json!({"a": [1], "visit": 2}));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bookkeeping_of_a_wrong_shape_harms_nothing(payload in payload()) {
        // A14
        thread_local! {
            static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
            static SITE: Site = Site::over(Backing::Memory);
        }
        RUNTIME.with(|runtime| runtime.block_on(check(SITE.with(Site::clone), payload)));
    }
}
