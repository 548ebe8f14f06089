//! PostgreSQL: what it does otherwise than the others.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Pool, Postgres, Row as _};

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

impl Dialect for Postgres {
    const QUOTE: char = '"';
    const SCHEMAS: bool = true;
    const ONE_WRITER: bool = false;

    const CREATE: &'static str = "
        INSERT INTO {table} AS stored (session_key, payload, expires_at, owner, version)
        VALUES (:key, :payload, :expires_at, :owner, :version)
        ON CONFLICT (session_key) DO UPDATE
        SET payload = excluded.payload, expires_at = excluded.expires_at, owner = excluded.owner, version = excluded.version
        WHERE stored.expires_at <= :now";
    const TAKE_OVER: Option<&'static str> = None;
    /// What somebody else is changing at this moment is left to the next time, so that nobody waits.
    const COLLECT: &'static str = "
        DELETE FROM {table} WHERE expires_at <= :now AND session_key = ANY (ARRAY
        (SELECT session_key FROM {table} WHERE expires_at <= :now LIMIT {batch} FOR UPDATE SKIP LOCKED))";

    const MIGRATIONS: &'static [&'static str] = &[include_str!("../../../migrations/postgres/0001_sessions.sql")];
    /// `CREATE TABLE IF NOT EXISTS` fails when two do it at once, so one waits for the other. The number means nothing but this.
    const BEGIN: &'static str = "BEGIN;\nSELECT pg_advisory_xact_lock(5432073655309681);\n";
    const COMMIT: &'static str = "COMMIT;\n";

    fn placeholder(number: usize) -> String {
        format!("${number}")
    }

    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    fn fault(error: &dyn DatabaseError) -> Fault {
        let code = error.code().unwrap_or_default();
        match code.as_bytes() {
            // The connection has ended: an exception of its own, or the server shuts down, has crashed, or has enough of an idle one. Or the server
            // itself does not know whether the statement was executed.
            [b'0', b'8', ..] | b"57P01" | b"57P02" | b"57P05" | b"40003" => Fault::Cut,
            // Serialization failures and deadlocks.
            [b'4', b'0', ..] => Fault::Contention,
            b"23505" => Fault::Duplicate,
            // A full disk is an answer: all that is stored can still be read.
            b"53100" => Fault::Refused,
            // Too many connections and the like; starting up; cancelled; a lock that is not to be had; a standby that takes no writes.
            [b'5', b'3', ..] | [b'5', b'7', ..] | [b'5', b'5', ..] | b"25006" => Fault::Unavailable,
            _ => Fault::Refused,
        }
    }

    /// Errors about data, errors of constraints, and what functions of the user's say. sqlx leaves out the detail of all others.
    fn may_quote_data(error: &dyn DatabaseError) -> bool {
        let code = error.code().unwrap_or_default();
        ["21", "22", "23", "44", "P0", "XX"]
            .iter()
            .any(|class| code.starts_with(class))
    }

    runs_by_sqlx! {}
}

sql_driver! {
/// Sessions in a table of PostgreSQL, shared by all servers that reach it.
///
/// * A write is one statement, and so is a read. Both are right at every isolation level that the connection may have.
/// * An [owner](OwnerIndex)'s sessions are found by an index.
/// * Times are numbers, and come from the driver's clock, so no setting of a time zone matters.
/// * [`gc`](Driver::gc) removes 500 sessions at a time and waits for nobody; several servers may do it at once.
/// * The answer to a read says which session it is about. If a connection is out of step, and its answer is about
///   another session, the call fails and the connection is closed: no visitor is shown another visitor's session.
/// * When the server restarts, the driver finds back by itself. A connection that is cut in the middle of a save leads to another attempt, which knows if the
///   first was successful.
/// * [`open`](Driver::open) makes the table; who must not make one runs the file `migrations/postgres/0001_sessions.sql` of this crate before.
///
/// # TLS
///
/// By default, a connection is encrypted if the server offers it, and the server's certificate is not checked. An
/// attacker between the application and the server can then read and change everything. Over a network that you share
/// with others, add `?sslmode=verify-full` to the address. If the operating system does not trust the authority that
/// signed the certificate, also add `&sslrootcert=/path/to/ca.pem`.
///
/// # PgBouncer
///
/// Behind PgBouncer in transaction mode older than 1.21, add `?statement-cache-capacity=0` to the address.
///
/// ```no_run
/// use session_schema::{PostgresDriver, SessionLayer};
///
/// # async fn layer() -> Result<SessionLayer, Box<dyn std::error::Error>> {
/// let driver = PostgresDriver::connect("postgres://shop:secret@db.internal/shop?sslmode=verify-full").await?;
/// Ok(SessionLayer::new(driver))
/// # }
/// ```
PostgresDriver, "PostgresDriver", Postgres
}

impl PostgresDriver {
    /// A driver with up to ten connections to the database at `url`, such as `postgres://user:password@host:5432/database`, perhaps with
    /// [parameters](https://docs.rs/sqlx/latest/sqlx/postgres/struct.PgConnectOptions.html) after a `?`.
    ///
    /// # Errors
    ///
    /// When the database is out of reach, or does not let the user in.
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        connect::check_scheme(
            url,
            &["postgres", "postgresql"],
            "postgres://user:password@host/database",
        )?;
        let failed = |error: sqlx::Error| connect::error::<Postgres>(&error);
        let options: PgConnectOptions = connect::parse(url).map_err(failed)?;
        let pool = connect::pool().connect_with(options).await.map_err(failed)?;
        Ok(Self {
            store: Store::new(pool, true),
        })
    }
}
