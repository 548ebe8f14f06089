//! A local cache in front of any driver.
//!
//! [`CachedDriver`] says what it does; `records` keeps what was read, `order` tells what may be kept of calls that overlap.

mod driver;
mod order;
mod records;

pub use driver::CachedDriver;
