//! What a hostile visitor, an odd order of calls or a store that fails at the wrong moment must not bring about.

use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Map, Value, json};
use session_schema::{Error, ErrorKind, Session, SessionSchema, TypedSession};
use session_tests::{Backing, Call, Site, assert_silent, key};

#[derive(SessionSchema)]
struct Shop {
    /// The signed-in customer.
    #[session(owner)]
    user_id: Option<u64>,
    coins: u64,
}

/// What stands for another request, or for nothing.
type Handler = fn(&Session);

fn unstarted(site: &Site, id: Option<&str>) -> Session {
    site.manager().build_session(site.driver.clone(), id)
}

async fn request(site: &Site, id: &str) -> Session {
    let session = unstarted(site, Some(id));
    session.start().await.unwrap();
    session
}

/// A stored session, of an owner or of a guest; its id.
async fn stored(site: &Site, owner: Option<&str>) -> String {
    let session = unstarted(site, None);
    session.put("old", 1).unwrap();
    if owner.is_some() {
        session.set_owner(owner).unwrap();
    }
    session.save().await.unwrap();
    session.id().as_str().to_owned()
}

/// Another request of the session comes and goes; the id that it was told.
async fn another(site: &Site, id: &str, handler: impl FnOnce(&Session)) -> String {
    let session = request(site, id).await;
    handler(&session);
    session.save().await.unwrap();
    session.id().as_str().to_owned()
}

/// Whose session is stored under an id: nothing where there is none.
async fn owner(site: &Site, id: &str) -> Option<String> {
    let record = site.record(id).await?;
    record.owner().map(str::to_owned)
}

async fn is_there(site: &Site, id: &str) -> bool {
    let record = site.record(id).await;
    record.is_some_and(|record| !String::from_utf8_lossy(record.payload()).contains("_moved"))
}

async fn sessions(site: &Site) -> usize {
    site.manager().sessions_of("ann").await.unwrap().len()
}

fn end(session: &Session) {
    session.invalidate().unwrap();
}

fn renew(session: &Session) {
    session.regenerate().unwrap();
}

fn sign_in(session: &Session) {
    session.put("user", 7).unwrap();
    session.set_owner(Some("ann")).unwrap();
}

fn sign_in_ben(session: &Session) {
    session.put("user", 8).unwrap();
    session.set_owner(Some("ben")).unwrap();
}

/// Asserts that nobody is told "Welcome" who is not signed in.
async fn assert_signed_in(site: &Site, session: &Session, what: &str) {
    session.save().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        owner(site, session.id().as_str()).await.as_deref(),
        Some("ann"),
        "{what}"
    );
}

#[tokio::test]
async fn a_sign_in_is_not_lost_that_is_made_while_an_early_save_finds_the_session_gone() {
    let site = Site::over(Backing::Memory);
    let id = stored(&site, None).await;
    let slow = request(&site, &id).await;
    slow.put("early", 1).unwrap();
    let mut held = site.faults.hold(Call::Write);
    let saving = slow.clone();
    let saving = tokio::spawn(async move { saving.save().await });
    held.reached().await;
    another(&site, &id, end).await;
    sign_in(&slow);
    held.release();
    saving.await.unwrap().unwrap();
    assert_signed_in(&site, &slow, "after the save").await;
    let payload = site.payload(slow.id().as_str()).await;
    assert_eq!(
        Value::Object(payload),
        json!({"user": 7, "early": 1}),
        "its own changes, and nothing else"
    );
}

#[tokio::test]
async fn a_sign_in_is_not_lost_when_a_reload_finds_the_session_gone_or_moved() {
    let others: [(&str, Handler); 3] = [("ended", end), ("moved", renew), ("signed in", sign_in_ben)];
    for (what, other) in others {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, None).await;
        let slow = request(&site, &id).await;
        sign_in(&slow);
        another(&site, &id, other).await;
        slow.reload().await.unwrap();
        assert_signed_in(&site, &slow, what).await;
    }
}

