//! Sessions in a store that was written for tower-sessions.

mod driver;
mod format;
mod stripes;

pub use driver::TowerSessionsDriver;
