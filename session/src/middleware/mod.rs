//! The tower layer: it gives every request a session and saves it when the handler has returned.
//!
//! [`SessionLayer`] says what it does; [`SessionService`] puts the session on the request, [`ResponseFuture`] saves it before the response goes out.

mod future;
mod layer;
mod outcome;
mod service;

pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use service::SessionService;
