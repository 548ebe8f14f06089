//! A part of the sessions, behind one lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use indexmap::IndexMap;
use indexmap::map::Entry;

use super::hash::KeyHash;
use crate::clock::end_of_time;
use crate::driver::{Expected, Written};
use crate::id::StoreKey;
use crate::record::{Record, Version};

/// How many records a write that adds one looks at, to remove what has expired. Four looks for one addition come round to
/// every record before the shard has grown by a quarter, so of ten records about three are dead, not more.
const LOOKS: usize = 4;

/// How many records are looked at in one go by what goes through all of them, before others get the lock.
pub(super) const BATCH: usize = 512;

/// How much all shards of a driver hold.
#[derive(Default)]
pub(super) struct Usage {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

impl Usage {
    pub(super) fn records(&self) -> usize {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn added(&self, bytes: usize) {
        self.records.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn removed(&self, bytes: usize) {
        self.records.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A record takes the place of another. Most are of the same size, which spares the other threads a shared counter.
    fn replaced(&self, before: usize, after: usize) {
        if after != before {
            self.bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

/// How many bytes a record counts: those of its payload and of its owner's name.
pub(super) fn size(record: &Record) -> usize {
    record.payload().len() + record.owner().map_or(0, str::len)
}

/// Records by key. They have a place in a list beside, by which a pass through them can pause and go on.
pub(super) struct Shard {
    records: IndexMap<StoreKey, Record, KeyHash>,
    usage: Arc<Usage>,
    /// Counts the writes. A key is always in the same shard, so no version of it comes back.
    version: u64,
    /// The place at which the next write looks for expired records.
    hand: usize,
    /// Nothing expires before this, so until then there is nothing to look for.
    due: SystemTime,
    /// The same, as far as the round knows that the hand is on: what it will be for the next.
    next_due: SystemTime,
}

impl Shard {
    pub(super) fn new(hash: KeyHash, usage: Arc<Usage>) -> Self {
        Self {
            records: IndexMap::with_hasher(hash),
            usage,
            version: 0,
            hand: 0,
            due: end_of_time(),
            next_due: end_of_time(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The record under `key`, be it expired or not.
    pub(super) fn get(&self, key: &StoreKey) -> Option<&Record> {
        self.records.get(key)
    }

    #[inline]
    pub(super) fn write(&mut self, key: &StoreKey, record: Record, expected: Expected, now: SystemTime) -> Written {
        self.expect(record.expires_at());
        match expected {
            Expected::Version(version) => self.replace(key, record, version, now),
            Expected::Absent => self.add(key, record, now),
        }
    }

    /// Notes when a record expires that the hand may have passed already.
    fn expect(&mut self, expiry: SystemTime) {
        self.due = self.due.min(expiry);
        self.next_due = self.next_due.min(expiry);
    }

    #[inline]
    fn replace(&mut self, key: &StoreKey, record: Record, expected: Version, now: SystemTime) -> Written {
        match self.records.get_mut(key).filter(|current| !current.is_expired(now)) {
            None => Written::Gone,
            Some(current) if current.version() != expected => Written::Conflict(Some(current.clone())),
            Some(current) => {
                let version = next(&mut self.version);
                self.usage.replaced(size(current), size(&record));
                *current = record.with_version(version);
                Written::Done(version)
            }
        }
    }

    #[inline]
    fn add(&mut self, key: &StoreKey, record: Record, now: SystemTime) -> Written {
        let version = match self.records.entry(*key) {
            Entry::Occupied(entry) if !entry.get().is_expired(now) => {
                return Written::Conflict(Some(entry.get().clone()));
            }
            Entry::Occupied(mut expired) => {
                let version = next(&mut self.version);
                self.usage.replaced(size(expired.get()), size(&record));
                expired.insert(record.with_version(version));
                version
            }
            Entry::Vacant(entry) => {
                let version = next(&mut self.version);
                self.usage.added(size(&record));
                entry.insert(record.with_version(version));
                version
            }
        };
        self.look_around(now);
        Written::Done(version)
    }

    /// Removes expired records, among the next few.
    fn look_around(&mut self, now: SystemTime) {
        if now < self.due {
            return;
        }
        for _ in 0..LOOKS {
            match self.records.get_index(self.hand) {
                // The last record takes its place and is looked at next.
                Some((_, record)) if record.is_expired(now) => {
                    self.usage.removed(size(record));
                    self.records.swap_remove_index(self.hand);
                }
                Some((_, record)) => {
                    self.next_due = self.next_due.min(record.expires_at());
                    self.hand += 1;
                }
                None => {
                    self.hand = 0;
                    self.due = std::mem::replace(&mut self.next_due, end_of_time());
                }
            }
        }
    }

    pub(super) fn touch(&mut self, key: &StoreKey, expires_at: SystemTime, now: SystemTime) -> bool {
        self.expect(expires_at);
        match self.records.get_mut(key).filter(|record| !record.is_expired(now)) {
            None => false,
            Some(record) => {
                *record = record.clone().with_expires_at(expires_at);
                true
            }
        }
    }

    /// Removes the record under `key`, be it expired or not.
    pub(super) fn remove(&mut self, key: &StoreKey) -> Option<Record> {
        let place = self.records.get_index_of(key)?;
        self.remove_at(place)
    }

    /// The last record takes the place of the removed one, which the hand may have passed.
    fn remove_at(&mut self, place: usize) -> Option<Record> {
        let (_, removed) = self.records.swap_remove_index(place)?;
        self.usage.removed(size(&removed));
        if let Some((_, moved)) = self.records.get_index(place) {
            self.next_due = self.next_due.min(moved.expires_at());
        }
        Some(removed)
    }

    /// The records before the place `end`, at most [`BATCH`] of them, the last one first, and the place to go on from.
    ///
    /// Going on from there until it is 0 shows every record that stays in the shard meanwhile: one changes its place only when it is the
    /// last and fills the gap of a removed one, so it moves towards the places that are still to come, or had its turn.
    pub(super) fn batch(&self, end: usize) -> (impl Iterator<Item = (&StoreKey, &Record)>, usize) {
        let end = end.min(self.records.len());
        let start = end.saturating_sub(BATCH);
        let records = (start..end).rev().filter_map(|place| self.records.get_index(place));
        (records, start)
    }

    /// Removes those of a [`batch`](Self::batch) that are `unwanted`; says how many, and the place to go on from.
    pub(super) fn remove_batch(
        &mut self,
        end: usize,
        mut unwanted: impl FnMut(&StoreKey, &Record) -> bool,
    ) -> (u64, usize) {
        let end = end.min(self.records.len());
        let start = end.saturating_sub(BATCH);
        let mut removed = 0;
        for place in (start..end).rev() {
            let found = self.records.get_index(place);
            if found.is_some_and(|(key, record)| unwanted(key, record)) {
                self.remove_at(place);
                removed += 1;
            }
        }
        (removed, start)
    }

    /// Gives memory back after a rush has gone.
    pub(super) fn shrink(&mut self) {
        if self.records.capacity() / 8 > self.records.len() {
            self.records.shrink_to(self.records.len() * 2);
        }
    }
}

fn next(version: &mut u64) -> Version {
    *version += 1;
    Version::from(*version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn key(number: usize) -> StoreKey {
        number.to_string().parse().unwrap()
    }

    fn record(expires: u64) -> Record {
        Record::new(b"{}".to_vec(), at(expires))
    }

    #[test]
    fn dead_sessions_do_not_pile_up_though_nobody_collects_them() {
        // STORE-28
        let mut shard = Shard::new(KeyHash::new(), Arc::default());
        for number in 0..50_000 {
            // One a second, each of which lives for 100.
            let now = number as u64;
            shard.write(&key(number), record(now + 100), Expected::Absent, at(now));
            assert!(shard.len() <= 150, "{} records, 100 of them live", shard.len());
        }
    }

    proptest! {
        #[test]
        fn nothing_expires_before_the_next_look_wherever_removals_have_moved_it(
            steps in prop::collection::vec((0..60_usize, 0..6_u8, 1..60_u64), 0..400),
        ) {
            let mut shard = Shard::new(KeyHash::new(), Arc::default());
            for (now, (number, action, life)) in steps.into_iter().enumerate() {
                let now = now as u64 / 4;
                match action {
                    0..=2 => drop(shard.write(&key(number), record(now + life), Expected::Absent, at(now))),
                    3 | 4 => drop(shard.remove(&key(number))),
                    _ => drop(shard.touch(&key(number), at(now + life), at(now))),
                }
                prop_assert_eq!(shard.usage.records(), shard.records.len());
                prop_assert_eq!(shard.usage.bytes(), shard.records.values().map(size).sum::<usize>());
                let first = shard.records.values().map(Record::expires_at).min();
                prop_assert!(first.is_none_or(|first| shard.due <= first));
            }
        }

        #[test]
        fn a_pass_in_batches_misses_no_record_that_stays(
            count in 0..BATCH * 3,
            removals in prop::collection::vec((0..BATCH * 3, 0..4_usize), 0..200),
        ) {
            let mut shard = Shard::new(KeyHash::new(), Arc::default());
            for number in 0..count {
                shard.write(&key(number), record(10), Expected::Absent, at(0));
            }
            let (mut seen, mut removed, mut end) = (BTreeSet::new(), BTreeSet::new(), shard.len());
            let mut round = 0;
            while end > 0 {
                let (records, next) = shard.batch(end);
                seen.extend(records.map(|(key, _)| *key));
                end = next;
                for (number, _) in removals.iter().filter(|(_, when)| *when == round) {
                    shard.remove(&key(*number));
                    removed.insert(key(*number));
                }
                round += 1;
            }
            for number in 0..count {
                prop_assert!(seen.contains(&key(number)) || removed.contains(&key(number)));
            }
        }

        #[test]
        fn what_is_unwanted_goes_and_the_rest_stays(unwanted in prop::collection::vec(any::<bool>(), 0..BATCH * 2)) {
            let mut shard = Shard::new(KeyHash::new(), Arc::default());
            for (number, unwanted) in unwanted.iter().enumerate() {
                shard.write(&key(number), record(if *unwanted { 5 } else { 10 }), Expected::Absent, at(0));
            }
            let (mut total, mut end) = (0, shard.len());
            while end > 0 {
                let (removed, next) = shard.remove_batch(end, |_, record| record.is_expired(at(5)));
                (total, end) = (total + removed, next);
            }
            prop_assert_eq!(total as usize, unwanted.iter().filter(|unwanted| **unwanted).count());
            for (number, unwanted) in unwanted.iter().enumerate() {
                prop_assert_eq!(shard.get(&key(number)).is_none(), *unwanted);
            }
        }
    }
}
