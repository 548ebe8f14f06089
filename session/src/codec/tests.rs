use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<u8>),
    Tuple(u8, String),
    Struct { inner: Wrapper },
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wrapper(Option<f64>);

fn encoded<T: Serialize>(value: T) -> String {
    encode("key", &value).unwrap()
}

fn refused<T: Serialize>(value: T) -> Error {
    let error = encode("key", &value).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    error
}

fn misread<T: DeserializeOwned + fmt::Debug>(text: &str) -> Error {
    let error = decode::<T>("key", text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    error
}

proptest! {
    #[test]
    fn every_value_comes_back(float: f64, narrow: f32, integers: (i64, u64, i128, u128), text: String, letter: char) {
        prop_assume!(float.is_finite() && narrow.is_finite());
        let value = (float, narrow, integers, text, letter);
        let back: (f64, f32, (i64, u64, i128, u128), String, char) = decode("key", &encoded(&value)).unwrap();
        prop_assert_eq!(back.0.to_bits(), value.0.to_bits());
        prop_assert_eq!(back.1.to_bits(), value.1.to_bits());
        prop_assert_eq!(back, value);
    }

    #[test]
    fn the_text_is_the_one_serde_json_writes(
        map in prop::collection::btree_map(".{0,4}", prop::collection::vec(any::<Option<(u8, bool)>>(), 0..4), 0..6),
    ) {
        prop_assert_eq!(encoded(&map), serde_json::to_string(&map).unwrap());
    }

    #[test]
    fn the_order_of_a_map_does_not_make_it_another(
        map in prop::collection::hash_map(".{0,4}", prop::collection::vec(any::<i64>(), 0..3), 0..6),
    ) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort();
        let object = |entries: &[(&String, &Vec<i64>)]| {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{}:{}", encoded(key), encoded(value))).collect();
            format!("[{{{}}}]", entries.join(","))
        };
        let sorted = object(&entries);
        entries.reverse();
        prop_assert!(same(&sorted, &object(&entries)));
    }

    #[test]
    fn different_values_are_not_the_same(
        one in prop::collection::vec((0..2_u8, "[a\"]{0,1}"), 0..3),
        other in prop::collection::vec((0..2_u8, "[a\"]{0,1}"), 0..3),
    ) {
        prop_assert_eq!(same(&encoded(&one), &encoded(&other)), one == other);
    }
}

#[test]
fn every_shape_of_serde_comes_back() {
    for shape in [
        Shape::Unit,
        Shape::Newtype(None),
        Shape::Newtype(Some(1)),
        Shape::Tuple(1, "\0\u{1f600}\"\\".into()),
        Shape::Struct {
            inner: Wrapper(Some(f64::MIN_POSITIVE)),
        },
    ] {
        assert_eq!(decode::<Shape>("key", &encoded(&shape)).unwrap(), shape);
    }
    let raw = RawValue::from_string("[1, 2]".into()).unwrap();
    assert_eq!(encoded(raw), "[1, 2]");
}

#[test]
fn what_json_cannot_hold_is_refused_wherever_it_stands() {
    refused(f64::NAN);
    refused(f32::INFINITY);
    refused(vec![(1, Some(f64::NEG_INFINITY))]);
    refused(HashMap::from([("a", f64::NAN)]));
    refused(Shape::Struct {
        inner: Wrapper(Some(f64::NAN)),
    });
    refused(HashMap::from([(vec![1], 1)]));
    let error = refused(Some(None::<u8>));
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("Some(None)")
    );
    refused([Some(Wrapper(None))]);
    assert_eq!(encoded([None::<Wrapper>]), "[null]");
    assert_eq!(encoded(Some(vec![None::<u8>])), "[null]");
}

#[test]
fn what_is_nested_too_deeply_to_be_read_back_is_refused() {
    let nested = |levels| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
    let text = encoded(nested(MAX_DEPTH));
    assert_eq!(decode::<Value>("key", &text).unwrap(), nested(MAX_DEPTH));
    assert!(refused(nested(MAX_DEPTH + 1)).to_string().contains("127 levels"));
}

#[test]
fn errors_name_key_type_and_kind_but_never_the_value() {
    let error = misread::<u64>("\"secret\"");
    assert_eq!(
        error.to_string(),
        "the session key `key` holds a string that cannot be read as `u64`"
    );
    let error = misread::<Vec<u8>>("[1,\"secret\"]");
    assert!(error.to_string().contains("an array") && error.to_string().contains("line 1, column 11"));
    assert!(!format!("{error:?}").contains("secret"));
    for (text, kind) in [
        ("null", "null"),
        ("true", "a boolean"),
        ("-1", "a number"),
        ("{}", "an object"),
    ] {
        assert!(misread::<char>(text).to_string().contains(kind));
    }
    misread::<u8>("1 2");
}

#[test]
fn equal_values_are_the_same_however_they_are_written() {
    assert!(same(r#""\u00e9\/""#, "\"é/\""));
    assert!(same(
        r#"{"a":{"b":1,"c":[]},"d":null}"#,
        r#"{"d":null,"a":{"c":[],"b":1}}"#
    ));
    for (one, other) in [
        ("0.0", "-0.0"),
        ("[0.10]", "[-0.1]"),
        (
            "[340282366920938463463374607431768211455]",
            "[340282366920938463463374607431768211454]",
        ),
        (r#"{"a":1,"a":2}"#, r#"{"a":3,"a":2}"#),
        ("1", "\"1\""),
        ("[]", "{}"),
    ] {
        assert!(!same(one, other), "{one} {other}");
    }
    assert_eq!(
        decode::<Value>("key", &encoded(json!({"a": [1]}))).unwrap(),
        json!({"a": [1]})
    );
}
