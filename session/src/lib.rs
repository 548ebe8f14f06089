//! Typed sessions.
#![allow(dead_code, unused)]
mod clock;
mod codec;
mod driver;
mod error;
mod id;
mod payload;
mod record;
mod session;

pub use clock::{Clock, SystemClock};
pub use driver::*;
pub use error::{ConfigError, DriverError, Error, ErrorKind, Result};
pub use id::{MalformedId, SessionId, StoreKey};
pub use record::{IntoOwner, Record, Version};
pub use session::Session;
