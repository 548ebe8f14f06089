//! One at a time: requests of a session whose handlers have effects that cannot be replayed, and who ends the sessions of an owner.
//!
//! A lease is a record of its own, beside the sessions': whoever stores it first has it, in whatever process. It expires soon, and is
//! prolonged while its holder lives, so that a process that dies frees it.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::backend::{Backend, Stored};
use crate::clock::after;
use crate::driver::{Expected, Written};
use crate::error::Result;
use crate::id::StoreKey;
use crate::payload::key;
use crate::record::{Record, Version};
use crate::run::RunToEnd;

/// How long after its holder's death a lease is free.
const LEASE: Duration = Duration::from_secs(10);
/// How often it is prolonged.
const RENEWAL: Duration = Duration::from_secs(3);
/// The longest pause between two tries to get one.
const PAUSE: Duration = Duration::from_millis(40);

/// The right to be the only one. Dropping it gives it back.
pub(crate) struct Lease {
    held: Option<Held>,
    renewal: AbortHandle,
}

struct Held {
    backend: Arc<Backend>,
    key: StoreKey,
    version: Version,
}

impl Lease {
    /// Waits for the lease that is kept under `key`, as long as the settings say.
    pub(crate) async fn acquire(backend: Arc<Backend>, key: StoreKey) -> Result<Option<Self>> {
        let begun = Instant::now();
        loop {
            // To its end, so that a client that hangs up while the store answers leaves no lease that nobody holds.
            let attempt = RunToEnd::new(Box::pin(Self::attempt(backend.clone(), key)));
            if let Some(lease) = attempt.await? {
                return Ok(Some(lease));
            }
            if begun.elapsed() >= backend.settings.exclusive_wait {
                return Ok(None);
            }
            tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
        }
    }

    /// The lease, if nobody has it.
    async fn attempt(backend: Arc<Backend>, key: StoreKey) -> Result<Option<Self>> {
        let record = Record::new(b"{\"_lease\":true}".to_vec(), after(backend.clock.now(), LEASE));
        match backend.limited().write(&key, &record, Expected::Absent).await? {
            Written::Done(version) => {
                let renewal = tokio::spawn(renew(backend.clone(), key)).abort_handle();
                let held = Some(Held { backend, key, version });
                Ok(Some(Self { held, renewal }))
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
        let record = self.limited().read(lease).await?;
        Ok(record.is_some_and(|record| !record.is_expired(self.clock.now())))
    }
}

impl Held {
    async fn release(self) -> Result<bool> {
        // Not destroyed, but replaced by what is expired: if it ran out and another has it now, it stays theirs.
        let nothing = Record::new(b"{}".to_vec(), std::time::SystemTime::UNIX_EPOCH);
        let expected = Expected::Version(self.version);
        let written = self.backend.limited().write(&self.key, &nothing, expected).await;
        if let Err(error) = &written {
            tracing::warn!(
                target: "session_schema",
                err = error as &dyn std::error::Error,
                "a lease (exclusive use of a session, or of an owner's) could not be given back; it ends in {LEASE:?}"
            );
        }
        Ok(matches!(written?, Written::Done(_)))
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

async fn renew(backend: Arc<Backend>, key: StoreKey) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        let until = after(backend.clock.now(), LEASE);
        match backend.limited().touch(&key, until).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(target: "session_schema", "a lease (exclusive use of a session, or of an owner's) ran out while its holder was still running");
                return;
            }
            Err(error) => tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "a lease (exclusive use of a session, or of an owner's) could not be prolonged; trying again"
            ),
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
