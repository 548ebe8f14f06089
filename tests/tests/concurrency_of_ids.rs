//! Several requests at once of which one changes the id, or ends the session.

use std::time::Duration;

use serde_json::{Value, json};
use session_schema::{Clock, SaveErrors, Session};
use session_tests::{
    Backing, Browser, Call, Log, Site, Slow, assert_silent, invalidate, key, on_every_driver, regenerate, user,
};
use tracing::Level;

async fn signed_in(site: &Site) -> Browser {
    let browser = site.app().browser();
    let sign_in = |session: Session| {
        session.put("user", 7).unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    browser.visit(sign_in).await.value();
    site.calls.take();
    browser
}

/// How many live sessions the owner has.
async fn sessions(site: &Site) -> usize {
    site.manager().sessions_of("ann").await.unwrap().len()
}

async fn a_request_in_flight_during_a_regeneration_is_merged_and_sends_no_cookie(site: Site) {
    // CONC-02, CONC-09, DESIGN 6
    let browser = signed_in(&site).await;
    let old_tab = browser.copy();
    let slow = browser.begin(|session| session.put("slow", 1).unwrap()).await;
    let new = browser.visit(regenerate).await.value();
    site.clock.advance(Duration::from_secs(29));
    assert_silent(&slow.finish().await);
    assert_eq!(browser.id(), new);
    assert_eq!(Value::Object(site.payload(&new).await), json!({"user": 7, "slow": 1}));
    assert_eq!(user(&old_tab).await, None, "the old id is not back");
}

async fn a_request_in_flight_for_longer_than_the_grace_is_dropped(site: Site) {
    // CONC-02, DESIGN 6
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.put("slow", 1).unwrap()).await;
    let new = browser.visit(regenerate).await.value();
    site.clock.advance(Duration::from_secs(30));
    assert_silent(&slow.finish().await);
    assert_eq!(Value::Object(site.payload(&new).await), json!({"user": 7}));
}

async fn a_touch_does_not_prolong_the_time_in_which_a_request_in_flight_may_follow(site: Site) {
    // CONC-02, DESIGN 6: a slow reader whose touch is due may touch the mark.
    let browser = signed_in(&site).await;
    let old = key(&browser.id());
    let slow = browser.begin(|session| session.put("slow", 1).unwrap()).await;
    let new = browser.visit(regenerate).await.value();
    let later = site.clock.now() + Duration::from_secs(3600);
    assert!(site.store.touch(&old, later).await.unwrap());
    site.clock.advance(Duration::from_secs(30));
    assert!(
        site.store.read(&old).await.unwrap().is_some(),
        "the mark itself lives on"
    );
    assert_silent(&slow.finish().await);
    assert_eq!(Value::Object(site.payload(&new).await), json!({"user": 7}));
}

async fn a_request_in_flight_follows_through_several_regenerations(site: Site) {
    // DESIGN 6
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.increment("slow", 1).unwrap()).await;
    for _ in 0..3 {
        browser.visit(regenerate).await.value();
    }
    assert_silent(&slow.finish().await);
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"user": 7, "slow": 1})
    );
}

async fn a_request_in_flight_at_a_new_id_that_saves_twice_reads_nothing_of_it(site: Site) {
    // DESIGN 6: what it changes is merged; what is there is not its to see.
    let shared = site.app().browser();
    let begin = |session: Session| {
        session.put("seen", 1).unwrap();
        session.set_owner(Some("ann")).unwrap();
    };
    shared.visit(begin).await.value();
    let (old, thief) = (shared.id(), shared.copy());
    let renew = |session: Session| {
        session.regenerate().unwrap();
        session.put("seen", 2).unwrap();
        session.put("secret", 7).unwrap();
        session.token()
    };
    let (victim, clock) = (shared.copy(), site.clock.clone());
    let visit = thief.visit_async(async move |session: Session| {
        let token = victim.visit(renew).await.value();
        for round in 1..=2 {
            assert_eq!(session.increment("seen", 1).unwrap(), 1 + round);
            session.push("own", round).unwrap();
            session.save().await.unwrap();
            let own = json!({"seen": 1 + round, "own": (1..=round).collect::<Vec<_>>()});
            assert_eq!(Value::Object(session.all()), own);
            assert_eq!(
                (session.owner(), session.id().as_str()),
                (Some("ann".to_owned()), &*old)
            );
            assert_ne!(session.token(), token);
        }
        clock.advance(Duration::from_secs(30));
        session.put("late", 1).unwrap();
        session.save().await.unwrap();
        assert!(session.all().is_empty());
        (victim.id(), token)
    });
    let visit = visit.await;
    assert_silent(&visit);
    let (new, token) = visit.value();
    let mut payload = Value::Object(site.payload(&new).await);
    assert_eq!(payload["_token"].take(), token, "no token of the thief's is taken over");
    assert_eq!(payload, json!({"seen": 4, "secret": 7, "own": [1, 2], "_token": null}));
}

