//! From when on a read has something to prolong, as far as this process knows.
//!
//! A read that prolongs is a script, and for the server a script is several times the work of a plain command, above all because its Lua hashes every byte that passes through it.
//! Most reads have nothing to prolong: a session is worth it once in a tenth of its lifetime. So whoever has read a session by the script knows for how
//! long a plain command will do. What is noted here is a hint: the record says when it ends, and the request touches it if that is due all the same.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::StoreKey;

/// How many sessions are known at a time, at most; a quarter of a mebibyte.
const SLOTS: usize = 1 << 15;

/// For each session that was read lately, in a slot that may be taken by another one: half of a hash of the session, and seconds since 1970.
pub(super) struct Due {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Due {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Whether a session is known to have nothing to prolong yet.
    pub(super) fn is_later(&self, key: &StoreKey, now: u64) -> bool {
        let (slot, tag) = self.place(key);
        let noted = slot.load(Ordering::Relaxed);
        noted >> 32 == tag && seconds(now) < noted & u64::from(u32::MAX)
    }

    /// Notes when a session is worth prolonging, in milliseconds since 1970.
    pub(super) fn note(&self, key: &StoreKey, due: u64) {
        let (slot, tag) = self.place(key);
        slot.store(tag << 32 | seconds(due), Ordering::Relaxed);
    }

    fn place(&self, key: &StoreKey) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(key);
        (&self.slots[hash as usize % SLOTS], hash >> 32)
    }
}

fn seconds(millis: u64) -> u64 {
    (millis / 1000).min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_session_holds_for_it_until_then() {
        let (due, one, other): (_, StoreKey, StoreKey) = (Due::new(), "one".parse().unwrap(), "other".parse().unwrap());
        let then = 1_790_000_000_000;
        assert!(!due.is_later(&one, then - 5_000));
        due.note(&one, then);
        assert!(due.is_later(&one, then - 1) && !due.is_later(&one, then));
        assert!(!due.is_later(&other, then - 1));
        due.note(&one, u64::MAX);
        assert!(due.is_later(&one, then), "further than it can be noted is far enough");
    }
}
