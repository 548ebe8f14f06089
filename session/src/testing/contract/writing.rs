//! Compare-and-swap.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::driver::{Expected, Written};
use crate::record::{Record, Version};
use crate::testing::harness::{Harness, assert_same, key};

/// "`Expected::Absent` and a record: nothing changes, `Written::Conflict`."
pub async fn creating_what_is_there_changes_nothing_and_conflicts(harness: Arc<Harness>) {
    // STORE-02
    let (key, first) = (key(), harness.record("first").with_owner("ann"));
    let version = harness.create(&key, &first).await;
    let second = Record::new(b"second".to_vec(), harness.soon()).with_owner("bob");
    match harness.write(&key, &second, Expected::Absent).await {
        Written::Conflict(current) => assert_tells(current, &first, version),
        other => panic!("expected `Written::Conflict`, got {other:?}"),
    }
    let read = harness.read(&key).await;
    assert_same(read.as_ref(), &first);
    assert_eq!(read.map(|record| record.version()), Some(version));
}

/// "`Expected::Version` and that version: payload, expiry and owner are replaced, `Written::Done`."
pub async fn a_write_on_the_version_that_is_there_replaces_all_of_it(harness: Arc<Harness>) {
    // STORE-03
    let key = key();
    let mut version = harness.create(&key, &harness.record("first").with_owner("ann")).await;
    let later = harness.late() + Duration::from_secs(5);
    for next in [
        harness.record("second").with_owner("bob"),
        harness.record("third").with_expires_at(later),
        harness.record("fourth, which is longer").with_owner("ann"),
        harness.record("").with_expires_at(later),
    ] {
        version = harness.replace(&key, &next, version).await;
        assert_same(harness.read(&key).await.as_ref(), &next);
    }
}

/// "Names the version that the record has from now on."
pub async fn done_names_the_version_that_is_read_afterwards(harness: Arc<Harness>) {
    let key = key();
    let created = harness.create(&key, &harness.record("first")).await;
    assert_eq!(harness.read(&key).await.map(|record| record.version()), Some(created));
    let replaced = harness.replace(&key, &harness.record("second"), created).await;
    assert_ne!(replaced, created);
    assert_eq!(harness.read(&key).await.map(|record| record.version()), Some(replaced));
}

/// What is passed to `write` has no version worth reading.
pub async fn the_version_of_a_record_that_is_written_counts_for_nothing(harness: Arc<Harness>) {
    let key = key();
    let created = harness
        .create(&key, &harness.record("first").with_version(77.into()))
        .await;
    let second = harness.record("second").with_version(created);
    let replaced = harness.replace(&key, &second, created).await;
    assert_ne!(replaced, created);
    assert_eq!(harness.read(&key).await.map(|record| record.version()), Some(replaced));
}

/// "`Expected::Version` and another version: nothing changes, `Written::Conflict`, with the record that is there if the store can tell."
pub async fn a_write_on_an_old_version_changes_nothing_and_conflicts(harness: Arc<Harness>) {
    let (key, second) = (key(), harness.record("second").with_owner("ann"));
    let old = harness.create(&key, &harness.record("first")).await;
    let version = harness.replace(&key, &second, old).await;
    for stale in [old, never(old, version)] {
        let third = Record::new(b"third".to_vec(), harness.soon()).with_owner("bob");
        match harness.write(&key, &third, Expected::Version(stale)).await {
            Written::Conflict(current) => assert_tells(current, &second, version),
            other => panic!("expected `Written::Conflict`, got {other:?}"),
        }
        let read = harness.read(&key).await;
        assert_same(read.as_ref(), &second);
        assert_eq!(read.map(|record| record.version()), Some(version));
    }
}

