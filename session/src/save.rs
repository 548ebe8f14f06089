//! How what a request changed reaches the store.
//!
//! * Every write is a compare-and-swap. On a conflict the changes are replayed on the newer record, after a random pause that grows.
//! * A new id is a boundary ([`follow`]): changes cross it only if the session has the same owner before and after.
//!   Otherwise they are refused.
//! * A session that has ended stays ended: changes to it are dropped.

mod follow;
mod invalidate;
mod regenerate;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use crate::backend::{Backend, Place, Stored};
use crate::changes::Changes;
use crate::draft::Draft;
use crate::driver::{Expected, InMemory, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, StoreKey};
use crate::record::Record;
use crate::turn::Turn;

pub(crate) use follow::Newest;

use follow::{Followed, Purpose, Target};

/// How many random ids are tried for a new session.
const IDS: usize = 8;
/// How often a save is tried before it is given up.
const ATTEMPTS: u32 = 128;
/// The longest pause between two tries. With 256 requests that save one session at the same time, and a store that answers within 2 ms, a
/// save is tried 11 times on average; with a limit of 32 ms it would be 31 times.
const PAUSE: Duration = Duration::from_millis(256);
/// How long requests that were in flight when their session was given a new id may still be merged into it.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// What one save has to do.
pub(crate) struct Job {
    /// The session's id, and how often the handler had invalidated it, when the save began.
    pub(crate) id: Option<SessionId>,
    pub(crate) invalidations: u32,
    pub(crate) ended: Option<Box<Ended>>,
    /// The session stays, because it has another owner now. The browser may have its cookie.
    pub(crate) was_anothers: bool,
    /// The sessions that the other ids of the request lead to, if the handler ended the session.
    pub(crate) other_places: Vec<Arc<Place>>,
    pub(crate) plan: Plan,
    pub(crate) changes: Changes,
    /// Why changes are not part of the plan.
    pub(crate) refused: Result<()>,
    pub(crate) now: SystemTime,
}

/// A session that the handler ended, and that is to be destroyed.
pub(crate) struct Ended {
    pub(crate) stored: Stored,
    /// The same owner was put again afterwards, which is no sign-in: the session must still be there.
    pub(crate) must_be_live: bool,
}

pub(crate) enum Plan {
    Nothing,
    /// The session has ended, or has an id that the request was not given. Its changes are dropped.
    Drop,
    Create {
        id: SessionId,
        record: Record,
    },
    Replace {
        stored: Stored,
        record: Record,
    },
    /// The same data under a new id.
    Regenerate {
        stored: Stored,
        id: SessionId,
        record: Record,
    },
    Touch {
        stored: Stored,
        until: SystemTime,
    },
    /// The response is to set the cookie of a session that was last looked up some time ago: see
    /// [`rolling`](crate::rolling).
    Confirm {
        stored: Stored,
        since: Option<Instant>,
    },
}

impl Plan {
    /// What it is called in the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Drop => "drop",
            Self::Create { .. } => "create",
            Self::Replace { .. } => "write",
            Self::Regenerate { .. } => "regenerate",
            Self::Touch { .. } => "touch",
            Self::Confirm { .. } => "confirm",
        }
    }
}

/// What has become of the session.
pub(crate) enum Outcome {
    AsItWas,
    /// The session is stored like this, under an id that the request was given.
    Stored(Stored),
    /// The session has an id that another request was given. The changes are merged into it. This is what the request
    /// has seen.
    Merged(Stored),
    /// The request has a session of its own in which nothing is stored yet.
    Empty,
    /// The session is gone: another request ended it, or it expired.
    Gone,
    /// Nothing was saved, and trying again does not help.
    Refused(ErrorKind),
}

