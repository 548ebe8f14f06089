//! How what a request changed reaches the store.
//!
//! Every write is a compare-and-swap. Where another request was faster, the changes are replayed on what it wrote, with a
//! random pause that grows; where the session has gone, they are dropped; where it goes by a new id, they follow it.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use crate::backend::{Backend, Mark, Stored};
use crate::changes::Changes;
use crate::clock::after;
use crate::draft::Draft;
use crate::driver::{Expected, InMemory, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{SessionId, StoreKey};
use crate::lease;
use crate::payload::key;
use crate::record::Record;
use crate::turn::Turn;

/// How many ids are tried for a new session. Two would be enough for the end of the world.
const IDS: usize = 8;
/// How often a save is tried before it is given up: each time another request has saved the same session.
const ATTEMPTS: u32 = 128;
/// The longest pause between two tries. The fewer meet, the fewer have to try again: with 256 requests that save one session at
/// any time, and 2 ms for a call of the store, a save is tried 11 times where a limit of 32 ms would lead to 31 times.
const PAUSE: Duration = Duration::from_millis(256);
/// How long requests that came under an id that was given up may follow to the new one.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// How many ids a session may be given in a row while one request runs.
const HOPS: usize = 16;

/// What one save has to do.
pub(crate) struct Job {
    /// The session's id, and how often the handler had ended a session, when the save began.
    pub(crate) id: Option<SessionId>,
    pub(crate) endings: u32,
    /// The session that the handler ended.
    pub(crate) ended: Option<Box<Stored>>,
    pub(crate) plan: Plan,
    pub(crate) changes: Changes,
    /// Why changes are not part of the plan.
    pub(crate) refused: Result<()>,
    pub(crate) now: SystemTime,
}

pub(crate) enum Plan {
    Nothing,
    /// The session goes by another id, or is gone: what was changed has no place.
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
    Renew {
        stored: Stored,
        id: SessionId,
        record: Record,
    },
    Touch {
        stored: Stored,
        until: SystemTime,
    },
    /// It was prolonged when it was read, and the browser is to know.
    Confirm {
        stored: Stored,
        since: Instant,
    },
}

impl Plan {
    /// Puts what its request has seen in the place of a session that goes by the id that another request gave it: whoever planted the old id
    /// would read who has signed in.
    fn hide(&self, joined: &mut Stored) {
        let (stored, record) = match self {
            Self::Replace { stored, record } | Self::Renew { stored, record, .. } => (stored, record),
            Self::Touch { stored, .. } | Self::Confirm { stored, .. } => (stored, &stored.record),
            Self::Nothing | Self::Drop | Self::Create { .. } => return,
        };
        let mut seen = stored.clone();
        seen.join(stored.key);
        seen.record = record.clone().with_version(stored.record.version());
        *joined = seen;
    }

    /// What it is called in the log.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Drop => "drop",
            Self::Create { .. } => "create",
            Self::Replace { .. } => "write",
            Self::Renew { .. } => "regenerate",
            Self::Touch { .. } => "touch",
            Self::Confirm { .. } => "confirm",
        }
    }
}

/// What has become of the session.
pub(crate) enum Outcome {
    AsItWas,
    /// It is stored like this, as far as its request may see it.
    Stored(Stored),
    /// It is gone: destroyed by another request.
    Gone,
}

/// What has become of giving a session a new id.
enum Handed {
    /// It goes by the new id.
    Over,
    /// The store failed when it was told so, or just after. The old record may lead to the new one, so both have to stay.
    Perhaps(Error),
    /// Another request was faster in giving it a new id. It keeps that one.
    Elsewhere(Stored),
    /// It was destroyed.
    Gone,
}

impl Backend {
    /// What is rare is boxed, so that the future of an ordinary save is small.
    pub(crate) async fn perform(&self, job: &Job) -> Result<Outcome> {
        if let Some(ended) = &job.ended {
            Box::pin(self.destroy((**ended).clone(), job.now)).await?;
        }
        let changes = &job.changes;
        let mut outcome = match &job.plan {
            Plan::Nothing | Plan::Drop => Ok(Outcome::AsItWas),
            Plan::Create { id, record } => self.create(*id, record).await.map(Outcome::Stored),
            Plan::Replace { stored, .. } if stored.joined => {
                Box::pin(self.merge(stored.clone(), changes, job.now)).await
            }
            Plan::Replace { stored, record } => self.replace(stored.clone(), record.clone(), changes, job.now).await,
            Plan::Renew { stored, id, record } => {
                Box::pin(self.renew(stored.clone(), *id, record.clone(), changes, job.now)).await
            }
            Plan::Touch { stored, until } => Box::pin(self.touch(stored.clone(), *until, job.now)).await,
            Plan::Confirm { stored, since } => Box::pin(self.confirm(stored.clone(), *since, job.now)).await,
        };
        if let Ok(Outcome::Stored(stored)) = &mut outcome
            && stored.joined
        {
            job.plan.hide(stored);
        }
        outcome
    }

