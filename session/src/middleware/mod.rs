//! The tower layers.
//!
//! [`SessionLayer`] gives every request a session and saves it when the handler has returned: [`SessionService`] puts the session on the
//! request, [`ResponseFuture`] saves it before the response goes out. [`Passive`] marks requests that are no activity.

mod caching;
mod future;
mod layer;
mod outcome;
mod passive;
mod service;

pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use passive::{Passive, PassiveService};
pub use service::SessionService;