impl Backend {
    /// What is rare is boxed, so that the future of an ordinary save is small. What is done is taken out of the job.
    pub(crate) async fn perform(&self, job: &mut Job) -> Result<Outcome> {
        if job.ended.is_some()
            && let Some(refused) = Box::pin(self.end(job)).await?
        {
            return Ok(Outcome::Refused(refused));
        }
        let changes = &job.changes;
        let outcome = match &job.plan {
            Plan::Nothing | Plan::Drop => Outcome::AsItWas,
            Plan::Create { id, record } => Outcome::Stored(self.create(*id, record).await?),
            Plan::Replace { stored, record } => self.replace(stored.clone(), record.clone(), changes, job.now).await?,
            Plan::Regenerate { stored, id, record } => {
                Box::pin(self.regenerate(stored.clone(), *id, record.clone(), changes, job.now)).await?
            }
            Plan::Touch { stored, until } => Box::pin(self.touch(stored.clone(), *until, job.now)).await?,
            Plan::Confirm { stored, since } => Box::pin(self.confirm(stored.clone(), *since, job.now)).await?,
        };
        Ok(match outcome {
            // A visitor who is not signed in must not be told "Welcome".
            Outcome::Gone | Outcome::Refused(_) if changes.names_owner() => Outcome::Refused(ErrorKind::SignInRefused),
            Outcome::Merged(seen)
                if changes.names_owner()
                    && matches!(job.plan, Plan::Touch { .. } | Plan::Confirm { .. })
                    && !Box::pin(self.goes_on(&seen, job.now)).await? =>
            {
                Outcome::Refused(ErrorKind::SignInRefused)
            }
            outcome => outcome,
        })
    }

    /// Does the job of a session that is [plain](crate::state::State::is_plain) in the memory of `driver`. `None`: nothing has been stored, because another
    /// request has saved the session first, or because it takes more than a write.
    #[inline]
    pub(crate) fn perform_at_hand(&self, job: &Job, driver: &dyn InMemory) -> Option<Outcome> {
        let (place, record, expected) = match &job.plan {
            Plan::Nothing | Plan::Drop => return Some(Outcome::AsItWas),
            Plan::Create { id, record } => (self.place_of(*id), record, Expected::Absent),
            Plan::Replace { stored, record } => {
                let expected = Expected::Version(stored.record.version());
                (stored.place().clone(), record, expected)
            }
            Plan::Regenerate { .. } | Plan::Touch { .. } | Plan::Confirm { .. } => return None,
        };
        let written = self.namespace.record_in_store(record).unwrap_or_else(|| record.clone());
        match driver.write_now(&place.key, written, expected, job.now) {
            Written::Done(version) => Some(Outcome::Stored(Stored::new(
                place,
                record.clone().with_version(version),
            ))),
            Written::Gone if !job.changes.names_owner() => Some(Outcome::Gone),
            Written::Gone | Written::Conflict(_) => None,
        }
    }

    /// Stores a new session. An id that is taken, which does not happen, is not used.
    async fn create(&self, mut id: SessionId, record: &Record) -> Result<Stored> {
        self.open().await?;
        for _ in 0..IDS {
            let place = self.place_of(id);
            match self.limited().write(&place.key, record, Expected::Absent).await {
                Ok(Written::Done(version)) => return Ok(Stored::new(place, record.clone().with_version(version))),
                Ok(Written::Conflict(_) | Written::Gone) => {}
                Err(error) => {
                    // The record may be stored all the same, and would be listed among its owner's sessions. If its
                    // removal fails, it expires.
                    if record.owner().is_some() {
                        self.limited().destroy(&place.key).await.ok();
                    }
                    return Err(error);
                }
            }
            id = SessionId::generate()?;
        }
        Err(Error::new(
            ErrorKind::Driver,
            format!("could not allocate a session id: the store reports {IDS} random ids as taken"),
        ))
    }

