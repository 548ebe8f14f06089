//! Two requests change one session at once: the changes of one save take effect as a unit, those that came to nothing included.

use std::time::Duration;

use serde_json::{Value, json};
use session_schema::{Result, Session, SessionSchema, TypedSession};
use session_tests::{Backing, Log, Site};
use tracing::Level;

#[derive(SessionSchema)]
struct Game {
    #[session(owner)]
    player: Option<u32>,
    plan: Option<String>,
    credits: u32,
}

fn typed(session: &Session) -> TypedSession<Game> {
    session.clone().into()
}

/// A site, and the id of a session with this content.
async fn with(content: Value, owner: Option<&str>) -> (Site, String) {
    let site = Site::over(Backing::Memory);
    let session = site.manager().build_session(site.driver.clone(), None);
    session.start().await.unwrap();
    session.merge(content.as_object().unwrap().clone()).unwrap();
    session.set_owner(owner).unwrap();
    session.save().await.unwrap();
    (site, session.id().as_str().to_owned())
}

async fn open(site: &Site, id: &str) -> Session {
    let session = site.manager().build_session(site.driver.clone(), Some(id));
    session.start().await.unwrap();
    session
}

/// What is stored when `late` is saved after `early`, and both had read the same.
async fn stored(
    site: &Site,
    id: &str,
    early: impl Fn(&Session) -> Result<()>,
    late: impl Fn(&Session) -> Result<()>,
) -> Value {
    let (first, second) = (open(site, id).await, open(site, id).await);
    early(&first).unwrap();
    late(&second).unwrap();
    first.save().await.unwrap();
    second.save().await.unwrap();
    open(site, id).await.all().into()
}

#[tokio::test]
async fn a_put_of_an_equal_value_is_not_torn_from_the_changes_beside_it() {
    // A7
    let (site, id) = with(json!({"plan": "free", "credits": 1, "visits": 0}), None).await;
    let gold = |session: &Session| {
        session.put("plan", "gold")?;
        session.put("credits", 99)
    };
    let free = |session: &Session| {
        session.put("plan", "free")?;
        session.put("credits", 1)?;
        session.increment("visits", 1).map(drop)
    };
    let expected = json!({"plan": "free", "credits": 1, "visits": 1});
    assert_eq!(stored(&site, &id, gold, free).await, expected);
}

#[tokio::test]
async fn a_forget_of_an_absent_key_is_not_torn_from_the_changes_beside_it() {
    // A7
    let (site, id) = with(json!({"visits": 0}), None).await;
    let coupon = |session: &Session| session.put("coupon", "half").and(session.put("old", 1));
    let none = |session: &Session| {
        session.forget(["coupon"])?;
        session.pull::<u32>("old")?;
        session.increment("visits", 1).map(drop)
    };
    assert_eq!(stored(&site, &id, coupon, none).await, json!({"visits": 1}));
}

#[tokio::test]
async fn the_same_lifetime_again_is_not_torn_from_the_changes_beside_it() {
    // A7
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let (site, id) = with(json!({"visits": 0}), None).await;
    let week = |session: &Session| session.set_lifetime(24 * 7 * HOUR);
    let hour = |session: &Session| session.set_expiry(None).and(session.put("visits", 1));
    assert_eq!(stored(&site, &id, week, hour).await, json!({"visits": 1}));
    assert_eq!(open(&site, &id).await.expiry(), None);
}

#[tokio::test]
async fn an_owner_that_is_set_before_the_session_is_loaded_is_not_forgotten() {
    // A7: before it is loaded a session only seems to have no owner.
    let (site, id) = with(json!({"visits": 0}), Some("ann")).await;
    let session = site.manager().build_session(site.driver.clone(), Some(&id));
    session.set_owner(None).unwrap();
    session.start().await.unwrap();
    assert_eq!(session.owner(), None);
    session.save().await.unwrap();
    assert_eq!(open(&site, &id).await.owner(), None);
}

#[tokio::test]
async fn typed_changes_that_come_to_nothing_are_not_torn_from_those_beside_them() {
    // A7
    let (site, id) = with(json!({"plan": "free", "credits": 1}), None).await;
    let gold = |session: &Session| typed(session).put_plan("gold").and(typed(session).put_credits(99));
    let free = |session: &Session| {
        typed(session).put_plan("free")?;
        typed(session).put_credits(2)
    };
    let expected = json!({"plan": "free", "credits": 2});
    assert_eq!(stored(&site, &id, gold, free).await, expected);
    let (site, id) = with(json!({"credits": 1}), None).await;
    let none = |session: &Session| typed(session).forget(Game::PLAN).and(typed(session).put_credits(2));
    assert_eq!(stored(&site, &id, gold, none).await, json!({"credits": 2}));
}

#[tokio::test]
async fn changes_that_come_to_nothing_cause_no_write_and_no_word_in_the_log() {
    // A7, DESIGN 3
    let (site, id) = with(json!({"player": 7, "plan": "free"}), Some("7")).await;
    let nothing = |session: &Session| -> Result<()> {
        session.put("plan", "free")?;
        session.forget(["coupon"])?;
        session.set_owner(Some("7"))?;
        typed(session).put_player(7)?;
        typed(session).put_plan("free")
    };
    // Saved, and dropped.
    site.calls.take();
    let session = open(&site, &id).await;
    nothing(&session).unwrap();
    session.save().await.unwrap();
    assert_eq!(site.calls.take().write, 0);
    let log = Log::capture();
    let session = open(&site, &id).await;
    nothing(&session).unwrap();
    drop(session);
    // Dropped with a session that is gone.
    let session = open(&site, &id).await;
    nothing(&session).unwrap();
    site.store.destroy(&session_tests::key(&id)).await.unwrap();
    session.reload().await.unwrap();
    for level in [Level::ERROR, Level::WARN, Level::INFO] {
        assert!(log.at(level).is_empty(), "{}", log.text());
    }
}
