//! The records that are kept, and which of them may be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use moka::sync::Cache;

use super::order::{Order, Sweep, Ticket};
use crate::driver::Watcher;
use crate::id::StoreKey;
use crate::record::Record;

/// What a record costs beside its payload and its owner's name: keys, times, and the places in the cache's own lists.
const OVERHEAD: usize = 512;
/// More than the cache's own clock has to know of.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How reliable the store's reports are: a number that changes with each gap, odd while the cache may be used.
const USABLE: u64 = 1;

pub(super) struct Records {
    entries: Cache<StoreKey, Entry>,
    order: Order,
    max_staleness: Duration,
    epoch: AtomicU64,
    /// The store reports changes of what was read from it, and of nothing else perhaps.
    reads_only: AtomicBool,
}

#[derive(Clone)]
struct Entry {
    record: Record,
    /// When the store was asked for it, or given it.
    asked_at: SystemTime,
    epoch: u64,
}

/// A call of the store that began at a certain moment.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    ticket: Ticket,
    asked_at: SystemTime,
    epoch: u64,
}

impl Records {
    pub(super) fn new(max_staleness: Duration, capacity: u64) -> Self {
        let weight = |_: &StoreKey, entry: &Entry| {
            let owner = entry.record.owner().map_or(0, str::len);
            u32::try_from(entry.record.payload().len() + owner + OVERHEAD).unwrap_or(u32::MAX)
        };
        // The clock that is asked for staleness can be set back; the cache's own cannot, and it gives the memory back.
        let entries = Cache::builder()
            .max_capacity(capacity)
            .weigher(weight)
            .time_to_live(max_staleness.min(YEAR))
            .build();
        Self {
            entries,
            order: Order::new(),
            max_staleness,
            epoch: AtomicU64::new(USABLE),
            reads_only: AtomicBool::new(false),
        }
    }

    /// The record under `key`, if it is known well enough. That it is expired is not: it may have been prolonged elsewhere.
    pub(super) fn get(&self, key: &StoreKey, now: SystemTime) -> Option<Record> {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if epoch & USABLE == 0 {
            return None;
        }
        let entry = self.entries.get(key)?;
        let is_fresh = now
            .duration_since(entry.asked_at)
            .is_ok_and(|age| age < self.max_staleness);
        (is_fresh && entry.epoch == epoch && !entry.record.is_expired(now)).then_some(entry.record)
    }

    pub(super) fn read_begins(&self, key: &StoreKey, now: SystemTime) -> Begun {
        let ticket = self.order.read_begins(key);
        self.begun(ticket, now)
    }

    /// Keeps what a read has found, unless it may be out of date by now.
    pub(super) fn read_ends(&self, key: &StoreKey, found: Option<&Record>, begun: &Begun) {
        let stripe = self.order.lock(key);
        match found {
            Some(record) if self.order.is_undisturbed(&stripe, &begun.ticket) => self.keep(key, record.clone(), begun),
            Some(_) => {}
            None => self.entries.invalidate(key),
        }
    }

    /// Until the guard is dropped, nothing is kept of the session.
    pub(super) fn change_begins(self: &Arc<Self>, key: &StoreKey, now: SystemTime) -> Change {
        let mut stripe = self.order.lock(key);
        let ticket = self.order.change_begins(&mut stripe);
        self.entries.invalidate(key);
        drop(stripe);
        Change {
            begun: self.begun(ticket, now),
            records: self.clone(),
            key: *key,
            stored: None,
        }
    }

