//! What all sessions of a layer share, and how one is found in the store.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::clock::{Clock, SharedClock};
use crate::config::Settings;
use crate::cookie::CookieWriter;
use crate::draft::Draft;
use crate::driver::{Driver, RollingRead};
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::{from_millis, to_millis};
use crate::id::{SessionId, StoreKey};
use crate::namespace::Namespace;
use crate::payload::{Payload, key};
use crate::record::Record;
use crate::store::{Limited, Store};

/// Store, settings and clock of the sessions of a layer.
pub(crate) struct Backend {
    pub(crate) store: Arc<Store>,
    pub(crate) settings: Settings,
    pub(crate) namespace: Namespace,
    pub(crate) clock: SharedClock,
    pub(crate) cookie: CookieWriter,
}

/// A session in the store: where it is, and what the request has seen of it. Cheap to clone and to move.
#[derive(Clone)]
pub(crate) struct Stored {
    place: Arc<Place>,
    pub(crate) record: Record,
}

/// Where a session is in the store.
pub(crate) struct Place {
    pub(crate) id: SessionId,
    pub(crate) key: StoreKey,
}

impl Stored {
    pub(crate) fn new(place: Arc<Place>, record: Record) -> Self {
        Self { place, record }
    }

    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// The same session, as it is stored now.
    pub(crate) fn with_record(self, record: Record) -> Self {
        Self { record, ..self }
    }
}

impl Deref for Stored {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

/// What the ids of a request lead to.
pub(crate) enum Found {
    /// As it was at that moment, and since when it has been prolonged, if reading it did.
    Session(Stored, SystemTime, Option<Instant>),
    /// Only to a session that goes by another id meanwhile.
    Moved,
    Nothing,
}

impl Backend {
    pub(crate) fn limited(&self) -> Limited<'_> {
        Limited {
            store: &self.store,
            namespace: &self.namespace,
            limit: self.settings.store_timeout,
        }
    }

    pub(crate) async fn open(&self) -> Result<()> {
        self.limited().open().await?;
        self.sweep();
        Ok(())
    }

    /// The driver, once it has been opened, for what it need not be waited for: not where the layer has a clock of its own, because that is not the driver's. As whoever
    /// opens it, this sees to it that garbage is collected.
    #[inline]
    pub(crate) fn opened(&self) -> Option<&dyn Driver> {
        let driver = self.store.opened().filter(|_| self.clock.is_systems())?;
        self.sweep();
        Some(driver)
    }

