//! Dropping the future of a method leaves the record as it was or as it was to become, and nothing in between.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::driver::{Expected, Written};
use crate::record::Record;
use crate::testing::harness::{Harness, assert_same, key};

/// After how many polls a future is dropped: at every stage, if it has many.
const POLLS: [u32; 8] = [0, 1, 2, 3, 5, 10, 30, 100];

/// Begins `work` and drops it after some polls, unless it is done before; says whether it was.
async fn abandon<F: Future>(work: F, polls: u32) -> bool {
    let mut work = pin!(work);
    for _ in 0..polls {
        let done = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if done {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Opening that is given up: of the same driver and of another over the same store, either can be opened then, and what one writes the other reads.
pub async fn an_abandoned_open_is_done_or_not<F: Future<Output = Harness>>(harness: impl Fn() -> F) {
    let mut polls = 0;
    loop {
        let harness = harness().await;
        let driver = harness.driver();
        let done = abandon(driver.open(), polls).await;
        driver
            .open()
            .await
            .expect("a driver is opened after opening it was given up");
        let other = harness.reopened().await;
        other
            .open()
            .await
            .expect("another driver is opened after opening one was given up");
        for (writer, reader) in [(&driver, &other), (&other, &driver)] {
            let (key, record) = (key(), harness.record("seen by all"));
            let written = writer.write(&key, &record, Expected::Absent).await;
            written.expect("the record is written");
            let read = reader.read(&key).await.expect("the record is read");
            assert_same(read.as_ref(), &record);
        }
        // At every stage that it has, sparsely where it has many.
        match done {
            true => return,
            false => polls += 1 + polls / 4,
        }
    }
}

/// A write that is given up.
pub async fn an_abandoned_write_is_done_or_not(harness: Arc<Harness>) {
    // STORE-24
    for polls in POLLS {
        let key = key();
        let (old, new) = (
            large(&harness, b'o').with_owner("old"),
            large(&harness, b'n').with_owner("new"),
        );
        let version = harness.create(&key, &old).await;
        let driver = harness.driver();
        abandon(driver.write(&key, &new, Expected::Version(version)), polls).await;
        // It may be on its way still, but it can be seen as a whole only, and hinders nobody.
        loop {
            let seen = harness.read(&key).await.expect("there is a record");
            assert!(
                is(&seen, &old) || is(&seen, &new),
                "something between the old and the new was read"
            );
            match harness
                .write(&key, &harness.record("next"), Expected::Version(seen.version()))
                .await
            {
                Written::Done(_) => break,
                Written::Conflict(_) => assert!(is(&seen, &old), "the abandoned write came twice"),
                Written::Gone => panic!("the record is gone"),
            }
        }
    }
}

/// A creation that is given up.
pub async fn an_abandoned_creation_is_done_or_not(harness: Arc<Harness>) {
    for polls in POLLS {
        let (key, new) = (key(), large(&harness, b'n').with_owner("new"));
        let driver = harness.driver();
        abandon(driver.write(&key, &new, Expected::Absent), polls).await;
        let second = harness.write(&key, &harness.record("second"), Expected::Absent).await;
        let read = harness.read(&key).await.expect("there is a record");
        match second {
            Written::Done(version) => assert_eq!(read.version(), version),
            Written::Conflict(_) => assert!(is(&read, &new), "something else than the record was read"),
            Written::Gone => panic!("`Expected::Absent` cannot be gone"),
        }
    }
}

/// A touch or a destruction that is given up.
pub async fn an_abandoned_touch_or_destruction_is_done_or_not(harness: Arc<Harness>) {
    for polls in POLLS {
        let (key, record) = (key(), large(&harness, b'o').with_owner("old"));
        let version = harness.create(&key, &record).await;
        let driver = harness.driver();
        abandon(driver.touch(&key, harness.late()), polls).await;
        let read = harness.read(&key).await.expect("there is a record");
        assert!(is(&read, &record) && read.version() == version);

        abandon(driver.destroy(&key), polls).await;
        if let Some(read) = harness.read(&key).await {
            assert!(is(&read, &record) && read.version() == version);
        }
        harness.destroy(&key).await;
        assert!(harness.read(&key).await.is_none());
    }
}

fn large(harness: &Harness, letter: u8) -> Record {
    Record::new(vec![letter; 20_000], harness.late())
}

fn is(read: &Record, record: &Record) -> bool {
    read.payload() == record.payload() && read.owner() == record.owner()
}
