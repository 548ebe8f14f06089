//! Sessions that were prolonged when they were read, and what has to be known before the browser is told so.
//!
//! A touch is the last a request does, and says whether the session is still there. Where the store prolongs a session with the message that reads it,
//! that is known only of the beginning; and a response must not set the cookie of a session that a logout has ended meanwhile, for the browser
//! may have a better one. So who was quick looks at what this process has ended lately, which costs nothing; who was not asks the store.
//! What another process ends within the short time that counts as quick can be missed, as when the two responses overtake each other on their way.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::backend::{Backend, Stored};
use crate::error::Result;
use crate::id::StoreKey;
use crate::save::{Newest, Outcome};

/// How long a request may take so that the store is not asked again.
const QUICK: Duration = Duration::from_millis(100);

/// What this process has ended, or given a new id, within a time in which somebody may be quick: keys, or, where they are not known, no key.
#[derive(Default)]
pub(crate) struct Endings(Mutex<VecDeque<(Instant, Option<StoreKey>)>>);

impl Endings {
    /// Notes that a session has been ended, or some have been whose keys are not known.
    pub(crate) fn note(&self, key: Option<StoreKey>) {
        let mut endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while endings.front().is_some_and(|(when, _)| when.elapsed() > QUICK) {
            endings.pop_front();
        }
        endings.push_back((Instant::now(), key));
    }

    /// Whether a session may have been ended since.
    fn may_have_ended(&self, key: &StoreKey, since: Instant) -> bool {
        let endings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns =
            |(when, ended): &(Instant, Option<StoreKey>)| *when >= since && ended.is_none_or(|ended| ended == *key);
        endings.iter().any(concerns)
    }
}

impl Backend {
    /// Notes that a session has been ended, for those who were prolonging it.
    pub(crate) fn note_ending(&self, key: Option<StoreKey>) {
        if self.store.driver().rolling().is_some() {
            self.store.endings.note(key);
        }
    }

    /// Whether a session is still there that was prolonged `since`, or that an earlier save of the request has stored.
    pub(crate) async fn confirm(&self, stored: Stored, since: Option<Instant>, now: SystemTime) -> Result<Outcome> {
        if since.is_some_and(|since| since.elapsed() < QUICK && !self.store.endings.may_have_ended(&stored.key, since))
        {
            return Ok(Outcome::Stored(stored));
        }
        Ok(match self.newest(&stored, now).await? {
            Newest::Live(newest) => Outcome::Stored(stored.with_record(newest)),
            Newest::Moved => Outcome::Merged(stored),
            Newest::Gone => Outcome::Gone,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_before_does_not_count_and_what_ended_since_does() {
        let (endings, one, other): (_, StoreKey, StoreKey) =
            (Endings::default(), "one".parse().unwrap(), "other".parse().unwrap());
        endings.note(Some(one));
        let since = Instant::now();
        assert!(!endings.may_have_ended(&one, since));
        endings.note(Some(one));
        assert!(endings.may_have_ended(&one, since) && !endings.may_have_ended(&other, since));
        endings.note(None);
        assert!(endings.may_have_ended(&other, since));
    }
}
