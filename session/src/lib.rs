//! Typed sessions.
#![allow(dead_code, unused)]
mod clock;
mod driver;
mod error;
mod id;
mod payload;
mod record;
#[cfg(feature = "testing")]
pub mod testing;

pub use clock::{Clock, SystemClock};
pub use driver::*;
pub use error::{ConfigError, DriverError, Error, ErrorKind, Result};
pub use id::{MalformedId, SessionId, StoreKey};
pub use record::{IntoOwner, Record, Version};
