//! The data API: what is read back is what was put.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_tests::{Backing, Site, on_every_driver};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Unit,
    Newtype(i8),
    Tuple(u8, String),
    Struct { at: (f64, f64), tags: Vec<Option<char>> },
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Newtype(u64);

/// The value after a reload.
async fn reloaded<T>(site: &Site, value: T) -> Option<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let browser = site.app().browser();
    browser
        .visit(move |session| session.put("value", value).unwrap())
        .await
        .value();
    browser
        .visit(|session| session.get::<T>("value").unwrap())
        .await
        .value()
}

macro_rules! assert_round_trip {
    ($site:expr, $($value:expr),* $(,)?) => {$(
        let value = $value;
        assert_eq!(reloaded($site, value.clone()).await, Some(value));
    )*};
}

async fn integers_come_back_exactly(site: Site) {
    // DATA-32, DATA-33
    assert_round_trip!(
        &site,
        u64::MAX,
        i64::MIN,
        i64::MAX,
        0_u8,
        42_i32,
        u128::MAX,
        i128::MIN,
        (1_u64 << 53) + 1
    );
}

async fn floats_come_back_exactly(site: Site) {
    // DATA-32
    assert_round_trip!(
        &site,
        f64::MIN,
        f64::MAX,
        f64::EPSILON,
        f64::MIN_POSITIVE,
        5e-324,
        0.1 + 0.2,
        f32::MAX,
        1e23
    );
    let negative_zero = reloaded(&site, -0.0_f64).await.unwrap();
    assert!(negative_zero == 0.0 && negative_zero.is_sign_negative());
}

async fn empty_and_strange_values_come_back_exactly(site: Site) {
    // DATA-32
    assert_round_trip!(
        &site,
        String::new(),
        Vec::<u8>::new(),
        BTreeMap::<String, u8>::new(),
        "\0\u{1}\u{1f}\u{7f}\"\\/\u{2028}\u{fffe}".to_owned(),
        "Zażółć gęślą 日本語 🎉 é".to_owned(),
        ((), 'x', (1, "a".to_owned())),
        BTreeMap::from([(1_u16, true), (2, false)]),
        vec![Some(1), None],
    );
}

async fn enums_and_newtypes_come_back_exactly(site: Site) {
    // DATA-32
    assert_round_trip!(
        &site,
        Shape::Unit,
        Shape::Newtype(-1),
        Shape::Tuple(1, "x".into()),
        Shape::Struct {
            at: (0.1, -7e300),
            tags: vec![Some('é'), None]
        },
        Newtype(u64::MAX),
    );
}

async fn a_large_value_comes_back_exactly(site: Site) {
    // STORE-29
    assert_round_trip!(&site, "0123456789abcde\n".repeat(32_768));
}

async fn values_as_deep_as_they_can_be_read_come_back_and_deeper_ones_are_refused(site: Site) {
    // ERR-17, ERR-19
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    assert_round_trip!(&site, nested(127));
    let browser = site.app().browser();
    let put = move |session: session_schema::Session| {
        session.put("deep", nested(127)).unwrap();
        let deeper = session.put("deep", nested(128)).unwrap_err().kind();
        let pushed = session.push("list", nested(127)).unwrap_err().kind();
        let updated = session
            .update("deep", |value: &mut Value| *value = json!([value.take()]))
            .unwrap_err()
            .kind();
        [deeper, pushed, updated]
    };
    assert_eq!(browser.visit(put).await.value(), [session_schema::ErrorKind::Encode; 3]);
    browser.visit(|session| session.put("other", 1).unwrap()).await.value();
    let deep = browser
        .visit(move |session| session.get::<Value>("deep").unwrap())
        .await
        .value();
    assert_eq!(deep, Some(nested(127)));
}

on_every_driver! {
    integers_come_back_exactly,
    floats_come_back_exactly,
    empty_and_strange_values_come_back_exactly,
    enums_and_newtypes_come_back_exactly,
    a_large_value_comes_back_exactly,
    values_as_deep_as_they_can_be_read_come_back_and_deeper_ones_are_refused,
}

fn arbitrary_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("JSON has finite numbers only", |number| {
            serde_json::Number::from_f64(number).map(Value::Number)
        }),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_json_value_under_every_key_comes_back_exactly(
        content in prop::collection::btree_map("[^_]?|[^_].{0,10}|[^_]\\PC{0,20}", arbitrary_json(), 1..6)
    ) {
        // DATA-12, DATA-32
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::over(Backing::Memory);
            let browser = site.app().browser();
            let (put, read) = (content.clone(), content);
            browser.visit(move |session| put.iter().for_each(|(key, value)| session.put(key, value).unwrap())).await.value();
            browser.visit(move |session| {
                assert_eq!(session.all().into_iter().collect::<BTreeMap<_, _>>(), read);
                // Text for text, because equal floats may differ.
                for (key, value) in &read {
                    let found = session.get::<Box<serde_json::value::RawValue>>(key).unwrap();
                    let found = found.map_or_else(|| "null".to_owned(), |found| found.get().to_owned());
                    assert_eq!(found, value.to_string());
                }
            }).await.value();
        });
    }
}
