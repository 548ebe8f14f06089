//! Several requests of one visitor at once: nothing is lost, and nothing comes back to life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use session_schema::Session;
use session_tests::{
    Backing, Call, Counts, Log, Site, assert_silent, invalidate, on_every_driver, regenerate, signed_in, user,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Level;

async fn every_increment_push_update_and_put_of_64_requests_at_once_counts(site: Site) {
    // CONC-06, DESIGN 6
    const REQUESTS: u64 = 64;
    let browser = signed_in(&site).await;
    let mut slow = Vec::new();
    for number in 0..REQUESTS {
        let change = move |session: Session| {
            session.increment("count", 1).unwrap();
            session.push("list", number).unwrap();
            session.update("sum", move |sum: &mut u64| *sum += number).unwrap();
            session.put(&format!("key {number}"), number).unwrap();
        };
        slow.push(browser.begin(change).await);
    }
    // All have loaded the same state; now all save at once.
    let mut visits = JoinSet::new();
    slow.into_iter().for_each(|slow| drop(visits.spawn(slow.finish())));
    while let Some(visit) = visits.join_next().await {
        let visit = visit.unwrap();
        assert_silent(&visit);
    }
    let payload = site.payload(&browser.id()).await;
    assert_eq!(
        (&payload["count"], &payload["sum"]),
        (&json!(REQUESTS), &json!(REQUESTS * (REQUESTS - 1) / 2))
    );
    let mut list: Vec<u64> = serde_json::from_value(payload["list"].clone()).unwrap();
    list.sort_unstable();
    assert_eq!(list, (0..REQUESTS).collect::<Vec<_>>());
    for number in 0..REQUESTS {
        assert_eq!(payload[&format!("key {number}")], number);
    }
}

async fn of_two_puts_of_one_key_the_last_saved_counts_and_other_keys_stay(site: Site) {
    // CONC-06
    let browser = signed_in(&site).await;
    let slow = browser
        .begin(|session| session.merge(map(json!({"color": "red", "size": 1}))).unwrap())
        .await;
    let fast = |session: Session| session.merge(map(json!({"color": "green", "shape": "round"}))).unwrap();
    browser.visit(fast).await.value();
    slow.finish().await.value();
    let all = browser.visit(|session| session.all()).await.value();
    assert_eq!(
        Value::Object(all),
        json!({"user": 7, "color": "red", "size": 1, "shape": "round"})
    );
}

fn map(value: Value) -> serde_json::Map<String, Value> {
    value.as_object().expect("an object").clone()
}

async fn what_a_request_has_removed_stays_removed_when_another_saves(site: Site) {
    // CONC-07
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.put("other", 1).unwrap()).await;
    browser.visit(|session| session.forget(["user"]).unwrap()).await.value();
    slow.finish().await.value();
    assert_eq!(Value::Object(site.payload(&browser.id()).await), json!({"other": 1}));
}

async fn a_change_that_does_not_fit_what_another_has_stored_is_an_error_and_not_a_loss(site: Site) {
    // DESIGN 6, ERR-07
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.increment("user", 1).unwrap()).await;
    browser
        .visit(|session| session.put("user", "Ann").unwrap())
        .await
        .value();
    let slow = slow.finish().await;
    assert_eq!(slow.status, 500);
    assert!(slow.cookies().is_empty());
    assert_eq!(site.payload(&browser.id()).await["user"], "Ann");
}

async fn a_destroyed_session_is_not_brought_back_by_a_slow_request(site: Site) {
    // CONC-01, CONC-03, CONC-04
    let log = Log::capture();
    let browser = signed_in(&site).await;
    let id = browser.id();
    let slow = browser.begin(|session| session.put("user", 8).unwrap()).await;
    browser.visit(invalidate).await.value();
    let written = site.calls.written_keys().len();
    let slow = slow.finish().await;
    assert_silent(&slow);
    assert_eq!(browser.maybe_id(), None);
    assert!(site.record(&id).await.is_none());
    assert_eq!(
        site.calls.written_keys().len(),
        written + 1,
        "it was tried once, and nothing was written elsewhere"
    );
    assert!(
        log.at(Level::INFO)
            .iter()
            .any(|entry| entry.message.contains("ended while a request used it"))
    );
}

