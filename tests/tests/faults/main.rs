//! Faults of real servers, disks and clocks under load, through the whole stack: what the visitor gets, what the operator reads, and what is there afterwards.
//!
//! `cargo test -p session-tests --test faults -- --nocapture` prints how long it took until all was well again. `session/docs/faults.md` has the table.

mod clocks;
mod failover;
mod full;
mod killed;
mod load;
mod silent;
