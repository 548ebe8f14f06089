//! What connecting has in common: the pool's settings, and an address of the right kind.

use std::str::FromStr;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use tracing::subscriber::NoSubscriber;

use super::dialect::Dialect;
use super::error::driver_error;
use crate::error::DriverError;

/// How long a request waits for a connection: less than the layer waits for the store (5 s), so that the error says what was wrong.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many connections a driver has at most. A statement takes less than a millisecond, so ten serve some thousands of requests a second.
const CONNECTIONS: u32 = 10;

/// A pool for sessions. It does not ask a connection whether it works before each use: `attempts` deals with those that do not.
pub(super) fn pool<D: Dialect>() -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
}

/// An error unless `url` begins with one of `schemes`.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn check_scheme(url: &str, schemes: &[&str], example: &str) -> Result<(), DriverError> {
    let known = url
        .split_once("://")
        .is_some_and(|(scheme, _)| schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)));
    known.then_some(()).ok_or_else(|| of_another_kind(example))
}

/// What the URL is instead is not repeated: it may hold a password.
pub(super) fn of_another_kind(example: &str) -> DriverError {
    DriverError::backend(format!(
        "the `url` of the session database is of another kind: write one such as `{example}`"
    ))
}

/// What a URL says. sqlx writes parameters that it does not know to the log with their values, one of which may be a password that was given another name.
pub(super) fn parse<T: FromStr<Err = sqlx::Error>>(url: &str) -> sqlx::Result<T> {
    tracing::subscriber::with_default(NoSubscriber::default(), || url.parse())
}

/// The error of an attempt to connect.
pub(super) fn error<D: Dialect>(error: &sqlx::Error) -> DriverError {
    driver_error::<D>("connect to the database of sessions", None, error)
}
