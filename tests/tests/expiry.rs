//! When sessions expire, on the server and in the browser.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use session_schema::{Clock, Expiry, Passive, Session, SessionLayer};
use session_tests::{App, Browser, Counts, SetCookie, Site, on_every_driver, user};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn signed_in(site: &Site, settings: impl FnOnce(SessionLayer) -> SessionLayer) -> Browser {
    let browser = site.app_with(settings).browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.calls.take();
    browser
}

async fn expiry(site: &Site, browser: &Browser) -> Duration {
    let record = site.record(&browser.id()).await.expect("the session lives");
    record.expires_at().duration_since(site.now()).unwrap()
}

/// How long the browser is to keep a cookie; both attributes have to say the same.
fn kept_for(site: &Site, cookie: &SetCookie) -> Option<Duration> {
    let max_age = cookie
        .max_age()
        .map(|age| Duration::from_secs(age.whole_seconds().try_into().unwrap()));
    let expires = cookie.expires_datetime().map(SystemTime::from);
    assert_eq!(max_age.map(|age| site.now() + age), expires, "{cookie}");
    max_age
}

async fn a_save_moves_the_expiry_and_keeps_the_id(site: Site) {
    // LIFE-16
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let id = browser.id();
    assert_eq!(expiry(&site, &browser).await, HOUR);
    site.clock.advance(30 * MINUTE);
    let visit = browser.visit(|session| session.put("user", 8).unwrap()).await;
    assert_eq!(
        kept_for(&site, &visit.cookie().expect("its expiry has moved")),
        Some(HOUR)
    );
    assert_eq!((browser.id(), expiry(&site, &browser).await), (id, HOUR));
}

async fn reading_moves_the_expiry_but_only_when_a_tenth_of_the_lifetime_has_gone_by(site: Site) {
    // LIFE-19, D34
    let browser = signed_in(&site, |layer| layer.with_lifetime(100 * MINUTE)).await;
    site.clock.advance(10 * MINUTE - Duration::from_millis(1));
    let visit = browser.visit(|session| session.has("user")).await;
    assert!(visit.cookie().is_none());
    assert_eq!(site.calls.take(), Counts::ONE_READ);
    site.clock.advance(Duration::from_millis(1));
    let visit = browser.visit(|session| session.has("user")).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(100 * MINUTE));
    let calls = site.calls.take();
    assert_eq!((calls.write, calls.touch), (0, 1));
    assert_eq!(expiry(&site, &browser).await, 100 * MINUTE);
}

async fn a_session_in_use_lives_on_and_on(site: Site) {
    // LIFE-19
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    for _ in 0..50 {
        site.clock.advance(50 * MINUTE);
        assert_eq!(user(&browser).await, Some(7));
    }
}

async fn a_session_is_expired_from_the_very_moment(site: Site) {
    // LIFE-24, LIFE-27
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let copy = browser.copy();
    site.clock.advance(HOUR - Duration::from_nanos(1));
    assert!(site.record(&browser.id()).await.is_some());
    site.clock.advance(Duration::from_nanos(1));
    assert_eq!((user(&browser).await, user(&copy).await), (None, None));
}

async fn the_layer_checks_the_expiry_of_what_a_driver_returns(site: Site) {
    // LIFE-24, DESIGN 5: the driver's clock stands an hour behind.
    let behind = site.clock.clone();
    let layer = site.layer().with_clock(move || Clock::now(&behind) + HOUR);
    let browser = session_tests::App::new(layer.with_lifetime(30 * MINUTE)).browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    assert_eq!(user(&browser).await, Some(7));
    site.clock.advance(30 * MINUTE);
    assert!(site.record(&browser.id()).await.is_some(), "for the driver it lives");
    assert_eq!(user(&browser).await, None);
}

async fn the_absolute_expiry_is_not_moved_by_use(site: Site) {
    // LIFE-17, LIFE-18
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(90 * MINUTE);
    let browser = signed_in(&site, limits).await;
    assert_eq!(expiry(&site, &browser).await, HOUR);
    site.clock.advance(50 * MINUTE);
    let visit = browser.visit(|session| session.put("n", 1).unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(40 * MINUTE));
    site.calls.take();
    site.clock.advance(39 * MINUTE);
    let visit = browser.visit(|session| session.get::<u8>("user").unwrap()).await;
    assert!(visit.cookie().is_none(), "there is nothing to move any more");
    assert_eq!(visit.value(), Some(7));
    assert_eq!(site.calls.take(), Counts::ONE_READ);
    site.clock.advance(MINUTE);
    assert_eq!(user(&browser).await, None);
}

