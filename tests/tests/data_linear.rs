//! What a request does with many keys takes time in proportion to their number.
//!
//! Times are measured, four times as much work against the work itself: in proportion that is 4, with the logarithm of a tree hardly more, and 16 where
//! every key is compared with every other. Less than 9 passes. What counts is the time that the processor worked for this thread, where the
//! system tells it, and the best of several measurements: the machine may be busy with something else.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use session_schema::testing::session;
use session_schema::{Session, SessionSchema, TypedSession};
use session_tests::{Backing, Call, Site};
use tokio::runtime::{Builder, Runtime};

const TRIES: usize = 8;
/// Less work is done over and over until it has taken so long: the system counts in steps of some milliseconds.
const LONG_ENOUGH: Duration = Duration::from_millis(50);

/// Fails if `work`, which says how long what matters of it took, takes more than its share of time for four times as much.
fn assert_linear(few: usize, work: impl Fn(usize) -> Duration) {
    let took = |number: usize, rounds: u32| (0..rounds).map(|_| work(number)).sum::<Duration>();
    let mut measured = Vec::new();
    for _ in 0..TRIES {
        let mut rounds = 1;
        let mut once = took(few, rounds);
        while once < LONG_ENOUGH {
            rounds *= 2;
            once = took(few, rounds);
        }
        let ratio = took(4 * few, rounds).as_secs_f64() / once.as_secs_f64();
        measured.push(ratio);
        if ratio < 9.0 {
            return;
        }
    }
    panic!("four times as much took {measured:.1?} times as long");
}

/// A moment, and the time the processor has worked for this thread.
struct Begun(Instant, Option<Duration>);

impl Begun {
    fn now() -> Self {
        Self(Instant::now(), worked())
    }

    fn elapsed(&self) -> Duration {
        match (self.1, worked()) {
            (Some(before), Some(now)) => now - before,
            _ => self.0.elapsed(),
        }
    }
}

/// As Linux counts it.
fn worked() -> Option<Duration> {
    let counts = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = counts.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Begun::now();
    work();
    begun.elapsed()
}

/// So many keys, in no order.
fn keys(number: usize) -> impl Iterator<Item = String> + Clone {
    // 7 and the numbers here, which end in zeros, have no divisor in common: each number comes once.
    (0..number).map(move |at| format!("k{}", at * 7919 % number))
}

