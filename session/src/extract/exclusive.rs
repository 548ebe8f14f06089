use std::fmt;
use std::ops::Deref;

use axum_core::extract::FromRequestParts;
use http::request::Parts;

use super::load;
use super::rejection::{LoadFailed, MissingSessionLayer, SessionRejection};
use crate::session::Session;

/// A session that no other request uses exclusively at the same time, in whatever process that shares the store:
/// `Exclusive<TypedSession<Shop>>`, `Exclusive<Session>`.
///
/// For handlers with effects that cannot be replayed ("charge once"). Ordinary changes need no such thing: they are never lost.
///
/// * The extractor waits until the request before it has saved its session, and loads the session then. After
///   [`SessionLayer::with_exclusive_wait`](crate::SessionLayer::with_exclusive_wait) the request is rejected with 423 Locked. So it is when another has
///   given the session a new id meanwhile, which the browser will come back with.
/// * Who waits asks the store again after a pause that grows to a quarter of a second. So those who wait come in no particular order.
/// * Requests that do not ask for exclusive use never wait, and are not kept out.
/// * A process that dies frees it within ten seconds. A process that is halted for longer than that loses it, and a warning says so when it goes on.
/// * A visitor without a session has it to himself.
///
/// ```
/// use session_schema::{Exclusive, Result, Session};
///
/// async fn pay(session: Exclusive<Session>) -> Result<&'static str> {
///     if session.has("paid") {
///         return Ok("You have paid already.");
///     }
///     // The card is charged here, once.
///     session.put("paid", true)?;
///     Ok("Thank you.")
/// }
/// ```
pub struct Exclusive<T>(T);

impl<T> Exclusive<T> {
    /// The session, which stays exclusive until it has been saved with the response.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Exclusive<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Exclusive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exclusive").field(&self.0).finish()
    }
}

impl<S: Send + Sync, T: From<Session>> FromRequestParts<S> for Exclusive<T> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let session = load(parts).await?.ok_or_else(MissingSessionLayer::new)?;
        match session.lock_out_others().await {
            Ok(()) => Ok(Self(session.into())),
            Err(error) => Err(LoadFailed::new(error).into()),
        }
    }
}