    /// Replaces a record, or merges the changes into what another request has made of it.
    async fn replace(&self, stored: Stored, record: Record, changes: &Changes, now: SystemTime) -> Result<Outcome> {
        let mut target = Target::of(&stored);
        let mut new = record.clone();
        let mut turn = None;
        for attempt in 0..ATTEMPTS {
            let expected = Expected::Version(target.record.version());
            match self.limited().write(&target.key, &new, expected).await? {
                Written::Done(_) if target.moved => {
                    // The request goes on with what it has seen. Its next save follows the mark again.
                    let seen = record.with_version(stored.record.version());
                    return Ok(Outcome::Merged(stored.with_record(seen)));
                }
                Written::Done(version) => return Ok(Outcome::Stored(stored.with_record(new.with_version(version)))),
                Written::Gone => return Ok(Outcome::Gone),
                Written::Conflict(mut newer) => {
                    if turn.is_none() {
                        turn = Box::pin(self.turn_to_save(&stored.key, &mut newer)).await;
                    }
                    let newer = self.newer(&target.key, newer, attempt).await?;
                    target = match Box::pin(self.follow(target, newer, &stored.record, Purpose::Merge, now)).await? {
                        Followed::Live(target) => target,
                        Followed::Gone => return Ok(Outcome::Gone),
                        Followed::Superseded => return Ok(Outcome::Refused(ErrorKind::Superseded)),
                    };
                    new = self.replay(&target, changes, now)?;
                }
            }
        }
        Err(conflict())
    }

    /// Requests of this process that save the same session and have met a conflict take turns. If each tried again by
    /// itself, nearly all of them would have read a record that is replaced before the store gets to them. After such a
    /// wait `newer` is outdated. A request that waits in vain goes on without a turn: turns matter only for efficiency.
    async fn turn_to_save(&self, key: &StoreKey, newer: &mut Option<Record>) -> Option<Turn> {
        let turns = self.store.saves.of(key);
        if let Some(turn) = turns.try_take() {
            return Some(turn);
        }
        *newer = None;
        timeout(self.settings.store_timeout, turns.take()).await.ok()
    }

    /// Moves an expiry. Only the store knows whether the session has ended or has another id. In both cases the cookie
    /// must not be renewed.
    async fn touch(&self, stored: Stored, mut until: SystemTime, now: SystemTime) -> Result<Outcome> {
        for _ in 0..ATTEMPTS {
            if !self.limited().touch(&stored.key, until).await? {
                return Ok(Outcome::Gone);
            }
            let newest = match self.newest(&stored, now).await? {
                Newest::Live(newest) => newest,
                Newest::Moved => return Ok(Outcome::Merged(stored)),
                Newest::Gone => return Ok(Outcome::Gone),
            };
            let draft = Draft::of(&newest);
            match self.settings.moved_expiry(&newest, &draft, now) {
                // Another request has given the session a life of another length.
                Some(other) => until = other,
                None => return Ok(Outcome::Stored(stored.with_record(newest))),
            }
        }
        Err(conflict())
    }

    /// What is stored under a key where a write has just conflicted.
    async fn newer(&self, key: &StoreKey, sent_along: Option<Record>, attempt: u32) -> Result<Option<Record>> {
        tracing::debug!(target: "session_schema", attempt, "write conflict, retrying");
        match sent_along {
            // The first time, the record that the store sent along is recent enough.
            Some(newer) if attempt == 0 => Ok(Some(newer)),
            _ => {
                pause(attempt).await;
                self.limited().read_fresh(key).await
            }
        }
    }

    /// The record that the changes make of a newer one.
    fn replay(&self, target: &Target, changes: &Changes, now: SystemTime) -> Result<Record> {
        let mut draft = Draft::of(&target.record);
        draft.keeps_expiry = changes.keep_expiry;
        for change in changes.iter() {
            // The CSRF token belongs to the new id. An attacker who planted the old one may know its token.
            if !(target.moved && change.is_of_token()) {
                change.apply(&mut draft)?;
            }
        }
        self.record_of(&mut draft, Some(&target.record), now)
    }
}

/// What stands for a moment in the place of a session that is destroyed: it is absent at once.
pub(crate) fn emptied() -> Record {
    Record::new(b"{}".to_vec(), SystemTime::UNIX_EPOCH)
}

/// Pauses to let others go first, for a random time that grows with each attempt.
pub(crate) async fn pause(attempt: u32) {
    let longest = PAUSE.min(Duration::from_millis(1 << attempt.min(10)));
    let pause = longest.mul_f64(fastrand::f64());
    tokio::time::sleep(pause).await;
}

fn conflict() -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "{ATTEMPTS} times in a row other requests saved the same session first; the changes of this one are not saved"
        ),
    )
}
