use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::{Key, KeyKind, SessionSchema};

use crate::testing::session;

fn typed<S: SessionSchema>() -> TypedSession<S> {
    session().into()
}

/// A typed session over stored texts.
fn stored<S: SessionSchema>(texts: &[(&str, &str)]) -> TypedSession<S> {
    let session = session();
    for (key, text) in texts {
        session.put_text(key, (*text).to_owned()).unwrap();
    }
    session.into()
}

fn text<S: SessionSchema>(typed: &TypedSession<S>, key: &str) -> Option<String> {
    typed.session().peek(key).map(|text| text.to_string())
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Item {
    name: String,
    price: f64,
}

fn item(name: &str) -> Item {
    Item {
        name: name.into(),
        price: 0.1,
    }
}

/// Whole seconds, as a text.
mod seconds {
    use std::time::Duration;

    pub(super) fn serialize<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&value.as_secs())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        text.parse().map(Duration::from_secs).map_err(serde::de::Error::custom)
    }
}

/// Numbers, as texts.
mod texts {
    pub(super) fn serialize<T: ToString, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
        let text: String = serde::Deserialize::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Lists, reversed.
mod reversed {
    use serde::{Deserialize, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        value.iter().rev().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let list = Vec::<u8>::deserialize(deserializer)?;
        Ok(list.into_iter().rev().collect())
    }
}

#[derive(SessionSchema)]
struct Shop {
    /// The signed-in customer.
    ///
    /// More about it.
    #[session(owner)]
    user_id: Option<u64>,
    name: String,
    nickname: Option<String>,
    cart: Vec<Item>,
    #[session(default = 20)]
    page_size: u32,
    #[session(default = "light")]
    theme: String,
    views: u8,
    #[session(with = "seconds")]
    waited: std::time::Duration,
    #[session(flash)]
    notice: Option<String>,
    #[session(flash = "until_read")]
    warning: Option<String>,
}

#[derive(SessionSchema)]
#[session(prefix = "n.", rename_all = "camelCase")]
struct New {
    #[session(key = "who", alias = "old_who", alias = "older_who", owner)]
    user_name: String,
    #[session(alias = "n")]
    page_count: u16,
    #[session(default = vec![1], alias = "l")]
    list: Vec<u8>,
    #[session(invalid = "default")]
    lenient_count: u8,
    #[session(invalid = "default", default = vec![7])]
    lenient_list: Vec<u8>,
    #[session(with = "texts")]
    spelled: u8,
    #[session(with = "reversed")]
    backwards: Vec<u8>,
    #[session(default = Some(5))]
    five: Option<u8>,
    #[session(invalid = "error")]
    queue: VecDeque<String>,
}

#[test]
fn accessors_and_keys_reach_the_same_value() {
    let session = typed::<Shop>();
    session.put_name("Ann").unwrap();
    assert_eq!(session.get(Shop::NAME).unwrap(), "Ann");
    session.put(Shop::CART, vec![item("a")]).unwrap();
    assert_eq!(session.get_cart().unwrap(), [item("a")]);
    assert_eq!(session.pull_cart().unwrap(), [item("a")]);
    assert!(session.missing(Shop::CART) && !session.exists(Shop::CART));
    assert_eq!(session.pull(Shop::NAME).unwrap(), "Ann");
    assert_eq!(text(&session, "name"), None);
    session.flash_notice("hello").unwrap();
    session.keep_notice().unwrap();
    assert_eq!(session.get_notice().unwrap().as_deref(), Some("hello"));
    session.now_notice("now").unwrap();
    assert_eq!(session.pull_notice().unwrap().as_deref(), Some("now"));
    session.flash(Shop::CART, [item("b")].to_vec()).unwrap();
    assert_eq!(session.clone().get_cart().unwrap(), [item("b")]);
}

#[test]
fn setters_take_values_references_what_an_option_holds_and_text() {
    let session = typed::<Shop>();
    session.put_user_id(42).unwrap();
    session.put_user_id(Some(42)).unwrap();
    let by_reference = &Some(42);
    session.put_user_id(by_reference).unwrap();
    let by_reference = &42;
    session.put_user_id(by_reference).unwrap();
    session.put_user_id(None).unwrap();
    let (cart, owned) = (vec![item("a")], String::from("Ann"));
    session.put_cart(&cart).unwrap();
    session.put_cart(cart).unwrap();
    session.put_name(&owned).unwrap();
    session.put_nickname(&owned).unwrap();
    session.put_nickname("Ann").unwrap();
    session.put_nickname(Some("Ann")).unwrap();
    session.put_nickname(None::<String>).unwrap();
    session.put_nickname(owned).unwrap();
    assert_eq!(session.get_nickname().unwrap().as_deref(), Some("Ann"));
}

#[test]
fn absent_and_null_read_as_the_default() {
    for session in [
        typed::<Shop>(),
        stored(&[
            ("user_id", "null"),
            ("cart", "null"),
            ("page_size", "null"),
            ("theme", "null"),
            ("waited", "null"),
        ]),
    ] {
        assert_eq!(session.get_user_id().unwrap(), None);
        assert_eq!(session.get_cart().unwrap(), []);
        assert_eq!(session.get(Shop::PAGE_SIZE).unwrap(), 20);
        assert_eq!(session.get_theme().unwrap(), "light");
        assert!(session.get_waited().unwrap().is_zero());
        assert!(!session.has(Shop::CART));
    }
    let session = typed::<New>();
    assert_eq!(session.get_five().unwrap(), Some(5));
    session.put_five(None).unwrap();
    assert_eq!(session.get_five().unwrap(), None);
    assert!(session.exists(New::FIVE) && !session.has(New::FIVE));
}

#[test]
fn remember_makes_a_value_once() {
    let session = stored::<Shop>(&[("page_size", "null")]);
    assert_eq!(session.remember(Shop::PAGE_SIZE, || 50).unwrap(), 50);
    assert_eq!(session.remember(Shop::PAGE_SIZE, || panic!()).unwrap(), 50);
    assert_eq!(session.remember(Shop::USER_ID, || Some(1)).unwrap(), Some(1));
    assert_eq!(session.session().owner().as_deref(), Some("1"));
}

#[test]
fn counting_begins_at_the_default_and_ends_at_the_limits_of_the_type() {
    let session = typed::<Shop>();
    assert_eq!(session.increment(Shop::PAGE_SIZE, 5).unwrap(), 25);
    assert_eq!(session.decrement(Shop::PAGE_SIZE, 25).unwrap(), 0);
    for overflow in [
        session.decrement(Shop::PAGE_SIZE, 1),
        session.increment(Shop::VIEWS, 256),
        session.increment(Shop::VIEWS, i64::MAX),
        session.decrement(Shop::VIEWS, i64::MIN),
    ] {
        assert_eq!(overflow.unwrap_err().kind(), ErrorKind::WrongType);
    }
    assert_eq!(session.get_page_size().unwrap(), 0);
    assert_eq!(text(&session, "views"), None);
    assert_eq!(session.increment(Shop::VIEWS, 255).unwrap(), 255);
}

#[test]
fn lists_grow_from_the_default() {
    let session = typed::<Shop>();
    session.push(Shop::CART, item("a")).unwrap();
    let by_reference = &item("b");
    session.push(Shop::CART, by_reference).unwrap();
    assert_eq!(session.get_cart().unwrap(), [item("a"), item("b")]);
    let session = stored::<New>(&[("n.queue", "null")]);
    session.push(New::LIST, 2).unwrap();
    assert_eq!(session.get_list().unwrap(), [1, 2]);
    session.push(New::QUEUE, "x").unwrap();
    assert_eq!(session.get_queue().unwrap(), ["x"]);
    session.push(New::BACKWARDS, 1).unwrap();
    session.push(New::BACKWARDS, 2).unwrap();
    assert_eq!(session.get_backwards().unwrap(), [1, 2]);
    assert_eq!(text(&session, "n.backwards").unwrap(), "[2,1]");
}

#[test]
fn an_update_begins_at_the_default_and_changes_in_place() {
    let session = typed::<Shop>();
    session.update(Shop::CART, |cart| cart.push(item("a"))).unwrap();
    session.update(Shop::THEME, |theme| theme.push('!')).unwrap();
    session.update(Shop::USER_ID, |user| *user = Some(7)).unwrap();
    assert_eq!(session.get_cart().unwrap(), [item("a")]);
    assert_eq!(session.get_theme().unwrap(), "light!");
    assert_eq!(session.session().owner().as_deref(), Some("7"));
}

#[test]
fn a_module_writes_and_reads_its_field() {
    let session = typed::<Shop>();
    session.put_waited(std::time::Duration::from_secs(3)).unwrap();
    assert_eq!(text(&session, "waited").unwrap(), "\"3\"");
    assert_eq!(session.get_waited().unwrap().as_secs(), 3);
    let session = typed::<New>();
    assert_eq!(session.increment(New::SPELLED, 2).unwrap(), 2);
    assert_eq!(session.increment(New::SPELLED, 2).unwrap(), 4);
    assert_eq!(text(&session, "n.spelled").unwrap(), "\"4\"");
    session.increment(New::SPELLED, 252).unwrap_err();
}

#[test]
fn an_error_names_key_schema_type_and_kind_and_leaves_the_value() {
    let session = stored::<Shop>(&[("page_size", "\"secret\""), ("cart", "[1]"), ("views", "1000")]);
    let error = session.get_page_size().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(
        error.to_string(),
        "the session key `page_size` of `Shop` holds a string that cannot be read as `u32`"
    );
    for error in [
        session.pull_page_size().map(drop),
        session.increment(Shop::PAGE_SIZE, 1).map(drop),
        session.update(Shop::PAGE_SIZE, |_| ()),
        session.remember(Shop::PAGE_SIZE, || 1).map(drop),
        session.push(Shop::CART, item("a")),
        session.increment(Shop::VIEWS, -900).map(drop),
        session.snapshot().map(drop),
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        assert!(!format!("{error:?}").contains("secret"));
    }
    assert_eq!(text(&session, "page_size").unwrap(), "\"secret\"");
    assert_eq!(text(&session, "cart").unwrap(), "[1]");
    assert_eq!(text(&session, "views").unwrap(), "1000");
}

#[test]
fn a_value_of_another_shape_reads_as_the_default_where_the_field_says_so() {
    let session = stored::<New>(&[("n.lenientCount", "1.5"), ("n.lenientList", "[\"x\"]")]);
    assert_eq!(session.get_lenient_count().unwrap(), 0);
    assert_eq!(session.get_lenient_list().unwrap(), [7]);
    assert_eq!(session.increment(New::LENIENT_COUNT, 3).unwrap(), 3);
    session.push(New::LENIENT_LIST, 8).unwrap();
    assert_eq!(session.get_lenient_count().unwrap(), 3);
    assert_eq!(session.get_lenient_list().unwrap(), [7, 8]);
}

#[test]
fn a_value_under_an_old_name_is_read_and_moved_on_the_next_write() {
    let old = [("older_who", "\"Ann\""), ("n", "3"), ("l", "[4]")];
    let session = stored::<New>(&old);
    assert_eq!(session.get_user_name().unwrap(), "Ann");
    assert!(session.has(New::USER_NAME) && session.exists(New::PAGE_COUNT));
    assert_eq!(text(&session, "older_who").unwrap(), "\"Ann\"", "reading moves nothing");
    assert_eq!(session.increment(New::PAGE_COUNT, 1).unwrap(), 4);
    session.push(New::LIST, 5).unwrap();
    session.put_user_name("Bob").unwrap();
    for (key, _) in old {
        assert_eq!(text(&session, key), None, "{key}");
    }
    assert_eq!(text(&session, "n.who").unwrap(), "\"Bob\"");
    assert_eq!(text(&session, "n.pageCount").unwrap(), "4");
    assert_eq!(text(&session, "n.list").unwrap(), "[4,5]");

    let session = stored::<New>(&[("old_who", "\"Ann\""), ("n", "3")]);
    assert_eq!(session.pull_user_name().unwrap(), "Ann");
    session.forget(New::PAGE_COUNT).unwrap();
    assert!(session.missing(New::USER_NAME) && session.missing(New::PAGE_COUNT));
}

#[test]
fn the_present_name_wins_over_an_old_one() {
    let session = stored::<New>(&[("n", "1"), ("n.pageCount", "2")]);
    assert_eq!(session.get_page_count().unwrap(), 2);
}

#[test]
fn the_owner_follows_its_field() {
    let session = typed::<Shop>();
    let owner = || session.session().owner();
    session.put_user_id(42).unwrap();
    assert_eq!(owner().as_deref(), Some("42"));
    let by_reference = &42;
    session.put_user_id(by_reference).unwrap();
    session.put_user_id(None).unwrap();
    assert_eq!(owner(), None);
    session.put_user_id(42).unwrap();
    session.pull_user_id().unwrap();
    assert_eq!(owner(), None);
    session.put_user_id(42).unwrap();
    session.forget(Shop::USER_ID).unwrap();
    assert_eq!(owner(), None);
    session.put_user_id(42).unwrap();
    session.flush().unwrap();
    assert_eq!(owner(), None);
    let named = TypedSession::<New>::from(session.session().clone());
    named.put_user_name("\"Ann\" \u{e9}").unwrap();
    assert_eq!(owner().as_deref(), Some("\"Ann\" \u{e9}"));
}

#[test]
fn what_cannot_be_an_owner_changes_nothing() {
    #[derive(SessionSchema)]
    struct Wrong {
        #[session(owner)]
        user: Vec<u8>,
    }
    let session = typed::<Wrong>();
    for error in [
        session.put_user(vec![1]),
        session.update(Wrong::USER, |user| user.push(1)),
        session.fill(&Wrong { user: vec![1] }),
    ] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Encode);
    }
    assert!(session.missing(Wrong::USER));
}

