//! Typed sessions.
#![allow(dead_code, unused)]
mod backend;
mod changes;
mod clock;
mod codec;
mod config;
mod cookie;
mod draft;
mod driver;
mod error;
mod expiry;
#[cfg(feature = "axum")]
mod extract;
mod flash;
mod id;
mod lease;
mod manager;
mod middleware;
mod payload;
mod record;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::cookie::SameSite;
pub use clock::{Clock, SystemClock};
pub use config::{Config, SaveErrors};
pub use driver::*;
pub use error::{ConfigError, DriverError, Error, ErrorKind, Result};
#[cfg(feature = "axum")]
pub use extract::{Exclusive, LoadFailed, MissingSessionLayer, SessionRejection};
pub use id::{MalformedId, SessionId, StoreKey};
pub use manager::{SessionManager, StoredSession};
pub use middleware::{ResponseFuture, SessionLayer, SessionService};
pub use record::{IntoOwner, Record, Version};
pub use session::Session;