async fn a_slow_request_does_not_touch_the_cookie_of_a_sign_in_that_came_meanwhile(site: Site) {
    // D74, CONC-03
    let browser = signed_in(&site).await;
    let slow_change = browser.begin(|session| session.put("a", 1).unwrap()).await;
    let slow_read = browser.begin(|session| session.all()).await;
    browser.visit(invalidate).await.value();
    browser.visit(|session| session.put("user", 9).unwrap()).await.value();
    let new = browser.id();
    assert_silent(&slow_change.finish().await);
    assert_silent(&slow_read.finish().await);
    assert_eq!((browser.id(), user(&browser).await), (new, Some(9)));
}

async fn a_slow_request_that_has_saved_once_sends_no_cookie_of_a_session_destroyed_meanwhile(site: Site) {
    // CONC-03
    let browser = signed_in(&site).await;
    let old_tab = browser.copy();
    let held = browser.clone();
    let (tell_saved, saved) = tokio::sync::oneshot::channel();
    let (go_on, wait) = tokio::sync::oneshot::channel();
    let slow = tokio::spawn(async move {
        let handler = async |session: Session| {
            session.regenerate().unwrap();
            session.save().await.unwrap();
            tell_saved.send(session.id().as_str().to_owned()).unwrap();
            wait.await.unwrap();
            session.put("more", 1).unwrap();
        };
        held.visit_async(handler).await
    });
    let new = saved.await.unwrap();
    old_tab.set_id(&new);
    old_tab.visit(invalidate).await.value();
    go_on.send(()).unwrap();
    assert_silent(&slow.await.unwrap());
    assert!(site.record(&new).await.is_none());
}

async fn a_slow_reader_with_a_touch_due_brings_nothing_back_after_a_logout(site: Site) {
    // CONC-16, STORE-11
    let browser = signed_in(&site).await;
    let id = browser.id();
    site.clock.advance(Duration::from_secs(3600));
    let slow = browser.begin(|session| session.get::<u8>("user").unwrap()).await;
    browser.visit(invalidate).await.value();
    site.calls.take();
    assert_silent(&slow.finish().await);
    assert_eq!(site.calls.take().touch, 1, "the touch was due");
    assert!(site.record(&id).await.is_none());
}

async fn a_slow_reader_with_a_touch_due_sends_no_cookie_after_a_regeneration(site: Site) {
    // CONC-02, CONC-16
    let browser = signed_in(&site).await;
    let old_tab = browser.copy();
    site.clock.advance(Duration::from_secs(3600));
    let slow = browser.begin(|session| session.get::<u8>("user").unwrap()).await;
    let new = browser.visit(regenerate).await.value();
    assert_silent(&slow.finish().await);
    assert_eq!(
        (browser.id(), user(&browser).await, user(&old_tab).await),
        (new, Some(7), None)
    );
    // Nor did it prolong the grace of the old id.
    site.clock.advance(Duration::from_secs(31));
    assert_eq!(user(&old_tab).await, None);
    old_tab.visit(|session| session.put("user", 1).unwrap()).await.value();
    assert_eq!(user(&browser).await, Some(7));
}

async fn a_touch_between_load_and_save_is_no_conflict(site: Site) {
    // STORE-09, DESIGN 5: a touch changes no version.
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.put("a", 1).unwrap()).await;
    site.clock.advance(Duration::from_secs(3600));
    browser.visit(|_| ()).await.value();
    site.calls.take();
    slow.finish().await.value();
    assert_eq!(
        site.calls.take(),
        Counts {
            write: 1,
            ..Counts::NONE
        }
    );
}

