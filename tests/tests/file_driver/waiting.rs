//! Work that takes its time, or cannot be done, is in nobody's way.

use std::fs::{self, File, TryLockError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use session_schema::{Clock, Driver, Expected, FileDriver, Written};
use session_tests::Log;
use tokio::runtime::Builder;
use tracing::Level;

use crate::directory::{Directory, HOUR};

#[test]
fn waiting_for_a_lock_blocks_no_other_task() {
    // DESIGN 6
    let directory = Directory::new();
    let runtime = Builder::new_current_thread().build().unwrap();
    let (key, version) = runtime.block_on(directory.create("locked", "first"));
    let held = File::open(directory.file()).unwrap();
    held.lock().unwrap();

    let (driver, second) = (directory.driver.clone(), directory.record("second"));
    let (tell, told) = mpsc::channel();
    // On a thread of its own, so that a runtime that is blocked is seen from outside.
    let server = thread::spawn(move || {
        runtime.block_on(async {
            let reader = driver.clone();
            let write = tokio::spawn(async move { driver.write(&key, &second, Expected::Version(version)).await });
            // Readers take no lock. By the time of the last one the write would be done, did it not wait.
            for _ in 0..100 {
                tokio::task::yield_now().await;
                let read = reader.read(&key).await.unwrap().expect("there is a record");
                assert_eq!(read.version(), version);
            }
            tell.send(write.is_finished()).unwrap();
            write.await.unwrap().unwrap()
        })
    });
    let finished = told.recv_timeout(Duration::from_secs(10));
    held.unlock().unwrap();
    assert_eq!(finished, Ok(false), "others go on while a write waits for its lock");
    assert!(matches!(server.join().unwrap(), Written::Done(_)));
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_stops_no_sweep_and_is_warned_of() {
    // GC-11
    let directory = Directory::new();
    for key in ["ab1", "ab2", "ab3"] {
        directory.create(key, "expires").await;
    }
    directory.clock.advance(HOUR);

    // Permissions stop no root, but nobody can remove a folder as a file. The first file becomes one at the last moment: the driver has
    // found it and locked it, and asks for the time once more before it removes it.
    let (time, folder, meddled) = (
        directory.clock.clone(),
        directory.path().join("ab"),
        Arc::new(AtomicBool::new(false)),
    );
    let meddler = meddled.clone();
    let clock = move || {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_locked =
                File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
            if is_locked && !meddler.swap(true, Ordering::SeqCst) {
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                fs::write(path.join("file"), "").unwrap();
            }
        }
        time.now()
    };
    let driver = FileDriver::new(directory.path()).with_clock(clock);

    let log = Log::capture();
    assert_eq!(driver.gc().await.unwrap(), 2);
    assert!(meddled.load(Ordering::SeqCst));
    let warned = log.at(Level::WARN);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert_eq!(warned[0].field("failures"), Some("1"));
    let error = warned[0].field("err").expect("the error is told");
    assert!(
        error.contains("could not remove an expired file") && !error.contains(".session"),
        "{error}"
    );
    // Only what was put in the place of the first file is left.
    assert_eq!(directory.files().len(), 1, "{:?}", directory.files());
    assert!(directory.files()[0].ends_with("file"));
}