    fn sweep(&self) {
        if let Some(interval) = self.settings.gc_interval {
            self.store.sweep_every(interval);
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    #[inline]
    pub(crate) fn key_of(&self, id: &SessionId) -> StoreKey {
        self.namespace.key_of(id)
    }

    /// Where the session of an id is. Shared, so that what waits for the store holds a pointer and not two strings.
    #[inline]
    pub(crate) fn place_of(&self, id: SessionId) -> Arc<Place> {
        let key = self.key_of(&id);
        Arc::new(Place { id, key })
    }

    /// What can be said without waiting for the store: of a request without an id, and of one whose first id leads to a place where the driver has a
    /// session in memory.
    pub(crate) fn find_at_hand(&self, first: Option<&Arc<Place>>) -> Option<Found> {
        let Some(place) = first else {
            return Some(Found::Nothing);
        };
        // Only where the clock is the system's: another one is the application's, and this is done under the session's lock.
        let driver = self.opened()?;
        let now = self.now();
        let record = driver.at_hand(&place.key, now)?;
        let record = self.namespace.record_of_store(record);
        match self.judge(&record, now) {
            Verdict::Live => Some(Found::Session(Stored::new(place.clone(), record), now, None)),
            // What there is to say of it is said when the store has been asked.
            Verdict::Moved | Verdict::Dead | Verdict::Unreadable => None,
        }
    }

    /// The first of the ids that leads to a live session. They are asked for one by one, so that nothing but their number is
    /// kept while the store is asked. Where the `first` one is may be known.
    pub(crate) async fn find(
        &self,
        mut first: Option<Arc<Place>>,
        nth_id: impl Fn(usize) -> Option<SessionId>,
        may_prolong: bool,
    ) -> Result<Found> {
        let rolling = self.store.driver().rolling().filter(|_| may_prolong);
        let (mut at, mut moved) = (0, false);
        let mut next = |at| first.take().or_else(|| nth_id(at).map(|id| self.place_of(id)));
        while let Some(place) = next(at) {
            if at == 0 {
                self.open().await?;
            }
            at += 1;
            let now = self.now();
            let (read, prolonged) = match rolling {
                None => (self.limited().read(&place.key).await?, None),
                Some(rolling) => Box::pin(self.read_rolling(rolling, &place.key)).await?,
            };
            match read {
                None => {
                    tracing::debug!(target: "session_schema", "the session id of the request is not known, or expired")
                }
                Some(record) => match self.judge(&record, now) {
                    Verdict::Live => {
                        return Ok(Found::Session(Stored::new(place, record), now, prolonged));
                    }
                    Verdict::Moved => moved = true,
                    Verdict::Dead => {}
                    Verdict::Unreadable => tracing::warn!(
                        target: "session_schema",
                        bytes = record.payload().len(),
                        "a stored session cannot be read; the visitor gets an empty one, the record is left alone"
                    ),
                },
            }
        }
        Ok(match moved {
            true => Found::Moved,
            false => Found::Nothing,
        })
    }

    /// A read by which the touch that is due is done.
    async fn read_rolling(
        &self,
        rolling: &dyn RollingRead,
        key: &StoreKey,
    ) -> Result<(Option<Record>, Option<Instant>)> {
        let begun = Instant::now();
        let (lifetime, absolute) = (self.settings.lifetime, self.settings.absolute_lifetime);
        let read = self
            .limited()
            .call(rolling.read_rolling(key, lifetime, absolute))
            .await?;
        Ok(match read {
            Some((record, prolonged)) => (Some(record), prolonged.then_some(begun)),
            None => (None, None),
        })
    }

    /// Whether a record is a session that a request can load.
    pub(crate) fn is_live(&self, record: &Record, now: SystemTime) -> bool {
        matches!(self.judge(record, now), Verdict::Live)
    }

    fn judge(&self, record: &Record, now: SystemTime) -> Verdict {
        if record.is_expired(now) {
            return Verdict::Dead;
        }
        let payload = record.parsed();
        if payload.check().is_err() || payload.text().len() > self.settings.max_bytes {
            return Verdict::Unreadable;
        }
        match Mark::in_payload(payload) {
            Some(mark) if mark.until > now => Verdict::Moved,
            Some(_) => Verdict::Dead,
            None if self.settings.is_past_deadline(payload, now) => Verdict::Dead,
            None => Verdict::Live,
        }
    }

    /// The record that a draft becomes. Where there is one already, its expiry stays unless it is worth moving.
    #[inline]
    pub(crate) fn record_of(&self, draft: &mut Draft, old: Option<&Record>, now: SystemTime) -> Result<Record> {
        self.settings.note_beginning(draft, now);
        draft.seal();
        let payload = draft.finish();
        if payload.text().len() > self.settings.max_bytes {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "the session would have {} bytes, more than the {} that are allowed: keep large data elsewhere and its key in the session",
                    payload.text().len(),
                    self.settings.max_bytes
                ),
            ));
        }
        let expires_at = match old {
            Some(old) => self.settings.moved_expiry(old, draft, now).unwrap_or(old.expires_at()),
            None => self.settings.expiry(draft, now),
        };
        Ok(Record::of(payload, expires_at).with_owner(draft.owner.clone()))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

enum Verdict {
    Live,
    Moved,
    Dead,
    Unreadable,
}

/// What stands in the place of a session that goes by a new id: where it is, as a store key, and how long requests that were in flight
/// may still follow it. The moment is written down, so that a touch does not prolong it.
pub(crate) struct Mark {
    pub(crate) to: StoreKey,
    pub(crate) until: SystemTime,
    /// Which [`Store`] has put it there: that one's cache has not had the session since.
    pub(crate) by: u64,
}

impl Mark {
    pub(crate) fn in_payload(payload: &Payload) -> Option<Self> {
        let to: &str = serde_json::from_str(payload.get(key::MOVED)?).ok()?;
        let until = from_millis(payload.get(key::UNTIL)?)?;
        let by = payload.get(key::BY).and_then(|by| by.parse().ok());
        Some(Self {
            to: to.parse().ok()?,
            until,
            by: by.unwrap_or_default(),
        })
    }

    pub(crate) fn record(&self) -> Record {
        let text = format!(
            r#"{{"{}":"{}","{}":{},"{}":{}}}"#,
            key::MOVED,
            self.to.as_str(),
            key::UNTIL,
            to_millis(self.until),
            key::BY,
            self.by,
        );
        Record::new(text.into_bytes(), self.until)
    }
}
