//! Where sessions are kept.
//!
//! [`Driver`] is what a store has to do; its documentation is a contract, and every sentence of it is a test of
//! `session_schema::testing`, which the author of a driver runs with one macro call.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};

#[cfg(feature = "cache")]
mod cached;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;
mod watch;

// Packages have the same names as two of the modules.
#[cfg(feature = "redis")]
pub use self::redis::RedisDriver;
#[cfg(feature = "tower-sessions")]
pub use self::tower_sessions::TowerSessionsDriver;
#[cfg(feature = "cache")]
pub use cached::CachedDriver;
#[cfg(feature = "file")]
pub use file::FileDriver;
#[cfg(feature = "memory")]
pub use memory::MemoryDriver;
#[cfg(feature = "mysql")]
pub use sql::MySqlDriver;
#[cfg(feature = "postgres")]
pub use sql::PostgresDriver;
#[cfg(feature = "sqlite")]
pub use sql::SqliteDriver;
pub use watch::Watcher;

/// A store of session records.
///
/// A driver keeps at most one record under a key. Keys are compared byte by byte; what happens to one touches no other. A payload is
/// bytes, which are kept as they are, whatever they mean.
///
/// A driver changes a record only if it is in the state its writer has seen (compare-and-swap), which is all that is needed so that
/// concurrent requests lose nothing: of many that write at once on what they have seen, one succeeds.
///
/// An expired record counts as absent in every method, from the moment it expires, whether or not [`gc`](Driver::gc) has run.
///
/// Dropping the future of a method leaves the record as it was or as it was to become, and nothing in between. So does
/// reading while another writes. The layer drops what takes longer than its [time limit](crate::SessionLayer::with_store_timeout).
///
/// Not every record is a session: leases of [`Exclusive`](https://docs.rs/session-schema/latest/session_schema/struct.Exclusive.html), and the marks that lead from an id that was given up to
/// the new one, are stored in the same way.
///
/// # Errors
///
/// [`DriverError::unavailable`] says that the store as a whole is out of reach: after five in a row the layer asks it for nothing for some seconds. What is
/// wrong with one record, such as its size, is [`DriverError::backend`].
///
/// # A driver around another one
///
/// One that logs or measures passes on every method, those that have a default too: [`read_fresh`](Driver::read_fresh), or what is decided on fresh data is decided on what a
/// cache knew; [`owners`](Driver::owners) and [`watch`](Driver::watch), or the store seems to have neither. `Arc` and `Box` do so.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Makes what the store needs: the directory, the table. Called once before the first use; calling it again changes nothing. Where its future was
    /// dropped, it is called again, and nothing that was left half done is in the way, be it of this driver or of another one over the same store.
    ///
    /// # Errors
    ///
    /// As for every method: [`DriverError::unavailable`] when the store is out of reach, [`DriverError::backend`] when it
    /// answered with an error.
    async fn open(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Gives back what the driver holds, such as connections. What was written stays written.
    async fn close(&self) -> Result<(), DriverError> {
        Ok(())
    }

    /// The record under `key`, with its payload, expiry, owner and version, or `None` when there is none.
    ///
    /// A store may keep the expiry to the millisecond only, rounded down: no record outlives what it said.
    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError>;

    /// As [`read`](Driver::read), but never from a cache: the record as it is in the store now. A driver that caches has to say how; one around another driver
    /// passes it on.
    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.read(key).await
    }

    /// Stores `record` under `key` if what is there is what was `expected`, in one atomic step.
    ///
    /// * [`Expected::Absent`] and no record: stored, [`Written::Done`].
    /// * [`Expected::Absent`] and a record: nothing changes, [`Written::Conflict`].
    /// * [`Expected::Version`] and that version: payload, expiry and owner are replaced, [`Written::Done`].
    /// * [`Expected::Version`] and another version: nothing changes, [`Written::Conflict`], with the record that is there if the store can tell.
    /// * [`Expected::Version`] and no record: nothing is stored, [`Written::Gone`]. A destroyed session stays destroyed.
    ///
    /// [`Written::Done`] names the version that the record has from now on. A version that a key has had never comes back with
    /// another payload or owner, not even after the record was destroyed, or expired, and was made again.
    ///
    /// A record whose expiry is in the past is taken and absent at once.
    ///
    /// [`Written::Conflict`] and [`Written::Gone`] mean that this call has stored nothing. A driver that asks the store a second time, because an answer was lost, has to
    /// know its own first attempt again, by the version it chose for instance; where it cannot tell it returns an error. An error leaves it open
    /// whether the record was stored.
    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError>;

    /// Moves the expiry of the record under `key`, be it later or earlier, and says whether there was one. Payload, owner and version stay,
    /// so that a touch conflicts with no write. It never revives or creates a record.
    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError>;

    /// Removes the record under `key`, and says whether there was one. A write or a touch at the same time does not bring it back.
    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError>;

    /// Removes what has expired, nothing else, and says how many records that were; 0 for a store that forgets by itself.
    async fn gc(&self) -> Result<u64, DriverError>;

    /// The driver's index of owners, if it keeps one.
    fn owners(&self) -> Option<&dyn OwnerIndex> {
        None
    }

    /// The driver's ability to prolong a session with the message that reads it, if it has that. Only drivers of this crate do: they know where
    /// the payload says how long a session is to live.
    #[doc(hidden)]
    fn rolling(&self) -> Option<&dyn RollingRead> {
        None
    }

    /// What [`read`](Driver::read) would answer at the moment `now`, where the driver has it in the memory of this process and so need not be waited for; `None`
    /// where it has not, or does not know. The layer spares itself the future, the time limit and a second look at the clock.
    #[doc(hidden)]
    fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        _ = (key, now);
        None
    }

    /// Which driver this is, for pointers to one: two layers over clones of one `Arc` keep the same sessions.
    #[doc(hidden)]
    fn identity(&self) -> Option<usize> {
        None
    }

    /// The driver's ability to write without being waited for, if it keeps sessions nowhere but in the memory of this process. One around another driver
    /// answers with itself or not at all, or writes go past it.
    #[doc(hidden)]
    fn in_memory(&self) -> Option<&dyn InMemory> {
        None
    }

    /// Has `watcher` told of changes in the store from now on, by whomever they are made, for as long as the driver lives; `false`, and nothing else, if the
    /// store does not report any. [`CachedDriver`](https://docs.rs/session-schema/latest/session_schema/struct.CachedDriver.html) asks for it once, when the driver has been
    /// opened, and reads from the store until it is told that it is [watching](Watcher::watching).
    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        drop(watcher);
        false
    }
}