async fn a_new_id_does_not_move_the_absolute_expiry(site: Site) {
    // LIFE-29
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(90 * MINUTE);
    let browser = signed_in(&site, limits).await;
    site.clock.advance(50 * MINUTE);
    let visit = browser.visit(|session| session.regenerate().unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(40 * MINUTE));
    let flush = |session: Session| {
        session.flush().unwrap();
        session.put("user", 8).unwrap();
    };
    browser.visit(flush).await.value();
    site.clock.advance(40 * MINUTE);
    assert_eq!(user(&browser).await, None);
}

async fn an_invalidated_session_makes_room_for_one_with_its_full_time(site: Site) {
    // LIFE-29
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(90 * MINUTE);
    let browser = signed_in(&site, limits).await;
    site.clock.advance(50 * MINUTE);
    let again = |session: Session| {
        session.invalidate().unwrap();
        session.put("user", 8).unwrap();
    };
    browser.visit(again).await.value();
    site.clock.advance(59 * MINUTE);
    assert_eq!(user(&browser).await, Some(8));
    site.clock.advance(30 * MINUTE);
    assert_eq!(user(&browser).await, Some(8));
    site.clock.advance(MINUTE);
    assert_eq!(user(&browser).await, None);
}

async fn a_lifetime_of_its_own_stays_with_a_session(site: Site) {
    // LIFE-21, LIFE-22
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(Duration::ZERO);
    let browser = signed_in(&site, limits).await;
    let visit = browser
        .visit(|session| session.set_lifetime(30 * 24 * HOUR).unwrap())
        .await;
    assert_eq!(
        kept_for(&site, &visit.cookie().expect("its expiry has moved")),
        Some(30 * 24 * HOUR)
    );
    assert_eq!(expiry(&site, &browser).await, 30 * 24 * HOUR);
    for _ in 0..3 {
        site.clock.advance(20 * 24 * HOUR);
        let visit = browser.visit(|session| session.increment("n", 1).unwrap()).await;
        assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(30 * 24 * HOUR));
    }
    let visit = browser.visit(|session| session.regenerate().unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(30 * 24 * HOUR));
    let visit = browser.visit(|session| session.set_lifetime(MINUTE).unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(MINUTE));
    site.clock.advance(MINUTE);
    assert_eq!(user(&browser).await, None);
}

async fn a_lifetime_of_its_own_counts_though_it_differs_little(site: Site) {
    // LIFE-22
    let browser = signed_in(&site, |layer| layer.with_lifetime(100 * MINUTE)).await;
    let visit = browser
        .visit(|session| session.set_lifetime(105 * MINUTE).unwrap())
        .await;
    assert_eq!(
        visit.cookie().and_then(|cookie| kept_for(&site, &cookie)),
        Some(105 * MINUTE)
    );
    assert_eq!(expiry(&site, &browser).await, 105 * MINUTE);
}

async fn the_same_lifetime_again_is_no_change(site: Site) {
    // LIFE-06, LIFE-22
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    browser
        .visit(|session| session.set_lifetime(2 * HOUR).unwrap())
        .await
        .value();
    site.calls.take();
    let visit = browser.visit(|session| session.set_lifetime(2 * HOUR).unwrap()).await;
    assert!(visit.cookie().is_none());
    assert_eq!(site.calls.take(), Counts::ONE_READ);
}

async fn remember_me_turns_a_cookie_of_the_browsers_run_into_a_dated_one_and_back(site: Site) {
    // LIFE-23, LIFE-36
    let browser = site
        .app_with(|layer| layer.with_expire_on_close(true).with_lifetime(HOUR))
        .browser();
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    let cookie = visit.cookie().unwrap();
    assert_eq!((cookie.max_age(), cookie.expires()), (None, None));
    let visit = browser.visit(|session| session.set_lifetime(24 * HOUR).unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(24 * HOUR));
    let visit = browser.visit(|session| session.set_expiry(None).unwrap()).await;
    let cookie = visit.cookie().unwrap();
    assert_eq!((cookie.max_age(), cookie.expires()), (None, None));
    assert_eq!(expiry(&site, &browser).await, HOUR);
    site.clock.advance(30 * MINUTE);
    let visit = browser.visit(|_| ()).await;
    assert!(
        visit.cookie().is_none(),
        "the browser needs not be told what only the server keeps"
    );
    assert_eq!(expiry(&site, &browser).await, HOUR);
}

