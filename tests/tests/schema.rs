//! Typed sessions over real drivers: what is stored, what comes back, and what a new version of a schema makes of an old one's sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use proptest::prelude::*;
use session_schema::{Config, Driver, ErrorKind, FileDriver, Session, SessionManager, SessionSchema, TypedSession};
use session_tests::{Site, on_every_driver};

/// The next request of a visitor, or the first.
async fn request<S: SessionSchema>(driver: &Arc<dyn Driver>, id: Option<&str>) -> TypedSession<S> {
    let manager = SessionManager::new(Config::default()).unwrap();
    let session: Session = manager.build_session(driver.clone(), id);
    session.start().await.unwrap();
    session.into()
}

/// Saves it, and says under which id.
async fn saved<S: SessionSchema>(session: TypedSession<S>) -> String {
    session.save().await.unwrap();
    session.id().as_str().to_owned()
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Shape {
    Unit,
    Newtype(Option<i64>),
    Tuple(u64, String),
    Struct { ratio: f64, tags: Vec<String> },
}

type Switch = (u8, Option<bool>);

#[derive(Debug, PartialEq, SessionSchema)]
#[session(prefix = "all.")]
struct Everything {
    signed: i64,
    unsigned: u64,
    wide: i128,
    float: f64,
    narrow: f32,
    text: String,
    letter: char,
    shapes: Vec<Shape>,
    nested: Option<Vec<Option<Switch>>>,
    map: BTreeMap<String, HashMap<i32, Vec<String>>>,
    #[session(default = Some(3), key = "a \"key\"\n")]
    defaulted: Option<u8>,
    #[session(with = "backwards")]
    foreign: String,
    #[session(flash)]
    flash: Option<String>,
    #[session(flash = "until_read", default = vec![1])]
    waiting: Vec<u8>,
    #[session(owner)]
    owner: Option<String>,
}

mod backwards {
    use serde::{Deserialize, Deserializer, Serializer};

    fn reversed(text: &str) -> String {
        text.chars().rev().collect()
    }

    pub(super) fn serialize<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&reversed(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer).map(|text| reversed(&text))
    }
}

fn finite() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    let edges = [f64::MIN, f64::MAX, f64::EPSILON, f64::MIN_POSITIVE, -0.0, 0.1 + 0.2];
    prop_oneof![
        NORMAL | SUBNORMAL | ZERO | POSITIVE | NEGATIVE,
        prop::sample::select(edges.to_vec())
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Unit),
        any::<Option<i64>>().prop_map(Shape::Newtype),
        (any::<u64>(), ".{0,4}").prop_map(|(number, text)| Shape::Tuple(number, text)),
        (finite(), prop::collection::vec(".{0,4}", 0..3)).prop_map(|(ratio, tags)| Shape::Struct { ratio, tags }),
    ]
}

