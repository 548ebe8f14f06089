//! Sessions in a store that was written for tower-sessions.

mod driver;
mod format;

pub use driver::TowerSessionsDriver;