#[tokio::test]
async fn an_owner_that_is_named_again_after_a_reload_is_not_signed_in_to_a_session_that_has_ended() {
    let site = Site::over(Backing::Memory);
    let id = stored(&site, Some("ann")).await;
    let slow = request(&site, &id).await;
    sign_in(&slow);
    another(&site, &id, end).await;
    slow.reload().await.unwrap();
    assert_eq!(slow.save().await.unwrap_err().kind(), ErrorKind::SignInRefused);
    assert_eq!(sessions(&site).await, 0);
}

#[tokio::test]
async fn a_sign_in_is_not_wiped_out_that_is_made_while_changes_are_dropped() {
    // The log's subscriber is the one moment at which another thread can be had to come in between.
    use std::cell::RefCell;
    thread_local! { static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) }; }
    struct SignsIn;
    impl tracing::Subscriber for SignsIn {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn event(&self, event: &tracing::Event<'_>) {
            if *event.metadata().level() == tracing::Level::DEBUG
                && let Some(session) = SESSION.take()
            {
                sign_in(&session);
            }
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let site = Site::over(Backing::Memory);
    let id = stored(&site, None).await;
    another(&site, &id, renew).await;
    let slow = request(&site, &id).await;
    slow.put("dropped", 1).unwrap();
    let listening = tracing::subscriber::set_default(SignsIn);
    SESSION.set(Some(slow.clone()));
    slow.save().await.unwrap();
    drop(listening);
    assert!(SESSION.take().is_none(), "the subscriber was told of the save");
    assert_signed_in(&site, &slow, "after the save").await;
}

#[tokio::test]
async fn a_sign_in_is_not_told_welcome_whose_session_was_ended_before_its_old_id_was_given_up() {
    for cart in [true, false] {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, None).await;
        let slow = request(&site, &id).await;
        if !cart {
            another(&site, &id, end).await;
        }
        sign_in(&slow);
        let mut held = site.faults.hold_after(1, Call::Write);
        let saving = slow.clone();
        let saving = tokio::spawn(async move { saving.save().await });
        held.reached().await;
        assert_eq!(site.manager().destroy_sessions_of("ann", None).await.unwrap(), 1);
        held.release();
        let saved = saving.await.unwrap();
        assert_eq!(saved.map_err(|error| error.kind()), Err(ErrorKind::SignInRefused));
        assert_eq!(sessions(&site).await, 0);
    }
}

#[tokio::test]
async fn the_same_owner_put_before_the_session_is_loaded_does_not_prolong_it_under_its_old_id() {
    let ways: [(&str, Handler); 3] = [
        ("nobody", |session| session.set_owner(None).unwrap()),
        ("flush", |session| session.flush().unwrap()),
        ("replace", |session| session.replace(Map::new()).unwrap()),
    ];
    for (what, leave) in ways {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, Some("ann")).await;
        let session = unstarted(&site, Some(&id));
        leave(&session);
        sign_in(&session);
        session.save().await.unwrap();
        assert!(!is_there(&site, &id).await, "{what}");
        assert_ne!(session.id().as_str(), id, "{what}");
        let payload = site.payload(session.id().as_str()).await;
        assert!(!payload.contains_key("old"), "{what}");
    }
}

#[tokio::test]
async fn the_same_owner_put_again_before_loading_does_not_sign_in_where_the_session_ends_meanwhile() {
    let site = Site::over(Backing::Memory);
    let id = stored(&site, Some("ann")).await;
    let slow = unstarted(&site, Some(&id));
    slow.set_owner(None).unwrap();
    sign_in(&slow);
    slow.start().await.unwrap();
    another(&site, &id, end).await;
    let saved = slow.save().await;
    assert_eq!(saved.map_err(|error| error.kind()), Err(ErrorKind::SignInRefused));
    assert_eq!(sessions(&site).await, 0);
}

/// What loses a session that goes by another id now, or is gone.
async fn lose(session: &Session, how: &str) {
    match how {
        "reload" => session.reload().await.unwrap(),
        _ => {
            session.put("lost", 1).unwrap();
            _ = session.save().await;
        }
    }
    assert!(session.all().is_empty(), "{how}");
}

