//! When a session expires.
//!
//! * Idle: a certain time after it was last used. This is the layer's lifetime, or the session's own ([`Expiry`]), kept
//!   in its payload.
//! * At a fixed time of its own, kept there too.
//! * Absolute, if the layer has such a limit: a certain time after it began. When it began is kept in the payload too.
//!   This limit caps the others.
//!
//! The earliest of these is the record's expiry; a session has expired when that time has come. To spare the store and
//! the browser a message with every request, an expiry is moved only when a tenth of the idle lifetime has gone by
//! since it was last moved.

use std::time::{Duration, SystemTime};

use crate::clock::{after, end_of_time};
use crate::config::Settings;
use crate::draft::Draft;
use crate::payload::{Json, Payload, key};
use crate::record::Record;

/// Overrides how long one session lives: see [`Session::set_expiry`](crate::Session::set_expiry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Expiry {
    /// Expires this long after the session was last used. The browser keeps the cookie as long.
    Idle(Duration),
    /// Expires at this time, however much the session is used. The browser keeps the cookie until then. Exact to the
    /// millisecond.
    At(SystemTime),
    /// Expires when the browser is closed. In the store, the session has the idle lifetime of the layer.
    OnClose,
}

/// [`Expiry::OnClose`], as it is stored.
const ON_CLOSE: &str = r#""close""#;

impl Expiry {
    /// The JSON text under [`key::LIFETIME`]. An idle lifetime is a number of milliseconds, rounded up. A fixed time is
    /// not a number: a store that prolongs sessions when it reads them understands only numbers, and so leaves a fixed
    /// time alone.
    pub(crate) fn to_json(self) -> String {
        match self {
            Self::Idle(lifetime) => {
                // Not beyond the latest time: numbers up to that are read back correctly, whichever program wrote them.
                let longest = u128::from(to_millis(end_of_time()));
                lifetime.as_nanos().div_ceil(1_000_000).min(longest).to_string()
            }
            Self::At(moment) => format!(r#"{{"at":{}}}"#, to_millis(moment.min(end_of_time()))),
            Self::OnClose => ON_CLOSE.to_owned(),
        }
    }

    /// Reads a stored text. `None` if it has another shape.
    #[inline]
    pub(crate) fn of_json(stored: Option<&str>) -> Option<Self> {
        let stored = stored?;
        match stored.as_bytes().first()? {
            b'{' => {
                let At { at } = serde_json::from_str(stored).ok()?;
                Some(Self::At(after(SystemTime::UNIX_EPOCH, Duration::from_millis(at))))
            }
            b'"' => (stored == ON_CLOSE).then_some(Self::OnClose),
            _ => stored.parse().ok().map(Duration::from_millis).map(Self::Idle),
        }
    }
}

#[derive(serde::Deserialize)]
struct At {
    at: u64,
}

/// Milliseconds since 1970; times before count as 1970.
pub(crate) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn from_millis(text: &str) -> Option<SystemTime> {
    text.parse().ok().map(time_of_millis)
}

#[inline]
fn time_of_millis(millis: u64) -> SystemTime {
    after(SystemTime::UNIX_EPOCH, Duration::from_millis(millis))
}

impl Settings {
    /// When a session that is used now expires.
    #[inline]
    pub(crate) fn expiry(&self, draft: &Draft, now: SystemTime) -> SystemTime {
        self.expiry_by(Expiry::of_json(draft.get(key::LIFETIME)), draft, now)
    }

    #[inline]
    fn expiry_by(&self, own: Option<Expiry>, draft: &Draft, now: SystemTime) -> SystemTime {
        let expiry = match own {
            Some(Expiry::At(moment)) => moment,
            Some(Expiry::Idle(_) | Expiry::OnClose) | None => after(now, self.idle_lifetime(own)),
        };
        let Some(absolute) = self.absolute_lifetime else {
            return expiry;
        };
        // A session that is not stored yet begins now.
        let begun = draft.begun().map_or(now, time_of_millis);
        expiry.min(after(begun, absolute))
    }

