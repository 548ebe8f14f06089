//! The driver over a store of theirs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::timeout;
use tower_sessions_core::session::{self, Id};
use tower_sessions_core::session_store::{self, ExpiredDeletion, SessionStore};

use super::format::{id_of, unwrap, wrap};
use crate::clock::{Clock, SystemClock};
use crate::driver::{Driver, Expected, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};
use crate::run::RunToEnd;
use crate::turn::Stripes;

/// How many queues there are for changes of sessions.
const STRIPES: usize = 1024;
/// How often a record that has expired is cleared out of the way of a new one.
const CREATIONS: usize = 3;
/// How long one caller may keep the others away. A store that has lost the connection unnoticed would do so until the process ends.
const TURN: Duration = Duration::from_secs(60);

/// Sessions in a store that was written for [tower-sessions](https://docs.rs/tower-sessions): DynamoDB, MongoDB, libSQL, Firestore and others
/// for which this library has no driver.
///
/// Such a store can load, save and delete a session, but cannot say "only if nobody has changed it meanwhile". The driver asks before it writes, and lets
/// one caller at a time do so for a session:
///
/// * **One process** over the store: everything that [`Driver`] promises holds, but that nobody can be asked for an owner's sessions.
/// * **Several processes**: two requests of one visitor at the same moment in two of them may overwrite each other's changes, and one that saves at the very
///   moment at which another process destroys the session may bring it back. Send a visitor's requests to one process ("sticky sessions"), or use a
///   driver of this library. `Exclusive` sessions are as exclusive as the store's `create` is atomic. A warning says so at start.
/// * **Garbage**: what has expired reads as absent at once, whatever the store thinks of the time, and is removed when the store does so by itself, or,
///   [with its help](Self::with_expired_deletion), by [`gc`](Driver::gc), which says 0 because the store does not tell.
/// * **Errors**: such a store does not say whether it was out of reach or answered with an error. What it calls a backend error counts as out of reach
///   (503) where it reads, and as an answer (500) where it changes what it has read a moment before, such as an item that is too large for it: give
///   [`with_max_bytes`](crate::SessionLayer::with_max_bytes) less than that. What it calls an encoding or decoding error is an answer (500), whose text is left
///   out, because it may quote what is stored.
/// * **Calls that are never answered**: a change of a session that takes longer than a minute is given up, with a warning; until then other changes of that
///   session wait. Should the store do it yet, it may undo one that was made meanwhile.
/// * A write or a touch costs two calls of the store. Sessions of tower-sessions itself in the same store are neither read nor disturbed.
///
/// ```
/// use session_schema::{SessionLayer, TowerSessionsDriver};
/// use tower_sessions::MemoryStore;
///
/// let layer = SessionLayer::new(TowerSessionsDriver::new(MemoryStore::default()));
/// ```
pub struct TowerSessionsDriver<S> {
    shared: Arc<Shared<S>>,
    clock: Arc<dyn Clock>,
    collect: Option<Collect<S>>,
}

struct Shared<S> {
    store: S,
    stripes: Stripes,
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send>>;
type Collect<S> = fn(Arc<Shared<S>>) -> Boxed<()>;

impl<S: SessionStore> TowerSessionsDriver<S> {
    /// Sessions in `store`, which is ready for use: what it needs, such as a table, is its own business.
    pub fn new(store: S) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                stripes: Stripes::new(STRIPES),
            }),
            clock: Arc::new(SystemClock),
            collect: None,
        }
    }

    /// Has [`gc`](Driver::gc) call the store's `delete_expired`. There is no need for its `continuously_delete_expired` then.
    #[must_use]
    pub fn with_expired_deletion(mut self) -> Self
    where
        S: ExpiredDeletion,
    {
        self.collect = Some(|shared| Box::pin(async move { shared.store.delete_expired().await.map_err(failed) }));
        self
    }

    /// Takes the time from `clock`. Clones made before keep theirs.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Does something with the record under a key, while nobody else of this process does. It goes on to its end when nobody waits for it any more:
    /// half done, its last call of the store might arrive when somebody else is at work. What the store never answers is given up.
    async fn alone<T, F>(&self, key: &StoreKey, work: impl FnOnce(Place<S>) -> F) -> Result<T, DriverError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DriverError>> + Send + 'static,
    {
        let turn = self.shared.stripes.of(key).take().await;
        let work = work(Place {
            shared: self.shared.clone(),
            id: id_of(key),
            clock: self.clock.clone(),
        });
        RunToEnd::new(Box::pin(async move {
            let done = timeout(TURN, work).await.unwrap_or_else(|_| Err(given_up()));
            if !done.as_ref().is_err_and(DriverError::is_unavailable) {
                turn.answered();
            }
            done
        }))
        .await
    }
}

