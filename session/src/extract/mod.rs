//! The Axum extractors: they load the session of the request. [`Session`] says how they behave.

mod exclusive;
mod rejection;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

pub use exclusive::Exclusive;
pub use rejection::{LoadFailed, MissingSessionLayer, SessionRejection};

use crate::schema::SessionSchema;
use crate::session::{Attached, Session, is_speculative};
use crate::typed::TypedSession;

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

impl<S: Send + Sync, T: SessionSchema> FromRequestParts<S> for TypedSession<T> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let session = <Session as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(session.into())
    }
}

impl<S: Send + Sync, T: SessionSchema> OptionalFromRequestParts<S> for TypedSession<T> {
    type Rejection = SessionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(load(parts).await?.map(Self::from))
    }
}

/// The session of a request, loaded.
async fn load(parts: &Parts) -> Result<Option<Session>, SessionRejection> {
    let Some(Attached { session, .. }) = Attached::of(&parts.extensions) else {
        return Ok(None);
    };
    match session.start_as(|| is_speculative(&parts.headers)).await {
        Ok(()) => Ok(Some(session.clone())),
        Err(error) => Err(LoadFailed::new(error).into()),
    }
}
