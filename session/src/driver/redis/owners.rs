//! The index of owners: one sorted set for each, of the sessions that are its, by how long they can last.
//!
//! In a cluster the set is in another slot than the sessions, so no script can change both. The order is such that a set has more sessions than are its, for a while,
//! and never fewer: it is told before the record is written, and long before a touch would go beyond what it was told. Whose a session
//! is its record says.
//!
//! The set may also be on another master. When a replica takes over, that master may lose the last entries of the set,
//! even if the record is safe. So in a cluster each process adds a session that is in use to the set again [once a
//! minute](NOTED_FOR), with the next write or prolongation.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::RedisDriver;
use super::error::unexpected;
use super::scripts::SCRIPTS;
use crate::driver::{Driver, OwnerIndex};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;

/// How long a set in a cluster is trusted to still have an entry.
pub(super) const NOTED_FOR: Duration = Duration::from_secs(60);

/// How many sessions are asked for at once.
const BATCH: usize = 64;

#[async_trait]
impl OwnerIndex for RedisDriver {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        let keys = self.noted(owner).await?;
        let mut found = on_each(keys, |key| {
            let driver = self.clone();
            async move { driver.read(&key).await }
        })
        .await?;
        found.retain(|(_, record)| record.owner() == Some(owner));
        Ok(found)
    }

    /// Tries all, even if one cannot be destroyed, and is an error then: not every session has ended.
    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let mut keys = self.noted(owner).await?;
        keys.retain(|key| Some(key) != except);
        let destroyed = on_each(keys, |key| {
            let (driver, owner) = (self.clone(), owner.to_owned());
            async move { driver.destroy_of(&key, Some(&owner)).await }
        })
        .await?;
        let count = destroyed.len() as u64;
        let noted = destroyed
            .into_iter()
            .filter_map(|(key, former)| Some((key, former?.until)));
        let noted: Vec<_> = noted.collect();
        if !noted.is_empty() {
            self.unindex(owner, &noted).await?;
        }
        Ok(count)
    }
}

impl RedisDriver {
    /// The sessions that the set of an owner has: all that are its, and perhaps some that were.
    async fn noted(&self, owner: &str) -> Result<Vec<StoreKey>, DriverError> {
        const PURPOSE: &str = "look for an owner's sessions";
        let set = self.owner(owner);
        let call = SCRIPTS.noted.call(&[&set], self.now());
        let answer = self.run(PURPOSE, &call).await?;
        let answer: Vec<String> = redis::from_redis_value(answer).map_err(|_| unexpected(PURPOSE))?;
        match answer.split_first() {
            Some((of, keys)) if *of == set => Ok(keys.iter().filter_map(|key| key.parse().ok()).collect()),
            _ => Err(self.out_of_step(PURPOSE)),
        }
    }
}

/// Asks about every key, some at a time, and gathers the answers. Goes on to the end after an error, which is the answer then.
async fn on_each<T, F>(keys: Vec<StoreKey>, ask: impl Fn(StoreKey) -> F) -> Result<Vec<(StoreKey, T)>, DriverError>
where
    T: Send + 'static,
    F: Future<Output = Result<Option<T>, DriverError>> + Send + 'static,
{
    let (mut found, mut failure) = (Vec::new(), None);
    for batch in keys.chunks(BATCH) {
        let mut asked = JoinSet::new();
        for &key in batch {
            let answer = ask(key);
            asked.spawn(async move { (key, answer.await) });
        }
        while let Some(answered) = asked.join_next().await {
            match answered {
                Ok((key, Ok(Some(answer)))) => found.push((key, answer)),
                Ok((_, Ok(None))) => {}
                Ok((_, Err(error))) => failure = Some(error),
                Err(stopped) => failure = Some(DriverError::backend(stopped)),
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(found),
    }
}