async fn a_new_request_with_the_old_id_gets_an_empty_session_and_no_cookie(site: Site) {
    // ID-08, DESIGN 6: whoever planted the old id does not write into the session of who signed in.
    let log = Log::capture();
    let browser = signed_in(&site).await;
    let thief = browser.copy();
    let new = browser.visit(regenerate).await.value();
    let write = |session: Session| {
        session.put("user", 666).unwrap();
        session.increment("n", 1).unwrap();
        (session.is_new(), session.exists("token"))
    };
    let visit = thief
        .visit(|session| (session.all().len(), session.get::<u8>("user").unwrap()))
        .await;
    assert_silent(&visit);
    assert_eq!(visit.value(), (0, None));
    let visit = thief.visit(write).await;
    assert_silent(&visit);
    assert_eq!(Value::Object(site.payload(&new).await), json!({"user": 7}));
    assert!(
        log.at(Level::WARN)
            .iter()
            .any(|entry| entry.message.contains("dropped"))
    );
    for ends in [invalidate as fn(Session), |session| session.regenerate().unwrap()] {
        assert_silent(&thief.visit(ends).await);
        assert_eq!(user(&browser).await, Some(7));
    }
}

async fn the_mark_in_the_place_of_an_old_id_holds_no_id_and_is_nobodys_session(site: Site) {
    // DESIGN 6, IDX-07
    let browser = signed_in(&site).await;
    let old = browser.id();
    let new = browser.visit(regenerate).await.value();
    let mark = site.record(&old).await.expect("a mark is in its place");
    let text = String::from_utf8(mark.payload().to_vec()).unwrap();
    assert!(
        text.contains(key(&new).as_str()) && !text.contains(&new) && !text.contains("user"),
        "{text}"
    );
    let listed = site.manager().sessions_of("ann").await.unwrap();
    assert_eq!(
        listed.iter().map(|session| *session.key()).collect::<Vec<_>>(),
        [key(&new)]
    );
    site.clock.advance(Duration::from_secs(30));
    assert!(site.record(&old).await.is_none());
}

async fn of_two_regenerations_at_once_the_first_wins_and_the_other_joins_it(site: Site) {
    // ID-17
    let browser = signed_in(&site).await;
    browser.visit(|session| session.token()).await.value();
    let slow = browser
        .begin(|session| (session.put("slow", 1).unwrap(), regenerate(session)).1)
        .await;
    let first = browser
        .visit(|session| (session.token(), regenerate(session)).1)
        .await
        .value();
    let token = browser.visit(|session| session.token()).await.value();
    let slow = slow.finish().await;
    assert_silent(&slow);
    let second = slow.value();
    assert_eq!(browser.id(), first);
    assert!(site.record(&second).await.is_none());
    assert_eq!(sessions(&site).await, 1);
    let read = |session: Session| (session.get::<u8>("slow").unwrap(), session.token());
    assert_eq!(browser.visit(read).await.value(), (Some(1), token));
}

async fn sixteen_regenerations_at_once_leave_one_session_with_all_changes(site: Site) {
    // ID-17
    let browser = signed_in(&site).await;
    let mut slow = Vec::new();
    for _ in 0..16 {
        let change = |session: Session| {
            session.increment("count", 1).unwrap();
            regenerate(session);
        };
        slow.push(browser.begin(change).await);
    }
    let visits: Vec<_> = slow.into_iter().map(Slow::let_go).collect();
    let mut cookies = 0;
    for visit in visits {
        cookies += visit.await.unwrap().cookies().len();
    }
    assert_eq!((cookies, sessions(&site).await), (1, 1));
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"user": 7, "count": 16})
    );
}

