//! Many at once.

use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::driver::{Driver, Expected, Written};
use crate::id::StoreKey;
use crate::record::Record;
use crate::testing::harness::{Harness, assert_same, key};

/// "Of many that write at once on what they have seen, one succeeds": nobody has seen anything.
pub async fn of_many_creators_one_wins(harness: Arc<Harness>) {
    // STORE-02
    // A driver that looks first and stores then is found out only when another creator does both in between: so they begin at the same moment, and
    // do so for many keys.
    const KEYS: u32 = 64;
    const CREATORS: usize = 6;
    for _ in 0..KEYS {
        let (key, start) = (key(), Arc::new(Barrier::new(CREATORS)));
        let mut creators = JoinSet::new();
        for number in 0..CREATORS {
            let (driver, record) = (harness.driver(), harness.record(&number.to_string()));
            let start = start.clone();
            creators.spawn(async move {
                start.wait().await;
                let written = driver.write(&key, &record, Expected::Absent).await;
                match written.expect("the record is written") {
                    Written::Done(version) => Some((record, version)),
                    Written::Conflict(_) => None,
                    Written::Gone => panic!("`Expected::Absent` cannot be gone"),
                }
            });
        }
        let winners: Vec<_> = creators.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1, "one creator wins");
        let read = harness.read(&key).await;
        assert_same(read.as_ref(), &winners[0].0);
        assert_eq!(read.map(|record| record.version()), Some(winners[0].1));
    }
}

/// "Of many that write at once on what they have seen, one succeeds": all have seen the same.
pub async fn of_many_writers_on_one_version_one_wins(harness: Arc<Harness>) {
    let key = key();
    let seen = harness.create(&key, &harness.record("seen")).await;
    let mut writers = JoinSet::new();
    for number in 0..32 {
        let (driver, record) = (harness.driver(), harness.record(&number.to_string()));
        writers.spawn(async move {
            let written = driver.write(&key, &record, Expected::Version(seen)).await;
            matches!(written.expect("the record is written"), Written::Done(_)).then_some(record)
        });
    }
    let winners: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(winners.len(), 1, "one writer wins");
    assert_same(harness.read(&key).await.as_ref(), &winners[0]);
}

/// "All that is needed so that concurrent requests lose nothing."
pub async fn concurrent_increments_all_count(harness: Arc<Harness>) {
    const TASKS: u32 = 8;
    const EACH: u32 = 8;
    let (key, expires_at) = (key(), harness.late());
    harness.create(&key, &counter(0, expires_at)).await;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let driver = harness.driver();
        tasks.spawn(async move {
            for _ in 0..EACH {
                increment(&*driver, &key).await;
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(
        harness.read(&key).await.map(|record| count(&record)),
        Some(TASKS * EACH)
    );
}

fn counter(count: u32, expires_at: std::time::SystemTime) -> Record {
    Record::new(count.to_string().into_bytes(), expires_at)
}

fn count(record: &Record) -> u32 {
    str::from_utf8(record.payload())
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a count")
}

async fn increment(driver: &dyn Driver, key: &StoreKey) {
    loop {
        let current = driver
            .read(key)
            .await
            .expect("the record is read")
            .expect("there is a record");
        let next = counter(count(&current) + 1, current.expires_at());
        let written = driver.write(key, &next, Expected::Version(current.version())).await;
        match written.expect("the record is written") {
            Written::Done(_) => return,
            Written::Conflict(_) => {}
            Written::Gone => panic!("nobody has destroyed the record"),
        }
    }
}

/// "So does reading while another writes": old or new, and nothing in between.
pub async fn a_reader_sees_the_old_record_or_the_new_one(harness: Arc<Harness>) {
    // STORE-24
    // Payload and owner of one record say the same letter, throughout.
    let expires_at = harness.late();
    let record = move |step: u8| {
        let letter = char::from(b'a' + step % 26);
        let length = 1_000 * usize::from(step % 7) + 1;
        Record::new(letter.to_string().repeat(length).into_bytes(), expires_at).with_owner(letter.to_string())
    };
    let key = key();
    let mut version = harness.create(&key, &record(0)).await;
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let driver = harness.driver();
        readers.spawn(async move {
            loop {
                let read = driver
                    .read(&key)
                    .await
                    .expect("the record is read")
                    .expect("there is a record");
                let owner = read.owner().expect("there is an owner").as_bytes();
                assert!(
                    read.payload().iter().all(|letter| [*letter] == owner),
                    "a mixture of two records was read"
                );
                if owner == b"z" {
                    return;
                }
                // A driver that never waits would not let the writer in.
                tokio::task::yield_now().await;
            }
        });
    }
    for step in (1..=24).chain(1..=24).chain([25]) {
        version = harness.replace(&key, &record(step), version).await;
    }
    readers.join_all().await;
}

/// "A write at the same time does not bring it back."
pub async fn a_write_at_the_same_time_brings_nothing_back(harness: Arc<Harness>) {
    for _ in 0..32 {
        let key = key();
        let version = harness.create(&key, &harness.record("first")).await;
        let (driver, record) = (harness.driver(), harness.record("second"));
        let writer = tokio::spawn(async move { driver.write(&key, &record, Expected::Version(version)).await });
        assert!(harness.destroy(&key).await);
        let written = writer
            .await
            .expect("writing does not panic")
            .expect("the record is written");
        assert!(
            !matches!(written, Written::Conflict(_)),
            "nobody else has written: {written:?}"
        );
        assert!(harness.read(&key).await.is_none());
    }
}

/// "A touch at the same time does not bring it back."
pub async fn a_touch_at_the_same_time_brings_nothing_back(harness: Arc<Harness>) {
    for _ in 0..32 {
        let key = key();
        harness.create(&key, &harness.record("first")).await;
        let (driver, late) = (harness.driver(), harness.late());
        let toucher = tokio::spawn(async move { driver.touch(&key, late).await });
        assert!(harness.destroy(&key).await);
        toucher
            .await
            .expect("touching does not panic")
            .expect("the record is touched");
        assert!(harness.read(&key).await.is_none());
    }
}

/// "A touch conflicts with no write", and undoes none either.
pub async fn a_touch_at_the_same_time_undoes_no_write(harness: Arc<Harness>) {
    for _ in 0..32 {
        let (key, second) = (key(), harness.record("second"));
        let version = harness.create(&key, &harness.record("first")).await;
        let (driver, late) = (harness.driver(), harness.late());
        let toucher = tokio::spawn(async move { driver.touch(&key, late).await });
        harness.replace(&key, &second, version).await;
        assert!(
            toucher
                .await
                .expect("touching does not panic")
                .expect("the record is touched")
        );
        let read = harness.read(&key).await.expect("there is a record");
        assert_eq!(read.payload(), second.payload());
    }
}
