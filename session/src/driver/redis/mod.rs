//! Sessions in Redis or Valkey, shared by many machines.
//!
//! * `address.rs`: what a URL says: one server, a cluster, or Sentinels that know the server.
//! * `connection.rs`: one connection for all requests, made anew when it is lost.
//! * `node.rs`: the connection to one node of a cluster, which knows when an answer was lost.
//! * `tracking.rs`: the server's word that sessions have changed, for caches.
//! * `scripts.rs` and the `.lua` files: what the server does in one step.
//! * `format.rs`: a record as one string, and the names of keys.
//! * `write.rs`: what a write sends.
//! * `due.rs`: from when on a read has something to prolong.
//! * `driver.rs`: a [`Driver`](crate::Driver) of these.
//! * `owners.rs`: its index of owners.
//! * `error.rs`: what can go wrong, told without keys, values and addresses.

mod address;
mod connection;
mod driver;
mod due;
mod error;
mod format;
mod node;
mod owners;
mod scripts;
mod tracking;
mod write;

pub use driver::RedisDriver;
