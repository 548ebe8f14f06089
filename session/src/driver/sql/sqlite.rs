//! SQLite: what it does otherwise than the others.

use std::fmt;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Pool, Row as _, Sqlite};

use super::attempts::Attempts;
use super::connect;
use super::dialect::{Dialect, Fault, Outcome, Row, runs_by_sqlx};
use super::driver::sql_driver;
use super::statements::{Parameter, Statement, Values};
use super::store::Store;
use super::table::Table;
use crate::clock::Clock;
use crate::driver::{Driver, Expected, OwnerIndex, Written};
use crate::error::{ConfigError, DriverError};
use crate::id::StoreKey;
use crate::record::Record;

impl Dialect for Sqlite {
    const QUOTE: char = '"';
    const SCHEMAS: bool = false;
    const ONE_WRITER: bool = true;

    const CREATE: &'static str = "
        INSERT INTO {table} AS stored (session_key, payload, expires_at, owner, version)
        VALUES (:key, :payload, :expires_at, :owner, :version)
        ON CONFLICT (session_key) DO UPDATE
        SET payload = excluded.payload, expires_at = excluded.expires_at, owner = excluded.owner, version = excluded.version
        WHERE stored.expires_at <= :now";
    const TAKE_OVER: Option<&'static str> = None;
    const COLLECT: &'static str = "
        DELETE FROM {table} WHERE expires_at <= :now AND session_key IN
        (SELECT session_key FROM {table} WHERE expires_at <= :now LIMIT {batch})";

    const MIGRATIONS: &'static [&'static str] = &[include_str!("../../../migrations/sqlite/0001_sessions.sql")];
    const BEGIN: &'static str = "BEGIN IMMEDIATE;\n";
    const COMMIT: &'static str = "COMMIT;\n";

    fn placeholder(number: usize) -> String {
        format!("?{number}")
    }

    /// <https://www.sqlite.org/rescode.html>; the higher bytes tell details.
    fn fault(error: &dyn DatabaseError) -> Fault {
        match primary_code(error) {
            // SQLITE_BUSY, SQLITE_LOCKED: another connection writes.
            5 | 6 => Fault::Contention,
            _ if error.is_unique_violation() => Fault::Duplicate,
            // SQLITE_FULL among them: a full disk is an answer, for all that is stored can still be read.
            _ => Fault::Refused,
        }
    }

    /// SQLite's own texts name columns. Those of a trigger come as SQLITE_CONSTRAINT and may say anything.
    fn may_quote_data(error: &dyn DatabaseError) -> bool {
        primary_code(error) == 19
    }

    runs_by_sqlx! {}
}

fn primary_code(error: &dyn DatabaseError) -> i32 {
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.unwrap_or_default() & 0xff
}

sql_driver! {
/// Sessions in a SQLite file: they survive a restart, and the processes of one machine share them.
///
/// * `connect` makes the file, for this user alone (0600), and turns on its write-ahead log (WAL), so that readers and the writer do not wait for
///   each other. Writers do; in one process in the order in which they came.
/// * A write is one statement, and so is a read. What was written survives the death of the process, whichever way it dies. A power cut can take
///   the last writes back, a logout among them, but damages nothing (`synchronous = NORMAL`); for a file that waits for the disk, give
///   [`from_pool`](SqliteDriver::from_pool) a pool with `synchronous = FULL`.
/// * An [owner](OwnerIndex)'s sessions are found by an index.
/// * The file has to be on a local disk: SQLite's locks do not work over a network.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use session_schema::{Driver, Expected, Record, SqliteDriver, StoreKey, Written};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let file = directory.path().join("sessions.db");
/// # let file = file.to_str().unwrap();
/// let driver = SqliteDriver::connect(file).await?;
/// driver.open().await?;
/// let key: StoreKey = "a-key".parse()?;
/// let record = Record::new(br#"{"views":1}"#.to_vec(), SystemTime::now() + Duration::from_secs(60));
/// driver.write(&key, &record, Expected::Absent).await?;
///
/// let after_a_restart = SqliteDriver::connect(file).await?;
/// assert_eq!(after_a_restart.read(&key).await?.unwrap().payload(), br#"{"views":1}"#);
/// # Ok(()) }
/// ```
SqliteDriver, "SqliteDriver", Sqlite
}

/// How long a writer waits for the writer of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl SqliteDriver {
    /// A driver over the file at `url`: a path, or `sqlite://` and a path, perhaps with
    /// [parameters](https://docs.rs/sqlx/latest/sqlx/sqlite/struct.SqliteConnectOptions.html) after a `?`. `sqlite::memory:` is a database in the memory of this process,
    /// which the clones of the driver share and nobody else. It is for tests: it ends with its only connection, and a client that hangs up in the middle of a
    /// statement can close that.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or is no database.
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        if is_of_another_kind(url) {
            return Err(connect::of_another_kind("sqlite:storage/sessions.db"));
        }
        let failed = |error: sqlx::Error| connect::error::<Sqlite>(&error);
        let (options, place) = options(url).map_err(failed)?;
        let pool = match place {
            // Such a database ends with its last connection, so it has one, which never does.
            Place::Memory => connect::pool().max_connections(1).idle_timeout(None).max_lifetime(None),
            Place::File => connect::pool(),
        };
        if place == Place::File {
            make(options.get_filename()).map_err(|error| match error.kind() {
                ErrorKind::NotFound => DriverError::backend(
                    "the directory of the session database is not there: make it, or write another `url`",
                ),
                _ => failed(sqlx::Error::Io(error)),
            })?;
        }
        let pool = pool.connect_with(options).await.map_err(failed)?;
        if place == Place::File {
            use_write_ahead_log(&pool).await.map_err(failed)?;
        }
        Ok(Self {
            store: Store::new(pool, true),
        })
    }
}

/// Where a database is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    File,
}

/// Whether it is a URL of something else, which would make a file of that name, password and all. `C:` is a drive.
fn is_of_another_kind(url: &str) -> bool {
    let Some((scheme, _)) = url.split_once(':') else {
        return false;
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme && scheme.len() > 1 && scheme != "sqlite"
}

fn options(url: &str) -> sqlx::Result<(SqliteConnectOptions, Place)> {
    let (options, place) = match url.strip_prefix("sqlite:") {
        None if url == ":memory:" => (connect::parse(url)?, Place::Memory),
        None => (SqliteConnectOptions::new().filename(url), Place::File),
        Some(address) => {
            let memory = address.contains(":memory:") || address.contains("mode=memory");
            let place = if memory { Place::Memory } else { Place::File };
            (connect::parse(url)?, place)
        }
    };
    let options: SqliteConnectOptions = options;
    let options = options
        .busy_timeout(BUSY_TIMEOUT)
        .synchronous(SqliteSynchronous::Normal);
    Ok((options, place))
}

/// Makes an empty file that nobody else may read, unless there is one. The log beside it gets the same rights from SQLite.
fn make(file: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The file remembers it. Turning it on takes the file for itself and does not wait until it can, as other statements do.
async fn use_write_ahead_log(pool: &Pool<Sqlite>) -> sqlx::Result<()> {
    let mut attempts = Attempts::new();
    loop {
        match sqlx::query("PRAGMA journal_mode = WAL").execute(pool).await {
            Ok(_) => return Ok(()),
            Err(error) => attempts.another::<Sqlite>(error).await?,
        }
    }
}
