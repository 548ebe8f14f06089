//! A table for one test, in each of the databases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use session_schema::testing::ManualClock;
use session_schema::{
    Clock, Driver, Expected, MySqlDriver, PostgresDriver, Record, SqliteDriver, StoreKey, Version, Written,
};
use session_tests::servers::{MariaDb, Postgres};
use session_tests::{key, some_id};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
    MySql,
}

/// A table that no other test has.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) table: String,
    pub(crate) clock: ManualClock,
    /// Instead of that of the server that the tests share.
    pub(crate) url: Option<String>,
    pub(crate) directory: Option<TempDir>,
}

impl Place {
    pub(crate) fn of(kind: Kind) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self {
            kind,
            table: format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            clock: ManualClock::new(),
            url: None,
            directory: (kind == Kind::Sqlite).then(|| TempDir::new().unwrap()),
        }
    }

    pub(crate) fn url(&self) -> String {
        if let Some(url) = &self.url {
            return url.clone();
        }
        match self.kind {
            Kind::Sqlite => format!("sqlite://{}/a.db", self.directory.as_ref().unwrap().path().display()),
            Kind::Postgres => Postgres::shared().url(""),
            Kind::MySql => MariaDb::shared().url(""),
        }
    }

    /// A driver over the table, with connections of its own, as another process has; not opened yet.
    pub(crate) async fn connect(&self) -> Arc<dyn Driver> {
        let (url, table, clock) = (self.url(), self.table.as_str(), self.clock.clone());
        match self.kind {
            Kind::Sqlite => {
                let driver = SqliteDriver::connect(&url).await.unwrap();
                Arc::new(driver.with_table(table).unwrap().with_clock(clock))
            }
            Kind::Postgres => {
                let driver = PostgresDriver::connect(&url).await.unwrap();
                Arc::new(driver.with_table(table).unwrap().with_clock(clock))
            }
            Kind::MySql => {
                let driver = MySqlDriver::connect(&url).await.unwrap();
                Arc::new(driver.with_table(table).unwrap().with_clock(clock))
            }
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Driver> {
        let driver = self.connect().await;
        driver.open().await.unwrap();
        driver
    }

    /// Has the database do something else.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = || sqlx::AssertSqlSafe(sql.to_owned());
        match self.kind {
            Kind::Sqlite => {
                let pool = sqlx::SqlitePool::connect(&format!("{}?mode=rwc", self.url()))
                    .await
                    .unwrap();
                sqlx::raw_sql(sql()).execute(&pool).await.unwrap();
            }
            Kind::Postgres => {
                let pool = sqlx::PgPool::connect(&self.url()).await.unwrap();
                sqlx::raw_sql(sql()).execute(&pool).await.unwrap();
            }
            Kind::MySql => {
                let pool = sqlx::MySqlPool::connect(&self.url()).await.unwrap();
                sqlx::raw_sql(sql()).execute(&pool).await.unwrap();
            }
        }
    }

    pub(crate) fn late(&self) -> SystemTime {
        self.clock.now() + Duration::from_secs(3600)
    }

    /// The last whole second that has passed.
    pub(crate) fn clock_second(&self) -> SystemTime {
        let since_1970 = self.clock.now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(since_1970.as_secs())
    }

    /// A record with this payload, for an hour.
    pub(crate) fn record(&self, payload: &str) -> Record {
        Record::new(payload.into(), self.late())
    }
}

/// A key that nobody has used.
pub(crate) fn new_key() -> StoreKey {
    key(&some_id())
}

pub(crate) async fn create(driver: &dyn Driver, key: &StoreKey, record: &Record) -> Version {
    done(driver.write(key, record, Expected::Absent).await.unwrap())
}

#[track_caller]
pub(crate) fn done(written: Written) -> Version {
    match written {
        Written::Done(version) => version,
        other => panic!("expected `Written::Done`, got {other:?}"),
    }
}

/// All that an error says, to whoever prints it in whichever way.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = vec![format!("{error:?}")];
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts.join("\n")
}

/// Tests that take a [`Place`], once for each database.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        $crate::place::tests! { sqlite, Sqlite, $($test)* }
        $crate::place::tests! { postgres, Postgres, $($test)* }
        $crate::place::tests! { mysql, MySql, $($test)* }
    };
}

/// The same without SQLite, which is no server.
macro_rules! on_every_server {
    ($($test:ident),* $(,)?) => {
        $crate::place::tests! { postgres_server, Postgres, $($test)* }
        $crate::place::tests! { mysql_server, MySql, $($test)* }
    };
}

macro_rules! tests {
    ($name:ident, $kind:ident, $($test:ident)*) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test($crate::place::Place::of($crate::place::Kind::$kind)).await;
            })*
        }
    };
}

pub(crate) use {on_every_database, on_every_server, tests};