/// "`Expected::Version` and no record: nothing is stored, `Written::Gone`. A destroyed session stays destroyed."
pub async fn a_destroyed_session_stays_destroyed(harness: Arc<Harness>) {
    // STORE-04 (D50)
    let key = key();
    let version = harness.create(&key, &harness.record("first").with_owner("ann")).await;
    assert!(harness.destroy(&key).await);
    for expected in [version, never(version, version)] {
        let written = harness
            .write(&key, &harness.record("late"), Expected::Version(expected))
            .await;
        assert!(
            matches!(written, Written::Gone),
            "expected `Written::Gone`, got {written:?}"
        );
        assert!(harness.read(&key).await.is_none());
    }
}

/// The same for a key that never had a record.
pub async fn a_write_on_a_version_of_nothing_is_gone(harness: Arc<Harness>) {
    // STORE-04 (D50)
    let key = key();
    for version in [0, 1, u64::MAX] {
        let written = harness
            .write(&key, &harness.record("first"), Expected::Version(version.into()))
            .await;
        assert!(
            matches!(written, Written::Gone),
            "expected `Written::Gone`, got {written:?}"
        );
        assert!(harness.read(&key).await.is_none());
    }
}

/// "A version that a key has had never comes back with another payload or owner."
pub async fn no_version_comes_back(harness: Arc<Harness>) {
    let key = key();
    let mut seen = HashSet::new();
    for round in 0..8 {
        let mut version = harness.create(&key, &harness.record(&format!("round {round}"))).await;
        assert!(seen.insert(version), "a version came back");
        for step in 0..4 {
            let record = harness.record(&format!("round {round}, step {step}"));
            version = harness.replace(&key, &record, version).await;
            assert!(seen.insert(version), "a version came back");
            // The same payload, another owner.
            version = harness.replace(&key, &record.with_owner("ann"), version).await;
            assert!(seen.insert(version), "a version came back");
        }
        assert!(harness.destroy(&key).await);
    }
}

/// "Not even after the record was destroyed and was made again."
pub async fn a_record_that_was_made_again_is_not_taken_for_the_one_before(harness: Arc<Harness>) {
    let (key, again) = (key(), harness.record("again"));
    let before = harness.create(&key, &harness.record("before")).await;
    assert!(harness.destroy(&key).await);
    let version = harness.create(&key, &again).await;
    let written = harness
        .write(&key, &harness.record("late"), Expected::Version(before))
        .await;
    assert!(
        matches!(written, Written::Conflict(_)),
        "expected `Written::Conflict`, got {written:?}"
    );
    assert_same(harness.read(&key).await.as_ref(), &again);
    harness.replace(&key, &harness.record("in time"), version).await;
}

/// "A record whose expiry is in the past is taken and absent at once."
pub async fn a_record_that_expires_in_the_past_is_taken_and_absent_at_once(harness: Arc<Harness>) {
    // STORE-07
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for past in [
        harness.now(),
        harness.now() - Duration::from_secs(1),
        SystemTime::UNIX_EPOCH,
        long_ago,
    ] {
        let (key, dead) = (key(), Record::new(b"{}".to_vec(), past));
        harness.create(&key, &dead).await;
        assert!(harness.read(&key).await.is_none());

        let version = harness.create(&key, &harness.record("alive")).await;
        harness.replace(&key, &dead, version).await;
        assert!(harness.read(&key).await.is_none());

        let alive = harness.record("alive again");
        harness.create(&key, &alive).await;
        assert_same(harness.read(&key).await.as_ref(), &alive);
    }
}

/// A version that is neither of these two.
fn never(one: Version, other: Version) -> Version {
    let mut number = u64::from(one).wrapping_add(1);
    if Version::from(number) == other {
        number = number.wrapping_add(1);
    }
    number.into()
}

/// Asserts that a conflict names the record that is there, or none.
#[track_caller]
fn assert_tells(current: Option<Record>, record: &Record, version: Version) {
    if let Some(current) = current {
        assert_same(Some(&current), record);
        assert_eq!(
            current.version(),
            version,
            "the conflict names another version than is there"
        );
    }
}