#[async_trait]
impl<S: SessionStore> Driver for TowerSessionsDriver<S> {
    async fn open(&self) -> Result<(), DriverError> {
        tracing::warn!(
            target: "session_schema",
            "sessions are kept in a store made for tower-sessions, which cannot compare and swap: as long as one process uses it nothing is lost; \
             where several do, requests of one visitor in different processes at the same time may overwrite each other's changes"
        );
        Ok(())
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        live(&self.shared.store, &id_of(key), &*self.clock).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let record = record.clone();
        self.alone(key, async move |place: Place<S>| {
            match (place.live().await?, expected) {
                (None, Expected::Absent) => place.create(&record).await,
                (None, Expected::Version(_)) => Ok(Written::Gone),
                (Some(there), Expected::Version(version)) if there.version() == version => {
                    place.replace(&record).await.map(Written::Done)
                }
                (Some(there), _) => Ok(Written::Conflict(Some(there))),
            }
        })
        .await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.alone(key, async move |place: Place<S>| {
            let Some(there) = place.live().await? else {
                return Ok(false);
            };
            let version = there.version();
            place.save(&there.with_expires_at(expires_at), version).await?;
            Ok(true)
        })
        .await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.alone(key, async move |place: Place<S>| {
            let there = place.live().await?.is_some();
            place.clear().await?;
            Ok(there)
        })
        .await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        if let Some(collect) = self.collect {
            collect(self.shared.clone()).await?;
        }
        Ok(0)
    }
}

/// Where a record is, for who may change it.
struct Place<S> {
    shared: Arc<Shared<S>>,
    id: Id,
    clock: Arc<dyn Clock>,
}

impl<S: SessionStore> Place<S> {
    async fn live(&self) -> Result<Option<Record>, DriverError> {
        live(&self.shared.store, &self.id, &*self.clock).await
    }

    /// Stores a record where there is none. Their `create` takes another id when it finds this one in use: by another process, which was
    /// faster, or by what has expired and was not removed.
    async fn create(&self, record: &Record) -> Result<Written, DriverError> {
        let version = Version::random().map_err(DriverError::backend)?;
        for _ in 0..CREATIONS {
            let mut wrapped = wrap(self.id, record, version);
            self.shared.store.create(&mut wrapped).await.map_err(refused)?;
            if wrapped.id == self.id {
                return Ok(Written::Done(version));
            }
            self.shared.store.delete(&wrapped.id).await.map_err(refused)?;
            if let Some(there) = self.live().await? {
                return Ok(Written::Conflict(Some(there)));
            }
            self.clear().await?;
        }
        Err(DriverError::backend(
            "the store gives a new session another id each time, though there is none of that id",
        ))
    }

    async fn replace(&self, record: &Record) -> Result<Version, DriverError> {
        let version = Version::random().map_err(DriverError::backend)?;
        self.save(record, version).await?;
        Ok(version)
    }

    async fn save(&self, record: &Record, version: Version) -> Result<(), DriverError> {
        let wrapped = wrap(self.id, record, version);
        self.shared.store.save(&wrapped).await.map_err(refused)
    }

    async fn clear(&self) -> Result<(), DriverError> {
        self.shared.store.delete(&self.id).await.map_err(refused)
    }
}

/// The record under an id, unless it has expired by our clock.
async fn live<S: SessionStore>(store: &S, id: &Id, clock: &dyn Clock) -> Result<Option<Record>, DriverError> {
    let loaded: Option<session::Record> = store.load(id).await.map_err(failed)?;
    if loaded.as_ref().is_some_and(|record| record.id != *id) {
        return Err(DriverError::backend(
            "the store answered with another session than it was asked for",
        ));
    }
    let record = loaded.as_ref().map(unwrap).transpose()?;
    Ok(record.filter(|record| !record.is_expired(clock.now())))
}

/// Why a call of the store failed.
fn failed(error: session_store::Error) -> DriverError {
    match error {
        session_store::Error::Backend(text) => DriverError::unavailable(text),
        session_store::Error::Encode(_) => DriverError::backend("the store could not encode the session"),
        session_store::Error::Decode(_) => DriverError::backend("the store could not decode the session"),
    }
}

/// Why a change failed. The store has just answered a read, so it is not out of reach: one session that it does not take must not have it spared by all.
fn refused(error: session_store::Error) -> DriverError {
    match error {
        session_store::Error::Backend(text) => DriverError::backend(text),
        other => failed(other),
    }
}

/// Said in the log, because nobody may be waiting any more.
fn given_up() -> DriverError {
    tracing::warn!(
        target: "session_schema",
        "a store made for tower-sessions did not answer within {TURN:?}, so a change of a session was given up: whether it is stored is not known"
    );
    DriverError::unavailable(format!("the session store did not answer within {TURN:?}"))
}

impl<S> Clone for TowerSessionsDriver<S> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            clock: self.clock.clone(),
            collect: self.collect,
        }
    }
}

impl<S> fmt::Debug for TowerSessionsDriver<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionsDriver").finish_non_exhaustive()
    }
}