#[tokio::test]
async fn a_sign_out_after_a_reload_does_not_leave_the_session_alive_under_its_new_id() {
    let ways: [(&str, Handler); 5] = [
        ("invalidate", end),
        ("nobody", |session| session.set_owner(None).unwrap()),
        ("flush", |session| session.flush().unwrap()),
        ("replace", |session| session.replace(Map::new()).unwrap()),
        ("another", sign_in_ben),
    ];
    for (what, sign_out) in ways {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, Some("ann")).await;
        let slow = request(&site, &id).await;
        let new = another(&site, &id, renew).await;
        lose(&slow, "reload").await;
        sign_out(&slow);
        slow.save().await.unwrap();
        assert!(!is_there(&site, &new).await, "{what}");
        assert_eq!(sessions(&site).await, 0, "{what}");
    }
}

#[tokio::test]
async fn an_invalidate_after_a_refused_save_does_not_leave_the_guests_session_alive() {
    for how in ["reload", "save"] {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, None).await;
        let slow = request(&site, &id).await;
        let new = another(&site, &id, renew).await;
        lose(&slow, how).await;
        end(&slow);
        slow.save().await.unwrap();
        assert!(!is_there(&site, &new).await, "{how}");
    }
}

#[tokio::test]
async fn an_invalidate_after_a_refused_save_does_not_end_a_sign_in() {
    for how in ["reload", "save"] {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, None).await;
        let slow = request(&site, &id).await;
        let new = another(&site, &id, sign_in).await;
        lose(&slow, how).await;
        end(&slow);
        slow.save().await.unwrap();
        assert!(is_there(&site, &new).await, "{how}");
    }
}

#[tokio::test]
async fn an_invalidate_after_an_early_save_does_not_leave_the_other_cookies_sessions_alive() {
    let site = Site::over(Backing::Memory);
    let (first, second) = (stored(&site, Some("ann")).await, stored(&site, Some("ann")).await);
    let (app, other) = (site.app(), site.clone());
    let cookies = format!("session={first}; session={second}");
    let name = app.cookie_name().to_owned();
    let mut request = http::Request::new(axum::body::Body::empty());
    let cookies = cookies.replace("session=", &format!("{name}="));
    request
        .headers_mut()
        .insert(http::header::COOKIE, cookies.parse().unwrap());
    let (ended, handler) = (first.clone(), async move |session: Session| {
        assert_eq!(session.id().as_str(), first);
        another(&other, &first, end).await;
        lose(&session, "save").await;
        end(&session);
    });
    app.visit(request, handler).await.value();
    assert!(!is_there(&site, &ended).await);
    assert!(
        !is_there(&site, &second).await,
        "`invalidate` ends every live session whose cookie came"
    );
}

#[tokio::test]
async fn the_same_owner_does_not_sign_in_again_after_a_refusal_in_whatever_order_owners_are_put() {
    let orders: [(&str, Handler); 3] = [
        ("ann", sign_in),
        ("nobody, ann", |session| {
            (session.set_owner(None).unwrap(), sign_in(session)).1
        }),
        ("ben, ann", |session| (sign_in_ben(session), sign_in(session)).1),
    ];
    for (what, put) in orders {
        for early in [true, false] {
            let site = Site::over(Backing::Memory);
            let id = stored(&site, Some("ann")).await;
            let slow = request(&site, &id).await;
            another(&site, &id, end).await;
            if early {
                lose(&slow, "save").await;
            }
            for again in [false, true] {
                put(&slow);
                let saved = slow.save().await.map_err(|error| error.kind());
                assert_eq!(
                    saved,
                    Err(ErrorKind::SignInRefused),
                    "{what}, early: {early}, again: {again}"
                );
                assert_eq!(sessions(&site).await, 0, "{what}, early: {early}, again: {again}");
            }
        }
    }
}

