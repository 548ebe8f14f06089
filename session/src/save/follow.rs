//! What a session is now, for a request that loaded it some time ago.
//!
//! If a session was given a new id, a mark stands in the old place. A request that had loaded the session follows the
//! mark to save its changes, but only if the session had an owner then and has the same one now: somebody else may know
//! the old id, because he planted it. The request reads nothing under the new id. It does not follow if it loaded its
//! record from a cache: another server's mark may already have replaced the stored record by then.

use std::time::SystemTime;

use crate::backend::{Backend, Mark, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::id::StoreKey;
use crate::record::Record;

/// How many ids a session may be given in a row while one request runs.
const HOPS: usize = 16;

/// Where the next write goes, and what is stored there.
pub(super) struct Target {
    pub(super) key: StoreKey,
    pub(super) record: Record,
    /// The target has an id that the request was not given.
    pub(super) moved: bool,
}

impl Target {
    pub(super) fn of(stored: &Stored) -> Self {
        Self {
            key: stored.key,
            record: stored.record.clone(),
            moved: false,
        }
    }
}

/// Why a session is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To merge changes into it.
    Merge,
    /// To end it. This is also allowed without an owner.
    End,
}

pub(super) enum Followed {
    Live(Target),
    Gone,
    /// The session has another owner, or an id that this request must not follow to.
    Superseded,
}

/// What a session is now under the id that its request came with.
pub(crate) enum Newest {
    Live(Record),
    /// The session was given a new id, or another owner.
    Moved,
    Gone,
}

/// What a record is to a request.
enum Kind {
    Session(Record),
    Mark(Mark),
    Gone,
}

impl Kind {
    fn of(record: Option<Record>, now: SystemTime) -> Result<Self> {
        let Some(record) = record.filter(|record| !record.is_expired(now)) else {
            return Ok(Self::Gone);
        };
        if record.parsed().check().is_err() {
            return Err(Error::new(
                ErrorKind::Decode,
                "another program has replaced the stored session by something that cannot be read",
            ));
        }
        Ok(match Mark::in_payload(record.parsed()) {
            None => Self::Session(record),
            Some(mark) => Self::Mark(mark),
        })
    }
}

impl Backend {
    /// Follows the marks that a session left behind, from `newer`, which is stored in the place of `target` now.
    pub(super) async fn follow(
        &self,
        mut target: Target,
        mut newer: Option<Record>,
        loaded: &Record,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Followed> {
        for _ in 0..HOPS {
            let mark = match Kind::of(newer, now)? {
                Kind::Gone => return Ok(Followed::Gone),
                Kind::Session(record) if record.owner() == loaded.owner() => {
                    target.record = record;
                    return Ok(Followed::Live(target));
                }
                Kind::Session(_) => return Ok(Followed::Superseded),
                Kind::Mark(mark) => mark,
            };
            if mark.until <= now {
                return Ok(Followed::Gone);
            }
            // The cache of the process that put the mark has not had the session since. Another cache may have had it
            // until now.
            let was_in_flight = target.moved || !loaded.is_cached() || mark.by == self.store.number;
            if purpose == Purpose::Merge && (loaded.owner().is_none() || !was_in_flight) {
                return Ok(Followed::Superseded);
            }
            newer = self.limited().read_fresh(&mark.to).await?;
            (target.key, target.moved) = (mark.to, true);
        }
        Err(too_many_ids())
    }

    /// What the session is now, without following it.
    pub(crate) async fn newest(&self, stored: &Stored, now: SystemTime) -> Result<Newest> {
        let newest = self.limited().read_fresh(&stored.key).await?;
        Ok(match Kind::of(newest, now)? {
            Kind::Session(record) if record.owner() == stored.record.owner() => Newest::Live(record),
            Kind::Mark(mark) if mark.until <= now => Newest::Gone,
            Kind::Session(_) | Kind::Mark(_) => Newest::Moved,
            Kind::Gone => Newest::Gone,
        })
    }

    /// Whether a session is still there, under any id, and has the same owner.
    pub(super) async fn goes_on(&self, stored: &Stored, now: SystemTime) -> Result<bool> {
        let newest = self.limited().read_fresh(&stored.key).await?;
        let target = Target::of(stored);
        let followed = self.follow(target, newest, &stored.record, Purpose::Merge, now).await?;
        Ok(matches!(followed, Followed::Live(_)))
    }

    /// Whether a session that was given a new id is still there, under any id and with any owner. Nothing else of it is
    /// read.
    pub(super) async fn leads_to_live(&self, mark: Mark, now: SystemTime) -> Result<bool> {
        let mut to = mark.to;
        for _ in 0..HOPS {
            let record = self.limited().read_fresh(&to).await?;
            match Kind::of(record, now)? {
                Kind::Session(record) => return Ok(!self.settings.is_past_deadline(record.parsed(), now)),
                Kind::Mark(mark) => to = mark.to,
                Kind::Gone => return Ok(false),
            }
        }
        Err(too_many_ids())
    }

    /// The mark in the old place of a session, if it was given a new id.
    pub(super) fn mark_in(&self, record: Option<Record>, now: SystemTime) -> Result<Option<Mark>> {
        Ok(match Kind::of(record, now)? {
            Kind::Mark(mark) => Some(mark),
            Kind::Session(_) | Kind::Gone => None,
        })
    }
}

fn too_many_ids() -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("the session has been given a new id {HOPS} times in a row while this request used it"),
    )
}
