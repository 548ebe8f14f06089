//! Moving the expiry.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::testing::harness::{Harness, assert_same, key};

/// "Payload, owner and version stay."
pub async fn a_touch_moves_the_expiry_and_nothing_else(harness: Arc<Harness>) {
    // STORE-09
    for record in [harness.record("one"), harness.record("other").with_owner("ann")] {
        let key = key();
        let version = harness.create(&key, &record).await;
        for expires_at in [
            harness.late() + Duration::from_secs(60),
            harness.late() - Duration::from_secs(60),
        ] {
            assert!(harness.touch(&key, expires_at).await);
            let read = harness.read(&key).await;
            assert_same(read.as_ref(), &record.clone().with_expires_at(expires_at));
            assert_eq!(read.map(|record| record.version()), Some(version));
        }
    }
}

/// "So that a touch conflicts with no write."
pub async fn a_touch_conflicts_with_no_write(harness: Arc<Harness>) {
    let (key, second) = (key(), harness.record("second"));
    let version = harness.create(&key, &harness.record("first")).await;
    assert!(harness.touch(&key, harness.late()).await);
    harness.replace(&key, &second, version).await;
    assert_same(harness.read(&key).await.as_ref(), &second);
}

/// "Moves the expiry, be it later": what would have expired lives on.
pub async fn a_touched_record_outlives_its_first_expiry(harness: Arc<Harness>) {
    // STORE-09
    let (key, expiry) = (key(), harness.soon());
    let record = harness.record("touched").with_expires_at(expiry);
    harness.create(&key, &record).await;
    let later = harness.late();
    assert!(harness.touch(&key, later).await);
    harness.pass(expiry).await;
    harness.collect(0).await;
    assert_same(harness.read(&key).await.as_ref(), &record.with_expires_at(later));
}

/// "Be it earlier": the record goes when the touch said.
pub async fn a_touch_can_shorten_a_life(harness: Arc<Harness>) {
    let key = key();
    harness.create(&key, &harness.record("shortened")).await;
    let expiry = harness.soon();
    assert!(harness.touch(&key, expiry).await);
    assert!(harness.read(&key).await.is_some());
    harness.pass(expiry).await;
    assert!(harness.read(&key).await.is_none());
}

/// A touch with an expiry in the past ends the record.
pub async fn a_touch_into_the_past_ends_the_record(harness: Arc<Harness>) {
    // STORE-07
    for past in [
        harness.now(),
        harness.now() - Duration::from_secs(1),
        SystemTime::UNIX_EPOCH,
    ] {
        let key = key();
        harness.create(&key, &harness.record("ended")).await;
        assert!(harness.touch(&key, past).await);
        assert!(harness.read(&key).await.is_none());
        assert!(!harness.touch(&key, harness.late()).await);
        assert!(harness.read(&key).await.is_none());
    }
}

/// "It never creates a record", and says that there was none.
pub async fn a_touch_of_nothing_creates_nothing(harness: Arc<Harness>) {
    // STORE-11
    let key = key();
    assert!(!harness.touch(&key, harness.late()).await);
    assert!(harness.read(&key).await.is_none());
    harness.create(&key, &harness.record("first")).await;
    assert!(harness.destroy(&key).await);
    assert!(!harness.touch(&key, harness.late()).await);
    assert!(harness.read(&key).await.is_none());
}
