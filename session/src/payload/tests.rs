use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn tree(payload: &Payload) -> Map<String, Value> {
    serde_json::from_slice(payload.text()).unwrap()
}

fn arbitrary_object() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,4}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    prop::collection::vec((prop_oneof!["_?[a-c\"\\\\\n é]{0,3}", ".{0,5}"], value), 0..8)
        .prop_map(|entries| entries.into_iter().collect())
}

proptest! {
    #[test]
    fn every_entry_is_found_and_no_other(object in arbitrary_object(), pretty: bool, other in "[a-c_]{0,3}") {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let payload = Payload::new(text);
        payload.check().unwrap();
        prop_assert_eq!(payload.iter().count(), object.len());
        for (key, value) in &object {
            let found: Value = serde_json::from_str(payload.get(key).unwrap()).unwrap();
            prop_assert_eq!(&found, value);
        }
        prop_assert_eq!(payload.get(&other).is_some(), object.contains_key(&other));
    }

    #[test]
    fn an_edit_changes_what_it_names_and_keeps_the_index(
        object in arbitrary_object(),
        changes in arbitrary_object(),
        removals in prop::collection::btree_set("_?[a-c\"\\\\\n é]{0,3}", 0..4),
        pretty: bool,
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) }.unwrap();
        let mut expected = object.clone();
        let mut edits: std::collections::BTreeMap<String, Option<String>> =
            removals.iter().map(|key| (key.clone(), None)).collect();
        for key in &removals {
            expected.remove(key);
        }
        for (key, value) in &changes {
            edits.insert(key.clone(), Some(value.to_string()));
            expected.insert(key.clone(), value.clone());
        }
        let edits = edits.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
        let edited = Payload::new(text).edit(edits);
        prop_assert_eq!(&tree(&edited), &expected);
        // The index that was carried over is the one that reading the text would have made.
        let read = Payload::new(edited.text().to_vec());
        prop_assert_eq!(edited.iter().collect::<Vec<_>>(), read.iter().collect::<Vec<_>>());
        for key in expected.keys() {
            prop_assert_eq!(edited.get(key), read.get(key));
        }
    }

    #[test]
    fn arbitrary_bytes_are_corrupt_or_an_object(bytes: Vec<u8>) {
        let object = serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok();
        prop_assert_eq!(Payload::new(bytes).check().is_ok(), object);
    }
}

#[test]
fn what_is_no_object_is_corrupt() {
    for text in [
        "",
        "null",
        "[]",
        "1",
        "{",
        "{}x",
        "{\"a\":}",
        "{\"a\":1,}",
        "\u{feff}{}",
    ] {
        assert!(Payload::new(text.into()).check().is_err(), "{text}");
    }
}

#[test]
fn of_one_key_twice_the_last_counts() {
    let payload = Payload::new(br#"{"a":1,"b":0,"a":2,"\u0061":3}"#.to_vec());
    assert_eq!(payload.get("a"), Some("3"));
    assert_eq!(payload.iter().count(), 2);
}

#[test]
fn nesting_that_could_not_be_read_back_is_corrupt() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let fits = Payload::new(nested(MAX_DEPTH).into());
    fits.check().unwrap();
    serde_json::from_str::<Value>(fits.get("a").unwrap()).unwrap();
    assert!(Payload::new(nested(MAX_DEPTH + 1).into()).check().is_err());
}
