//! Clocks that jump by an hour, forward and back, under one of two servers, while the other one's is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use session_schema::{MemoryDriver, SessionLayer};
use session_tests::processes::sharing;
use session_tests::servers::{MariaDb, Postgres, Redis, RedisCluster};
use session_tests::{App, Browser, regenerate, user};
use tempfile::TempDir;

const HOUR: i64 = 60 * 60;

/// The time, and what a clock is off by, in seconds.
#[derive(Clone, Default)]
struct Wrong(Arc<AtomicI64>);

impl Wrong {
    fn is_off_by(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
        let off = self.0.clone();
        move || {
            let by = off.load(Ordering::SeqCst);
            let (now, span) = (SystemTime::now(), Duration::from_secs(by.unsigned_abs()));
            if by < 0 { now - span } else { now + span }
        }
    }
}

/// Whatever the clock of one server says, visitors have their own session and no other, at both servers; what they change is kept, what has ended has ended.
async fn nobody_loses_or_gets_a_session(wrong: Wrong, one: App, other: App) {
    let mut visitors = Vec::new();
    for number in 0..5_u32 {
        let browser = one.browser();
        browser
            .visit(move |session| session.put("user", number).unwrap())
            .await
            .value();
        visitors.push(browser);
    }
    let given_up = visitors[0].copy();
    visitors[0].visit(regenerate).await.value();
    let ended = visitors[1].copy();
    visitors[1].visit(session_tests::invalidate).await.value();
    visitors[1]
        .visit(|session| session.put("user", 1).unwrap())
        .await
        .value();
    let mut ids: Vec<String> = visitors.iter().map(Browser::id).collect();
    for (step, off) in [HOUR, 0, -HOUR, 0, HOUR, 0].into_iter().enumerate() {
        wrong.is_off_by(off);
        for (number, visitor) in visitors.iter().enumerate() {
            for app in [&one, &other, &one] {
                let browser = app.browser();
                browser.set_id(&visitor.id());
                let visit = browser.visit(move |session| {
                    session.increment("count", 1).unwrap();
                    session.get::<usize>("user").unwrap()
                });
                assert_eq!(visit.await.value(), Some(number), "step {step}: {off} s");
            }
            let count = visitor.visit(|session| session.get::<usize>("count").unwrap()).await;
            assert_eq!(count.value(), Some(3 * (step + 1)), "step {step}: {off} s");
        }
        for gone in [&given_up, &ended] {
            assert_eq!(user(gone).await, None, "step {step}: {off} s");
        }
        // Who comes now gets a session that is nobody else's.
        let newcomer = one.browser();
        newcomer
            .visit(|session| {
                assert!(session.all().is_empty());
                session.put("user", 99).unwrap();
            })
            .await
            .value();
        assert!(!ids.contains(&newcomer.id()));
        ids.push(newcomer.id());
        assert_eq!(user(&newcomer).await, Some(99));
    }
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_memory() {
    let wrong = Wrong::default();
    let driver = MemoryDriver::new().with_clock(wrong.clock());
    let one = SessionLayer::new(driver.clone()).with_clock(wrong.clock());
    let other = SessionLayer::new(driver);
    nobody_loses_or_gets_a_session(wrong, App::new(one), App::new(other)).await;
}

/// The same over a store that two servers share.
async fn over(driver: &str, place: &str) {
    let wrong = Wrong::default();
    let one = sharing(driver, place).unwrap().with_clock(wrong.clock());
    let other = sharing(driver, place).unwrap();
    let (one, other) = (one.layer().await.unwrap(), other.layer().await.unwrap());
    nobody_loses_or_gets_a_session(wrong, App::new(one), App::new(other)).await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_files() {
    let directory = TempDir::new().unwrap();
    over("file", directory.path().to_str().unwrap()).await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_sqlite() {
    let directory = TempDir::new().unwrap();
    over(
        "sqlite",
        &format!("sqlite://{}/sessions.db", directory.path().display()),
    )
    .await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_postgres() {
    over("postgres", &Postgres::shared().url("")).await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_mysql() {
    over("mysql", &MariaDb::shared().url("")).await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_redis() {
    over("redis", &Redis::shared().url()).await;
}

#[tokio::test]
async fn when_a_clock_jumps_an_hour_nobody_loses_or_gets_a_session_in_a_redis_cluster() {
    over("redis", &RedisCluster::shared().url()).await;
}