    /// Does the job of a session that is [plain](crate::state::State::is_plain) in the memory of `driver`. `None`: nothing has been stored, because another
    /// request has saved the session meanwhile, or because it takes more than a write.
    #[inline]
    pub(crate) fn perform_at_hand(&self, job: &Job, driver: &dyn InMemory) -> Option<Outcome> {
        let (place, record, expected) = match &job.plan {
            Plan::Nothing | Plan::Drop => return Some(Outcome::AsItWas),
            Plan::Create { id, record } => (self.place_of(*id), record, Expected::Absent),
            Plan::Replace { stored, record } => {
                let expected = Expected::Version(stored.record.version());
                (stored.place().clone(), record, expected)
            }
            Plan::Renew { .. } | Plan::Touch { .. } | Plan::Confirm { .. } => return None,
        };
        match driver.write_now(&place.key, record.clone(), expected, job.now) {
            Written::Done(version) => Some(Outcome::Stored(Stored::new(
                place,
                record.clone().with_version(version),
            ))),
            Written::Gone => Some(Outcome::Gone),
            Written::Conflict(_) => None,
        }
    }

    /// Stores a new session. An id that is taken, which does not happen, is not used.
    async fn create(&self, mut id: SessionId, record: &Record) -> Result<Stored> {
        self.open().await?;
        for _ in 0..IDS {
            let place = self.place_of(id);
            if let Written::Done(version) = self.limited().write(&place.key, record, Expected::Absent).await? {
                return Ok(Stored::new(place, record.clone().with_version(version)));
            }
            id = SessionId::generate()?;
        }
        Err(Error::new(
            ErrorKind::Driver,
            format!("the session store has a record under each of {IDS} new random ids, which cannot be"),
        ))
    }

    /// Replaces a record, or what another request has made of it meanwhile.
    async fn replace(
        &self,
        mut stored: Stored,
        mut record: Record,
        changes: &Changes,
        now: SystemTime,
    ) -> Result<Outcome> {
        let mut turn = None;
        for attempt in 0..ATTEMPTS {
            let expected = Expected::Version(stored.record.version());
            match self.limited().write(&stored.key, &record, expected).await? {
                Written::Done(version) => {
                    stored.record = record.with_version(version);
                    return Ok(Outcome::Stored(stored));
                }
                Written::Gone => return Ok(Outcome::Gone),
                Written::Conflict(mut newer) => {
                    if turn.is_none() {
                        turn = Box::pin(self.turn_to_save(&stored.key, &mut newer)).await;
                    }
                    let Some(newer) = Box::pin(self.catch_up(stored, newer, attempt, now)).await? else {
                        return Ok(Outcome::Gone);
                    };
                    stored = newer;
                    record = self.replay(&stored, changes, now)?;
                }
            }
        }
        Err(conflict())
    }

    /// Where many requests of this process save one session at once, they do so one after the other once they have met. If each tried again by itself,
    /// nearly all would have read, by the time the store gets to them, what another one has replaced since. After such a wait `newer` is none any more.
    /// It is for efficiency alone: who waits in vain goes on without a turn.
    async fn turn_to_save(&self, key: &StoreKey, newer: &mut Option<Record>) -> Option<Turn> {
        let turns = self.store.saves.of(key);
        if let Some(turn) = turns.try_take() {
            return Some(turn);
        }
        *newer = None;
        timeout(self.settings.store_timeout, turns.take()).await.ok()
    }

    /// Replays the changes on a session that is known to go by another id, within the time that its mark allows.
    async fn merge(&self, stored: Stored, changes: &Changes, now: SystemTime) -> Result<Outcome> {
        let Some(stored) = self.newest(stored, now).await? else {
            return Ok(Outcome::Gone);
        };
        let record = self.replay(&stored, changes, now)?;
        self.replace(stored, record, changes, now).await
    }

