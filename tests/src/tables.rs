//! Tables of their own for sites, in databases that the tests of a process share. They are made by who opens the driver.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use session_schema::testing::ManualClock;
use session_schema::{MySqlDriver, PostgresDriver, SqliteDriver};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use tempfile::TempDir;

use crate::servers::{MariaDb, Postgres};

pub(crate) fn sqlite(clock: &ManualClock, directory: &TempDir) -> SqliteDriver {
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("sessions.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let pool = PoolOptions::new().acquire_timeout(PATIENCE).connect_lazy_with(options);
    SqliteDriver::from_pool(pool).with_clock(clock.clone())
}

pub(crate) fn postgres(clock: &ManualClock) -> PostgresDriver {
    let pool = PgPoolOptions::new()
        .acquire_timeout(PATIENCE)
        .connect_lazy(&Postgres::shared().url(""));
    let driver = PostgresDriver::from_pool(pool.expect("the URL is one"));
    driver.with_table(&table()).expect("a name").with_clock(clock.clone())
}

pub(crate) fn mysql(clock: &ManualClock) -> MySqlDriver {
    let pool = MySqlPoolOptions::new()
        .acquire_timeout(PATIENCE)
        .connect_lazy(&MariaDb::shared().url(""));
    let driver = MySqlDriver::from_pool(pool.expect("the URL is one"));
    driver.with_table(&table()).expect("a name").with_clock(clock.clone())
}

const PATIENCE: Duration = Duration::from_secs(4);

fn table() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("site_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}
