//! Who may change what at a time.

use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::id::StoreKey;

/// So many that sessions which share one, and wait for each other's store calls, hardly ever meet; 40 KB.
const STRIPES: usize = 1024;

/// Locks, each for the keys that hash to it.
pub(super) struct Stripes {
    locks: Box<[Arc<Mutex<()>>]>,
    hash: RandomState,
}

impl Stripes {
    pub(super) fn new() -> Self {
        Self {
            locks: (0..STRIPES).map(|_| Arc::default()).collect(),
            hash: RandomState::new(),
        }
    }

    /// The right to change what is under `key`, for as long as the guard lives.
    pub(super) async fn lock(&self, key: &StoreKey) -> OwnedMutexGuard<()> {
        let stripe = self.hash.hash_one(key) as usize % STRIPES;
        self.locks[stripe].clone().lock_owned().await
    }
}
