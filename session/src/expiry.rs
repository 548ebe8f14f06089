//! When a session expires.
//!
//! * Idle: so long after it was last used; the layer's lifetime, or the session's own (`set_lifetime`), kept in its payload.
//! * Absolute, where the layer has such a limit: so long after it began, which is kept in the payload too.
//!
//! The earlier of the two is the record's expiry; expired means that this moment has come. To spare the store and the browser
//! a message with every request, an expiry is moved only when a tenth of the idle lifetime has gone by since it was last moved.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::after;
use crate::config::Settings;
use crate::draft::Draft;
use crate::payload::{Payload, key};
use crate::record::Record;

/// The idle lifetime that a session has for itself alone, as it is stored.
fn own_lifetime(stored: Option<&str>) -> Option<Duration> {
    stored?.parse().ok().map(Duration::from_millis)
}

/// Milliseconds since 1970; times before count as 1970.
pub(crate) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn from_millis(text: &str) -> Option<SystemTime> {
    text.parse()
        .ok()
        .map(|millis| after(SystemTime::UNIX_EPOCH, Duration::from_millis(millis)))
}

impl Settings {
    /// When a session that is used now expires.
    #[inline]
    pub(crate) fn expiry(&self, draft: &Draft, now: SystemTime) -> SystemTime {
        let idle = own_lifetime(draft.get(key::LIFETIME)).unwrap_or(self.lifetime);
        self.expiry_after(idle, draft, now)
    }

    #[inline]
    fn expiry_after(&self, idle: Duration, draft: &Draft, now: SystemTime) -> SystemTime {
        let (idle, absolute) = (after(now, idle), self.absolute_lifetime);
        let deadline = absolute.and_then(|_| self.deadline(draft.get(key::CREATED)));
        deadline.map_or(idle, |deadline| idle.min(deadline))
    }

    /// The expiry to write, if it is worth moving from where it is. What the session's own lifetime makes of it always is.
    #[inline]
    pub(crate) fn moved_expiry(&self, record: &Record, draft: &Draft, now: SystemTime) -> Option<SystemTime> {
        let own = draft.get(key::LIFETIME);
        if draft.keeps_expiry && own == record.parsed().get(key::LIFETIME) {
            return None;
        }
        let lifetime = own_lifetime(own).unwrap_or(self.lifetime);
        let (old, new) = (record.expires_at(), self.expiry_after(lifetime, draft, now));
        let moved = new
            .duration_since(old)
            .or_else(|_| old.duration_since(new))
            .unwrap_or_default();
        let enough = match own == record.parsed().get(key::LIFETIME) {
            true => (lifetime / 10).max(Duration::from_millis(1)),
            false => Duration::from_millis(1),
        };
        (moved >= enough).then_some(new)
    }

    /// Whether a session has reached its absolute limit.
    pub(crate) fn is_past_deadline(&self, payload: &Payload, now: SystemTime) -> bool {
        let deadline = self
            .absolute_lifetime
            .and_then(|_| self.deadline(payload.get(key::CREATED)));
        deadline.is_some_and(|deadline| now >= deadline)
    }

    fn deadline(&self, created: Option<&str>) -> Option<SystemTime> {
        Some(after(from_millis(created?)?, self.absolute_lifetime?))
    }

    /// Whether it matters when the session began, and is not known.
    #[inline]
    pub(crate) fn is_undated(&self, draft: &Draft) -> bool {
        self.absolute_lifetime.is_some() && draft.get(key::CREATED).and_then(from_millis).is_none()
    }

    /// Notes when the session began, if that matters and is not known.
    #[inline]
    pub(crate) fn note_beginning(&self, draft: &mut Draft, now: SystemTime) {
        if self.is_undated(draft) {
            draft.set(&key::CREATED.into(), Some(Arc::from(to_millis(now).to_string())));
        }
    }

    /// Until when the browser is to keep the cookie; `None`: until it is closed.
    #[inline]
    pub(crate) fn cookie_expiry(&self, record: &Record) -> Option<SystemTime> {
        let until_closed = self.expire_on_close && own_lifetime(record.parsed().get(key::LIFETIME)).is_none();
        (!until_closed).then(|| record.expires_at())
    }
}
