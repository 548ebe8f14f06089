//! Sessions in a table: [`SqliteDriver`], [`PostgresDriver`], [`MySqlDriver`].
//!
//! What a database does otherwise than the others stands in its file here, on a page: the statements that differ, and what its errors mean. All else
//! is shared:
//!
//! * `statements` says what is asked of a database, `table` where.
//! * `store` is the driver's methods over it, for any database; `driver` gives them to the three public types.
//! * `attempts` runs a statement, again where that is safe; `opening` makes the table; `error` tells what went wrong without telling data.
//!
//! # Versions
//!
//! Every write gives the record a new random number of 64 bits, from the operating system, as its version. So no version comes back, not
//! even after the record was destroyed and made again: a write that should conflict is taken for one that should not with a chance of 2^-64. And because
//! the driver knows the number before it sends the statement, it can tell, after the connection was cut in the middle, whether the write has been done.

mod attempts;
mod connect;
mod dialect;
mod driver;
mod error;
mod opening;
mod statements;
mod store;
mod table;
mod time;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "mysql")]
pub use mysql::MySqlDriver;
#[cfg(feature = "postgres")]
pub use postgres::PostgresDriver;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteDriver;
