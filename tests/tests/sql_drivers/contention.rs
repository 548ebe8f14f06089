//! Many at once.

use std::sync::Arc;

use session_schema::{Driver, Expected, Record, StoreKey, Written};
use tokio::task::JoinSet;

use crate::place::{Place, create, done, new_key, on_every_database};

async fn of_256_writers_on_what_they_have_read_none_is_lost(place: Place) {
    // Four processes, with connections of their own.
    let mut drivers = Vec::new();
    for _ in 0..4 {
        drivers.push(place.open().await);
    }
    let (key, until) = (new_key(), place.late());
    create(&*drivers[0], &key, &Record::new(b"0".to_vec(), until)).await;
    let mut writers = JoinSet::new();
    for number in 0..256 {
        let driver = drivers[number % 4].clone();
        writers.spawn(async move { increment(&*driver, &key, until).await });
    }
    writers.join_all().await;
    assert_eq!(drivers[1].read(&key).await.unwrap().unwrap().payload(), b"256");
}

async fn increment(driver: &dyn Driver, key: &StoreKey, until: std::time::SystemTime) {
    let mut current = driver.read(key).await.unwrap().unwrap();
    loop {
        let count: u32 = std::str::from_utf8(current.payload()).unwrap().parse().unwrap();
        let next = Record::new((count + 1).to_string().into_bytes(), until);
        match driver
            .write(key, &next, Expected::Version(current.version()))
            .await
            .unwrap()
        {
            Written::Done(_) => return,
            Written::Conflict(Some(record)) => current = record,
            other => panic!("expected `Done` or the record in the way, got {other:?}"),
        }
    }
}

async fn a_conflict_brings_the_record_that_is_in_the_way(place: Place) {
    let driver = place.open().await;
    let key = new_key();
    let first = create(&*driver, &key, &place.record("first")).await;
    let second = done(
        driver
            .write(&key, &place.record("second"), Expected::Version(first))
            .await
            .unwrap(),
    );
    for expected in [Expected::Absent, Expected::Version(first)] {
        match driver.write(&key, &place.record("third"), expected).await.unwrap() {
            Written::Conflict(Some(record)) => {
                assert_eq!((record.payload(), record.version()), (&b"second"[..], second));
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn gc_removes_thousands_in_batches_and_none_that_is_revived_meanwhile(place: Place) {
    const REVIVED: usize = 40;
    let driver = place.open().await;
    let past = place.clock_second();
    let keys: Vec<StoreKey> = (0..1_240).map(|_| new_key()).collect();
    for key in &keys {
        create(&*driver, key, &Record::new(b"old".to_vec(), past)).await;
    }
    let (revived, dead) = keys.split_at(REVIVED);
    let mut work = JoinSet::new();
    let (one, two) = (place.open().await, place.open().await);
    for collector in [Arc::clone(&one), Arc::clone(&two)] {
        work.spawn(async move { collector.gc().await.unwrap() });
    }
    for key in revived {
        // Each is new to who makes it; whether gc has removed the old one before, nobody sees.
        create(&*driver, key, &place.record("new")).await;
    }
    let mut removed: u64 = work.join_all().await.into_iter().sum();
    removed += driver.gc().await.unwrap();
    assert!(
        (dead.len() as u64..=keys.len() as u64).contains(&removed),
        "{removed} of {} were removed",
        dead.len()
    );
    for key in revived {
        assert_eq!(driver.read(key).await.unwrap().unwrap().payload(), b"new");
    }
    assert_eq!(driver.gc().await.unwrap(), 0);
}

on_every_database! {
    of_256_writers_on_what_they_have_read_none_is_lost,
    a_conflict_brings_the_record_that_is_in_the_way,
    gc_removes_thousands_in_batches_and_none_that_is_revived_meanwhile,
}
