//! In what databases differ.

use std::future::Future;

use sqlx::error::DatabaseError;

use super::statements::{Statement, Values};

/// A database that keeps sessions.
pub(super) trait Dialect: sqlx::Database {
    /// What encloses a name.
    const QUOTE: char;
    /// Whether tables are in schemas.
    const SCHEMAS: bool;
    /// Whether it lets one connection write at a time, so that ours had better queue in this process than wait for its lock.
    const ONE_WRITER: bool;

    /// Makes a record where there is none, or an expired one.
    const CREATE: &'static str;
    /// Where [`CREATE`](Self::CREATE) fails over an expired record: puts the new one in its place.
    const TAKE_OVER: Option<&'static str>;
    /// Removes some expired records, asking again when it deletes whether they are.
    const COLLECT: &'static str;

    /// The files of `migrations/`, in order.
    const MIGRATIONS: &'static [&'static str];
    /// What comes before migrations, so that one process runs them at a time.
    const BEGIN: &'static str;
    /// What comes after them.
    const COMMIT: &'static str;

    /// The place of the parameter of that number, counted from 1.
    fn placeholder(number: usize) -> String;

    /// What an error of the database means.
    fn fault(error: &dyn DatabaseError) -> Fault;

    /// Whether the text of an error may quote data.
    fn may_quote_data(error: &dyn DatabaseError) -> bool;

    /// Runs a statement.
    fn run(
        connection: &mut Self::Connection,
        statement: &Statement,
        values: &Values<'_>,
    ) -> impl Future<Output = sqlx::Result<Outcome>> + Send;

    /// Runs a script, such as a migration.
    fn script(connection: &mut Self::Connection, script: String) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Asks for one number.
    fn number(
        connection: &mut Self::Connection,
        query: String,
    ) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send;

    /// How many bytes a statement may have, where that is few enough to matter.
    fn longest(connection: &mut Self::Connection) -> impl Future<Output = sqlx::Result<Option<i64>>> + Send {
        let _ = connection;
        std::future::ready(Ok(None))
    }
}

/// What an error means for who has sent a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection is lost. Whether the statement was executed is not known.
    Cut,
    /// The statement got in another's way and had no effect.
    Contention,
    /// There is a record of that key.
    Duplicate,
    /// The database cannot serve now.
    Unavailable,
    /// It does not accept the statement.
    Refused,
}

/// What a statement has brought.
pub(super) enum Outcome {
    /// These records.
    Found(Vec<Row>),
    /// So many were changed or removed.
    Changed(u64),
}

/// A record as the table has it.
pub(super) struct Row {
    pub(super) key: String,
    pub(super) payload: Vec<u8>,
    pub(super) expires_at: i64,
    pub(super) owner: Option<Vec<u8>>,
    pub(super) version: i64,
}

/// The methods of [`Dialect`] that are the same words for every database, but about other types: sqlx has no trait for what they need.
macro_rules! runs_by_sqlx {
    () => {
        async fn run(
            connection: &mut Self::Connection,
            statement: &Statement,
            values: &Values<'_>,
        ) -> sqlx::Result<Outcome> {
            let mut query = sqlx::query::<Self>(AssertSqlSafe(Arc::clone(&statement.sql)));
            for parameter in &statement.parameters {
                query = match parameter {
                    Parameter::Key => query.bind(values.key),
                    Parameter::Payload => query.bind(values.payload),
                    Parameter::ExpiresAt => query.bind(values.expires_at),
                    Parameter::Owner => query.bind(values.owner),
                    Parameter::Version => query.bind(values.version),
                    Parameter::Seen => query.bind(values.seen),
                    Parameter::Now => query.bind(values.now),
                };
            }
            if !statement.reads {
                let done = query.execute(connection).await?;
                return Ok(Outcome::Changed(done.rows_affected()));
            }
            let rows = query.fetch_all(connection).await?;
            let rows = rows.iter().map(|row| {
                Ok(Row {
                    key: row.try_get(0)?,
                    payload: row.try_get(1)?,
                    expires_at: row.try_get(2)?,
                    owner: row.try_get(3)?,
                    version: row.try_get(4)?,
                })
            });
            Ok(Outcome::Found(rows.collect::<sqlx::Result<_>>()?))
        }

        async fn script(connection: &mut Self::Connection, script: String) -> sqlx::Result<()> {
            sqlx::raw_sql(AssertSqlSafe(script)).execute(connection).await?;
            Ok(())
        }

        async fn number(connection: &mut Self::Connection, query: String) -> sqlx::Result<Option<i64>> {
            sqlx::query_scalar::<Self, Option<i64>>(AssertSqlSafe(query))
                .fetch_one(connection)
                .await
        }
    };
}
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(super) use runs_by_sqlx;
