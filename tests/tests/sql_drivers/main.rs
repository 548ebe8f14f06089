//! What is special about sessions in a database: the table, its rights and names, many at once, statements, broken connections.

mod configured;
mod contention;
mod cut;
mod errors;
mod opening;
mod place;
mod restart;
mod sqlite;
mod statements;
mod tables;
mod tls;
mod values;
