//! Gives a session a new id: at a sign-in, and when the handler asks for it.
//!
//! The record is stored under the new id first. Then a mark that leads there replaces the old record. After a crash in
//! between, the visitor goes on with the old record. The new one is known to nobody, and expires.
//!
//! If another request was faster, or the session has ended, nothing is written under an id that this request was not
//! given:
//!
//! * A session that had no owner when it was loaded keeps the new record as a session of its own. If the session has
//!   ended, under any id, only this request's own changes stay in it.
//! * A session with an owner is not signed in twice. The changes are merged like those of any request in flight, and
//!   the new record is destroyed.

use std::time::SystemTime;

use crate::backend::{Backend, Mark, Stored};
use crate::changes::Changes;
use crate::clock::after;
use crate::draft::Draft;
use crate::driver::{Expected, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;
use crate::lease;
use crate::payload::key;
use crate::record::Record;

use super::follow::{Followed, Newest, Purpose, Target};
use super::{ATTEMPTS, GRACE, Outcome, conflict};

/// What has become of the old id.
enum Handed {
    /// The old id leads to the new one.
    Over,
    /// The store failed while the mark was written, or just after. The old record may lead to the new one, so both have
    /// to stay.
    Perhaps(Error),
    /// Another request was faster.
    Elsewhere(Option<Mark>),
    /// The session has ended.
    Gone,
}

impl Backend {
    pub(super) async fn regenerate(
        &self,
        stored: Stored,
        id: SessionId,
        record: Record,
        changes: &Changes,
        now: SystemTime,
    ) -> Result<Outcome> {
        let mut new = self.create(id, &record).await?;
        let had_owner = stored.record.owner().is_some();
        let handed = match self.hand_over(stored.clone(), &mut new, changes, now).await {
            Ok(Handed::Over) => {
                tracing::debug!(target: "session_schema", "a session was given a new id");
                return self.stored_unless_ended(new, now).await;
            }
            Ok(Handed::Perhaps(error)) => return Err(error),
            Ok(handed @ (Handed::Elsewhere(_) | Handed::Gone)) if !had_owner => {
                let key = new.key;
                let kept = self.keep(new, handed, changes, now).await;
                if kept.is_err() {
                    // Nobody has been told the new id. What fails now expires.
                    self.limited().destroy(&key).await.ok();
                }
                return kept;
            }
            other => other,
        };
        // The new id has been sent to nobody, and will not be.
        let destroyed = self.limited().destroy(&new.key).await;
        let handed = handed?;
        destroyed?;
        match handed {
            // Putting the same owner again is no sign-in, and there is no id to send to the browser.
            _ if changes.names_owner() => Ok(Outcome::Refused(ErrorKind::SignInRefused)),
            Handed::Gone => Ok(Outcome::Gone),
            _ => self.replace(stored, record, changes, now).await,
        }
    }

    /// Replaces the old record by a mark. Changes that others write to the old record before that are copied to the new
    /// one.
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
            by: self.store.number,
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
            let newer = self.newer(&stored.key, newer, attempt).await?;
            if let Some(mark) = self.mark_in(newer.clone(), now)? {
                return Ok(Handed::Elsewhere(Some(mark)));
            }
            let target = match self
                .follow(Target::of(&stored), newer, &stored.record, Purpose::Merge, now)
                .await?
            {
                Followed::Live(target) => target,
                Followed::Gone => return Ok(Handed::Gone),
                Followed::Superseded => return Ok(Handed::Elsewhere(None)),
            };
            let record = self.replay(&target, changes, now)?;
            stored = stored.with_record(target.record);
            let expected = Expected::Version(new.record.version());
            match self.limited().write(&new.key, &record, expected).await? {
                Written::Done(version) => new.record = record.with_version(version),
                // The new record is gone although nobody knows its id: all sessions of its owner have been destroyed.
                Written::Gone | Written::Conflict(_) => return Ok(Handed::Gone),
            }
        }
        Err(conflict())
    }

    /// What has become of a new record. A request that ends all sessions of an owner finds the record as soon as it is
    /// stored, which may be before the old id is given up.
    async fn stored_unless_ended(&self, new: Stored, now: SystemTime) -> Result<Outcome> {
        if new.record.owner().is_none() {
            return Ok(Outcome::Stored(new));
        }
        Ok(match self.newest(&new, now).await? {
            Newest::Live(_) => Outcome::Stored(new),
            Newest::Moved | Newest::Gone => Outcome::Gone,
        })
    }

    /// Keeps a new record as a session of its own, where another request was faster. If the session has ended, only this request's own changes stay.
    async fn keep(&self, new: Stored, handed: Handed, changes: &Changes, now: SystemTime) -> Result<Outcome> {
        let is_live = match handed {
            Handed::Elsewhere(Some(mark)) => self.leads_to_live(mark, now).await?,
            Handed::Gone => false,
            _ => true,
        };
        match is_live {
            true => self.stored_unless_ended(new, now).await,
            false => self.keep_own_changes(new, changes, now).await,
        }
    }

    /// Leaves nothing in a new record but what this request has changed: the session that it loaded has ended.
    async fn keep_own_changes(&self, new: Stored, changes: &Changes, now: SystemTime) -> Result<Outcome> {
        let mut draft = Draft::empty();
        for change in changes.iter().filter(|change| !change.is_of_token()) {
            change.apply(&mut draft)?;
        }
        draft.seal();
        if draft.is_empty() {
            self.limited().destroy(&new.key).await?;
            return Ok(Outcome::Empty);
        }
        let record = self.record_of(&mut draft, None, now)?;
        let expected = Expected::Version(new.record.version());
        Ok(match self.limited().write(&new.key, &record, expected).await? {
            Written::Done(version) => Outcome::Stored(new.with_record(record.with_version(version))),
            Written::Gone | Written::Conflict(_) => Outcome::Gone,
        })
    }

    /// If another request has the session exclusively under its old id, writes that to the new record, before the
    /// browser gets the new id. A request that asks for exclusive use looks for a mark once it has the lease: either it
    /// finds the mark, or its lease is found here.
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
                // Other requests have already followed the mark.
                Written::Conflict(newer) => newer,
            };
            let newer = self.newer(&new.key, newer, attempt).await?;
            match self
                .follow(Target::of(new), newer, &new.record, Purpose::Merge, now)
                .await?
            {
                Followed::Live(target) if !target.moved => new.record = target.record,
                _ => return Ok(Handed::Gone),
            }
        }
        Err(conflict())
    }
}