    /// Gives a session a new id: first the new record, then a mark in the place of the old one. A crash in between leaves the
    /// old record, with which the visitor goes on, and another that nobody knows and that expires.
    async fn renew(
        &self,
        stored: Stored,
        id: SessionId,
        record: Record,
        changes: &Changes,
        now: SystemTime,
    ) -> Result<Outcome> {
        let mut new = match self.create(id, &record).await {
            Ok(new) => new,
            Err(error) => {
                // It may be stored all the same, and would be listed among its owner's sessions. What fails now expires.
                self.limited().destroy(&self.key_of(&id)).await.ok();
                return Err(error);
            }
        };
        let handed = match self.hand_over(stored, &mut new, changes, now).await {
            Ok(Handed::Over) => {
                tracing::debug!(target: "session_schema", "a session has been given a new id");
                return Ok(Outcome::Stored(new));
            }
            Ok(Handed::Perhaps(error)) => return Err(error),
            other => other,
        };
        // Nobody has been told the new id, nor will be.
        let destroyed = self.limited().destroy(&new.key).await;
        let handed = handed?;
        destroyed?;
        match handed {
            Handed::Elsewhere(stored) => {
                let record = self.replay(&stored, changes, now)?;
                self.replace(stored, record, changes, now).await
            }
            _ => Ok(Outcome::Gone),
        }
    }

    /// Puts a mark in the place of the old record. What others write there until then is taken over into the new one.
    async fn hand_over(
        &self,
        mut stored: Stored,
        new: &mut Stored,
        changes: &Changes,
        now: SystemTime,
    ) -> Result<Handed> {
        let mark = Mark {
            to: new.key,
            until: after(now, GRACE),
        };
        for attempt in 0..ATTEMPTS {
            let expected = Expected::Version(stored.record.version());
            let newer = match self.is_owner_being_ended(&stored.record).await? {
                true => None,
                false => match self.limited().write(&stored.key, &mark.record(), expected).await {
                    Ok(Written::Done(_)) => {
                        self.note_ending(Some(stored.key));
                        let kept = self.keep_lease(&stored, new, now).await;
                        return Ok(kept.unwrap_or_else(Handed::Perhaps));
                    }
                    Ok(Written::Gone) => return Ok(Handed::Gone),
                    Ok(Written::Conflict(newer)) => newer,
                    Err(error) => return Ok(Handed::Perhaps(error)),
                },
            };
            let old_key = stored.key;
            stored = match self.catch_up(stored, newer, attempt, now).await? {
                Some(newer) if newer.key == old_key => newer,
                Some(newer) => return Ok(Handed::Elsewhere(newer)),
                None => return Ok(Handed::Gone),
            };
            let record = self.replay(&stored, changes, now)?;
            let expected = Expected::Version(new.record.version());
            match self.limited().write(&new.key, &record, expected).await? {
                Written::Done(version) => new.record = record.with_version(version),
                // Nobody knows the new id: "all sessions of the owner" have been destroyed.
                Written::Gone | Written::Conflict(_) => return Ok(Handed::Gone),
            }
        }
        Err(conflict())
    }

    /// Where somebody has the session exclusively under its old id, the new record says so, before anybody is told the new id. Who asks for it
    /// exclusively looks for a mark when he has the lease: either he finds it, or he is found here.
    async fn keep_lease(&self, old: &Stored, new: &mut Stored, now: SystemTime) -> Result<Handed> {
        let lease = lease::of_session(old);
        if lease == lease::of_session(new) || !self.is_held(&lease).await? {
            return Ok(Handed::Over);
        }
        for attempt in 0..ATTEMPTS {
            let mut draft = Draft::of(&new.record);
            draft.set(&key::LEASE.into(), Some(format!("\"{}\"", lease.as_str()).into()));
            let record = self.record_of(&mut draft, Some(&new.record), now)?;
            let expected = Expected::Version(new.record.version());
            let newer = match self.limited().write(&new.key, &record, expected).await? {
                Written::Done(version) => {
                    new.record = record.with_version(version);
                    return Ok(Handed::Over);
                }
                Written::Gone => return Ok(Handed::Gone),
                // Others have followed the mark already.
                Written::Conflict(newer) => newer,
            };
            match self.catch_up(new.clone(), newer, attempt, now).await? {
                Some(newer) => new.record = newer.record,
                None => return Ok(Handed::Gone),
            }
        }
        Err(conflict())
    }