async fn invalidate_ends_a_session_that_was_regenerated_meanwhile(site: Site) {
    // LIFE-12, CONC-01, DESIGN 6
    let browser = signed_in(&site).await;
    let slow = browser.begin(invalidate).await;
    let new = browser.visit(regenerate).await.value();
    slow.finish().await.value();
    assert!(site.record(&new).await.is_none());
    assert_eq!((sessions(&site).await, browser.maybe_id()), (0, None));
}

async fn regenerate_does_not_bring_back_a_session_that_is_invalidated_at_any_moment_of_it(site: Site) {
    // LIFE-12, CONC-01: before its first write, and between its two writes.
    for after in [0, 1] {
        let browser = signed_in(&site).await;
        let slow = browser.begin(regenerate).await;
        let mut held = site.faults.hold_after(after, Call::Write);
        let slow = slow.let_go();
        held.reached().await;
        browser.visit(invalidate).await.value();
        held.release();
        let slow = slow.await.unwrap();
        assert_silent(&slow);
        assert!(site.record(&slow.value()).await.is_none());
        assert_eq!(
            (sessions(&site).await, browser.maybe_id()),
            (0, None),
            "after {after} writes"
        );
    }
}

async fn invalidate_ends_a_session_that_is_regenerated_at_any_moment_of_it(site: Site) {
    // LIFE-12, CONC-01: before it empties the record, and before it destroys it.
    for call in [Call::Write, Call::Destroy] {
        let browser = signed_in(&site).await;
        let slow = browser.begin(invalidate).await;
        let mut held = site.faults.hold(call);
        let slow = slow.let_go();
        held.reached().await;
        let other = browser.copy();
        other.visit(regenerate).await.value();
        held.release();
        slow.await.unwrap().value();
        assert_eq!((sessions(&site).await, user(&other).await), (0, None), "{call:?}");
    }
}

async fn a_change_between_the_two_writes_of_a_regeneration_is_not_lost(site: Site) {
    // CONC-09
    let browser = signed_in(&site).await;
    let slow = browser
        .begin(|session| (session.increment("n", 1).unwrap(), regenerate(session)).1)
        .await;
    let mut held = site.faults.hold_after(1, Call::Write);
    let slow = slow.let_go();
    held.reached().await;
    browser
        .visit(|session| session.increment("n", 10).unwrap())
        .await
        .value();
    held.release();
    let new = slow.await.unwrap().value();
    assert_eq!(browser.id(), new);
    assert_eq!(Value::Object(site.payload(&new).await), json!({"user": 7, "n": 11}));
    assert_eq!(sessions(&site).await, 1);
}

async fn a_crash_between_the_two_writes_of_a_regeneration_leaves_the_old_session(site: Site) {
    // ID-11, CONC-11: the old or the new state, never neither.
    let browser = signed_in(&site).await;
    let old = browser.id();
    site.faults.fail_after(1, Call::Write);
    let visit = browser.visit(regenerate).await;
    assert_eq!(visit.status, 500);
    assert!(visit.cookies().is_empty());
    assert_eq!((browser.id(), user(&browser).await), (old, Some(7)));
    let new = browser.visit(regenerate).await.value();
    assert_eq!((browser.id(), user(&browser).await), (new, Some(7)));
}

async fn a_crash_in_the_first_write_of_a_regeneration_leaves_the_old_session(site: Site) {
    // ID-11
    let browser = signed_in(&site).await;
    let old = browser.id();
    site.faults.fail_next(Call::Write);
    let visit = browser.visit(regenerate).await;
    assert_eq!(visit.status, 500);
    assert!(visit.cookies().is_empty());
    assert_eq!(
        (browser.id(), user(&browser).await, sessions(&site).await),
        (old, Some(7), 1)
    );
}

async fn a_regeneration_that_failed_can_be_saved_again(site: Site) {
    // ID-11, DESIGN 3: what was changed stays to be saved.
    let browser = signed_in(&site).await;
    site.faults.fail_after(1, Call::Write);
    let visit = browser.visit_async(async |session| {
        session.put("more", 1).unwrap();
        regenerate(session.clone());
        let failed = session.save().await.is_err();
        session.save().await.unwrap();
        (failed, session.id().as_str().to_owned())
    });
    let (failed, id) = visit.await.value();
    assert!(failed);
    assert_eq!(browser.id(), id);
    assert_eq!(Value::Object(site.payload(&id).await), json!({"user": 7, "more": 1}));
}

