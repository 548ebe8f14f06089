//! Databases that are killed under load and started again: nothing that was acknowledged is lost.

use std::time::{Duration, Instant};

use session_schema::{Driver, MySqlDriver, PostgresDriver, RedisDriver, SessionLayer};
use session_tests::servers::{MariaDb, Postgres, Redis};
use session_tests::{App, Log};
use tracing::Level;

use crate::load::{Load, assert_logged};

/// A server that can be killed.
trait Server: Send + 'static {
    const NAME: &str;
    fn kill(&mut self);
    fn start_again(&mut self);
}

impl Server for Postgres {
    const NAME: &str = "PostgreSQL";
    fn kill(&mut self) {
        Postgres::kill(self);
    }
    fn start_again(&mut self) {
        Postgres::start_again(self);
    }
}

impl Server for MariaDb {
    const NAME: &str = "MariaDB";
    fn kill(&mut self) {
        MariaDb::kill(self);
    }
    fn start_again(&mut self) {
        MariaDb::start_again(self);
    }
}

impl Server for Redis {
    const NAME: &str = "Redis";
    fn kill(&mut self) {
        Redis::kill(self);
    }
    fn start_again(&mut self) {
        Redis::start_again(self);
    }
}

/// The server is killed twice, and is down until everybody has noticed.
async fn loses_nothing<S: Server>(mut server: S, driver: impl Driver) {
    let log = Log::capture();
    let load = Load::begin(&App::new(SessionLayer::new(driver)), 8, &[503]).await;
    for round in 1..=2 {
        load.served().await;
        server.kill();
        let noticed = load.refused().await;
        let began = Instant::now();
        server = tokio::task::spawn_blocking(move || {
            server.start_again();
            server
        })
        .await
        .unwrap();
        let started = began.elapsed();
        let recovered = load.served().await;
        println!(
            "{} killed under load, round {round}: refused after {noticed:.1?}, server started in {started:.1?}, all served {recovered:.1?} later",
            S::NAME
        );
        assert!(recovered < Duration::from_secs(12), "{recovered:?}");
    }
    let summary = load.end().await;
    println!("{}: {summary:?}", S::NAME);
    assert!(summary.longest < Duration::from_secs(12), "{summary:?}");
    assert_logged(&log, Level::ERROR, "a session could not be", "");
    assert_logged(&log, Level::WARN, "the session store is out of reach", "");
    assert_logged(&log, Level::INFO, "the session store answers again", "");
}

#[tokio::test]
async fn postgres_killed_under_load_loses_nothing_it_has_answered_for() {
    let server = Postgres::start_durable();
    let driver = PostgresDriver::connect(&server.url("")).await.unwrap();
    loses_nothing(server, driver).await;
}

#[tokio::test]
async fn mariadb_killed_under_load_loses_nothing_it_has_answered_for() {
    let server = MariaDb::start_durable();
    let driver = MySqlDriver::connect(&server.url("")).await.unwrap();
    loses_nothing(server, driver).await;
}

#[tokio::test]
async fn redis_killed_under_load_loses_nothing_it_has_answered_for() {
    let server = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let driver = RedisDriver::connect(&server.url()).await.unwrap();
    loses_nothing(server, driver).await;
}
