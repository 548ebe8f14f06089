//! A change of owner is a sign-in or a sign-out, and gives the session a new id by itself (DESIGN 9, audit A13).

use std::sync::Arc;
use std::time::Duration;

use session_schema::testing::ManualClock;
use session_schema::{
    Config, Driver, ErrorKind, MemoryDriver, Session, SessionManager, SessionSchema, StoreKey, TypedSession,
};

#[derive(SessionSchema)]
struct Shop {
    /// The signed-in customer.
    #[session(owner)]
    user_id: Option<u64>,
    cart: Vec<String>,
    #[session(flash)]
    notice: Option<String>,
}

#[derive(SessionSchema)]
#[session(prefix = "admin.")]
struct Admin {
    #[session(owner)]
    user_id: Option<u64>,
}

struct Store {
    manager: SessionManager,
    driver: Arc<MemoryDriver>,
    clock: ManualClock,
}

impl Store {
    fn new() -> Self {
        let clock = ManualClock::new();
        let mut config = Config::default();
        config.absolute_lifetime = Some(24 * 60);
        Self {
            manager: SessionManager::new(config).unwrap().with_clock(clock.clone()),
            driver: Arc::new(MemoryDriver::new().with_clock(clock.clone())),
            clock,
        }
    }

    async fn request(&self, id: Option<&str>) -> TypedSession<Shop> {
        let session = self.unstarted(id);
        session.start().await.unwrap();
        session.into()
    }

    fn unstarted(&self, id: Option<&str>) -> Session {
        self.manager.build_session(self.driver.clone(), id)
    }

    async fn is_there(&self, id: &str) -> bool {
        let key = StoreKey::from(&id.parse().unwrap());
        let found = self.driver.read(&key).await.unwrap();
        found.is_some_and(|record| !String::from_utf8_lossy(record.payload()).contains("_moved"))
    }

    /// A stored session of this customer with a cart, remembered for long; its id.
    async fn signed_in(&self, user: u64) -> String {
        let shop = self.request(None).await;
        shop.put_user_id(user).unwrap();
        shop.push(Shop::CART, "tea").unwrap();
        shop.set_lifetime(Duration::from_secs(30 * 24 * 60 * 60)).unwrap();
        done(shop).await
    }

    async fn guest(&self) -> String {
        let shop = self.request(None).await;
        shop.push(Shop::CART, "tea").unwrap();
        done(shop).await
    }
}

/// The request ends; the id of its session.
async fn done(shop: TypedSession<Shop>) -> String {
    shop.save().await.unwrap();
    shop.id().as_str().to_owned()
}

#[tokio::test]
async fn a_sign_in_gives_a_new_id_by_itself_and_keeps_the_cart_of_the_guest() {
    let store = Store::new();
    let old = store.guest().await;
    let shop = store.request(Some(&old)).await;
    let token = shop.token();
    shop.put_user_id(7).unwrap();
    let new = shop.id().as_str().to_owned();
    assert_ne!((&*new, shop.token()), (&*old, token), "at once");
    assert_eq!(done(shop).await, new);
    assert!(!store.is_there(&old).await);
    let shop = store.request(Some(&new)).await;
    assert_eq!(
        (shop.get_user_id().unwrap(), shop.get_cart().unwrap()),
        (Some(7), vec!["tea".into()])
    );
}

#[tokio::test]
async fn a_session_is_given_one_new_id_in_whatever_order_a_handler_asks_for_it() {
    let store = Store::new();
    for order in [[0, 1], [1, 0]] {
        let old = store.guest().await;
        let shop = store.request(Some(&old)).await;
        for step in order {
            match step {
                0 => shop.put_user_id(7).unwrap(),
                _ => shop.regenerate().unwrap(),
            }
        }
        let new = done(shop).await;
        assert!(store.is_there(&new).await && !store.is_there(&old).await);
        assert_eq!(store.request(Some(&new)).await.get_user_id().unwrap(), Some(7));
    }
}

#[tokio::test]
async fn nothing_of_one_owner_is_left_to_the_next() {
    let store = Store::new();
    let ann = store.signed_in(7).await;
    let shop = store.request(Some(&ann)).await;
    shop.session().put("before", 1).unwrap();
    shop.session().increment("visits", 1).unwrap();
    shop.put_user_id(8).unwrap();
    shop.flash_notice("Welcome, Ben").unwrap();
    let ben = done(shop).await;
    assert_ne!(ann, ben);
    assert!(!store.is_there(&ann).await, "Ann's session has ended");
    let shop = store.request(Some(&ben)).await;
    let snapshot = shop.snapshot().unwrap();
    assert_eq!((snapshot.user_id, snapshot.cart.len()), (Some(8), 0));
    assert_eq!(snapshot.notice.as_deref(), Some("Welcome, Ben"));
    assert_eq!(
        shop.session().get::<u8>("before").unwrap(),
        Some(1),
        "the request's own changes stay"
    );
    store.clock.advance(Duration::from_secs(3 * 60 * 60));
    let shop = store.request(Some(&ben)).await;
    assert_eq!(
        shop.get_user_id().unwrap(),
        None,
        "Ann was to be remembered, Ben was not"
    );
}

#[tokio::test]
async fn a_closure_of_this_request_runs_anew_on_what_the_next_owner_has() {
    let store = Store::new();
    let ann = store.signed_in(7).await;
    let shop = store.request(Some(&ann)).await;
    shop.update(Shop::CART, |cart| cart.push("milk".to_owned())).unwrap();
    shop.put_user_id(8).unwrap();
    assert_eq!(shop.get_cart().unwrap(), ["milk"], "Ann's tea is hers");
    let ben = done(shop).await;
    assert_eq!(store.request(Some(&ben)).await.get_cart().unwrap(), ["milk"]);
}