async fn a_session_destroyed_by_its_owner_elsewhere_is_not_brought_back(site: Site) {
    // IDX-11, CONC-01
    let browser = signed_in(&site).await;
    let change = browser.begin(|session| session.put("a", 1).unwrap()).await;
    let renew = browser.begin(regenerate).await;
    assert_eq!(site.manager().destroy_sessions_of("ann", None).await.unwrap(), 1);
    assert_silent(&change.finish().await);
    assert_silent(&renew.finish().await);
    assert_eq!((sessions(&site).await, user(&browser).await), (0, None));
}

async fn a_refused_sign_in_is_not_told_welcome_where_failed_saves_are_only_logged(site: Site) {
    // DESIGN 9
    let app = site.app_with(|layer| layer.with_save_errors(SaveErrors::Log));
    let browser = app.browser();
    let sign_in = |session: Session| session.set_owner(Some("ann")).unwrap();
    browser.visit(sign_in).await.value();
    let again = browser.begin(sign_in).await;
    browser.visit(invalidate).await.value();
    let again = again.finish().await;
    assert_eq!((again.status.as_u16(), again.cookies().len()), (409, 0));
}

async fn a_page_of_an_owner_is_not_kept_though_the_session_ends_while_it_is_made(site: Site) {
    // DESIGN 9: the back button shows nothing after a sign-out.
    let browser = site.app().browser();
    browser
        .visit(|session| session.set_owner(Some("ann")).unwrap())
        .await
        .value();
    let page = browser.begin(|session| session.put("seen", 1).unwrap()).await;
    browser.visit(invalidate).await.value();
    let page = page.finish().await;
    assert_eq!(page.header("cache-control").as_deref(), Some("no-store"));
}

on_every_driver! {
    a_refused_sign_in_is_not_told_welcome_where_failed_saves_are_only_logged,
    a_page_of_an_owner_is_not_kept_though_the_session_ends_while_it_is_made,
    a_request_in_flight_during_a_regeneration_is_merged_and_sends_no_cookie,
    a_request_in_flight_for_longer_than_the_grace_is_dropped,
    a_touch_does_not_prolong_the_time_in_which_a_request_in_flight_may_follow,
    a_request_in_flight_follows_through_several_regenerations,
    a_request_in_flight_at_a_new_id_that_saves_twice_reads_nothing_of_it,
    a_new_request_with_the_old_id_gets_an_empty_session_and_no_cookie,
    the_mark_in_the_place_of_an_old_id_holds_no_id_and_is_nobodys_session,
    of_two_regenerations_at_once_the_first_wins_and_the_other_joins_it,
    sixteen_regenerations_at_once_leave_one_session_with_all_changes,
    invalidate_ends_a_session_that_was_regenerated_meanwhile,
    regenerate_does_not_bring_back_a_session_that_is_invalidated_at_any_moment_of_it,
    invalidate_ends_a_session_that_is_regenerated_at_any_moment_of_it,
    a_change_between_the_two_writes_of_a_regeneration_is_not_lost,
    a_crash_between_the_two_writes_of_a_regeneration_leaves_the_old_session,
    a_crash_in_the_first_write_of_a_regeneration_leaves_the_old_session,
    a_regeneration_that_failed_can_be_saved_again,
    a_session_destroyed_by_its_owner_elsewhere_is_not_brought_back,
}

#[tokio::test]
async fn a_regeneration_whose_answer_is_lost_leaves_no_session_that_nobody_has() {
    let site = Site::over(Backing::Memory);
    let browser = site.app().browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    let sign_in = |session: Session| {
        session.set_owner(Some("ann")).unwrap();
        session.regenerate().unwrap();
    };
    site.faults.lose_next_answer();
    assert_eq!(browser.visit(sign_in).await.status, 503);
    assert_eq!(sessions(&site).await, 0);
    assert!(browser.visit(|session| session.has("user")).await.value());
}