async fn a_session_that_ends_at_a_moment_is_not_prolonged_by_use(site: Site) {
    // DESIGN 3, LIFE-21, LIFE-22
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let moment = site.now() + 90 * MINUTE;
    let visit = browser
        .visit(move |session| session.set_expiry(Some(Expiry::At(moment))).unwrap())
        .await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(90 * MINUTE));
    for minutes in [70, 50, 30, 10] {
        site.clock.advance(20 * MINUTE);
        let visit = browser
            .visit(|session| (session.has("user"), session.expires_at()))
            .await;
        assert!(visit.cookie().is_none());
        assert_eq!(visit.value(), (true, moment));
        let visit = browser.visit(|session| session.increment("n", 1).unwrap()).await;
        assert!(visit.cookie().is_none());
        assert_eq!(expiry(&site, &browser).await, minutes * MINUTE);
    }
    let visit = browser.visit(|session| session.regenerate().unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(10 * MINUTE));
    site.clock.advance(10 * MINUTE);
    assert_eq!(user(&browser).await, None);
}

async fn a_session_that_ends_with_the_browser_has_no_date_there_and_is_prolonged_in_the_store(site: Site) {
    // DESIGN 3, LIFE-22, LIFE-23
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let visit = browser
        .visit(|session| session.set_expiry(Some(Expiry::OnClose)).unwrap())
        .await;
    let cookie = visit.cookie().expect("it has lost its date");
    assert_eq!((cookie.max_age(), cookie.expires()), (None, None));
    for _ in 0..3 {
        site.clock.advance(40 * MINUTE);
        let visit = browser.visit(|session| (session.has("user"), session.expiry())).await;
        assert!(visit.cookie().is_none());
        assert_eq!(visit.value(), (true, Some(Expiry::OnClose)));
        assert_eq!(expiry(&site, &browser).await, HOUR);
    }
    let visit = browser.visit(|session| session.set_expiry(None).unwrap()).await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(HOUR));
}

async fn no_expiry_of_its_own_outlives_the_absolute_lifetime(site: Site) {
    // DESIGN 3
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(3 * HOUR);
    let far = site.now() + 100 * HOUR;
    let all = [Expiry::Idle(100 * HOUR), Expiry::Idle(Duration::MAX), Expiry::At(far)];
    for own in all {
        let browser = signed_in(&site, limits).await;
        site.clock.advance(30 * MINUTE);
        let ends = move |session: Session| {
            session.set_expiry(Some(own)).unwrap();
            session.expires_at()
        };
        let ends = browser.visit(ends).await.value();
        assert_eq!(ends, site.now() + 150 * MINUTE, "{own:?}");
        assert_eq!(expiry(&site, &browser).await, 150 * MINUTE, "{own:?}");
    }
}

async fn a_moment_that_has_passed_is_expired_at_once(site: Site) {
    // D37, COOK-12
    let now = site.now();
    for moment in [now, now - HOUR, SystemTime::UNIX_EPOCH - HOUR] {
        let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
        let copy = browser.copy();
        let visit = browser
            .visit(move |session| session.set_expiry(Some(Expiry::At(moment))).unwrap())
            .await;
        assert!(visit.cookie().unwrap().max_age().unwrap().is_zero());
        assert_eq!((browser.maybe_id(), user(&copy).await), (None, None));
    }
}

async fn a_session_says_when_it_expires_before_and_after_it_is_stored(site: Site) {
    // DESIGN 3
    let browser = site.app_with(|layer| layer.with_lifetime(HOUR)).browser();
    let looks = |session: Session| (session.expiry(), session.expires_at());
    let begun = site.now();
    assert_eq!(browser.visit(looks).await.value(), (None, begun + HOUR));
    let stores = move |session: Session| {
        session.put("user", 7).unwrap();
        session.set_lifetime(20 * MINUTE).unwrap();
        looks(session)
    };
    let own = Some(Expiry::Idle(20 * MINUTE));
    assert_eq!(browser.visit(stores).await.value(), (own, begun + 20 * MINUTE));
    assert_eq!(expiry(&site, &browser).await, 20 * MINUTE);
    // Not worth moving yet, and then it is.
    site.clock.advance(MINUTE);
    assert_eq!(browser.visit(looks).await.value(), (own, begun + 20 * MINUTE));
    site.clock.advance(MINUTE);
    assert_eq!(browser.visit(looks).await.value(), (own, begun + 22 * MINUTE));
    assert_eq!(expiry(&site, &browser).await, 20 * MINUTE);
    let resets = move |session: Session| {
        session.set_expiry(None).unwrap();
        looks(session)
    };
    assert_eq!(browser.visit(resets).await.value(), (None, site.now() + HOUR));
    assert_eq!(expiry(&site, &browser).await, HOUR);
}

