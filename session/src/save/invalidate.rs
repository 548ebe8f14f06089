//! Destroys a session that its handler ended, and every other session whose id came with the request.

use std::time::SystemTime;

use crate::backend::{Backend, Stored};
use crate::driver::{Expected, Written};
use crate::error::{ErrorKind, Result};

use super::follow::{Followed, Purpose, Target};
use super::{ATTEMPTS, Job, conflict, emptied};

/// What has become of a session that was to be ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    /// The session had already ended.
    Gone,
    /// The session has another owner under its new id, and stays.
    Anothers,
}

impl Backend {
    /// Destroys what the handler has ended. Returns an outcome if the rest of the job must not be done.
    pub(super) async fn end(&self, job: &mut Job) -> Result<Option<ErrorKind>> {
        let Some(ended) = &mut job.ended else { return Ok(None) };
        let end = self.destroy(&ended.stored, job.now).await?;
        job.was_anothers = end == End::Anothers;
        if std::mem::take(&mut ended.must_be_live) && end != End::Done {
            return Ok(Some(ErrorKind::SignInRefused));
        }
        while let Some(place) = job.other_places.last() {
            let record = self.limited().read_fresh(&place.key).await?;
            if let Some(record) = record.filter(|record| self.is_live(record, job.now)) {
                self.destroy(&Stored::new(place.clone(), record), job.now).await?;
            }
            job.other_places.pop();
        }
        job.ended = None;
        Ok(None)
    }

    /// Destroys a session, even if another request has given it a new id, unless it has another owner under that id.
    /// The record is first emptied by compare-and-swap: if another request is giving the session a new id at the same
    /// moment, either that request finds the session gone, or this one finds the mark.
    async fn destroy(&self, loaded: &Stored, now: SystemTime) -> Result<End> {
        let mut target = Target::of(loaded);
        for attempt in 0..ATTEMPTS {
            let expected = Expected::Version(target.record.version());
            let written = match self.limited().write(&target.key, &emptied(), expected).await {
                // A full disk takes no record, not even an empty one.
                Err(error) if error.kind() == ErrorKind::Driver => {
                    match self.destroy_or_follow(&mut target, loaded, now).await {
                        Ok(Some(end)) => return Ok(end),
                        Ok(None) => continue,
                        Err(_) => return Err(error),
                    }
                }
                written => written?,
            };
            match written {
                Written::Done(_) => {
                    self.note_ending(Some(target.key));
                    self.limited().destroy(&target.key).await?;
                    return Ok(End::Done);
                }
                Written::Gone => return Ok(End::Gone),
                Written::Conflict(newer) => {
                    let newer = self.newer(&target.key, newer, attempt).await?;
                    target = match self.follow(target, newer, &loaded.record, Purpose::End, now).await? {
                        Followed::Live(target) => target,
                        Followed::Gone => return Ok(End::Gone),
                        Followed::Superseded => return Ok(End::Anothers),
                    };
                }
            }
        }
        Err(conflict())
    }

    /// Destroys a session whose record could not be emptied. `None` if it has another id now.
    async fn destroy_or_follow(&self, target: &mut Target, loaded: &Stored, now: SystemTime) -> Result<Option<End>> {
        let key = target.key;
        let newest = self.limited().read_fresh(&key).await?;
        let from = Target {
            record: target.record.clone(),
            ..*target
        };
        *target = match Box::pin(self.follow(from, newest, &loaded.record, Purpose::End, now)).await? {
            Followed::Live(target) => target,
            Followed::Gone => return Ok(Some(End::Gone)),
            Followed::Superseded => return Ok(Some(End::Anothers)),
        };
        if target.key != key {
            return Ok(None);
        }
        let destroyed = self.limited().destroy(&key).await?;
        self.note_ending(Some(key));
        Ok(Some(match destroyed {
            true => End::Done,
            false => End::Gone,
        }))
    }
}
