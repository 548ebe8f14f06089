//! What is written is what is read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::end_of_time;
use crate::driver::{Driver, Expected, Written};
use crate::id::StoreKey;
use crate::record::Record;
use crate::testing::harness::{Harness, assert_same, done, key};

/// "Calling it again changes nothing."
pub async fn opening_again_changes_nothing(harness: Arc<Harness>) {
    let (key, record) = (key(), harness.record("kept"));
    let version = harness.create(&key, &record).await;
    harness.driver().open().await.expect("an open driver is opened");
    let read = harness.read(&key).await;
    assert_same(read.as_ref(), &record);
    assert_eq!(read.map(|record| record.version()), Some(version));
}

/// "Gives back what the driver holds. What was written stays written."
pub async fn what_was_written_is_still_there_after_close(harness: Arc<Harness>) {
    let (key, record) = (key(), harness.record("kept").with_owner("ann"));
    let version = harness.create(&key, &record).await;
    harness.driver().close().await.expect("the driver is closed");
    let driver = harness.reopened().await;
    driver.open().await.expect("the driver is opened");
    let read = driver.read(&key).await.expect("the record is read");
    assert_same(read.as_ref(), &record);
    assert_eq!(read.map(|record| record.version()), Some(version));
}

/// "Or `None` when there is none."
pub async fn an_absent_key_reads_as_nothing(harness: Arc<Harness>) {
    assert!(harness.read(&key()).await.is_none());
}

/// "The record under `key`, with its payload, expiry, owner and version."
pub async fn a_record_reads_back_as_it_was_written(harness: Arc<Harness>) {
    // STORE-01
    for record in [harness.record("one"), harness.record("other").with_owner("ann")] {
        let key = key();
        let version = harness.create(&key, &record).await;
        for _ in 0..2 {
            let read = harness.read(&key).await;
            assert_same(read.as_ref(), &record);
            assert_eq!(read.map(|record| record.version()), Some(version));
        }
    }
}

/// "A payload is bytes, which are kept as they are, whatever they mean."
pub async fn payloads_are_kept_byte_by_byte(harness: Arc<Harness>) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| (place % 251) as u8).collect();
    let payloads: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\n{}\n\r\n",
        b"not JSON",
        b"{\"a\": 1.50, \"a\":\"\\u0000\" }",
        b"\xff\xfe\xc3\x28",
        b"'; DROP TABLE sessions; -- \\ % _ $1 ?",
        &every_byte,
        &large,
    ];
    for payload in payloads {
        let (key, created) = (key(), Record::new(payload.to_vec(), harness.late()));
        let version = harness.create(&key, &created).await;
        assert_same(harness.read(&key).await.as_ref(), &created);
        let replaced = Record::new([payload, b"+"].concat(), harness.late());
        harness.replace(&key, &replaced, version).await;
        assert_same(harness.read(&key).await.as_ref(), &replaced);
    }
}

/// "A store may keep the expiry to the millisecond only, rounded down."
pub async fn an_expiry_is_never_rounded_up(harness: Arc<Harness>) {
    // STORE-08
    let second = harness
        .late()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the present")
        .as_secs();
    for nanos in [0, 1, 1_000, 499_999_999, 500_000_000, 999_000_000, 999_999_999] {
        let (key, expires_at) = (key(), SystemTime::UNIX_EPOCH + Duration::new(second, nanos));
        let record = Record::new(b"{}".to_vec(), expires_at);
        harness.create(&key, &record).await;
        assert_same(harness.read(&key).await.as_ref(), &record);
        assert!(harness.touch(&key, expires_at + Duration::from_secs(1)).await);
        let touched = record.with_expires_at(expires_at + Duration::from_secs(1));
        assert_same(harness.read(&key).await.as_ref(), &touched);
    }
}

/// The longest lifetime there is ends with the year 9999.
pub async fn the_latest_expiry_there_is_can_be_kept(harness: Arc<Harness>) {
    let (key, record) = (key(), Record::new(b"{}".to_vec(), end_of_time()));
    harness.create(&key, &record).await;
    assert_same(harness.read(&key).await.as_ref(), &record);
    assert!(harness.touch(&key, end_of_time()).await);
    harness.collect(0).await;
    assert_same(harness.read(&key).await.as_ref(), &record);
}

/// "A driver keeps at most one record under a key."
pub async fn a_key_has_one_record_at_most(harness: Arc<Harness>) {
    // STORE-03
    let key = key();
    let version = harness.create(&key, &harness.record("first")).await;
    harness.replace(&key, &harness.record("second"), version).await;
    assert!(harness.destroy(&key).await);
    assert!(harness.read(&key).await.is_none());
    assert!(!harness.destroy(&key).await);
}

