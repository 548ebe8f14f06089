//! What `gc` removes.

use std::sync::Arc;
use std::time::Duration;

use crate::driver::Expected;
use crate::testing::harness::{Harness, assert_same, done, key};

/// "Removes what has expired, nothing else, and says how many records that were; 0 for a store that forgets by itself."
pub async fn gc_removes_what_has_expired_and_nothing_else(harness: Arc<Harness>) {
    let past = harness.now() - Duration::from_millis(10);
    let (dead, alive) = ([key(), key(), key()], [key(), key()]);
    let record = harness.record("alive").with_owner("ann");
    for key in &alive {
        harness.create(key, &record).await;
    }
    // All at once, and replaced when they are there: a driver may tidy up when records are added.
    for key in &dead {
        harness.create(key, &harness.record("to die")).await;
    }
    for key in &dead {
        assert!(harness.touch(key, past).await);
    }
    harness.collect(3).await;
    harness.collect(0).await;
    for key in &dead {
        assert!(harness.read(key).await.is_none());
        assert!(!harness.destroy(key).await);
    }
    for key in &alive {
        assert_same(harness.read(key).await.as_ref(), &record);
    }
}

/// A record is removed from the moment it expires, the same as for `read`.
pub async fn gc_agrees_with_read_on_when_a_record_has_expired(harness: Arc<Harness>) {
    let (key, expiry) = (key(), harness.soon());
    harness
        .create(&key, &harness.record("short").with_expires_at(expiry))
        .await;
    harness.collect(0).await;
    assert!(harness.read(&key).await.is_some());
    harness.pass(expiry).await;
    harness.collect(1).await;
}

/// An empty store has nothing to remove.
pub async fn gc_of_an_empty_store_removes_nothing(harness: Arc<Harness>) {
    // STORE-26
    harness.collect(0).await;
}

/// More records than a driver may look at in one go.
pub async fn gc_removes_many(harness: Arc<Harness>) {
    let mut keys = Vec::new();
    for _ in 0..700 {
        let key = key();
        harness.create(&key, &harness.record("to die")).await;
        keys.push(key);
    }
    let alive = keys.split_off(650);
    for key in &keys {
        assert!(harness.touch(key, harness.now() - Duration::from_millis(10)).await);
    }
    harness.collect(650).await;
    for key in &alive {
        assert!(harness.read(key).await.is_some());
    }
}

/// A record that takes an expired one's place while `gc` runs is not taken for it.
pub async fn gc_spares_what_takes_the_place_of_an_expired_record(harness: Arc<Harness>) {
    for _ in 0..32 {
        let (key, record) = (key(), harness.record("new"));
        harness.create(&key, &harness.record("old")).await;
        assert!(harness.touch(&key, harness.now() - Duration::from_millis(10)).await);
        let (collector, driver) = (harness.driver(), harness.driver());
        let collected = tokio::spawn(async move { collector.gc().await });
        done(
            driver
                .write(&key, &record, Expected::Absent)
                .await
                .expect("the record is written"),
        );
        collected
            .await
            .expect("gc does not panic")
            .expect("what has expired is removed");
        assert_same(harness.read(&key).await.as_ref(), &record);
    }
}