    /// Until the guard is dropped, nothing new is kept of any session.
    pub(super) fn sweep(&self) -> Sweep<'_> {
        self.order.sweep()
    }

    pub(super) fn forget(&self, key: &StoreKey) {
        let mut stripe = self.order.lock(key);
        stripe.changed();
        self.entries.invalidate(key);
    }

    /// To be called while the order knows that sessions are being destroyed, so that what is being read is not kept either.
    pub(super) fn forget_all(&self) {
        self.entries.invalidate_all();
    }

    fn begun(&self, ticket: Ticket, asked_at: SystemTime) -> Begun {
        Begun {
            ticket,
            asked_at,
            epoch: self.epoch.load(Ordering::SeqCst),
        }
    }

    /// Under the lock of the key. What was asked for in another epoch is kept as of that one, and never shown.
    fn keep(&self, key: &StoreKey, record: Record, begun: &Begun) {
        if begun.epoch & USABLE != 0 && self.epoch.load(Ordering::SeqCst) == begun.epoch {
            let Begun { asked_at, epoch, .. } = *begun;
            let entry = Entry {
                record,
                asked_at,
                epoch,
            };
            self.entries.insert(*key, entry);
        }
    }

    /// The store is asked to report changes; the moment from which on it does has not come yet.
    pub(super) fn wait_for_reports(&self) {
        self.reads_only.store(true, Ordering::SeqCst);
        self.new_epoch(false);
    }

    /// The store reports nothing.
    pub(super) fn go_unreported(&self) {
        self.reads_only.store(false, Ordering::SeqCst);
        self.new_epoch(true);
    }

    fn new_epoch(&self, usable: bool) {
        let next = |epoch: u64| match (epoch & USABLE != 0) == usable {
            true => Some(epoch + 2),
            false => Some(epoch + 1),
        };
        // It cannot fail: the closure always has a next number.
        let _previous = self.epoch.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        // For the memory; what is of another epoch is not shown in any case.
        self.entries.invalidate_all();
    }

    /// How many bytes are kept, about, after what is under way has been done.
    #[cfg(test)]
    pub(super) fn weight(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }
}

impl Watcher for Records {
    fn watching(&self) {
        // Before, so that nothing is kept of this epoch that was only written.
        self.reads_only.store(true, Ordering::SeqCst);
        self.new_epoch(true);
    }

    fn changed(&self, key: &StoreKey) {
        self.forget(key);
    }

    fn lost(&self) {
        self.new_epoch(false);
    }

    fn unsupported(&self) {
        self.go_unreported();
    }
}

/// A change of a session that is under way. What was known of the session before is forgotten already, however this ends.
pub(super) struct Change {
    records: Arc<Records>,
    key: StoreKey,
    begun: Begun,
    stored: Option<Record>,
}

impl Change {
    /// It has stored this.
    pub(super) fn stored(mut self, record: Record) {
        self.stored = Some(record).filter(|_| !self.records.reads_only.load(Ordering::SeqCst));
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        let records = &*self.records;
        let mut stripe = records.order.lock(&self.key);
        let undisturbed = records.order.change_ends(&mut stripe, &self.begun.ticket);
        if let (Some(record), true) = (self.stored.take(), undisturbed) {
            records.keep(&self.key, record, &self.begun);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;

    #[test]
    fn memory_is_bounded_by_what_the_payloads_weigh() {
        let records = Records::new(Duration::from_secs(60), 100_000);
        let now = SystemTime::now();
        let record = Record::new(vec![b' '; 2_000], now + Duration::from_secs(60));
        for _ in 0..1_000 {
            let key = StoreKey::from(&SessionId::generate().unwrap());
            let begun = records.read_begins(&key, now);
            records.read_ends(&key, Some(&record), &begun);
        }
        let weight = records.weight();
        assert!((50_000..=100_000).contains(&weight), "{weight}");
        let huge = Record::new(vec![b' '; 200_000], now + Duration::from_secs(60));
        let key = StoreKey::from(&SessionId::generate().unwrap());
        let begun = records.read_begins(&key, now);
        records.read_ends(&key, Some(&huge), &begun);
        assert!(records.weight() <= 100_000);
    }

    #[test]
    fn what_arrives_late_from_before_a_gap_in_the_reports_is_not_shown() {
        let records = Records::new(Duration::from_secs(60), 100_000);
        let (now, key) = (SystemTime::now(), StoreKey::from(&SessionId::generate().unwrap()));
        let entry = Entry {
            record: Record::new(b"{}".to_vec(), now + Duration::from_secs(60)),
            asked_at: now,
            epoch: records.epoch.load(Ordering::SeqCst),
        };
        records.lost();
        records.watching();
        // By a thread that had found that there was no gap.
        records.entries.insert(key, entry);
        assert!(records.get(&key, now).is_none());
    }
}
