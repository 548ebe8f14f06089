//! Ending all sessions of an owner.
//!
//! The driver looks for them, which takes its time: a session that is given a new id meanwhile could be overlooked in both places. So whoever
//! ends an owner's sessions puts up a notice first, a lease in the owner's name. Whoever gives a session of that owner a new id looks for the
//! notice after the new record is written and before the old one is given up, and waits while it is there. If it was not there yet, the
//! new record was there before the search began; if it was gone already, the old one was there until the search had ended.

use std::sync::Arc;

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, StoreKey};
use crate::lease::{self, Lease};
use crate::record::Record;

/// How often somebody searches whose notice does not last.
const SEARCHES: usize = 8;

impl Backend {
    /// Ends the sessions of an owner but for `except`, and says how many.
    pub(crate) async fn end_sessions_of(self: Arc<Self>, owner: &str, except: Option<SessionId>) -> Result<u64> {
        let mut ended = 0;
        for _ in 0..SEARCHES {
            let notice = Lease::acquire(self.clone(), self.lease_of_owner(owner)).await?;
            let notice = notice.ok_or_else(busy)?;
            let found = self.end_all(owner, except).await;
            let was_up = notice.release().await;
            ended += found?;
            // Somebody who was halted for so long that it ran out searches again.
            if was_up? {
                return Ok(ended);
            }
        }
        Err(busy())
    }

    /// The key of the notice about the sessions of an owner.
    fn lease_of_owner(&self, owner: &str) -> StoreKey {
        lease::of_owner(&self.namespace.owner_in_store(owner))
    }

    /// Only the id `except` itself is spared. If another request has given that session a new id, the new id may belong
    /// to somebody else.
    async fn end_all(&self, owner: &str, except: Option<SessionId>) -> Result<u64> {
        let except = except.map(|id| self.key_of(&id));
        self.store
            .owners(&self.namespace)?
            .destroy_sessions_of(owner, except.as_ref())
            .await
    }

    /// Whether the sessions of whom a record belongs to are being ended.
    pub(crate) async fn is_owner_being_ended(&self, record: &Record) -> Result<bool> {
        match record.owner() {
            Some(owner) => self.is_held(&self.lease_of_owner(owner)).await,
            None => Ok(false),
        }
    }
}

fn busy() -> Error {
    Error::new(
        ErrorKind::Busy,
        "the sessions of this owner are being ended by somebody else, or too slowly, and perhaps not all of them have ended",
    )
}