#[tokio::test]
async fn an_owner_named_again_is_not_told_welcome_where_the_session_has_ended_under_its_new_id() {
    let others: [(&str, Handler); 2] = [("ended", end), ("another", sign_in_ben)];
    for (what, other) in others {
        let site = Site::over(Backing::Memory);
        let id = stored(&site, Some("ann")).await;
        let slow = request(&site, &id).await;
        let new = another(&site, &id, renew).await;
        another(&site, &new, other).await;
        slow.set_owner(Some("ann")).unwrap();
        let saved = slow.save().await.map_err(|error| error.kind());
        assert_eq!(saved, Err(ErrorKind::SignInRefused), "{what}");
    }
}

#[tokio::test]
async fn an_owner_named_again_is_not_refused_where_the_session_goes_on_under_its_new_id() {
    let site = Site::over(Backing::Memory);
    let id = stored(&site, Some("ann")).await;
    let slow = request(&site, &id).await;
    another(&site, &id, renew).await;
    slow.set_owner(Some("ann")).unwrap();
    slow.save().await.unwrap();
}

#[test]
fn a_function_that_asks_the_session_does_not_wait_for_ever_where_a_value_is_shown_for_this_request_only() {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let site = Site::over(Backing::Memory);
            let id = site.plant(r#"{"map":{"a":1,"b":2}}"#).await;
            let session = request(&site, &id).await;
            // As a `HashMap` might write it.
            session
                .now(
                    "map",
                    serde_json::value::RawValue::from_string(r#"{"b":2,"a":1}"#.into()).unwrap(),
                )
                .unwrap();
            let asked = session.clone();
            session
                .update("map", move |map: &mut Map<String, Value>| {
                    _ = asked.owner();
                    map.insert("c".into(), 3.into());
                })
                .unwrap();
            assert_eq!(
                session.get::<Value>("map").unwrap(),
                Some(json!({"a": 1, "b": 2, "c": 3}))
            );
        });
        done.send(()).unwrap();
    });
    // Nothing is waited for where the test passes.
    assert!(
        ended.recv_timeout(Duration::from_secs(120)).is_ok(),
        "the session waits for its own lock"
    );
}

#[tokio::test]
async fn an_owner_field_does_not_name_a_customer_whose_session_it_is_not() {
    let site = Site::over(Backing::Memory);
    let shop = TypedSession::<Shop>::from(unstarted(&site, None));
    shop.put_user_id(7).unwrap();
    shop.put_coins(5).unwrap();
    shop.save().await.unwrap();
    let shop = TypedSession::<Shop>::from(request(&site, shop.id().as_str()).await);
    // Ann pays, and Ben signs in: he has no coins to pay with.
    shop.decrement(Shop::COINS, 3).unwrap();
    shop.put_user_id(8).unwrap();
    assert_eq!(
        (shop.get_user_id().unwrap(), shop.session().owner().as_deref()),
        (Some(8), Some("8"))
    );
    assert_eq!(shop.get_coins().unwrap(), 0);
    shop.save().await.unwrap();
    assert_eq!(owner(&site, shop.id().as_str()).await.as_deref(), Some("8"));
}

