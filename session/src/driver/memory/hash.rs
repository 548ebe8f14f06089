//! How a [`StoreKey`](crate::StoreKey) is hashed.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Makes [`KeyHasher`]s with a secret of this driver.
///
/// What a key gives to hash is random already, so two multiplications are enough to spread it. They are seeded nevertheless:
/// with raw ids, and with keys made by hand, nothing proves that an attacker had no say in them, and who does not know the
/// seed cannot choose keys that collide.
#[derive(Clone, Debug)]
pub(super) struct KeyHash {
    seed: u64,
    factor: u64,
}

impl KeyHash {
    pub(super) fn new() -> Self {
        // The standard library's only door to a random number; it differs from call to call.
        let random = RandomState::new();
        Self {
            seed: random.hash_one(0),
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher {
            hash: self.seed,
            factor: self.factor,
        }
    }
}

/// Folds each eight bytes into the hash by a multiplication of 64 by 64 bits, both halves of whose product count.
#[derive(Debug)]
pub(super) struct KeyHasher {
    hash: u64,
    factor: u64,
}

impl KeyHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.hash ^ word) * u128::from(self.factor);
        self.hash = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{SessionId, StoreKey};

    #[test]
    fn every_driver_has_a_seed_of_its_own() {
        let key = StoreKey::from(&SessionId::generate().unwrap());
        assert_ne!(KeyHash::new().hash_one(key), KeyHash::new().hash_one(key));
    }

    #[test]
    fn keys_are_spread_over_the_low_the_middle_and_the_high_bits() {
        let hash = KeyHash::new();
        let mut buckets = [[0_u32; 16]; 3];
        for number in 0..16_000 {
            // Keys as unlike random ones as can be.
            let key: StoreKey = format!("{number}").parse().unwrap();
            let hash = hash.hash_one(key);
            for (bucket, shift) in buckets.iter_mut().zip([0, 32, 60]) {
                bucket[(hash >> shift) as usize % 16] += 1;
            }
        }
        // 1000 are expected in each, with a deviation of 31.
        assert!(
            buckets.as_flattened().iter().all(|count| (750..1250).contains(count)),
            "{buckets:?}"
        );
    }
}
