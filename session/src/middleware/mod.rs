//! The tower layer: it gives every request a session and saves it when the handler has returned.
//!
//! * A request that does not ask for its session costs a look at its `Cookie` header: nothing is parsed, read or written.
//! * The session is saved before the response goes out, whatever its status. If that fails the response becomes the error, unless
//!   [`SaveErrors::Log`](crate::SaveErrors::Log) says otherwise. A handler that panics and a service that fails save nothing.
//! * The cookie is set when it has to change, and removed only by the request whose handler ended its session: a response that merely
//!   found a dead id may be a slow one, and would remove the cookie that a sign-in has set meanwhile.
//! * A response that depends on the session carries `Vary: Cookie`; one that sets the cookie `Cache-Control: private`, unless the
//!   handler chose otherwise ([RFC 9111 section 3](https://www.rfc-editor.org/rfc/rfc9111#section-3)).
//! * Two layers on one request share the outer one's session; a warning says so once.

mod future;
mod layer;
mod service;

pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use service::SessionService;