async fn huge_lifetimes_are_long_and_no_panic(site: Site) {
    // LIFE-26
    let limits = |layer: SessionLayer| layer.with_lifetime(Duration::MAX).with_absolute_lifetime(Duration::MAX);
    let browser = signed_in(&site, limits).await;
    assert!(expiry(&site, &browser).await > 1000 * 365 * 24 * HOUR);
    assert_eq!(user(&browser).await, Some(7));
    let limits = |layer: SessionLayer| layer.with_lifetime(HOUR).with_absolute_lifetime(Duration::ZERO);
    let browser = signed_in(&site, limits).await;
    let visit = browser
        .visit(|session| session.set_lifetime(Duration::MAX).unwrap())
        .await;
    assert!(kept_for(&site, &visit.cookie().unwrap()).unwrap() > 1000 * 365 * 24 * HOUR);
    site.clock.advance(100 * 365 * 24 * HOUR);
    assert_eq!(user(&browser).await, Some(7));
}

async fn no_session_lives_for_longer_than_thirty_days_by_default(site: Site) {
    // NIST SP 800-63B-4
    let browser = signed_in(&site, |layer| layer).await;
    let visit = browser
        .visit(|session| session.set_lifetime(365 * 24 * HOUR).unwrap())
        .await;
    assert_eq!(kept_for(&site, &visit.cookie().unwrap()), Some(30 * 24 * HOUR));
    for _ in 0..29 {
        site.clock.advance(24 * HOUR);
        assert_eq!(user(&browser).await, Some(7));
    }
    site.clock.advance(24 * HOUR);
    assert_eq!(user(&browser).await, None);
}

async fn a_poll_in_the_background_keeps_no_session_alive(site: Site) {
    // Passive
    let app = |passive: bool| {
        let layer = site.layer().with_lifetime(100 * MINUTE);
        App::around("__Host-session", |router| match passive {
            true => router.layer(Passive).layer(layer),
            false => router.layer(layer),
        })
    };
    let (page, poll) = (app(false).browser(), app(true).browser());
    page.visit(|session| session.put("user", 7).unwrap()).await.value();
    poll.set_id(&page.id());
    let polls: [fn(&Session); 3] = [
        |session| assert!(session.has("user")),
        |session| _ = session.increment("polls", 1).unwrap(),
        |session| session.put("last", "now").unwrap(),
    ];
    for minutes in [11, 40, 40] {
        site.clock.advance(minutes * MINUTE);
        for change in polls {
            let visit = poll.visit(move |session| change(&session)).await;
            assert!(visit.cookies().is_empty(), "{:?}", visit.headers);
            visit.value();
        }
    }
    assert_eq!(expiry(&site, &page).await, 9 * MINUTE);
    assert_eq!(site.payload(&page.id()).await["polls"], 3, "what it changes is saved");
    let lifetime = poll.visit(|session| session.set_lifetime(HOUR).unwrap()).await;
    assert_eq!(
        kept_for(&site, &lifetime.cookie().unwrap()),
        Some(HOUR),
        "that is said on purpose"
    );
    site.clock.advance(HOUR);
    assert_eq!(user(&poll).await, None);
}

async fn a_poll_takes_no_flash_from_the_page_that_is_to_show_it(site: Site) {
    // Passive
    let polled = |router: Router| router.layer(Passive).layer(site.layer());
    // An outer middleware, such as a guard, has loaded the session before.
    let guarded = |router: Router| {
        let guard = axum::middleware::from_extractor::<Session>();
        router.layer(Passive).layer(guard).layer(site.layer())
    };
    let page = site.app().browser();
    for poll in [
        App::around("__Host-session", polled),
        App::around("__Host-session", guarded),
    ] {
        page.visit(|session| session.flash("notice", "saved").unwrap())
            .await
            .value();
        let poll = poll.browser();
        poll.set_id(&page.id());
        for _ in 0..3 {
            let seen = poll.visit(|session| session.get::<String>("notice").unwrap()).await;
            assert_eq!(seen.value().as_deref(), Some("saved"));
        }
        let seen = page.visit(|session| session.get::<String>("notice").unwrap()).await;
        assert_eq!(seen.value().as_deref(), Some("saved"));
        assert!(!page.visit(|session| session.has("notice")).await.value());
    }
}