fn content(number: usize) -> Map<String, Value> {
    keys(number).map(|key| (key, Value::from(1))).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A session in a store, with what `fill` puts in, loaded anew.
async fn loaded(site: &Site, fill: impl FnOnce(&Session)) -> Session {
    let session = site.manager().build_session(site.driver.clone(), None);
    session.start().await.unwrap();
    fill(&session);
    session.save().await.unwrap();
    let next = site
        .manager()
        .build_session(site.driver.clone(), Some(session.id().as_str()));
    next.start().await.unwrap();
    next
}

/// Asserts that what `change` does to a session of so many keys is linear.
fn assert_linear_on(few: usize, fill: impl Fn(&Session, usize), change: impl Fn(&Session, usize)) {
    let (runtime, site) = (runtime(), Site::over(Backing::Memory));
    assert_linear(few, |number| {
        let session = runtime.block_on(loaded(&site, |session| fill(session, number)));
        timed(|| change(&session, number))
    });
}

fn stored(session: &Session, number: usize) {
    session.merge(content(number)).unwrap();
}

fn flashed(session: &Session, number: usize) {
    keys(number).for_each(|key| session.flash(&key, 1).unwrap());
}

#[test]
fn many_puts_are_not_inserted_one_by_one_into_a_list() {
    assert_linear(20_000, |number| {
        let session = session();
        timed(|| keys(number).for_each(|key| session.put(&key, 1).unwrap()))
    });
}

#[test]
fn a_put_does_not_look_through_all_changes_before_it() {
    assert_linear(2_000, |number| {
        let session = session();
        timed(|| {
            for (at, key) in keys(number).enumerate() {
                session.put(&key, 1).unwrap();
                session.put("again", at).unwrap();
                session.increment("count", 1).unwrap();
                session.forget(["nothing"]).unwrap();
            }
        })
    });
}

#[test]
fn puts_of_equal_values_do_not_look_through_all_changes_before_them() {
    assert_linear_on(2_000, stored, |session, number| {
        keys(number).for_each(|key| session.put(&key, 1).unwrap());
    });
}

#[test]
fn a_key_that_is_flashed_is_not_looked_for_in_a_list() {
    assert_linear(1_000, |number| {
        let session = session();
        timed(|| flashed(&session, number))
    });
}

#[test]
fn a_request_that_reads_nothing_does_not_compare_all_flash_with_all_flash() {
    let (runtime, site) = (runtime(), Site::over(Backing::Memory));
    assert_linear(1_000, |number| {
        runtime.block_on(async {
            let before = loaded(&site, |session| flashed(session, number)).await;
            let session = site
                .manager()
                .build_session(site.driver.clone(), Some(before.id().as_str()));
            let begun = Begun::now();
            session.start().await.unwrap();
            session.save().await.unwrap();
            begun.elapsed()
        })
    });
}

#[test]
fn reflash_and_keep_do_not_look_for_each_key_in_a_list() {
    assert_linear_on(1_000, flashed, |session, _| session.reflash().unwrap());
    assert_linear_on(1_000, flashed, |session, number| session.keep(keys(number)).unwrap());
}

#[test]
fn what_is_shown_now_is_not_looked_for_in_a_list() {
    assert_linear(1_000, |number| {
        let session = session();
        timed(|| {
            keys(number).for_each(|key| session.now(&key, 1).unwrap());
            keys(number).for_each(|key| drop(session.increment(&key, 1).unwrap()));
        })
    });
}

#[test]
fn a_push_does_not_copy_the_list() {
    let push = |session: &Session, number: usize| (0..number).for_each(|at| session.push("list", at).unwrap());
    assert_linear(10_000, |number| {
        let session = session();
        timed(|| push(&session, number))
    });
    assert_linear(10_000, |number| {
        let session = session();
        session.put("list", ["first"]).unwrap();
        timed(|| push(&session, number))
    });
    assert_linear_on(
        5_000,
        |session, number| session.put("list", vec![1; number]).unwrap(),
        push,
    );
}

#[derive(SessionSchema)]
struct Shop {
    cart: Vec<usize>,
    #[session(invalid = "default")]
    seen: Vec<usize>,
}

#[test]
fn a_typed_push_does_not_read_the_list() {
    assert_linear(1_000, |number| {
        let shop: TypedSession<Shop> = session().into();
        shop.put_cart(vec![1]).unwrap();
        timed(|| {
            for at in 0..number {
                shop.push(Shop::CART, at).unwrap();
                shop.push(Shop::SEEN, at).unwrap();
            }
        })
    });
}

#[test]
fn a_subset_is_not_compared_key_by_key() {
    assert_linear_on(1_000, stored, |session, number| drop(session.only(keys(number))));
    assert_linear_on(1_000, stored, |session, number| drop(session.except(keys(number))));
}

#[test]
fn many_keys_are_forgotten_merged_and_replaced_at_once() {
    assert_linear_on(2_000, stored, |session, number| session.forget(keys(number)).unwrap());
    assert_linear_on(2_000, stored, |session, number| {
        session.merge(content(2 * number)).unwrap();
        session.replace(content(number)).unwrap();
        session.flush().unwrap();
    });
}

#[test]
fn changes_of_a_save_that_failed_are_not_compared_with_those_since() {
    let (runtime, site) = (runtime(), Site::over(Backing::Memory));
    assert_linear(2_000, |number| {
        runtime.block_on(async {
            let session = loaded(&site, |session| session.put("a", 1).unwrap()).await;
            keys(number).for_each(|key| session.put(&key, 1).unwrap());
            let begun = Begun::now();
            for _ in 0..3 {
                site.faults.fail_next(Call::Write);
                session.save().await.unwrap_err();
                keys(number).for_each(|key| session.put(&key, 2).unwrap());
            }
            session.save().await.unwrap();
            begun.elapsed()
        })
    });
}
