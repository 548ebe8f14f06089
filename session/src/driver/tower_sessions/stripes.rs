//! Who may change what at a time.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;

use crate::id::StoreKey;
use crate::turn::{Turn, Turns};

/// So many that sessions which share one, and wait for each other's store calls, hardly ever meet; 40 KB.
const STRIPES: usize = 1024;

/// Locks, each for the keys that hash to it.
pub(super) struct Stripes {
    locks: Box<[Arc<Turns>]>,
    hash: RandomState,
}

impl Stripes {
    pub(super) fn new() -> Self {
        Self {
            locks: (0..STRIPES).map(|_| Arc::new(Turns::new(1))).collect(),
            hash: RandomState::new(),
        }
    }

    /// The right to change what is under `key`, for as long as it lives; `None` when that is not to be had in time.
    pub(super) async fn lock(&self, key: &StoreKey) -> Option<Turn> {
        let stripe = self.hash.hash_one(key) as usize % STRIPES;
        self.locks[stripe].take().await
    }
}
