//! What can go wrong with a database, told without data, keys and passwords.

use std::error::Error as StdError;
use std::fmt;

use super::dialect::{Dialect, Fault};
use super::table::Table;
use crate::error::DriverError;

/// What could not be done, with which table if it came so far; the source says why.
#[derive(Debug)]
pub(super) struct SqlError {
    purpose: &'static str,
    table: Option<Table>,
    cause: Cause,
}

/// The error of the database or of sqlx, as far as it can be shown.
#[derive(Debug)]
struct Cause(String);

/// What an error means, wherever it comes from.
pub(super) fn fault<D: Dialect>(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => Fault::Cut,
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => Fault::Unavailable,
        sqlx::Error::Database(error) => D::fault(&**error),
        _ => Fault::Refused,
    }
}

/// The error for who uses the driver.
pub(super) fn driver_error<D: Dialect>(
    purpose: &'static str,
    table: Option<&Table>,
    error: &sqlx::Error,
) -> DriverError {
    let told = SqlError {
        purpose,
        table: table.cloned(),
        cause: Cause(cause::<D>(error)),
    };
    match fault::<D>(error) {
        Fault::Cut | Fault::Contention | Fault::Unavailable => DriverError::unavailable(told),
        Fault::Duplicate | Fault::Refused => DriverError::backend(told),
    }
}

fn cause<D: Dialect>(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match D::may_quote_data(&**error) {
                true => format!("error {code} of the database, whose text is left out because it may quote data"),
                false => format!("error {code} of the database: {}", error.message()),
            }
        }
        sqlx::Error::PoolTimedOut => {
            "no connection could be had in time: the database is out of reach, or the pool is too small".to_owned()
        }
        sqlx::Error::PoolClosed => "the driver has been closed".to_owned(),
        // These speak of connections, addresses, columns and types.
        other => other.to_string(),
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.purpose)?;
        match &self.table {
            Some(table) => write!(f, " (table `{table}`)"),
            None => Ok(()),
        }
    }
}

impl StdError for SqlError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}
