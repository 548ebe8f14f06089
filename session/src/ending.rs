//! Ending all sessions of an owner.
//!
//! The driver looks for them, which takes its time: a session that is given a new id meanwhile could be overlooked in both places. So whoever
//! ends an owner's sessions puts up a notice first, a lease in the owner's name. Whoever gives a session of that owner a new id looks for the
//! notice after the new record is written and before the old one is given up, and waits while it is there. If it was not there yet, the
//! new record was there before the search began; if it was gone already, the old one was there until the search had ended.

use std::sync::Arc;

use crate::backend::{Backend, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, StoreKey};
use crate::lease::{self, Lease};
use crate::record::Record;
use crate::save::emptied;

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

    /// Where the notice about the sessions of an owner is put up.
    fn lease_of_owner(&self, owner: &str) -> StoreKey {
        lease::of_owner(&self.namespace.owner_in_store(owner))
    }

    async fn end_all(&self, owner: &str, except: Option<SessionId>) -> Result<u64> {
        let except = match except {
            Some(id) => Some(self.present_key_of(id).await?),
            None => None,
        };
        self.store
            .owners(&self.namespace)?
            .destroy_sessions_of(owner, except.as_ref())
            .await
    }

    /// Where the session with this id is now.
    async fn present_key_of(&self, id: SessionId) -> Result<StoreKey> {
        let place = self.place_of(id);
        let key = place.key;
        match self.newest(Stored::new(place, emptied()), self.now()).await {
            Ok(newest) => Ok(newest.map_or(key, |stored| stored.key)),
            // What cannot be read goes nowhere.
            Err(error) if error.kind() == ErrorKind::Decode => Ok(key),
            Err(error) => Err(error),
        }
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
