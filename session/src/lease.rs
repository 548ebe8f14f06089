//! One request of a session at a time, for handlers with effects that cannot be replayed.
//!
//! A lease is a record of its own, beside the session's: whoever stores it first has it, in whatever process. It expires soon, and is
//! prolonged while its holder lives, so that a process that dies frees it.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::clock::after;
use crate::driver::{Expected, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreKey;
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
    /// Waits for the lease of the session under `session`, as long as the settings say.
    pub(crate) async fn acquire(backend: Arc<Backend>, session: &StoreKey) -> Result<Self> {
        let key = key_of_lease(session);
        let begun = Instant::now();
        loop {
            // To its end, so that a client that hangs up while the store answers leaves no lease that nobody holds.
            let attempt = RunToEnd::new(Box::pin(Self::attempt(backend.clone(), key)));
            if let Some(lease) = attempt.await? {
                return Ok(lease);
            }
            let wait = backend.settings.exclusive_wait;
            if begun.elapsed() >= wait {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("another request has been using the session exclusively for more than {wait:?}"),
                ));
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

    /// Gives the lease back.
    pub(crate) async fn release(mut self) {
        if let Some(held) = self.held.take() {
            held.release().await;
        }
    }
}

impl Held {
    async fn release(self) {
        // Not destroyed, but replaced by what is expired: if it ran out and another has it now, it stays theirs.
        let nothing = Record::new(b"{}".to_vec(), std::time::SystemTime::UNIX_EPOCH);
        let expected = Expected::Version(self.version);
        if let Err(error) = self.backend.limited().write(&self.key, &nothing, expected).await {
            tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "exclusive use of a session could not be given back; it ends in {LEASE:?}"
            );
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if let (Some(held), Ok(runtime)) = (self.held.take(), Handle::try_current()) {
            runtime.spawn(held.release());
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
                tracing::warn!(target: "session_schema", "exclusive use of a session ran out while its request was still running");
                return;
            }
            Err(error) => tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "exclusive use of a session could not be prolonged; trying again"
            ),
        }
    }
}

/// Where the lease of a session is kept: a place that no id leads to.
fn key_of_lease(session: &StoreKey) -> StoreKey {
    let digest = Sha256::new()
        .chain_update(b"session-schema lease\0")
        .chain_update(session.as_str())
        .finalize();
    HEXLOWER.encode(&digest).parse().expect("hex is a well-formed key")
}
