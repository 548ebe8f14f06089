//! Any requests at once, in any order of their calls of the store: what must be true in the end.

use proptest::prelude::*;
use serde_json::{Value, json};
use session_schema::Session;
use session_tests::{Backing, Browser, Site};
use tokio::runtime::Builder;

/// What a request does with its session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Increment,
    Push,
    Update,
    Read,
    Regenerate,
    Invalidate,
}

const ALL: [Does; 6] = [
    Does::Increment,
    Does::Push,
    Does::Update,
    Does::Read,
    Does::Regenerate,
    Does::Invalidate,
];
const KEEPING: &[Does] = ALL.split_at(5).0;

impl Does {
    fn to(self, session: &Session) {
        match self {
            Self::Increment => session.increment("count", 1).map(|_| ()),
            Self::Push => session.push("list", 1),
            Self::Update => session.update("text", |text: &mut String| text.push('x')),
            Self::Read => session.get::<u8>("user").map(|_| ()),
            Self::Regenerate => session.increment("count", 1).and_then(|_| session.regenerate()),
            Self::Invalidate => session.invalidate(),
        }
        .expect("a session that is open takes changes");
    }
}

async fn signed_in(site: &Site) -> Browser {
    let browser = site.app().browser();
    let sign_in = |session: Session| {
        session.put("user", 7).unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    browser.visit(sign_in).await.value();
    browser
}

/// Begins all requests and lets them save at once; returns how many cookies they set and remove.
async fn at_once(site: &Site, browser: &Browser, requests: &[Does], delays: Vec<u8>) -> (usize, usize) {
    let mut slow = Vec::new();
    for does in requests.iter().copied() {
        slow.push(browser.begin(move |session| does.to(&session)).await);
    }
    site.faults.delay(delays);
    let visits: Vec<_> = slow.into_iter().map(session_tests::Slow::let_go).collect();
    let (mut set, mut removed) = (0, 0);
    for visit in visits {
        let visit = visit.await.expect("no request panics");
        assert!(visit.status.is_success(), "{}", visit.status);
        match visit.cookie() {
            Some(cookie) if cookie.value().is_empty() => removed += 1,
            Some(_) => set += 1,
            None => {}
        }
    }
    site.faults.delay(Vec::new());
    (set, removed)
}

async fn nothing_is_lost(requests: &[Does], delays: Vec<u8>) {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    // A touch is due for all of them.
    site.clock.advance(std::time::Duration::from_secs(3600));
    at_once(&site, &browser, requests, delays).await;
    let count = |wanted: &[Does]| requests.iter().filter(|does| wanted.contains(does)).count();
    let all = browser.visit(|session| session.all()).await.value();
    let mut expected = json!({"user": 7});
    if let n @ 1.. = count(&[Does::Increment, Does::Regenerate]) {
        expected["count"] = n.into();
    }
    if let n @ 1.. = count(&[Does::Push]) {
        expected["list"] = vec![1; n].into();
    }
    if let n @ 1.. = count(&[Does::Update]) {
        expected["text"] = "x".repeat(n).into();
    }
    assert_eq!(Value::Object(all), expected);
    assert_eq!(site.manager().sessions_of("ann").await.unwrap().len(), 1);
}

async fn nothing_comes_back(requests: &[Does], delays: Vec<u8>) {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    let thief = browser.copy();
    site.clock.advance(std::time::Duration::from_secs(3600));
    let (_, removed) = at_once(&site, &browser, requests, delays).await;
    assert_eq!(
        removed,
        requests.iter().filter(|does| **does == Does::Invalidate).count()
    );
    assert_eq!(site.manager().sessions_of("ann").await.unwrap().len(), 0);
    for browser in [browser, thief] {
        assert!(browser.visit(|session| session.all()).await.value().is_empty());
    }
}

fn block_on(future: impl Future<Output = ()>) {
    // Pauses between two tries take no time.
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future);
}

fn requests(of: &'static [Does]) -> impl Strategy<Value = Vec<Does>> {
    prop::collection::vec(prop::sample::select(of), 1..7)
}

fn delays() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..6_u8, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_at_once_lose_nothing_in_any_order_of_their_calls(requests in requests(KEEPING), delays in delays()) {
        // CONC-06, CONC-09, ID-17
        block_on(nothing_is_lost(&requests, delays));
    }

    #[test]
    fn an_invalidated_session_does_not_come_back_in_any_order_of_calls(
        before in requests(&ALL), after in requests(&ALL), delays in delays()
    ) {
        // CONC-01, CONC-02, LIFE-12
        let requests = [before, vec![Does::Invalidate], after].concat();
        block_on(nothing_comes_back(&requests, delays));
    }
}