#[tokio::test]
async fn a_save_in_another_task_does_not_store_a_sign_in_under_the_planted_id() {
    /// Saves when it is dropped, as another task may between two steps of the library, and notes what is stored then.
    struct Saves {
        session: Session,
        site: Site,
        planted: String,
        seen: mpsc::Sender<String>,
    }
    impl Drop for Saves {
        fn drop(&mut self) {
            let mut now = Context::from_waker(Waker::noop());
            assert!(pin!(self.session.save()).poll(&mut now).is_ready());
            let record = match pin!(self.site.record(&self.planted)).poll(&mut now) {
                Poll::Ready(record) => record.unwrap(),
                Poll::Pending => panic!("memory has to be waited for"),
            };
            let text = String::from_utf8_lossy(record.payload()).into_owned();
            self.seen.send(text).unwrap();
        }
    }
    let site = Site::over(Backing::AtHand);
    let planted = stored(&site, None).await;
    let session = request(&site, &planted).await;
    let (seen, stored) = mpsc::channel();
    let saves = Saves {
        session: session.clone(),
        site: site.clone(),
        planted,
        seen,
    };
    session
        .update("user_id", move |value: &mut Value| {
            _ = &saves;
            *value = Value::Null;
        })
        .unwrap();
    let shop = TypedSession::<Shop>::from(session);
    shop.put_user_id(7).unwrap();
    assert_eq!(
        stored
            .try_iter()
            .filter(|stored| stored.contains(r#""user_id":7"#))
            .count(),
        0
    );
    shop.save().await.unwrap();
    assert_eq!(owner(&site, shop.id().as_str()).await.as_deref(), Some("7"));
    assert_eq!(
        stored.try_iter().count(),
        0,
        "the function was dropped when it was not needed any more"
    );
}

#[tokio::test]
async fn a_response_that_failed_does_not_set_the_cookie_of_a_session_that_has_ended() {
    let site = Site::over(Backing::Memory);
    let app = site.app_with(|layer| layer.with_max_bytes(4096));
    let browser = app.browser();
    let other = site.clone();
    let slow = browser.visit_async(async move |session| {
        sign_in(&session);
        session.save().await.unwrap();
        other.manager().destroy_sessions_of("ann", None).await.unwrap();
        session.put("large", "x".repeat(10_000)).unwrap();
    });
    let slow = slow.await;
    assert_eq!(slow.status, 500);
    assert!(slow.cookies().is_empty(), "{:?}", slow.headers);
}

#[tokio::test]
async fn a_sign_out_whose_write_fails_does_not_leave_the_session_alive_under_its_new_id() {
    let site = Site::over(Backing::Memory);
    let id = stored(&site, Some("ann")).await;
    let slow = request(&site, &id).await;
    let new = another(&site, &id, renew).await;
    end(&slow);
    site.faults.fail_next(Call::Write);
    let saved: Result<(), Error> = slow.save().await;
    assert!(saved.is_err() || !is_there(&site, &new).await);
}

#[tokio::test]
async fn a_guests_slow_invalidate_does_not_remove_the_cookie_of_a_sign_in() {
    let site = Site::over(Backing::Memory);
    let browser = site.app().browser();
    browser.visit(|session| session.put("cart", 1).unwrap()).await.value();
    let slow = browser.begin(|session| end(&session)).await;
    browser.visit(|session| sign_in(&session)).await.value();
    assert_silent(&slow.finish().await);
    assert_eq!(owner(&site, &browser.id()).await.as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_sign_in_whose_answer_is_lost_leaves_no_session_that_nobody_has() {
    let site = Site::over(Backing::Memory);
    site.driver.open().await.unwrap();
    let session = unstarted(&site, None);
    sign_in(&session);
    site.faults.lose_next_answer();
    session.save().await.unwrap_err();
    assert_eq!(sessions(&site).await, 0);
    assert_signed_in(&site, &session, "the second time").await;
    assert_eq!(sessions(&site).await, 1);
}

#[tokio::test]
async fn a_new_id_is_not_told_to_the_browser_where_the_session_was_ended_before_its_old_id_was_given_up() {
    let site = Site::over(Backing::Memory);
    let browser = site.app().browser();
    browser.visit(|session| sign_in(&session)).await.value();
    let slow = browser
        .begin(|session| {
            renew(&session);
            session.id().as_str().to_owned()
        })
        .await;
    let mut held = site.faults.hold_after(1, Call::Write);
    let slow = slow.let_go();
    held.reached().await;
    // The search for the owner's sessions has come to the new record, and not yet to the old one.
    let found = site.manager().sessions_of("ann").await.unwrap();
    let new = found
        .iter()
        .map(|session| *session.key())
        .find(|found| *found != key(&browser.id()));
    assert!(site.store.destroy(&new.unwrap()).await.unwrap());
    held.release();
    let slow = slow.await.unwrap();
    assert_silent(&slow);
    assert!(!is_there(&site, &slow.value()).await);
}
