use std::error::Error as StdError;
use std::fmt;

use crate::error::{Error, ErrorKind};
use axum_core::response::{IntoResponse, Response};

/// Why a session could not be extracted.
#[derive(Debug)]
#[non_exhaustive]
pub enum SessionRejection {
    /// No layer has given the request a session.
    MissingSessionLayer(MissingSessionLayer),
    /// The store could not be read, or [exclusive use](crate::Exclusive) of the session could not be had.
    LoadFailed(LoadFailed),
}

/// No layer has given the request a session: the application lacks `.layer(SessionLayer::new(..))`, or has it on other routes.
#[derive(Debug)]
#[non_exhaustive]
pub struct MissingSessionLayer;

/// The session could not be loaded, or not be had [exclusively](crate::Exclusive). The handler is not called: it would take the visitor for another.
#[derive(Debug)]
pub struct LoadFailed(Error);

impl MissingSessionLayer {
    pub(super) fn new() -> Self {
        tracing::error!(
            target: "session_schema",
            "a handler asked for a session, but no `SessionLayer` is installed on its route: add `.layer(SessionLayer::new(driver))` to the router"
        );
        Self
    }
}

impl LoadFailed {
    pub(super) fn new(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Busy => tracing::info!(
                target: "session_schema",
                err = &error as &dyn StdError,
                "a request has waited in vain for exclusive use of its session"
            ),
            kind => tracing::error!(
                target: "session_schema",
                err = &error as &dyn StdError,
                ?kind,
                "a session could not be loaded"
            ),
        }
        Self(error)
    }

    /// Why: what the store said, or that another request has the session exclusively.
    pub fn error(&self) -> &Error {
        &self.0
    }

    /// The same, for a handler's own error type.
    pub fn into_error(self) -> Error {
        self.0
    }
}

impl From<MissingSessionLayer> for SessionRejection {
    fn from(missing: MissingSessionLayer) -> Self {
        tracing::trace!(target: "session_schema", rejection = "MissingSessionLayer", "request rejected");
        Self::MissingSessionLayer(missing)
    }
}

impl From<LoadFailed> for SessionRejection {
    fn from(failed: LoadFailed) -> Self {
        tracing::trace!(target: "session_schema", rejection = "LoadFailed", "request rejected");
        Self::LoadFailed(failed)
    }
}

/// 500 for a missing layer, 503 or 500 if the store fails, 423 if another request has the session exclusively. The
/// response never contains details. It has the [`ErrorKind`] as an extension, which is [`ErrorKind::Unsupported`] for a
/// missing layer.
impl IntoResponse for SessionRejection {
    fn into_response(self) -> Response {
        match self {
            Self::MissingSessionLayer(missing) => missing.into_response(),
            Self::LoadFailed(failed) => failed.into_response(),
        }
    }
}

impl IntoResponse for MissingSessionLayer {
    fn into_response(self) -> Response {
        refusal(ErrorKind::Unsupported)
    }
}

impl IntoResponse for LoadFailed {
    fn into_response(self) -> Response {
        refusal(self.0.kind())
    }
}

/// A response without a body. The kind is an extension, so that the application can turn the response into a page.
fn refusal(kind: ErrorKind) -> Response {
    let mut response = kind.status().into_response();
    response.extensions_mut().insert(kind);
    response
}

/// As a response that a handler returns; what it was is logged.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        tracing::error!(
            target: "session_schema",
            err = &self as &dyn StdError,
            kind = ?self.kind(),
            "a handler could not use its session"
        );
        refusal(self.kind())
    }
}

impl fmt::Display for SessionRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingSessionLayer(missing) => missing.fmt(f),
            Self::LoadFailed(failed) => failed.fmt(f),
        }
    }
}

impl fmt::Display for MissingSessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has no session: no `SessionLayer` is installed on its route")
    }
}

impl fmt::Display for LoadFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session could not be loaded")
    }
}

impl StdError for SessionRejection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::MissingSessionLayer(_) => None,
            Self::LoadFailed(failed) => failed.source(),
        }
    }
}

impl StdError for MissingSessionLayer {}

impl StdError for LoadFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}
