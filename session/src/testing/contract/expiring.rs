//! An expired record counts as absent in every method.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::Clock;
use crate::driver::{Expected, Written};
use crate::id::StoreKey;
use crate::record::Version;
use crate::testing::harness::{Harness, assert_same, key};

/// A key whose record has just expired, and the version that it had.
async fn expired(harness: &Harness) -> (StoreKey, Version) {
    let (key, expiry) = (key(), harness.soon());
    let version = harness
        .create(
            &key,
            &harness.record("expired").with_expires_at(expiry).with_owner("ann"),
        )
        .await;
    assert!(harness.read(&key).await.is_some(), "the record lives until it expires");
    harness.pass(expiry).await;
    (key, version)
}

/// In `read`, however the record came by its expiry.
pub async fn an_expired_record_reads_as_nothing_however_it_was_written(harness: Arc<Harness>) {
    // STORE-06
    let [created, replaced, touched] = [key(), key(), key()];
    let expiry = harness.soon();
    let short = harness.record("short").with_expires_at(expiry);
    harness.create(&created, &short).await;
    let version = harness.create(&replaced, &harness.record("long")).await;
    harness.replace(&replaced, &short, version).await;
    harness.create(&touched, &harness.record("long")).await;
    assert!(harness.touch(&touched, expiry).await);
    for key in [created, replaced, touched] {
        assert!(harness.read(&key).await.is_some());
    }
    harness.pass(expiry).await;
    for key in [created, replaced, touched] {
        assert!(harness.read(&key).await.is_none());
    }
}

/// "From the moment it expires": not a nanosecond earlier, not one later. A store that keeps time itself is only asked not to be early.
pub async fn a_record_expires_at_the_moment_it_says(harness: Arc<Harness>) {
    let Some(clock) = harness.clock() else {
        let (key, expiry) = (key(), harness.soon());
        harness
            .create(&key, &harness.record("short").with_expires_at(expiry))
            .await;
        let mut lived = harness.now();
        while harness.read(&key).await.is_some() {
            lived = harness.now();
        }
        assert!(
            lived + Duration::from_secs(1) > expiry,
            "the record went before its time"
        );
        return;
    };
    let [whole, cut] = [key(), key()];
    // A whole millisecond, which every store can keep.
    let later = clock.now() + Duration::from_secs(1);
    let since_1970 = later
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("it is later than 1970");
    let expiry = later - Duration::from_nanos(u64::from(since_1970.subsec_nanos() % 1_000_000));
    let nanosecond = Duration::from_nanos(1);
    harness
        .create(&whole, &harness.record("one").with_expires_at(expiry))
        .await;
    let late = expiry + nanosecond;
    harness
        .create(&cut, &harness.record("other").with_expires_at(late))
        .await;
    let left = expiry.duration_since(clock.now()).expect("it is in the future");
    clock.advance(left - nanosecond);
    assert!(harness.read(&whole).await.is_some());
    clock.advance(nanosecond);
    assert!(harness.read(&whole).await.is_none());
    // A store that keeps milliseconds may have rounded this one down.
    clock.advance(nanosecond);
    assert!(harness.read(&cut).await.is_none());
}

/// In `write`: "`Expected::Absent` and no record: stored."
pub async fn an_expired_record_makes_room_for_a_new_one(harness: Arc<Harness>) {
    let (key, _) = expired(&harness).await;
    let record = harness.record("new");
    let version = harness.create(&key, &record).await;
    assert_same(harness.read(&key).await.as_ref(), &record);
    harness.replace(&key, &harness.record("changed"), version).await;
}

/// In `write`: "`Expected::Version` and no record: nothing is stored, `Written::Gone`."
pub async fn a_write_on_an_expired_record_is_gone(harness: Arc<Harness>) {
    let (key, version) = expired(&harness).await;
    let written = harness
        .write(&key, &harness.record("late"), Expected::Version(version))
        .await;
    assert!(
        matches!(written, Written::Gone),
        "expected `Written::Gone`, got {written:?}"
    );
    assert!(harness.read(&key).await.is_none());
}

/// In `touch`: "It never revives a record."
pub async fn a_touch_does_not_revive_an_expired_record(harness: Arc<Harness>) {
    let (key, _) = expired(&harness).await;
    assert!(!harness.touch(&key, harness.late()).await);
    assert!(harness.read(&key).await.is_none());
}

/// In `destroy`: there was none.
pub async fn destroying_an_expired_record_finds_nothing(harness: Arc<Harness>) {
    let (key, _) = expired(&harness).await;
    assert!(!harness.destroy(&key).await);
    assert!(harness.read(&key).await.is_none());
}

/// "A version never comes back, not even after the record expired and was made again."
pub async fn a_record_made_after_one_that_expired_is_not_taken_for_it(harness: Arc<Harness>) {
    let (key, before) = expired(&harness).await;
    let record = harness.record("new");
    let version = harness.create(&key, &record).await;
    assert_ne!(version, before);
    let written = harness
        .write(&key, &harness.record("late"), Expected::Version(before))
        .await;
    assert!(
        matches!(written, Written::Conflict(_)),
        "expected `Written::Conflict`, got {written:?}"
    );
    assert_same(harness.read(&key).await.as_ref(), &record);
}

/// Each record has its own lifetime.
pub async fn every_record_has_a_lifetime_of_its_own(harness: Arc<Harness>) {
    let [short, long] = [key(), key()];
    let expiry = harness.soon();
    harness
        .create(&short, &harness.record("short").with_expires_at(expiry))
        .await;
    harness.create(&long, &harness.record("long")).await;
    harness.pass(expiry).await;
    harness.collect(1).await;
    assert!(harness.read(&short).await.is_none());
    assert!(harness.read(&long).await.is_some());
}