async fn no_lifetime_at_all_is_expired_at_once(site: Site) {
    // D37, COOK-12
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let copy = browser.copy();
    let visit = browser
        .visit(|session| session.set_lifetime(Duration::ZERO).unwrap())
        .await;
    assert!(visit.cookie().unwrap().max_age().unwrap().is_zero());
    assert_eq!((browser.maybe_id(), user(&copy).await), (None, None));
}

async fn the_browser_keeps_the_cookie_until_the_session_ends_and_no_shorter(site: Site) {
    // COOK-11
    site.clock.advance(Duration::from_millis(300));
    let browser = site
        .app_with(|layer| layer.with_lifetime(Duration::from_millis(90_500)))
        .browser();
    let visit = browser.visit(|session| session.put("user", 7).unwrap()).await;
    let cookie = visit.cookie().unwrap();
    let ends = site.record(&browser.id()).await.unwrap().expires_at();
    assert_eq!(cookie.max_age().unwrap().whole_seconds(), 91);
    let expires = SystemTime::from(cookie.expires_datetime().unwrap());
    assert!(expires >= ends && expires < ends + Duration::from_secs(1));
}

async fn a_prefetch_prolongs_nothing(site: Site) {
    // HTTP-08
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    site.clock.advance(30 * MINUTE);
    let prefetch = || {
        let request = Request::builder().header("sec-purpose", "prefetch");
        request.body(Body::empty()).unwrap()
    };
    let extracted = browser.visit_as(prefetch(), async |session| session.has("user")).await;
    let by_hand = async |request: Request| {
        let started = Session::of(&request).unwrap().start().await;
        started.map(|()| "started").into_response()
    };
    let started = browser.send(prefetch(), by_hand).await;
    assert!(extracted.value() && started.status == 200);
    let reads = Counts {
        read: 2,
        ..Counts::NONE
    };
    assert_eq!(site.calls.take(), reads);
    assert_eq!(expiry(&site, &browser).await, 30 * MINUTE);
}

async fn a_request_that_outlives_its_session_brings_nothing_back(site: Site) {
    // STORE-04 (D50), LIFE-24
    let browser = signed_in(&site, |layer| layer.with_lifetime(HOUR)).await;
    let slow = browser.begin(|session| session.put("user", 8).unwrap()).await;
    site.clock.advance(HOUR);
    let slow = slow.finish().await;
    assert!(slow.cookie().is_none());
    slow.value();
    assert!(site.record(&browser.id()).await.is_none());
}

on_every_driver! {
    a_save_moves_the_expiry_and_keeps_the_id,
    reading_moves_the_expiry_but_only_when_a_tenth_of_the_lifetime_has_gone_by,
    a_session_in_use_lives_on_and_on,
    a_session_is_expired_from_the_very_moment,
    the_layer_checks_the_expiry_of_what_a_driver_returns,
    the_absolute_expiry_is_not_moved_by_use,
    a_new_id_does_not_move_the_absolute_expiry,
    an_invalidated_session_makes_room_for_one_with_its_full_time,
    a_lifetime_of_its_own_stays_with_a_session,
    a_lifetime_of_its_own_counts_though_it_differs_little,
    the_same_lifetime_again_is_no_change,
    remember_me_turns_a_cookie_of_the_browsers_run_into_a_dated_one_and_back,
    a_session_that_ends_at_a_moment_is_not_prolonged_by_use,
    a_session_that_ends_with_the_browser_has_no_date_there_and_is_prolonged_in_the_store,
    no_expiry_of_its_own_outlives_the_absolute_lifetime,
    a_moment_that_has_passed_is_expired_at_once,
    a_session_says_when_it_expires_before_and_after_it_is_stored,
    huge_lifetimes_are_long_and_no_panic,
    no_lifetime_at_all_is_expired_at_once,
    no_session_lives_for_longer_than_thirty_days_by_default,
    a_poll_in_the_background_keeps_no_session_alive,
    a_poll_takes_no_flash_from_the_page_that_is_to_show_it,
    the_browser_keeps_the_cookie_until_the_session_ends_and_no_shorter,
    a_prefetch_prolongs_nothing,
    a_request_that_outlives_its_session_brings_nothing_back,
}
