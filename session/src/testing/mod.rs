//! For tests: the driver contract, a clock to set by hand. Feature `testing`.
//!
//! * [`driver_contract!`] makes one test of every sentence in the documentation of [`Driver`](crate::Driver) and
//!   [`OwnerIndex`](crate::OwnerIndex). Every driver of this library passes it; the author of another one calls it once.
//! * [`ManualClock`] is a time that stands still until it is [advanced](ManualClock::advance), so that no test sleeps.
//! * [`typed_session`] and [`session`] are sessions for unit tests of handlers, without a server; [`next_request`] is the same visitor's
//!   next request, [`changes`] what a handler changed.
//!
//! # The tests of a driver
//!
//! ```
//! use session_schema::MemoryDriver;
//! use session_schema::testing::{Harness, ManualClock, driver_contract};
//!
//! driver_contract! {
//!     mod memory;
//!     owners: true;
//!     harness: {
//!         let clock = ManualClock::new();
//!         Harness::new(MemoryDriver::new().with_clock(clock.clone())).with_clock(&clock)
//!     };
//! }
//! # fn main() {}
//! ```

mod clock;
pub mod contract;
mod harness;
mod sessions;

#[doc(inline)]
pub use crate::driver_contract;
pub use clock::ManualClock;
pub use harness::Harness;
#[doc(hidden)]
pub use harness::{run, run_unopened};
pub use sessions::{changes, next_request, session, typed_session};
