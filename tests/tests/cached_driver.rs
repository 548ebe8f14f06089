//! The cache in front of a driver: what it spares, what it may show, and that it loses nothing.

use session_schema::testing::{Harness, ManualClock, driver_contract};
use session_schema::{CachedDriver, FileDriver, MemoryDriver};
use std::time::Duration;

#[path = "cached_driver/applications.rs"]
mod applications;
#[path = "cached_driver/drivers.rs"]
mod drivers;
#[path = "cached_driver/overlaps.rs"]
mod overlaps;
#[path = "cached_driver/redis.rs"]
mod redis;
#[path = "cached_driver/reports.rs"]
mod reports;
#[path = "cached_driver/staleness.rs"]
mod staleness;

const MINUTE: Duration = Duration::from_secs(60);

driver_contract! {
    mod over_memory;
    owners: true;
    harness: {
        let (clock, store) = (ManualClock::new(), MemoryDriver::new());
        let store = store.with_clock(clock.clone());
        let driver = CachedDriver::new(store.clone(), MINUTE).with_clock(clock.clone());
        let time = clock.clone();
        let reopen = move || std::future::ready(CachedDriver::new(store.clone(), MINUTE).with_clock(time.clone()));
        Harness::new(driver).with_clock(&clock).with_reopen(reopen)
    };
}

driver_contract! {
    mod over_files;
    owners: true;
    harness: {
        let (clock, directory) = (ManualClock::new(), tempfile::tempdir().expect("a directory for the test is made"));
        let store = FileDriver::new(directory.path()).with_clock(clock.clone());
        let driver = CachedDriver::new(store, MINUTE).with_clock(clock.clone());
        Harness::new(driver).with_clock(&clock).with_guard(directory)
    };
}

// Every record is pushed out by the next.
driver_contract! {
    mod with_room_for_one;
    owners: true;
    harness: {
        let clock = ManualClock::new();
        let store = MemoryDriver::new().with_clock(clock.clone());
        let driver = CachedDriver::new(store, MINUTE).with_capacity(1_000).with_clock(clock.clone());
        Harness::new(driver).with_clock(&clock)
    };
}

// With a store that reports every change.
driver_contract! {
    mod over_a_store_that_reports;
    owners: true;
    harness: {
        let clock = ManualClock::new();
        let store = drivers::Reporting::new(MemoryDriver::new().with_clock(clock.clone()));
        let driver = CachedDriver::new(store.clone(), MINUTE).with_clock(clock.clone());
        Harness::new(driver).with_clock(&clock).with_guard(store)
    };
}
