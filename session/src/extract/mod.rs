//! The Axum extractors [`Session`] and [`TypedSession`]: they load the session of the request.
//!
//! * Extracting a session loads it, once per request, however many extractors and middleware ask for it.
//! * `Option<Session>` and `Option<TypedSession<S>>` are `None` where no [`SessionLayer`](crate::SessionLayer) is installed. A store that
//!   fails is an error all the same.
//! * A browser that prefetches a page may never show it, so such a request ages no flash and prolongs no session. What its handler
//!   changes is saved: a header that the client chooses must not switch a counter off.
//!
//! ```
//! use session_schema::Session;
//!
//! async fn visits(session: Session) -> session_schema::Result<String> {
//!     let visits = session.increment("visits", 1)?;
//!     Ok(format!("visit number {visits}"))
//! }
//! ```

mod exclusive;
mod rejection;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

pub use exclusive::Exclusive;
pub use rejection::{LoadFailed, MissingSessionLayer, SessionRejection};

use crate::session::Session;

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        load(parts).await?.ok_or_else(|| MissingSessionLayer::new().into())
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        load(parts).await
    }
}

/// The session of a request, loaded.
async fn load(parts: &Parts) -> Result<Option<Session>, SessionRejection> {
    let Some(session) = parts.extensions.get::<Session>() else {
        return Ok(None);
    };
    match session.start_as(|| is_speculative(parts)).await {
        Ok(()) => Ok(Some(session.clone())),
        Err(error) => Err(LoadFailed::new(error).into()),
    }
}

/// Whether the response may never be seen: a prefetch (Fetch metadata's `Sec-Purpose`, and the older `Purpose` and `X-Moz`) or a form that
/// is validated while it is filled in (Laravel's `Precognition`).
fn is_speculative(parts: &Parts) -> bool {
    let says = |name: &str, word: &str| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    says("sec-purpose", "prefetch")
        || says("purpose", "prefetch")
        || says("x-moz", "prefetch")
        || says("precognition", "true")
}