#[test]
fn fill_stores_all_fields_or_none() {
    #[derive(SessionSchema)]
    struct Two {
        first: u8,
        second: f64,
        #[session(flash)]
        third: Option<u8>,
    }
    let session = typed::<Two>();
    let mut two = Two {
        first: 1,
        second: f64::NAN,
        third: None,
    };
    assert_eq!(session.fill(&two).unwrap_err().kind(), ErrorKind::Encode);
    assert!(session.missing(Two::FIRST));
    two.second = 0.5;
    session.flash_third(3).unwrap();
    session.fill(&two).unwrap();
    assert_eq!(text(&session, "first").unwrap(), "1");
    assert!(
        session.missing(Two::THIRD),
        "a flash field that holds nothing is not flashed"
    );
    let back = session.snapshot().unwrap();
    assert_eq!((back.first, back.second, back.third), (1, 0.5, None));
}

#[test]
fn a_schema_is_read_from_a_payload_too() {
    let payload = Payload::new(br#"{"older_who":"Ann","n.pageCount":2}"#.to_vec());
    let new: New = decode(&payload).unwrap();
    assert_eq!((new.user_name.as_str(), new.page_count, new.list), ("Ann", 2, vec![1]));
    assert!(decode::<New>(&Payload::new(br#"{"n":"x"}"#.to_vec())).is_err());
}

#[test]
fn a_schema_is_data() {
    let user = &Shop::KEYS[0];
    assert_eq!(
        (user.name(), user.rust_type(), user.doc()),
        ("user_id", "Option<u64>", "The signed-in customer.")
    );
    assert!(user.is_owner() && user.kind() == KeyKind::Data);
    let warning = Shop::KEYS.last().unwrap();
    assert!(warning.is_until_read() && warning.kind() == KeyKind::Flash);
    let names: Vec<_> = New::KEYS.iter().map(|key| key.name()).collect();
    assert_eq!(names[..3], ["n.who", "n.pageCount", "n.list"]);
    assert_eq!(New::KEYS[0].aliases(), ["old_who", "older_who"]);
    // A field `name` has the constant to itself, and takes nothing from the trait's.
    assert_eq!((<Shop as SessionSchema>::NAME, Shop::NAME.name()), ("Shop", "name"));
}

#[test]
fn a_typed_session_is_sendable_and_shows_nothing_whatever_the_schema_holds() {
    #[derive(SessionSchema)]
    struct Local {
        #[session(with = "cell")]
        cell: Cell<u8>,
    }
    mod cell {
        use std::cell::Cell;

        pub(super) fn serialize<S: serde::Serializer>(value: &Cell<u8>, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u8(value.get())
        }

        pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cell<u8>, D::Error> {
            serde::Deserialize::deserialize(deserializer).map(Cell::new)
        }
    }
    fn check<T: Send + Sync + Clone + AsRef<Session>>(_: &T) {}
    let session = typed::<Local>();
    check(&session);
    session.put_cell(Cell::new(123)).unwrap();
    assert_eq!(session.snapshot().unwrap().cell.get(), 123);
    let shown = format!("{session:?} {:?} {:?}", &*session, Local::CELL);
    assert_eq!(
        shown,
        "TypedSession { schema: \"Local\", .. } LocalAccessors Key(\"cell\")"
    );
}

#[test]
fn keys_can_be_passed_to_functions() {
    fn both<V: 'static>(session: &TypedSession<Shop>, key: Key<Shop, V>) -> Result<V> {
        session.put(key, session.get(key)?)?;
        session.get(key)
    }
    assert_eq!(both(&typed(), Shop::PAGE_SIZE).unwrap(), 20);
}

#[derive(Debug, PartialEq, SessionSchema)]
struct Everything {
    signed: i64,
    unsigned: u64,
    wide: u128,
    float: f64,
    narrow: f32,
    text: String,
    letter: char,
    nested: Vec<Option<(u8, Option<bool>)>>,
    map: BTreeMap<String, HashMap<i32, Vec<String>>>,
    #[session(default = Some(3))]
    defaulted: Option<u8>,
    #[session(flash)]
    flash: Option<String>,
    #[session(flash = "until_read")]
    waiting: Vec<u8>,
    #[session(owner)]
    owner: Option<String>,
}

prop_compose! {
    fn everything()(
        (signed, unsigned, wide, letter) in any::<(i64, u64, u128, char)>(),
        float in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
        narrow in prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
        text in ".{0,8}",
        nested in prop::collection::vec(any::<Option<(u8, Option<bool>)>>(), 0..4),
        map in prop::collection::btree_map(
            ".{0,3}",
            prop::collection::hash_map(any::<i32>(), prop::collection::vec(".{0,3}", 0..3), 0..3),
            0..3,
        ),
        (defaulted, waiting) in (any::<Option<u8>>(), prop::collection::vec(any::<u8>(), 0..4)),
        (flash, owner) in (prop::option::of(".{0,4}"), prop::option::of(".{0,4}")),
    ) -> Everything {
        Everything {
            signed, unsigned, wide, float, narrow, text, letter, nested, map, defaulted, flash, waiting, owner,
        }
    }
}

proptest! {
    #[test]
    fn every_struct_survives_bit_for_bit(first in everything(), values in everything()) {
        let session = typed::<Everything>();
        session.fill(&first).unwrap();
        session.fill(&values).unwrap();
        let back = session.snapshot().unwrap();
        prop_assert_eq!(back.float.to_bits(), values.float.to_bits());
        prop_assert_eq!(back.narrow.to_bits(), values.narrow.to_bits());
        prop_assert_eq!(&back, &values);
        prop_assert_eq!(session.session().owner(), values.owner);
    }
}

#[test]
fn what_is_about_to_be_stored_shows_no_value() {
    let mut fill = Fill::default();
    fill.field(Shop::PAGE_SIZE, &98_765).unwrap();
    assert_eq!(format!("{fill:?}"), r#"["page_size"]"#);
}