/// A write that takes no time worth a future, a time limit and a second look at the clock.
#[doc(hidden)]
pub trait InMemory: Send + Sync {
    /// As [`Driver::write`], at the moment `now`. It runs under the lock of a session, so it must neither wait nor use one.
    fn write_now(&self, key: &StoreKey, record: Record, expected: Expected, now: SystemTime) -> Written;
}

/// A read that moves the expiry of a session in the same step, when that is due.
#[doc(hidden)]
#[async_trait]
pub trait RollingRead: Send + Sync {
    /// As [`Driver::read`]. The session is prolonged as a request that uses it now does, by its own lifetime or, where it has none, by `lifetime`, but not
    /// beyond `absolute` since it began. Says whether that was worth it; the record has the new expiry then. What is no session is not prolonged.
    async fn read_rolling(
        &self,
        key: &StoreKey,
        lifetime: Duration,
        absolute: Option<Duration>,
    ) -> Result<Option<(Record, bool)>, DriverError>;
}

/// What a store can be asked about the owners of its sessions: "log out everywhere else".
///
/// The index says what the records say: whose a session is changes with every write that names another owner, and an expired
/// or destroyed session is nobody's.
#[async_trait]
pub trait OwnerIndex: Send + Sync {
    /// The live sessions whose record names `owner`, compared byte by byte.
    ///
    /// # Errors
    ///
    /// As for [`Driver`].
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError>;

    /// Destroys the live sessions of `owner`, all but the one under `except`, and says how many. Those of others stay.
    ///
    /// A session that is the owner's from before the call until it is destroyed is not overlooked, whatever else is written meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`Driver`].
    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError>;
}

/// What the writer of a record believes to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// This version.
    Version(Version),
}

/// What became of a [`write`](Driver::write).
#[derive(Clone, Debug)]
pub enum Written {
    /// The record is stored, as this version.
    Done(Version),
    /// There was another record: this one, if the store can tell.
    Conflict(Option<Record>),
    /// There was no record to replace.
    Gone,
}

macro_rules! forward_driver {
    ($($pointer:ty, [$($generics:tt)*], $identity:expr;)*) => {$(
        #[async_trait]
        impl<$($generics)*> Driver for $pointer {
            async fn open(&self) -> Result<(), DriverError> {
                (**self).open().await
            }
            async fn close(&self) -> Result<(), DriverError> {
                (**self).close().await
            }
            async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
                (**self).read(key).await
            }
            async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
                (**self).write(key, record, expected).await
            }
            async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
                (**self).touch(key, expires_at).await
            }
            async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
                (**self).destroy(key).await
            }
            async fn gc(&self) -> Result<u64, DriverError> {
                (**self).gc().await
            }
            async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
                (**self).read_fresh(key).await
            }
            fn owners(&self) -> Option<&dyn OwnerIndex> {
                (**self).owners()
            }
            fn rolling(&self) -> Option<&dyn RollingRead> {
                (**self).rolling()
            }
            fn at_hand(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
                (**self).at_hand(key, now)
            }
            fn in_memory(&self) -> Option<&dyn InMemory> {
                (**self).in_memory()
            }
            fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
                (**self).watch(watcher)
            }
            fn identity(&self) -> Option<usize> {
                (**self).identity().or_else(|| ($identity)(self))
            }
        }
    )*};
}

forward_driver! {
    Arc<D>, [D: Driver + ?Sized], |driver: &Self| Some(Arc::as_ptr(driver).addr());
    Box<D>, [D: Driver + ?Sized], |_: &Self| None;
}