    /// Destroys a session, under whatever id it goes by now. It is emptied by compare-and-swap first: a request that is
    /// giving it a new id at the same moment finds it gone, or is found out.
    async fn destroy(&self, mut stored: Stored, now: SystemTime) -> Result<()> {
        for attempt in 0..ATTEMPTS {
            let expected = Expected::Version(stored.record.version());
            match self.limited().write(&stored.key, &emptied(), expected).await? {
                Written::Done(_) | Written::Gone => {
                    self.note_ending(Some(stored.key));
                    self.limited().destroy(&stored.key).await?;
                    return Ok(());
                }
                Written::Conflict(newer) => match self.catch_up(stored, newer, attempt, now).await? {
                    Some(newer) => stored = newer,
                    None => return Ok(()),
                },
            }
        }
        Err(conflict())
    }

    /// Moves an expiry. That the session has gone, or goes by another id, is the store's to say: the cookie must not be
    /// renewed then.
    async fn touch(&self, stored: Stored, mut until: SystemTime, now: SystemTime) -> Result<Outcome> {
        for _ in 0..ATTEMPTS {
            if !self.limited().touch(&stored.key, until).await? {
                return Ok(Outcome::Gone);
            }
            let Some(newest) = self.newest(stored.clone(), now).await? else {
                return Ok(Outcome::Gone);
            };
            let draft = Draft::of(&newest.record);
            match self.settings.moved_expiry(&newest.record, &draft, now) {
                // Another request has given the session a life of another length meanwhile.
                Some(other) if newest.key == stored.key => until = other,
                _ => return Ok(Outcome::Stored(newest)),
            }
        }
        Err(conflict())
    }

    /// What a session is now that another request has written it, under whatever id; `None` when it is gone.
    async fn catch_up(
        &self,
        stored: Stored,
        newer: Option<Record>,
        attempt: u32,
        now: SystemTime,
    ) -> Result<Option<Stored>> {
        tracing::debug!(target: "session_schema", attempt, "another request has saved the same session meanwhile");
        // The first time the record that the store sent along is good enough.
        let newer = match newer {
            Some(newer) if attempt == 0 => Some(newer),
            _ => {
                pause(attempt).await;
                self.limited().read_fresh(&stored.key).await?
            }
        };
        self.follow(stored, newer, now).await
    }

    /// What a session is now in the store.
    pub(crate) async fn newest(&self, stored: Stored, now: SystemTime) -> Result<Option<Stored>> {
        let newest = self.limited().read_fresh(&stored.key).await?;
        self.follow(stored, newest, now).await
    }

    /// Follows the marks that a session left where it has been.
    async fn follow(&self, mut stored: Stored, mut newer: Option<Record>, now: SystemTime) -> Result<Option<Stored>> {
        for _ in 0..HOPS {
            let Some(record) = newer.filter(|record| !record.is_expired(now)) else {
                return Ok(None);
            };
            if record.parsed().check().is_err() {
                return Err(Error::new(
                    ErrorKind::Decode,
                    "another program has replaced the stored session by something that cannot be read",
                ));
            }
            match Mark::in_payload(record.parsed()) {
                None => {
                    stored.record = record;
                    return Ok(Some(stored));
                }
                Some(mark) if mark.until <= now => return Ok(None),
                Some(mark) => {
                    stored.join(mark.to);
                    newer = self.limited().read_fresh(&mark.to).await?;
                }
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the session has been given a new id {HOPS} times in a row while this request used it"),
        ))
    }

    /// The record that the changes make of a newer one.
    fn replay(&self, stored: &Stored, changes: &Changes, now: SystemTime) -> Result<Record> {
        let mut draft = Draft::of(&stored.record);
        for change in changes.iter() {
            match stored.joined {
                true => change.apply_under_new_id(&mut draft)?,
                false => change.apply(&mut draft)?,
            }
        }
        self.record_of(&mut draft, Some(&stored.record), now)
    }
}

/// What stands for a moment in the place of a session that is destroyed: it is absent at once.
pub(crate) fn emptied() -> Record {
    Record::new(b"{}".to_vec(), SystemTime::UNIX_EPOCH)
}

/// Lets others go first, for a random time: the more often it was in vain, the longer.
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
