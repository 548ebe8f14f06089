//! MySQL and MariaDB: what they do otherwise than the others.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use sqlx::error::DatabaseError;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError};
use sqlx::{AssertSqlSafe, MySql, Pool, Row as _};

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

impl Dialect for MySql {
    const QUOTE: char = '`';
    const SCHEMAS: bool = true;
    const ONE_WRITER: bool = false;

    /// `ON DUPLICATE KEY UPDATE` knows no condition, and does not tell whether it has done anything.
    const CREATE: &'static str = "
        INSERT INTO {table} (session_key, payload, expires_at, owner, version)
        VALUES (:key, :payload, :expires_at, :owner, :version)";
    const TAKE_OVER: Option<&'static str> = Some(
        "
        UPDATE {table}
        SET payload = :payload, expires_at = :expires_at, owner = :owner, version = :version
        WHERE session_key = :key AND expires_at <= :now",
    );
    const COLLECT: &'static str = "
        DELETE FROM {table} WHERE expires_at <= :now ORDER BY expires_at LIMIT {batch}";

    const MIGRATIONS: &'static [&'static str] = &[include_str!("../../../migrations/mysql/0001_sessions.sql")];
    /// Making a table ends a transaction here, so a lock has to do.
    const BEGIN: &'static str = "DO GET_LOCK('session_schema', 10);\n";
    const COMMIT: &'static str = "DO RELEASE_LOCK('session_schema');\n";

    fn placeholder(_: usize) -> String {
        "?".to_owned()
    }

    /// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>, <https://mariadb.com/kb/en/mariadb-error-code-reference/>
    fn fault(error: &dyn DatabaseError) -> Fault {
        match number(error) {
            // The server shuts down; the connection was killed (MariaDB, MySQL) or idle for too long.
            1053 | 1077 | 1079 | 1927 | 3169 | 4031 => Fault::Cut,
            // A deadlock; a row that another has changed since (MariaDB's snapshot isolation).
            1213 | 1020 => Fault::Contention,
            1062 => Fault::Duplicate,
            // Too many connections, of all or of this user; a lock that is not to be had; cancelled; a replica that takes no writes.
            1040 | 1203 | 1226 | 1205 | 1317 | 1969 | 3024 | 1290 | 1792 | 1836 => Fault::Unavailable,
            _ => Fault::Refused,
        }
    }

    /// Errors about data, errors of constraints, and what triggers say.
    fn may_quote_data(error: &dyn DatabaseError) -> bool {
        let class = error.code().unwrap_or_default();
        number(error) == 1366
            || ["21", "22", "23", "44", "45"]
                .iter()
                .any(|data| class.starts_with(data))
    }

    async fn longest(connection: &mut Self::Connection) -> sqlx::Result<Option<i64>> {
        Self::number(connection, "SELECT CAST(@@max_allowed_packet AS SIGNED)".to_owned()).await
    }

    runs_by_sqlx! {}
}

fn number(error: &dyn DatabaseError) -> u16 {
    error
        .try_downcast_ref::<MySqlDatabaseError>()
        .map_or(0, MySqlDatabaseError::number)
}

sql_driver! {
/// Sessions in a table of MySQL or MariaDB, shared by all servers that reach it.
///
/// * A write is one statement, and so is a read. Only making a session under the key of an expired one takes two.
/// * An [owner](OwnerIndex)'s sessions are found by an index.
/// * Times are numbers, and come from the driver's clock, so no setting of a time zone matters.
/// * [`gc`](Driver::gc) removes 500 sessions at a time; several servers may do it at once.
/// * The answer to a read says which session it is about. If a connection is out of step, and its answer is about
///   another session, the call fails and the connection is closed: no visitor is shown another visitor's session.
/// * When the server restarts, the driver finds back by itself. A connection that is cut in the middle of a save leads to another attempt, which knows if the
///   first was successful.
/// * A session larger than the server's `max_allowed_packet` is an error that says so.
/// * [`open`](Driver::open) makes the table; who must not make one runs the file `migrations/mysql/0001_sessions.sql` of this crate before.
///
/// # TLS
///
/// By default, a connection is encrypted if the server offers it, and the server's certificate is not checked. An
/// attacker between the application and the server can then read and change everything. Over a network that you share
/// with others, add `?ssl-mode=VERIFY_IDENTITY` to the address. If the operating system does not trust the authority
/// that signed the certificate, also add `&ssl-ca=/path/to/ca.pem`.
///
/// A MySQL 8 server that has TLS turned off asks for a password encrypted by RSA: enable the feature `mysql-rsa` of sqlx for that.
///
/// ```no_run
/// use session_schema::{MySqlDriver, SessionLayer};
///
/// # async fn layer() -> Result<SessionLayer, Box<dyn std::error::Error>> {
/// let driver = MySqlDriver::connect("mysql://shop:secret@db.internal/shop?ssl-mode=VERIFY_IDENTITY").await?;
/// Ok(SessionLayer::new(driver))
/// # }
/// ```
MySqlDriver, "MySqlDriver", MySql
}

impl MySqlDriver {
    /// A driver with up to ten connections to the database at `url`, such as `mysql://user:password@host:3306/database`, perhaps with
    /// [parameters](https://docs.rs/sqlx/latest/sqlx/mysql/struct.MySqlConnectOptions.html) after a `?`.
    ///
    /// # Errors
    ///
    /// When the database is out of reach, or does not let the user in.
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        connect::check_scheme(url, &["mysql", "mariadb"], "mysql://user:password@host/database")?;
        let failed = |error: sqlx::Error| connect::error::<MySql>(&error);
        let options: MySqlConnectOptions = connect::parse(url).map_err(failed)?;
        let pool = connect::pool().connect_with(options).await.map_err(failed)?;
        Ok(Self {
            store: Store::new(pool, true),
        })
    }
}
