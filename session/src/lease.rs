//! One at a time: requests of a session whose handlers have effects that cannot be replayed, and who ends the sessions of an owner.
//!
//! A lease is a record of its own, beside the sessions': whoever stores it first has it, in whatever process. It expires soon, and is
//! prolonged while its holder lives, so that a process that dies frees it. A holder that was halted for so long that another has it now
//! leaves it alone: no other payload is like the holder's own, so neither is the version of what is stored.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::backend::{Backend, Stored};
use crate::clock::after;
use crate::driver::{Expected, Written};
use crate::error::{DriverError, Result};
use crate::id::StoreKey;
use crate::payload::key;
use crate::record::Record;
use crate::run::RunToEnd;
use crate::save::{emptied, pause};

/// How long after its holder's death a lease is free.
const LEASE: Duration = Duration::from_secs(10);
/// How often it is prolonged.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often a holder tries to replace his record when answers got lost, so that he does not know its version.
const TRIES: usize = 3;

/// The right to be the only one. Dropping it gives it back.
pub(crate) struct Lease {
    held: Option<Arc<Held>>,
    renewal: AbortHandle,
}

struct Held {
    backend: Arc<Backend>,
    key: StoreKey,
    /// As it was stored last, as far as this holder knows.
    record: Mutex<Record>,
}

impl Lease {
    /// Waits for the lease that is kept under `key`, as long as the settings say.
    pub(crate) async fn acquire(backend: Arc<Backend>, key: StoreKey) -> Result<Option<Self>> {
        let begun = Instant::now();
        for tries in 0.. {
            // To its end, so that a client that hangs up while the store answers leaves no lease that nobody holds.
            let attempt = RunToEnd::new(Box::pin(Self::attempt(backend.clone(), key)));
            if let Some(lease) = attempt.await? {
                return Ok(Some(lease));
            }
            if begun.elapsed() >= backend.settings.exclusive_wait {
                break;
            }
            pause(tries).await;
        }
        Ok(None)
    }

    /// The lease, if nobody has it.
    async fn attempt(backend: Arc<Backend>, key: StoreKey) -> Result<Option<Self>> {
        // No other holder's payload is the same: a store's version may be a hash of it.
        let payload = format!("{{\"_lease\":{}}}", getrandom::u64().map_err(DriverError::backend)?);
        let record = Record::new(payload.into_bytes(), after(backend.now(), LEASE));
        match backend.limited().write(&key, &record, Expected::Absent).await? {
            Written::Done(version) => {
                let record = Mutex::new(record.with_version(version));
                let held = Arc::new(Held { backend, key, record });
                let renewal = tokio::spawn(held.clone().renew()).abort_handle();
                Ok(Some(Self {
                    held: Some(held),
                    renewal,
                }))
            }
            _ => Ok(None),
        }
    }

    /// Gives the lease back. Says whether it has been held all the time: not where it ran out, because its holder was halted.
    pub(crate) async fn release(mut self) -> Result<bool> {
        match self.held.take() {
            Some(held) => held.release().await,
            None => Ok(false),
        }
    }
}

impl Backend {
    /// Whether somebody has a lease.
    pub(crate) async fn is_held(&self, lease: &StoreKey) -> Result<bool> {
        let record = self.limited().read_fresh(lease).await?;
        Ok(record.is_some_and(|record| !record.is_expired(self.now())))
    }
}

impl Held {
    /// Gives the lease back. Says whether it was this holder's until now; the log says so, too.
    async fn release(&self) -> Result<bool> {
        // Not destroyed, but replaced by what is expired: if it ran out and another has it now, it stays theirs.
        let released = self.replace(|_| emptied()).await;
        match &released {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                target: "session_schema",
                "a lease (exclusive use of a session, or of an owner's) ran out while its holder was still running: another may have had it at the same time"
            ),
            Err(error) => tracing::warn!(
                target: "session_schema",
                err = error as &dyn std::error::Error,
                "a lease (exclusive use of a session, or of an owner's) could not be given back; it ends in {LEASE:?}"
            ),
        }
        released
    }

    /// Prolongs the lease now and then, until it is lost.
    async fn renew(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let until = after(self.backend.now(), LEASE);
            match self.replace(|record| record.with_expires_at(until)).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(
                    target: "session_schema",
                    err = &error as &dyn std::error::Error,
                    "a lease (exclusive use of a session, or of an owner's) could not be prolonged; trying again"
                ),
            }
        }
    }

    /// Replaces the record of the lease, if it is still this holder's; says whether it is.
    async fn replace(&self, change: impl Fn(Record) -> Record) -> Result<bool> {
        // Locked all the time, so that a renewal that is under way is not taken for another holder's when the lease is given back.
        let mut record = self.record.lock().await;
        for _ in 0..TRIES {
            let (new, expected) = (change(record.clone()), Expected::Version(record.version()));
            match self.backend.limited().write(&self.key, &new, expected).await? {
                Written::Done(version) => {
                    *record = new.with_version(version);
                    return Ok(true);
                }
                Written::Gone => return Ok(false),
                // It may be his own, where the answer to a renewal got lost.
                Written::Conflict(_) => match self.backend.limited().read_fresh(&self.key).await? {
                    Some(there) if there.payload() == record.payload() => *record = there,
                    _ => return Ok(false),
                },
            }
        }
        Ok(false)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if let (Some(held), Ok(runtime)) = (self.held.take(), Handle::try_current()) {
            runtime.spawn(async move { held.release().await.is_ok() });
        }
    }
}

/// Where the lease of a session is kept: a place that no id leads to, and that stays the same when the session is given a new id while
/// somebody has the lease.
pub(crate) fn of_session(session: &Stored) -> StoreKey {
    let noted = session.record.parsed().get(key::LEASE);
    let noted = noted.and_then(|text| serde_json::from_str::<&str>(text).ok()?.parse().ok());
    noted.unwrap_or_else(|| key_of(b"session-schema lease\0", session.key.as_str()))
}

/// Where the lease of an owner is kept.
pub(crate) fn of_owner(owner: &str) -> StoreKey {
    key_of(b"session-schema owner\0", owner)
}

fn key_of(what: &[u8], name: &str) -> StoreKey {
    let digest = Sha256::new().chain_update(what).chain_update(name).finalize();
    HEXLOWER.encode(&digest).parse().expect("hex is a well-formed key")
}