    fn idle_lifetime(&self, own: Option<Expiry>) -> Duration {
        match own {
            Some(Expiry::Idle(lifetime)) => lifetime,
            Some(Expiry::At(_) | Expiry::OnClose) | None => self.lifetime,
        }
    }

    /// The expiry to write, if it is worth moving. A change that comes from the session's own expiry always is.
    #[inline]
    pub(crate) fn moved_expiry(&self, record: &Record, draft: &Draft, now: SystemTime) -> Option<SystemTime> {
        let text = draft.get(key::LIFETIME);
        if draft.keeps_expiry && text == record.parsed().get(key::LIFETIME) {
            return None;
        }
        let own = Expiry::of_json(text);
        let (old, new) = (record.expires_at(), self.expiry_by(own, draft, now));
        let moved = new
            .duration_since(old)
            .or_else(|_| old.duration_since(new))
            .unwrap_or_default();
        let is_rolling = !matches!(own, Some(Expiry::At(_))) && text == record.parsed().get(key::LIFETIME);
        let enough = match is_rolling {
            true => (self.idle_lifetime(own) / 10).max(Duration::from_millis(1)),
            false => Duration::from_millis(1),
        };
        (moved >= enough).then_some(new)
    }

    /// Whether a session has reached its absolute limit.
    pub(crate) fn is_past_deadline(&self, payload: &Payload, now: SystemTime) -> bool {
        let deadline = self
            .absolute_lifetime
            .zip(payload.begun())
            .map(|(lifetime, begun)| after(time_of_millis(begun), lifetime));
        deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether the time at which the session began matters and is not known.
    #[inline]
    pub(crate) fn is_undated(&self, draft: &Draft) -> bool {
        self.absolute_lifetime.is_some() && draft.begun().is_none()
    }

    /// Notes when the session began, if that matters and is not known.
    #[inline]
    pub(crate) fn note_beginning(&self, draft: &mut Draft, now: SystemTime) {
        if self.is_undated(draft) {
            draft.set(&key::CREATED.into(), Some(Json::new(to_millis(now).to_string())));
        }
    }

    /// Until when the browser is to keep the cookie; `None`: until it is closed.
    #[inline]
    pub(crate) fn cookie_expiry(&self, record: &Record) -> Option<SystemTime> {
        let until_closed = match Expiry::of_json(record.parsed().get(key::LIFETIME)) {
            Some(Expiry::Idle(_) | Expiry::At(_)) => false,
            Some(Expiry::OnClose) => true,
            None => self.expire_on_close,
        };
        (!until_closed).then(|| record.expires_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_stored_of_an_expiry_is_read_back(millis in 0..253_402_300_799_000_u64) {
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            for expiry in [Expiry::Idle(Duration::from_millis(millis)), Expiry::At(at), Expiry::OnClose] {
                prop_assert_eq!(Expiry::of_json(Some(&expiry.to_json())), Some(expiry));
            }
        }
    }

    #[test]
    fn what_is_no_expiry_counts_as_absent() {
        for text in [
            "null",
            "true",
            "-1",
            "1.5",
            r#""""#,
            r#""at""#,
            "[]",
            "{}",
            r#"{"at":-1}"#,
            r#"{"at":"1"}"#,
            "1e400",
        ] {
            assert_eq!(Expiry::of_json(Some(text)), None, "{text}");
        }
        assert_eq!(Expiry::of_json(None), None);
    }

    #[test]
    fn expiries_beyond_all_times_end_with_them() {
        let end = Duration::from_millis(to_millis(end_of_time()));
        let idle = Expiry::Idle(Duration::MAX).to_json();
        assert_eq!(Expiry::of_json(Some(&idle)), Some(Expiry::Idle(end)));
        let far = end_of_time() + Duration::from_secs(60 * 60 * 24 * 365);
        let at = Expiry::At(far).to_json();
        assert_eq!(
            Expiry::of_json(Some(&at)),
            Some(Expiry::At(SystemTime::UNIX_EPOCH + end))
        );
        let before = Expiry::At(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).to_json();
        assert_eq!(Expiry::of_json(Some(&before)), Some(Expiry::At(SystemTime::UNIX_EPOCH)));
    }
}
