//! When the store is down: requests fail at once or go on without it, and all is well again when it is back.

#[path = "outages/circuit.rs"]
mod circuit;
#[path = "outages/empty.rs"]
mod empty;
#[path = "outages/limits.rs"]
mod limits;