/// "Keys are compared byte by byte", and every well-formed one is a key.
pub async fn keys_are_compared_byte_by_byte(harness: Arc<Harness>) {
    let long = "Zz".repeat(32);
    let keys = [
        "a",
        "A",
        "aa",
        "aA",
        "Aa",
        "AA",
        "a-",
        "a_",
        "-",
        "--",
        "-a",
        "_",
        "__",
        "_a",
        "0",
        "00",
        "con",
        "CON",
        "null",
        &long,
        &long[1..],
    ];
    let keys: BTreeSet<StoreKey> = keys.iter().map(|key| key.parse().expect("a well-formed key")).collect();
    for key in &keys {
        harness.create(key, &harness.record(key.as_str())).await;
    }
    for key in &keys {
        assert_same(harness.read(key).await.as_ref(), &harness.record(key.as_str()));
    }
    for (count, key) in keys.iter().enumerate() {
        assert!(harness.destroy(key).await, "{count} keys were destroyed before");
    }
}

/// "What happens to one touches no other."
pub async fn what_happens_to_one_record_touches_no_other(harness: Arc<Harness>) {
    // STORE-14
    let (key, neighbours) = (key(), [key(), key()]);
    let record = harness.record("neighbour").with_owner("ann");
    let mut versions = Vec::new();
    for neighbour in &neighbours {
        versions.push(harness.create(neighbour, &record).await);
    }
    let version = harness.create(&key, &harness.record("first").with_owner("ann")).await;
    harness
        .replace(&key, &harness.record("second").with_owner("ann"), version)
        .await;
    assert!(harness.touch(&key, harness.soon()).await);
    assert!(harness.destroy(&key).await);
    harness.collect(0).await;
    for (neighbour, version) in neighbours.iter().zip(versions) {
        let read = harness.read(neighbour).await;
        assert_same(read.as_ref(), &record);
        assert_eq!(read.map(|record| record.version()), Some(version));
    }
}

/// "Removes the record under `key`, and says whether there was one."
pub async fn destroying_says_whether_there_was_a_record(harness: Arc<Harness>) {
    // STORE-12, STORE-13
    let key = key();
    assert!(!harness.destroy(&key).await);
    let version = harness.create(&key, &harness.record("first")).await;
    assert!(harness.destroy(&key).await);
    assert!(harness.read(&key).await.is_none());

    let again = harness.create(&key, &harness.record("again")).await;
    assert_ne!(version, again);
    harness.replace(&key, &harness.record("changed"), again).await;
    assert!(harness.touch(&key, harness.late()).await);
    assert!(harness.destroy(&key).await);
    assert!(!harness.destroy(&key).await);
    assert!(harness.read(&key).await.is_none());
}

/// "The same, as it is in the store now", whoever has changed it since the driver last read it; also through a pointer.
pub async fn a_fresh_read_says_what_is_in_the_store_now(harness: Arc<Harness>) {
    let other = harness.reopened().await;
    other.open().await.expect("the driver is opened");
    let pointer: Box<dyn Driver> = Box::new(Arc::new(harness.driver()));
    for driver in [&harness.driver() as &dyn Driver, &pointer] {
        let fresh = async |key| driver.read_fresh(key).await.expect("the record is read");
        let key = &key();
        assert!(fresh(key).await.is_none());

        let mut expected = Expected::Absent;
        for record in [harness.record("one").with_owner("ann"), harness.record("other")] {
            // What a driver remembers it remembers from here on.
            driver.read(key).await.expect("the record is read");
            let written = other.write(key, &record, expected).await;
            let version = done(written.expect("the record is written"));
            let read = fresh(key).await;
            assert_same(read.as_ref(), &record);
            assert_eq!(read.map(|record| record.version()), Some(version));
            expected = Expected::Version(version);
        }
        driver.read(key).await.expect("the record is read");
        let past = harness.now() - Duration::from_millis(10);
        assert!(other.touch(key, past).await.expect("the record is touched"));
        assert!(fresh(key).await.is_none(), "what has expired is read");

        let again = other.write(key, &harness.record("again"), Expected::Absent).await;
        done(again.expect("the record is written"));
        driver.read(key).await.expect("the record is read");
        assert!(other.destroy(key).await.expect("the record is destroyed"));
        assert!(fresh(key).await.is_none(), "what was destroyed is read");
    }
}

/// "`Arc<D>` and `Arc<dyn Driver>` are drivers too."
pub async fn a_pointer_to_the_driver_is_the_driver(harness: Arc<Harness>) {
    let pointer: Box<dyn Driver> = Box::new(Arc::new(harness.driver()));
    let (key, record) = (key(), harness.record("one"));
    pointer.open().await.expect("opened through a pointer");
    done(
        pointer
            .write(&key, &record, Expected::Absent)
            .await
            .expect("written through a pointer"),
    );
    assert_same(harness.read(&key).await.as_ref(), &record);
    assert!(
        pointer
            .touch(&key, harness.soon())
            .await
            .expect("touched through a pointer")
    );
    assert_eq!(pointer.owners().is_some(), harness.driver().owners().is_some());
    harness.pass(harness.soon()).await;
    harness.collect_through(&*pointer, 1).await;
    assert!(!pointer.destroy(&key).await.expect("destroyed through a pointer"));
    let gone = pointer.write(&key, &record, Expected::Version(1.into())).await;
    assert!(matches!(gone, Ok(Written::Gone)));
    pointer.close().await.expect("closed through a pointer");
}
