//! "Sign out everywhere", while sessions are given new ids: none is missed.

use std::time::Duration;

use session_schema::{CachedDriver, Session, SessionId, SessionLayer};
use session_tests::{App, Backing, Browser, Call, Site, on_every_driver, regenerate};
use tokio::task::JoinSet;

/// A browser in which Ann is signed in.
async fn anns(site: &Site) -> Browser {
    let browser = site.app().browser();
    let sign_in = |session: Session| session.set_owner(Some("ann")).unwrap();
    browser.visit(sign_in).await.value();
    browser
}

async fn sessions(site: &Site) -> usize {
    site.manager().sessions_of("ann").await.unwrap().len()
}

/// Waits for what comes, and not for ever for what does not.
async fn in_time(comes: impl Future<Output = ()>) {
    let in_time = tokio::time::timeout(Duration::from_secs(20), comes).await;
    in_time.expect("it does not come about");
}

/// Gives the session new ids until somebody ends it.
async fn renew_until_ended(browser: Browser) {
    let renew = |session: Session| {
        let is_anns = session.owner().is_some();
        if is_anns {
            session.regenerate().unwrap();
        }
        is_anns
    };
    while browser.visit(renew).await.value() {
        tokio::task::yield_now().await;
    }
}

async fn sessions_that_are_given_new_ids_all_the_time_end_with_the_others(site: Site) {
    for _ in 0..50 {
        let mut renewing = JoinSet::new();
        for _ in 0..4 {
            renewing.spawn(renew_until_ended(anns(&site).await));
        }
        site.manager().destroy_sessions_of("ann", None).await.unwrap();
        // If one was missed, this never ends.
        in_time(async { while renewing.join_next().await.is_some() {} }).await;
        assert_eq!(sessions(&site).await, 0);
    }
}

async fn the_end_of_all_sessions_comes_though_nobody_waits_for_it_any_more(site: Site) {
    let browsers = [anns(&site).await, anns(&site).await];
    let mut held = site.faults.hold(Call::Write);
    let manager = site.manager();
    let ending = tokio::spawn(async move { manager.destroy_sessions_of("ann", None).await });
    held.reached().await;
    ending.abort();
    assert!(ending.await.unwrap_err().is_cancelled());
    held.release();
    in_time(async {
        while sessions(&site).await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(browsers);
}

async fn who_gives_a_session_a_new_id_waits_until_those_of_its_owner_have_ended(site: Site) {
    let (manager, before) = (site.manager(), anns(&site).await);
    // Everything has been ended, but for taking the notice down.
    let mut held = site.faults.hold_after(1, Call::Write);
    let ending = tokio::spawn(async move { manager.destroy_sessions_of("ann", None).await });
    held.reached().await;
    let after = anns(&site).await;
    let renewing = after.clone();
    let renewing = tokio::spawn(async move { renewing.visit(regenerate).await.value() });
    let old = after.id();
    in_time(async {
        while sessions(&site).await < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It has written its new record, and goes no further.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!renewing.is_finished());
    assert_eq!(after.id(), old);
    held.release();
    assert_eq!(ending.await.unwrap().unwrap(), 1);
    assert_eq!(renewing.await.unwrap(), after.id());
    assert_eq!(sessions(&site).await, 1);
    drop(before);
}

async fn an_id_that_was_given_up_spares_no_session(site: Site) {
    // Who has given the session its new id may be a thief, from whom the visitor signs out.
    let (this, others) = (anns(&site).await, [anns(&site).await, anns(&site).await]);
    let old: SessionId = this.id().parse().unwrap();
    this.visit(regenerate).await.value();
    let ended = site.manager().destroy_sessions_of("ann", Some(&old)).await.unwrap();
    assert_eq!((ended, sessions(&site).await), (3, 0));
    drop(others);
}

on_every_driver! { in_parallel:
    sessions_that_are_given_new_ids_all_the_time_end_with_the_others,
    the_end_of_all_sessions_comes_though_nobody_waits_for_it_any_more,
    who_gives_a_session_a_new_id_waits_until_those_of_its_owner_have_ended,
    an_id_that_was_given_up_spares_no_session,
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_behind_a_cache_goes_on_when_another_process_is_done() {
    let site = Site::over(Backing::Memory);
    let cached = CachedDriver::new(site.store.clone(), Duration::from_secs(60 * 60)).with_clock(site.clock.clone());
    let browser = App::new(SessionLayer::new(cached).with_clock(site.clock.clone())).browser();
    let mut held = site.faults.hold_after(1, Call::Write);
    let manager = site.manager();
    let ending = tokio::spawn(async move { manager.destroy_sessions_of("ann", None).await });
    held.reached().await;
    let sign_in = |session: Session| session.set_owner(Some("ann")).unwrap();
    browser.visit(sign_in).await.value();
    let renewing = browser.clone();
    let renewing = tokio::spawn(async move { renewing.visit(regenerate).await.value() });
    // It finds the notice, and knows it from now on.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!renewing.is_finished());
    held.release();
    ending.await.unwrap().unwrap();
    assert_eq!(renewing.await.unwrap(), browser.id());
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_ends_sessions_keeps_new_ids_back_for_ten_seconds() {
    let site = Site::over(Backing::Memory);
    // The notice stays where it is.
    site.faults.fail_after(1, Call::Write);
    site.manager().destroy_sessions_of("ann", None).await.unwrap_err();
    let browser = anns(&site).await;
    let old = browser.id();
    assert_eq!(browser.visit(regenerate).await.status, 503);
    assert_eq!(browser.id(), old);
    site.clock.advance(Duration::from_secs(10));
    let new = browser.visit(regenerate).await.value();
    assert_eq!((browser.id(), sessions(&site).await), (new, 1));
}