async fn a_request_that_is_hung_up_in_its_handler_changes_nothing(site: Site) {
    // CONC-11
    let browser = signed_in(&site).await;
    let slow = browser
        .begin(|session| (session.put("user", 8).unwrap(), regenerate(session)))
        .await;
    site.calls.take();
    let log = Log::capture();
    slow.hang_up().await;
    assert_eq!(site.calls.take(), Counts::NONE);
    assert_eq!(user(&browser).await, Some(7));
    let dropped = log.at(Level::INFO);
    assert!(
        dropped.iter().any(|entry| entry.message.contains("are dropped")),
        "{dropped:?}"
    );
}

async fn a_save_that_has_begun_ends_though_the_client_hangs_up(site: Site) {
    // CONC-11, DESIGN 6
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.put("user", 8).unwrap()).await;
    let mut held = site.faults.hold(Call::Write);
    let visit = slow.let_go();
    held.reached().await;
    visit.abort();
    assert!(visit.await.unwrap_err().is_cancelled());
    assert_eq!(user(&browser).await, Some(7));
    held.release();
    until(async || user(&browser).await == Some(8)).await;
}

async fn a_regeneration_that_has_begun_ends_though_the_client_hangs_up(site: Site) {
    // CONC-11: the old or the new state, never neither.
    let browser = signed_in(&site).await;
    let slow = browser.begin(regenerate).await;
    let mut held = site.faults.hold_after(1, Call::Write);
    let visit = slow.let_go();
    held.reached().await;
    visit.abort();
    assert!(visit.await.unwrap_err().is_cancelled());
    assert_eq!(
        user(&browser).await,
        Some(7),
        "the old id works until the mark is written"
    );
    held.release();
    until(async || user(&browser).await.is_none()).await;
    let written = site.calls.written_keys();
    let mut live = Vec::new();
    for key in &written {
        live.extend(site.store.read(key).await.unwrap());
    }
    assert!(
        live.iter().any(|record| record.payload().ends_with(br#""user":7}"#)),
        "the new record is there"
    );
}

/// Lets other tasks run until something is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it does not come about");
}

async fn two_first_requests_of_a_visitor_begin_two_sessions(site: Site) {
    // CONC-18
    let app = site.app();
    let (one, two) = (app.browser(), app.browser());
    let first = one.begin(|session| session.put("a", 1).unwrap()).await;
    let second = two.begin(|session| session.put("b", 2).unwrap()).await;
    first.finish().await.value();
    second.finish().await.value();
    assert_ne!(one.id(), two.id());
    assert_eq!(Value::Object(site.payload(&one.id()).await), json!({"a": 1}));
    assert_eq!(Value::Object(site.payload(&two.id()).await), json!({"b": 2}));
}

async fn two_requests_that_ask_for_the_first_token_get_the_same(site: Site) {
    // CSRF-01: the pages of both have to work.
    let browser = signed_in(&site).await;
    let slow = browser.begin(|session| session.token()).await;
    let fast = browser.visit(|session| session.token()).await.value();
    assert_eq!(slow.finish().await.value(), fast);
    assert_eq!(browser.visit(|session| session.token()).await.value(), fast);
}

async fn changes_made_while_a_save_runs_are_saved_by_the_next(site: Site) {
    // LIFE-34, CONC-12
    let browser = signed_in(&site).await;
    let mut held = site.faults.hold(Call::Write);
    let visit = browser.visit_async(async move |session| {
        session.increment("n", 1).unwrap();
        let saving = tokio::spawn({
            let session = session.clone();
            async move { session.save().await }
        });
        held.reached().await;
        session.increment("n", 1).unwrap();
        session.put("late", true).unwrap();
        held.release();
        saving.await.unwrap().unwrap();
        session.get::<u8>("n").unwrap()
    });
    assert_eq!(visit.await.value(), Some(2));
    assert_eq!(
        Value::Object(site.payload(&browser.id()).await),
        json!({"user": 7, "n": 2, "late": true})
    );
}

async fn the_response_waits_for_a_save_that_a_task_of_its_handler_has_begun(site: Site) {
    // LIFE-34: or it would not know the id that the browser is to be told.
    let browser = site.app().browser();
    let mut held = site.faults.hold(Call::Write);
    let (closing, closed) = oneshot::channel();
    let visit = browser.visit_async(async move |session: Session| {
        session.put("a", 1).unwrap();
        let saving = session.clone();
        tokio::spawn(async move { saving.save().await.unwrap() });
        held.reached().await;
        assert!(closing.send(held).is_ok());
    });
    let release = async {
        closed.await.unwrap().release();
        site.calls.take()
    };
    let (visit, calls) = tokio::join!(visit, release);
    assert_eq!(calls.write, 1, "the response has not saved the session beside it");
    assert_eq!(visit.cookies().len(), 1);
    assert_eq!(Value::Object(site.payload(&browser.id()).await), json!({"a": 1}));
}

async fn a_response_with_nothing_to_save_does_not_wait_for_a_task_that_reloads(site: Site) {
    let browser = signed_in(&site).await;
    let faults = site.faults.clone();
    let visit = browser.visit_async(async move |session: Session| {
        let mut held = faults.hold(Call::Read);
        tokio::spawn(async move { session.reload().await });
        held.reached().await;
        held
    });
    let visit = timeout(Duration::from_secs(20), visit).await;
    visit.expect("the store does not answer the task").value().release();
}

#[tokio::test]
async fn who_waits_for_the_store_gets_a_turn_though_another_asks_it_in_a_loop() {
    let site = Site::over(Backing::File);
    let browser = signed_in(&site).await;
    let visit = browser.visit_async(async |session: Session| {
        let done = Arc::new(AtomicBool::new(false));
        let (other, until) = (session.clone(), done.clone());
        let turns = tokio::spawn(async move {
            for turn in 0..1000 {
                if until.load(Ordering::SeqCst) {
                    return turn;
                }
                other.reload().await.unwrap();
            }
            1000
        });
        for _ in 0..10 {
            session.reload().await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        turns.await.unwrap()
    });
    let turns = visit.await.value();
    assert!(turns < 20, "{turns} turns of another for ten");
}

#[test]
fn handles_and_futures_go_between_threads() {
    // CONC-17
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    fn is_send_and_sync<T: Send + Sync + 'static>() {}
    is_send_and_sync::<Session>();
    is_send_and_sync::<session_schema::SessionLayer>();
    is_send_and_sync::<session_schema::SessionManager>();
    is_send_and_sync::<session_schema::Error>();
    let site = Site::over(Backing::Memory);
    let session = site.manager().build_session(site.driver.clone(), None);
    drop((is_send(session.start()), is_send(session.save())));
}

on_every_driver! {
    every_increment_push_update_and_put_of_64_requests_at_once_counts,
    of_two_puts_of_one_key_the_last_saved_counts_and_other_keys_stay,
    what_a_request_has_removed_stays_removed_when_another_saves,
    a_change_that_does_not_fit_what_another_has_stored_is_an_error_and_not_a_loss,
    a_destroyed_session_is_not_brought_back_by_a_slow_request,
    a_slow_request_does_not_touch_the_cookie_of_a_sign_in_that_came_meanwhile,
    a_slow_request_that_has_saved_once_sends_no_cookie_of_a_session_destroyed_meanwhile,
    a_slow_reader_with_a_touch_due_brings_nothing_back_after_a_logout,
    a_slow_reader_with_a_touch_due_sends_no_cookie_after_a_regeneration,
    a_touch_between_load_and_save_is_no_conflict,
    a_request_that_is_hung_up_in_its_handler_changes_nothing,
    a_save_that_has_begun_ends_though_the_client_hangs_up,
    a_regeneration_that_has_begun_ends_though_the_client_hangs_up,
    two_first_requests_of_a_visitor_begin_two_sessions,
    two_requests_that_ask_for_the_first_token_get_the_same,
    changes_made_while_a_save_runs_are_saved_by_the_next,
    the_response_waits_for_a_save_that_a_task_of_its_handler_has_begun,
    a_response_with_nothing_to_save_does_not_wait_for_a_task_that_reloads,
}

on_every_driver! {
    in_parallel:
    every_increment_push_update_and_put_of_64_requests_at_once_counts,
}