prop_compose! {
    fn everything()(
        signed in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
        unsigned in prop_oneof![any::<u64>(), Just(u64::MAX)],
        wide in prop_oneof![any::<i128>(), Just(i128::MIN), Just(i128::MAX)],
        (float, narrow) in (finite(), prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO),
        (text, letter, foreign) in (".{0,8}|\\PC{0,4}[\0-\x1f]{0,4}", any::<char>(), ".{0,8}"),
        shapes in prop::collection::vec(shape(), 0..3),
        nested in prop::option::of(prop::collection::vec(any::<Option<Switch>>(), 0..4)),
        map in prop::collection::btree_map(
            ".{0,3}",
            prop::collection::hash_map(any::<i32>(), prop::collection::vec(".{0,3}", 0..3), 0..3),
            0..3,
        ),
        (defaulted, waiting) in (any::<Option<u8>>(), prop::collection::vec(any::<u8>(), 0..4)),
        (flash, owner) in (prop::option::of(".{0,4}"), prop::option::of("[a-z]{1,4}")),
    ) -> Everything {
        Everything {
            signed, unsigned, wide, float, narrow, text, letter, shapes, nested, map, defaulted, foreign, flash, waiting, owner,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_whole_struct_survives_a_file_bit_for_bit(first in everything(), second in everything()) {
        let directory = tempfile::tempdir().unwrap();
        let driver: Arc<dyn Driver> = Arc::new(FileDriver::new(directory.path()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            driver.open().await.unwrap();
            let session = request::<Everything>(&driver, None).await;
            session.fill(&first).unwrap();
            let mut id = saved(session).await;
            for values in [&first, &second] {
                let session = request::<Everything>(&driver, Some(&id)).await;
                if values == &second {
                    session.fill(values).unwrap();
                    let same_owner = first.owner == second.owner;
                    let before = std::mem::replace(&mut id, saved(session).await);
                    assert_eq!(before == id, same_owner, "a change of owner gives the session a new id");
                }
                let session = request::<Everything>(&driver, Some(&id)).await;
                let back = session.snapshot().unwrap();
                assert_eq!(back.float.to_bits(), values.float.to_bits());
                assert_eq!(back.narrow.to_bits(), values.narrow.to_bits());
                assert_eq!(&back, values);
                assert_eq!(session.session().owner(), values.owner.clone());
            }
        });
    }
}

/// The schema of yesterday.
mod old {
    use session_schema::SessionSchema;

    #[derive(SessionSchema)]
    pub(super) struct Shop {
        pub(super) basket: Vec<String>,
        pub(super) user: Option<String>,
        pub(super) size: String,
        pub(super) colour: String,
        pub(super) removed: u8,
    }
}

/// And that of today.
mod new {
    use session_schema::SessionSchema;

    #[derive(SessionSchema)]
    pub(super) struct Shop {
        /// Renamed.
        #[session(alias = "basket")]
        pub(super) cart: Vec<String>,
        /// Renamed, and in the session under both names.
        #[session(key = "user_name", alias = "user", owner)]
        pub(super) user: Option<String>,
        /// Of another type.
        #[session(invalid = "default", default = 20)]
        pub(super) size: u32,
        /// Of another type, which is to be noticed.
        pub(super) colour: (u8, u8, u8),
        /// New.
        #[session(default = "light")]
        pub(super) theme: String,
    }
}

async fn a_new_version_reads_what_the_old_one_wrote_and_loses_nothing_unasked(site: Site) {
    let before = request::<old::Shop>(&site.driver, None).await;
    before.put_basket(vec!["tea".into()]).unwrap();
    before.put_user("ann").unwrap();
    before.put_size("large").unwrap();
    before.put_colour("red").unwrap();
    before.put_removed(7).unwrap();
    let id = saved(before).await;
    let stored = site.payload(&id).await;

    let reading = request::<new::Shop>(&site.driver, Some(&id)).await;
    assert_eq!(reading.get_cart().unwrap(), ["tea"]);
    assert_eq!(reading.get_user().unwrap().as_deref(), Some("ann"));
    assert_eq!(reading.get_size().unwrap(), 20);
    assert_eq!(reading.get_theme().unwrap(), "light");
    let error = reading.get_colour().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
    assert_eq!(
        reading.snapshot().err().map(|error| error.kind()),
        Some(ErrorKind::WrongType)
    );
    assert_eq!(saved(reading).await, id);
    assert_eq!(site.payload(&id).await, stored, "reading changes nothing");

    let writing = request::<new::Shop>(&site.driver, Some(&id)).await;
    writing.push(new::Shop::CART, "cake").unwrap();
    writing.put_user("ann").unwrap();
    writing.put_size(30).unwrap();
    writing.put_colour((255, 0, 0)).unwrap();
    let id = saved(writing).await;
    let now = site.payload(&id).await;
    assert!(!now.contains_key("basket") && !now.contains_key("user"));
    assert_eq!(now["cart"], serde_json::json!(["tea", "cake"]));
    assert_eq!(now["user_name"], "ann");
    assert_eq!(
        now["removed"], 7,
        "a field that is gone is none of the schema's business"
    );
    assert_eq!(site.record(&id).await.unwrap().owner(), Some("ann"));

    let after = request::<new::Shop>(&site.driver, Some(&id)).await.snapshot().unwrap();
    assert_eq!(
        (after.size, after.colour, after.theme.as_str()),
        (30, (255, 0, 0), "light")
    );
    assert_eq!((after.cart.len(), after.user.as_deref()), (2, Some("ann")));
}

#[derive(SessionSchema)]
struct Counts {
    views: u64,
    #[session(default = 250)]
    small: u8,
    #[session(default = vec!["first".to_owned()], alias = "lines")]
    list: Vec<String>,
    user: Option<u64>,
}

async fn of_two_requests_at_once_every_change_counts(site: Site) {
    let id = {
        let session = request::<Counts>(&site.driver, None).await;
        session.put_views(1).unwrap();
        session.session().put("lines", ["old"]).unwrap();
        saved(session).await
    };
    let one = request::<Counts>(&site.driver, Some(&id)).await;
    let other = request::<Counts>(&site.driver, Some(&id)).await;
    for (session, name) in [(&one, "a"), (&other, "b")] {
        assert_eq!(session.increment(Counts::VIEWS, 2).unwrap(), 3);
        session.increment(Counts::SMALL, 2).unwrap();
        session.push(Counts::LIST, name).unwrap();
        session
            .update(Counts::USER, |user| *user = Some(user.unwrap_or(0) + 1))
            .unwrap();
    }
    saved(other).await;
    saved(one).await;
    let both = request::<Counts>(&site.driver, Some(&id)).await.snapshot().unwrap();
    assert_eq!((both.views, both.small, both.user), (5, 254, Some(2)));
    assert_eq!(both.list, ["old", "b", "a"]);
}

async fn two_requests_at_once_do_not_count_past_the_limit_of_the_type(site: Site) {
    let first = request::<Counts>(&site.driver, None).await;
    first.put_small(250).unwrap();
    let id = saved(first).await;
    let one = request::<Counts>(&site.driver, Some(&id)).await;
    let other = request::<Counts>(&site.driver, Some(&id)).await;
    one.increment(Counts::SMALL, 3).unwrap();
    other.increment(Counts::SMALL, 3).unwrap();
    saved(other).await;
    assert_eq!(one.save().await.unwrap_err().kind(), ErrorKind::WrongType);
    let session = request::<Counts>(&site.driver, Some(&id)).await;
    assert_eq!(session.get_small().unwrap(), 253, "what is stored can still be read");
}

#[derive(SessionSchema)]
struct Messages {
    #[session(flash)]
    notice: Option<String>,
    #[session(flash = "until_read")]
    warning: Option<String>,
    #[session(flash = "until_read")]
    lasting: Option<String>,
    other: u8,
}

async fn a_message_waits_for_a_request_that_reads_it(site: Site) {
    let session = request::<Messages>(&site.driver, None).await;
    session.flash_notice("once").unwrap();
    session.flash_warning("until it was read").unwrap();
    session.flash_lasting("in a whole struct").unwrap();
    let id = saved(session).await;

    for _ in 0..2 {
        let background = request::<Messages>(&site.driver, Some(&id)).await;
        assert!(background.has(Messages::WARNING) && background.exists(Messages::LASTING));
        background.increment(Messages::OTHER, 1).unwrap();
        saved(background).await;
    }
    let page = request::<Messages>(&site.driver, Some(&id)).await;
    assert_eq!(page.get_notice().unwrap(), None, "the background has eaten it");
    assert_eq!(page.get_warning().unwrap().as_deref(), Some("until it was read"));
    saved(page).await;

    let page = request::<Messages>(&site.driver, Some(&id)).await;
    let all = page.snapshot().unwrap();
    assert_eq!((all.notice, all.warning, all.other), (None, None, 2));
    assert_eq!(all.lasting.as_deref(), Some("in a whole struct"));
    saved(page).await;
    let last = request::<Messages>(&site.driver, Some(&id)).await;
    assert!(last.missing(Messages::LASTING) && last.missing(Messages::WARNING));
}

async fn a_message_is_not_read_by_a_prefetch(site: Site) {
    // FLASH-16, HTTP-08
    let browser = site.app().browser();
    let flash = |session: Session| {
        TypedSession::<Messages>::from(session)
            .flash_warning("for the visitor")
            .unwrap()
    };
    browser.visit(flash).await.value();
    let read = async |session: Session| TypedSession::<Messages>::from(session).get_warning().unwrap();
    let prefetch = Request::builder().header("sec-purpose", "prefetch").body(Body::empty());
    for request in [prefetch.unwrap(), Request::new(Body::empty())] {
        let warning = browser.visit_as(request, read).await.value();
        assert_eq!(warning.as_deref(), Some("for the visitor"));
    }
    assert_eq!(browser.visit_async(read).await.value(), None);
}

#[derive(SessionSchema)]
#[session(prefix = "auth.")]
struct Auth {
    views: u64,
    #[session(flash)]
    notice: Option<String>,
}

session_schema::assert_disjoint!(Counts, Auth, Messages);

async fn two_schemas_look_at_one_session(site: Site) {
    let counts = request::<Counts>(&site.driver, None).await;
    let auth = TypedSession::<Auth>::from(counts.session().clone());
    counts.put_views(1).unwrap();
    auth.put_views(2).unwrap();
    auth.flash_notice("hello").unwrap();
    let id = saved(counts).await;
    let stored = site.payload(&id).await;
    assert_eq!((&stored["views"], &stored["auth.views"]), (&1.into(), &2.into()));
    assert_eq!(stored["auth.notice"], "hello");
}

on_every_driver! {
    a_new_version_reads_what_the_old_one_wrote_and_loses_nothing_unasked,
    of_two_requests_at_once_every_change_counts,
    two_requests_at_once_do_not_count_past_the_limit_of_the_type,
    a_message_waits_for_a_request_that_reads_it,
    a_message_is_not_read_by_a_prefetch,
    two_schemas_look_at_one_session,
}
