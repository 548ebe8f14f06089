//! Servers that accept what they are sent and never answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::StatusCode;
use session_schema::{Driver, MySqlDriver, PostgresDriver, RedisDriver, SessionLayer};
use session_tests::servers::{MariaDb, Postgres, Redis};
use session_tests::{App, Log};
use tracing::Level;

use crate::load::{Load, assert_logged};

/// How long the layer waits for the store.
const LIMIT: Duration = Duration::from_millis(500);
/// What a request may take beyond that on a machine that has much to do. A request waits twice at most: to load and to save.
const SLACK: Duration = Duration::from_secs(2);

/// Who needs a session is told so in time, who does not is served, and all is well when the server speaks again.
async fn is_not_waited_for(name: &str, driver: impl Driver, signal: impl Fn(&str)) {
    let log = Log::capture();
    let app = App::new(SessionLayer::new(driver).with_store_timeout(LIMIT));
    let load = Load::begin(&app, 8, &[503]).await;
    load.served().await;
    signal("STOP");
    load.refused().await;
    let visitor = app.browser();
    for _ in 0..20 {
        let since = Instant::now();
        let request = Request::new(Body::empty());
        let visit = visitor.send(request, async |_| StatusCode::OK.into_response()).await;
        assert_eq!(visit.status, 200);
        assert!(since.elapsed() < LIMIT, "{:?}", since.elapsed());
    }
    signal("CONT");
    let recovered = load.served().await;
    let summary = load.end().await;
    println!("{name} silent: all served {recovered:.1?} after it spoke again; {summary:?}");
    assert!(summary.longest < 2 * LIMIT + SLACK, "{summary:?}");
    assert_logged(
        &log,
        Level::ERROR,
        "a session could not be",
        "did not answer within 500ms",
    );
    assert_logged(&log, Level::WARN, "the session store is out of reach", "");
    assert_logged(&log, Level::INFO, "the session store answers again", "");
}

#[tokio::test]
async fn a_postgres_that_keeps_silent_is_not_waited_for_and_is_used_again_when_it_speaks() {
    let server = Postgres::start();
    let driver = PostgresDriver::connect(&server.url("")).await.unwrap();
    is_not_waited_for("PostgreSQL", driver, |signal| server.process().signal_family(signal)).await;
}

#[tokio::test]
async fn a_mariadb_that_keeps_silent_is_not_waited_for_and_is_used_again_when_it_speaks() {
    let server = MariaDb::start();
    let driver = MySqlDriver::connect(&server.url("")).await.unwrap();
    is_not_waited_for("MariaDB", driver, |signal| server.process().signal(signal)).await;
}

#[tokio::test]
async fn a_redis_that_keeps_silent_is_not_waited_for_and_is_used_again_when_it_speaks() {
    let server = Redis::start(&[]);
    let driver = RedisDriver::connect(&server.url()).await.unwrap();
    is_not_waited_for("Redis", driver, |signal| server.process().signal(signal)).await;
}