#[tokio::test]
async fn no_way_of_removing_the_owner_leaves_the_session_signed_in() {
    let store = Store::new();
    let ways: [fn(&TypedSession<Shop>); 6] = [
        |shop| shop.put_user_id(None).unwrap(),
        |shop| shop.forget(Shop::USER_ID).unwrap(),
        |shop| assert_eq!(shop.pull_user_id().unwrap(), Some(7)),
        |shop| shop.session().set_owner(None).unwrap(),
        |shop| shop.flush().unwrap(),
        |shop| shop.session().replace(serde_json::Map::new()).unwrap(),
    ];
    for started in [true, false] {
        for (number, sign_out) in ways.iter().enumerate() {
            // What a session that is not loaded yet holds cannot be pulled.
            if !started && number == 2 {
                continue;
            }
            let ann = store.signed_in(7).await;
            let shop: TypedSession<Shop> = store.unstarted(Some(&ann)).into();
            if started {
                shop.session().start().await.unwrap();
            }
            sign_out(&shop);
            shop.session().start().await.unwrap();
            assert_eq!(
                (shop.session().owner(), shop.get_cart().unwrap().len()),
                (None, 0),
                "{number}"
            );
            assert!(
                !shop.exists(Shop::USER_ID),
                "{number}: an owner that is nobody is not stored as null"
            );
            shop.session().put("left", number).unwrap();
            let new = done(shop).await;
            assert!(!store.is_there(&ann).await && new != ann, "{number}");
            let payload = store
                .driver
                .read(&StoreKey::from(&new.parse().unwrap()))
                .await
                .unwrap()
                .unwrap();
            assert!(payload.owner().is_none());
            assert!(
                !String::from_utf8_lossy(payload.payload()).contains("user_id"),
                "{number}"
            );
        }
    }
}

#[tokio::test]
async fn the_same_owner_again_is_no_sign_in() {
    let store = Store::new();
    let ann = store.signed_in(7).await;
    let shop = store.request(Some(&ann)).await;
    shop.put_user_id(7).unwrap();
    assert_eq!(done(shop).await, ann);
    assert!(store.is_there(&ann).await);
    // And before it is loaded.
    let shop: TypedSession<Shop> = store.unstarted(Some(&ann)).into();
    shop.put_user_id(7).unwrap();
    shop.session().start().await.unwrap();
    assert_eq!(done(shop).await, ann);
}

#[tokio::test]
async fn the_same_owner_again_does_not_sign_in_to_a_session_that_has_ended() {
    let store = Store::new();
    let puts: [fn(&TypedSession<Shop>); 4] = [
        |shop| shop.put_user_id(7).unwrap(),
        |shop| {
            shop.put_user_id(7).unwrap();
            shop.session().put("mine", 1).unwrap();
        },
        |shop| {
            shop.put_user_id(7).unwrap();
            shop.regenerate().unwrap();
        },
        |shop| {
            shop.put_user_id(8).unwrap();
            shop.put_user_id(7).unwrap();
        },
    ];
    for (number, put) in puts.iter().enumerate() {
        let ann = store.signed_in(7).await;
        let slow = store.request(Some(&ann)).await;
        assert_eq!(slow.get_user_id().unwrap(), Some(7));
        let elsewhere = store.request(Some(&ann)).await;
        elsewhere.invalidate().unwrap();
        done(elsewhere).await;
        put(&slow);
        let error = slow.save().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status().as_u16()),
            (ErrorKind::SignInRefused, 409),
            "{number}"
        );
        assert_eq!(
            slow.save().await.unwrap_err().kind(),
            ErrorKind::SignInRefused,
            "it stays refused"
        );
        // Somebody else's sign-in is one.
        slow.put_user_id(9).unwrap();
        let ben = done(slow).await;
        let shop = store.request(Some(&ben)).await;
        assert_eq!(shop.get_user_id().unwrap(), Some(9));
        assert!(shop.session().missing("mine"), "what was refused is gone");
    }
}

#[tokio::test]
async fn a_sign_in_begins_the_absolute_lifetime_anew_and_a_new_id_does_not() {
    let store = Store::new();
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    let guest = store.guest().await;
    let shop = store.request(Some(&guest)).await;
    shop.set_lifetime(hours(1000)).unwrap();
    let mut id = done(shop).await;
    store.clock.advance(hours(20));
    let shop = store.request(Some(&id)).await;
    shop.put_user_id(7).unwrap();
    id = done(shop).await;
    store.clock.advance(hours(20));
    let shop = store.request(Some(&id)).await;
    assert_eq!(
        shop.get_user_id().unwrap(),
        Some(7),
        "20 hours after the sign-in, 40 after the session began"
    );
    shop.regenerate().unwrap();
    id = done(shop).await;
    store.clock.advance(hours(5));
    assert_eq!(
        store.request(Some(&id)).await.get_user_id().unwrap(),
        None,
        "25 hours after the sign-in"
    );
}

#[tokio::test]
async fn a_second_owner_field_does_not_take_a_session_over() {
    let store = Store::new();
    let ann = store.signed_in(7).await;
    let shop = store.request(Some(&ann)).await;
    let admin = TypedSession::<Admin>::from(shop.session().clone());
    let error = admin.put_user_id(1).unwrap_err();
    assert!(error.to_string().contains("`admin.user_id` of `Admin`"), "{error}");
    assert_eq!(done(shop).await, ann);
    assert_eq!(store.request(Some(&ann)).await.get_user_id().unwrap(), Some(7));
}
