//! Typed sessions.
#![allow(dead_code, unused)]

#[cfg(test)]
extern crate self as session_schema;

mod clock;
mod codec;
mod driver;
mod error;
mod id;
mod payload;
#[doc(hidden)]
pub mod private;
mod record;
mod schema;
mod session;
mod typed;

pub use clock::{Clock, SystemClock};
pub use driver::*;
pub use error::{ConfigError, DriverError, Error, ErrorKind, Result};
pub use id::{MalformedId, SessionId, StoreKey};
pub use record::{IntoOwner, Record, Version};
pub use schema::{Data, DataKeyOf, Flash, Integer, Key, KeyInfo, KeyKind, KeyOf, Kind, List, SessionSchema, StoreAs};
pub use session::Session;
pub use session_schema_derive::SessionSchema;
pub use typed::TypedSession;
