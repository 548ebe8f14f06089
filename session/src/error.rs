//! What can go wrong while a session is used.

use std::error::Error as StdError;
use std::fmt;

use http::StatusCode;

/// The source of an [`Error`] or a [`DriverError`].
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be done with a session.
///
/// The error is opaque: ask [`kind`](Error::kind) what to do about it. Its texts name keys and Rust
/// types, never ids or stored values.
///
/// With the feature `axum` it is a response with the [`status`](Error::status) of its kind and an empty body. What
/// happened is in the log. Every response that the library makes itself, this one included, has the [`ErrorKind`] as an
/// extension. So `axum::middleware::map_response` outside the [`SessionLayer`](crate::SessionLayer) can turn it into
/// the application's own page.
///
/// It is one pointer, so that a `Result` of what can go wrong is hardly larger than what goes well.
pub struct Error(Box<Reason>);

struct Reason {
    kind: ErrorKind,
    message: Box<str>,
    source: Option<BoxError>,
}

/// What sort of [`Error`] it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The stored payload is not what a session writes.
    Decode,
    /// The value cannot be written as JSON: NaN, an infinity, a map whose keys are not strings or numbers.
    Encode,
    /// The value under the key has another type than the one asked for, or no room for the change.
    WrongType,
    /// The key begins with `_`; such keys belong to the library.
    ReservedKey,
    /// Other requests changed the session so often meanwhile that the save was given up.
    Conflict,
    /// The store is out of reach, or did not answer in time.
    Unavailable,
    /// The store answered with an error, or the random generator of the operating system did.
    Driver,
    /// The response has been sent; the session takes no more changes.
    Committed,
    /// The session has grown larger than the layer allows.
    TooLarge,
    /// Another request has been using the session exclusively for longer than this one may wait, or has given it a new
    /// id during the wait.
    Busy,
    /// The session has been given a new id or another owner since the request loaded it. These changes were not saved. What an earlier `save` of the
    /// request stored stays. Trying again helps.
    Superseded,
    /// A sign-in was refused, because the session that the request loaded has ended. Nobody was signed in.
    SignInRefused,
    /// The application is not set up correctly: a handler's route has no [`SessionLayer`](crate::SessionLayer), or it
    /// has two that keep different sessions in cookies of the same name.
    Unsupported,
}

impl ErrorKind {
    /// See [`Error::status`].
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unavailable | Self::Conflict => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy => StatusCode::LOCKED,
            Self::Superseded | Self::SignInRefused => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Error {
    #[cold]
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Reason {
            kind,
            message: message.into().into_boxed_str(),
            source: None,
        }))
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the status of the response that the error becomes.
    ///
    /// * 503 if the store is out of reach, or too many requests save the same session.
    /// * 423 if another request has the session exclusively.
    /// * 409 if the session has been given a new id that this request must not follow, has been given another owner, or
    ///   has ended.
    /// * 500 otherwise.
    pub fn status(&self) -> StatusCode {
        self.kind().status()
    }

    pub(crate) fn reserved_key(key: &str) -> Self {
        Self::new(
            ErrorKind::ReservedKey,
            format!("the session key `{key}` is reserved: choose one that does not begin with `_`"),
        )
    }

    pub(crate) fn read_only() -> Self {
        Self::new(
            ErrorKind::Unavailable,
            "the session store could not be read, so this request has an empty session that takes no changes: see `LoadErrors::Empty`",
        )
    }

    /// A save that was refused. `kind` is [`Superseded`](ErrorKind::Superseded) or
    /// [`SignInRefused`](ErrorKind::SignInRefused).
    pub(crate) fn refused(kind: ErrorKind) -> Self {
        Self::new(
            kind,
            match kind {
                ErrorKind::SignInRefused => {
                    "the sign-in was refused: another request has ended the session, or given it a new id, so nobody is signed in; sign in again"
                }
                _ => {
                    "another request has given the session a new id, which this request must not follow: its changes were not saved; try again"
                }
            },
        )
    }

    pub(crate) fn no_more_cookie() -> Self {
        Self::new(
            ErrorKind::Committed,
            "the response has been sent, so the browser cannot be told a new session id: create or `regenerate` a session before \
             the handler returns",
        )
    }

    pub(crate) fn committed() -> Self {
        Self::new(
            ErrorKind::Committed,
            "the session was changed after its response had been sent: make the change before the handler returns, or, in a task \
             that goes on, after `reload`, and `save` it there",
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        let (kind, message) = match error.is_unavailable() {
            true => (ErrorKind::Unavailable, "the session store is out of reach"),
            false => (ErrorKind::Driver, "the session store answered with an error"),
        };
        Self::new(kind, message).with_source(error.0.source)
    }
}

/// Why a driver could not do what it was asked.
///
/// A driver says no more than whose fault it is: [`unavailable`](DriverError::unavailable) becomes 503,
/// [`backend`](DriverError::backend) 500. The source goes to the log, so it must hold no session id and no
/// stored value.
pub struct DriverError(Box<Failure>);

struct Failure {
    unavailable: bool,
    source: BoxError,
}

impl DriverError {
    /// The store is out of reach or did not answer in time: trying again later may help.
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(true, source.into())
    }

    /// The store answered with an error.
    pub fn backend(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::of(false, source.into())
    }

    #[cold]
    fn of(unavailable: bool, source: BoxError) -> Self {
        Self(Box::new(Failure { unavailable, source }))
    }

    /// Whether the store was out of reach, as opposed to answering with an error.
    pub fn is_unavailable(&self) -> bool {
        self.0.unavailable
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.is_unavailable() {
            true => "the session store is out of reach",
            false => "the session store answered with an error",
        })
    }
}

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverError")
            .field("unavailable", &self.0.unavailable)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for DriverError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.source.as_ref())
    }
}

/// What is wrong with a setting. It is found when the application starts, never while it serves.
pub struct ConfigError {
    message: Box<str>,
    source: Option<BoxError>,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into().into_boxed_str(),
            source: None,
        }
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigError")
            .field("message", &self.message)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for ConfigError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
