//! What a driver stores of a session.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::payload::Payload;

/// A session as the store keeps it: a payload, when it expires, whose it is, and which version of it this is.
///
/// Cloning one is cheap; the clones share the payload. A driver that keeps records in this process keeps them as they are and
/// so spares every request the reading of the payload.
#[derive(Clone)]
pub struct Record {
    payload: Payload,
    expires_at: SystemTime,
    owner: Option<Arc<str>>,
    version: Version,
    /// The record comes from a cache, so the store may have another one by now.
    cached: bool,
}

impl Record {
    /// A record with `payload`, which is a JSON object for all but damaged records, and the moment from which it is expired.
    pub fn new(payload: Vec<u8>, expires_at: SystemTime) -> Self {
        Self::of(Payload::new(payload), expires_at)
    }

    pub(crate) fn of(payload: Payload, expires_at: SystemTime) -> Self {
        Self {
            payload,
            expires_at,
            owner: None,
            version: Version::default(),
            cached: false,
        }
    }

    /// The same record, taken from a cache.
    #[cfg(feature = "cache")]
    pub(crate) fn into_cached(mut self) -> Self {
        self.cached = true;
        self
    }

    /// Whether the record was taken from a cache. Then it is unknown whether the store still had it when it was read.
    pub(crate) fn is_cached(&self) -> bool {
        self.cached
    }

    /// The same record, belonging to `owner`: a name, or an `Option` of one.
    #[must_use]
    pub fn with_owner(mut self, owner: impl IntoOwner) -> Self {
        self.owner = owner.into_owner();
        self
    }

    /// The same record as version `version`; the driver says which.
    #[must_use]
    pub fn with_version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// The same record, expiring at another time.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: SystemTime) -> Self {
        self.expires_at = expires_at;
        self
    }

    /// The bytes to store.
    pub fn payload(&self) -> &[u8] {
        self.payload.text()
    }

    pub(crate) fn parsed(&self) -> &Payload {
        &self.payload
    }

    /// The moment from which the record is expired.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Whether the record is expired at `now`: when `now` is its expiry or later.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.expires_at
    }

    /// Whose session it is, for [`OwnerIndex`](crate::OwnerIndex).
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(crate) fn shared_owner(&self) -> Option<Arc<str>> {
        self.owner.clone()
    }

    /// Which version of the record this is. What is passed to [`write`](crate::Driver::write) has none worth reading.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("payload", &self.payload)
            .field("expires_at", &self.expires_at)
            .field("owner", &self.owner.as_ref().map(|_| ".."))
            .field("version", &self.version)
            .finish()
    }
}

/// What [`Record::with_owner`] takes: `&str`, `&String`, `String` or `Arc<str>`, or an `Option` of one of them.
pub trait IntoOwner {
    /// The owner's name, if there is one.
    fn into_owner(self) -> Option<Arc<str>>;
}

macro_rules! into_owner {
    ($($name:ty),*) => {$(
        impl IntoOwner for $name {
            fn into_owner(self) -> Option<Arc<str>> {
                Some(self.into())
            }
        }
        impl IntoOwner for Option<$name> {
            fn into_owner(self) -> Option<Arc<str>> {
                self.map(Into::into)
            }
        }
    )*};
}

into_owner!(&str, String, Arc<str>);

impl IntoOwner for &String {
    fn into_owner(self) -> Option<Arc<str>> {
        self.as_str().into_owner()
    }
}

impl IntoOwner for Option<&String> {
    fn into_owner(self) -> Option<Arc<str>> {
        self.map(String::as_str).into_owner()
    }
}

/// Tells two states of one record apart. A driver counts, or hashes the content; nobody else draws conclusions from the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// A version that no other write has, in whatever process, not even in a fork of this one: from the operating system. So none ever comes back, though
    /// nothing is left to count from once a record is gone, and processes need not agree on a count.
    #[cfg(any(
        feature = "file",
        feature = "sqlite",
        feature = "postgres",
        feature = "mysql",
        feature = "redis",
        feature = "tower-sessions"
    ))]
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        getrandom::u64().map(Self)
    }
}

impl From<u64> for Version {
    fn from(version: u64) -> Self {
        Self(version)
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}
