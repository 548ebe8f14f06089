//! What is on the disk: names, permissions, foreign and damaged files.

use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use session_schema::{Clock, Driver, DriverError, Expected, FileDriver, Record, StoreKey, Written};

use crate::directory::{Directory, HOUR};

const HASH: &str = "e33cdf9c7f7120b98e8c78408953e07f2ecd183006b5606df349b4c212acf43e";

/// The error with all its sources, as a log would have it.
fn all_of(error: &DriverError) -> String {
    let mut text = format!("{error:?} {error}");
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(" {error:?} {error}");
        source = error.source();
    }
    text
}

#[tokio::test]
async fn a_missing_directory_is_an_empty_store_until_the_first_write_makes_it() {
    // STORE-26
    let directory = Directory::new();
    let key: StoreKey = HASH.parse().unwrap();
    let (driver, owners) = (&directory.driver, directory.driver.owners().unwrap());
    assert!(directory.read(&key).await.is_none());
    assert!(!driver.destroy(&key).await.unwrap() && !driver.touch(&key, SystemTime::now()).await.unwrap());
    assert_eq!(driver.gc().await.unwrap(), 0);
    assert!(owners.sessions_of("ann").await.unwrap().is_empty());
    assert_eq!(owners.destroy_sessions_of("ann", None).await.unwrap(), 0);
    let written = driver
        .write(&key, &directory.record("late"), Expected::Version(1.into()))
        .await
        .unwrap();
    assert!(matches!(written, Written::Gone));
    assert!(!directory.path().exists());

    directory.create(HASH, "first").await;
    assert_eq!(
        directory.file(),
        directory.path().join("e3").join(format!("{HASH}.session"))
    );
}

#[tokio::test]
async fn an_expiry_is_kept_to_the_nanosecond() {
    let directory = Directory::new();
    let (key, _) = directory.create(HASH, "first").await;
    let expiry = directory.clock.now() + HOUR + Duration::from_nanos(1);
    assert!(directory.driver.touch(&key, expiry).await.unwrap());
    directory.clock.advance(HOUR);
    assert_eq!(directory.read(&key).await.unwrap().expires_at(), expiry);
    directory.clock.advance(Duration::from_nanos(1));
    assert!(directory.read(&key).await.is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn files_and_folders_are_for_this_user_alone() {
    // STORE-23
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (key, version) = directory.create(HASH, "first").await;
    for step in 0..3 {
        assert_eq!(mode(&directory.file()), 0o600, "step {step}");
        assert_eq!(mode(directory.file().parent().unwrap()), 0o700);
        assert_eq!(mode(&directory.path()), 0o700);
        match step {
            0 => drop(
                directory
                    .driver
                    .write(&key, &directory.record("b"), Expected::Version(version))
                    .await
                    .unwrap(),
            ),
            _ => assert!(
                directory
                    .driver
                    .touch(&key, directory.clock.now() + HOUR)
                    .await
                    .unwrap()
            ),
        }
    }
    let opened = FileDriver::new(directory.outside().join("opened/inside"));
    opened.open().await.unwrap();
    opened.open().await.unwrap();
    assert_eq!(mode(&directory.outside().join("opened/inside")), 0o700);
}

#[tokio::test]
async fn nothing_is_left_of_a_destroyed_session() {
    let directory = Directory::new();
    let (key, version) = directory.create(HASH, "first").await;
    for expected in [Expected::Version(version), Expected::Version(version), Expected::Absent] {
        drop(
            directory
                .driver
                .write(&key, &directory.record("second"), expected)
                .await
                .unwrap(),
        );
        assert!(
            directory
                .driver
                .touch(&key, directory.clock.now() + HOUR)
                .await
                .unwrap()
        );
        assert_eq!(directory.files().len(), 1, "{:?}", directory.files());
    }
    assert!(directory.driver.destroy(&key).await.unwrap());
    assert_eq!(directory.files(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn gc_leaves_foreign_files_alone_and_its_own_fresh_ones() {
    let directory = Directory::new();
    directory.create("abc", "expires").await;
    let expired = fs::read(directory.file()).unwrap();
    let foreign = [
        "ab/abcd.session~",
        "ab/abc",
        "ab/.abc.session",
        "ab/.gitkeep",
        "ab/notes.txt",
        "ab/ABC.session",
        "ab/xyz.session",
        "zz/abc.session",
        "abc/abc.session",
        "abc.session",
        ".gitignore",
        "ab/.session-.tmp",
        "ab/.session-abcdefghij.tmp",
        "ab/session-abcdefghijkl.tmp",
        "ab/ab/abc.session",
    ];
    let own = ["ab/.session-abcdefghijkl.tmp", "zz/.session-ABCDEFGH0123.tmp"];
    for name in foreign.iter().chain(&own) {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expired).unwrap();
    }
    fs::create_dir(directory.path().join("ab/abfolder.session")).unwrap();

    let before = directory.files().len();
    assert_eq!(directory.driver.gc().await.unwrap(), 0);
    assert_eq!(directory.files().len(), before, "nothing has expired");
    // An hour later to the minute the session has expired, and nobody writes for that long.
    directory.clock.advance(HOUR + Duration::from_secs(60));
    assert_eq!(directory.driver.gc().await.unwrap(), 1);
    let mut expected: Vec<_> = foreign.iter().map(std::path::PathBuf::from).collect();
    expected.sort();
    assert_eq!(directory.files(), expected);
    assert!(directory.path().join("ab/abfolder.session").is_dir());
}

#[tokio::test]
async fn links_and_files_in_the_place_of_records_and_folders_stop_no_sweep() {
    let directory = Directory::new();
    for key in ["ab1", "cd1", "ef1"] {
        directory.create(key, "expires").await;
    }
    #[cfg(unix)]
    for folder in ["ab", "cd", "ef", "gh"] {
        let folder = directory.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink("loop.session", folder.join("loop.session")).unwrap();
    }
    fs::write(directory.path().join("xy"), "").unwrap();
    directory.clock.advance(HOUR);
    assert_eq!(directory.driver.gc().await.unwrap(), 3);
}

#[tokio::test]
async fn a_damaged_file_is_an_unreadable_session_and_goes_a_day_later() {
    let directory = Directory::new();
    let (key, _) = directory.create(HASH, "first").await;
    let whole = fs::read(directory.file()).unwrap();
    let mut damages: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    damages.extend([
        vec![0; whole.len()],
        [&whole[..], b"{}"].concat(),
        vec![0xff; 3],
        b"{}\n{}".to_vec(),
    ]);
    for damage in &damages {
        fs::write(directory.file(), damage).unwrap();
        let read = directory.read(&key).await.expect("a damaged record is one");
        assert!(serde_json::from_slice::<serde_json::Value>(read.payload()).is_err());
        assert_eq!(read.owner(), None);
        // It is left as it is: by a touch, by who wants to make another, by gc, until a day has gone by.
        assert!(
            directory
                .driver
                .touch(&key, directory.clock.now() + HOUR * 999)
                .await
                .unwrap()
        );
        let written = directory
            .driver
            .write(&key, &directory.record("other"), Expected::Absent)
            .await
            .unwrap();
        assert!(matches!(written, Written::Conflict(Some(_))));
        assert_eq!(fs::read(directory.file()).unwrap(), *damage);
    }
    directory.clock.advance(HOUR * 23);
    assert_eq!(directory.driver.gc().await.unwrap(), 0);
    directory.clock.advance(HOUR + Duration::from_secs(60));
    assert!(directory.read(&key).await.is_none());
    assert_eq!(directory.driver.gc().await.unwrap(), 1);
    assert_eq!(directory.files().len(), 0);
}

#[tokio::test]
async fn a_damaged_record_can_be_replaced_and_destroyed_by_who_has_seen_it() {
    let directory = Directory::new();
    let (key, _) = directory.create(HASH, "first").await;
    fs::write(directory.file(), "one damage").unwrap();
    let one = directory.read(&key).await.unwrap().version();
    fs::write(directory.file(), "another damage").unwrap();
    let written = directory
        .driver
        .write(&key, &directory.record("mended"), Expected::Version(one))
        .await
        .unwrap();
    assert!(matches!(written, Written::Conflict(_)));
    let other = directory.read(&key).await.unwrap().version();
    let written = directory
        .driver
        .write(&key, &directory.record("mended"), Expected::Version(other))
        .await
        .unwrap();
    assert!(matches!(written, Written::Done(_)));
    assert_eq!(
        directory.read(&key).await.unwrap().payload(),
        directory.record("mended").payload()
    );
    fs::write(directory.file(), "damage").unwrap();
    assert!(directory.driver.destroy(&key).await.unwrap());
    assert_eq!(directory.files().len(), 0);
}

#[tokio::test]
async fn errors_name_the_directory_and_not_the_session() {
    let directory = Directory::new();
    directory.driver.open().await.unwrap();
    // The folder's place is taken, so every method fails.
    fs::write(directory.path().join("e3"), "").unwrap();
    let (key, driver) = (HASH.parse().unwrap(), &directory.driver);
    let errors = [
        driver.read(&key).await.map(drop).unwrap_err(),
        driver
            .write(&key, &directory.record("a secret"), Expected::Absent)
            .await
            .map(drop)
            .unwrap_err(),
        driver.touch(&key, SystemTime::now()).await.map(drop).unwrap_err(),
        driver.destroy(&key).await.map(drop).unwrap_err(),
    ];
    for error in errors {
        let text = all_of(&error);
        assert!(!error.is_unavailable() && text.contains("sessions"), "{text}");
        assert!(
            !text.contains(&HASH[..8]) && !text.contains("secret") && !text.contains("e3"),
            "{text}"
        );
    }
    let not_a_directory = FileDriver::new(directory.path().join("e3"));
    assert!(not_a_directory.open().await.is_err());
    assert!(not_a_directory.gc().await.is_err());
    assert!(not_a_directory.owners().unwrap().sessions_of("ann").await.is_err());
}

#[tokio::test]
async fn an_empty_path_is_no_directory() {
    // It would be the one that the application was started in.
    let error = FileDriver::new("").open().await.unwrap_err();
    assert!(all_of(&error).contains("directory is empty"), "{}", all_of(&error));
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_that_is_a_link_is_refused_and_not_gone_through() {
    // STORE-23
    let directory = Directory::new();
    directory.create("ab1", "expires").await;
    let elsewhere = directory.outside().join("elsewhere");
    fs::rename(directory.path().join("ab"), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.path().join("ab")).unwrap();

    let (inside, new): (StoreKey, StoreKey) = ("ab1".parse().unwrap(), "ab2".parse().unwrap());
    let driver = &directory.driver;
    assert!(driver.read(&inside).await.is_err());
    assert!(
        driver
            .write(&new, &directory.record("new"), Expected::Absent)
            .await
            .is_err()
    );
    assert!(driver.touch(&inside, directory.clock.now() + HOUR).await.is_err());
    assert!(driver.destroy(&inside).await.is_err());
    directory.clock.advance(HOUR);
    assert_eq!(driver.gc().await.unwrap(), 0);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_in_the_place_of_a_record_is_replaced_and_not_written_through() {
    // STORE-23
    let directory = Directory::new();
    let (key, _) = directory.create("ab1", "expires").await;
    let elsewhere = directory.outside().join("elsewhere");
    fs::rename(directory.file(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.path().join("ab/ab1.session")).unwrap();
    let before = fs::read(&elsewhere).unwrap();
    let version = directory.read(&key).await.unwrap().version();
    let written = directory
        .driver
        .write(&key, &directory.record("new"), Expected::Version(version))
        .await
        .unwrap();
    assert!(matches!(written, Written::Done(_)));
    assert_eq!(fs::read(&elsewhere).unwrap(), before);
    assert!(fs::symlink_metadata(directory.file()).unwrap().is_file());
}

#[tokio::test]
async fn a_write_whose_caller_hung_up_is_completed() {
    let directory = Directory::new();
    let key: StoreKey = HASH.parse().unwrap();
    let (driver, record) = (directory.driver.clone(), directory.record("first"));
    // Polled once, so begun, and then given up.
    let write = async move {
        tokio::select! {
            biased;
            _ = driver.write(&key, &record, Expected::Absent) => {}
            () = std::future::ready(()) => {}
        }
    };
    write.await;
    let arrives = async {
        while directory.read(&key).await.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), arrives)
        .await
        .expect("the write is completed");
    assert_eq!(directory.files().len(), 1);
}

#[tokio::test]
async fn debug_shows_the_directory_and_no_session() {
    let directory = Directory::new();
    directory.create(HASH, "first").await;
    let shown = format!("{:?}", directory.driver);
    assert!(shown.contains("sessions") && !shown.contains(&HASH[..8]), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_the_key_nothing_outside_the_directory_is_touched(
        key in prop_oneof!["[A-Za-z0-9_-]{1,3}", "[A-Za-z0-9_-]{1,64}", "[-_]{1,4}"],
        malformed in ".{0,70}",
    ) {
        // STORE-22
        if let Ok(odd) = malformed.parse::<StoreKey>() {
            prop_assert!(odd.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = Directory::new();
            let (key, version) = directory.create(&key, "first").await;
            let record = Record::new(b"{}".to_vec(), directory.clock.now() + HOUR);
            drop(directory.driver.write(&key, &record, Expected::Version(version)).await.unwrap());
            assert_eq!(directory.read(&key).await.unwrap().payload(), b"{}");
            assert_eq!(directory.files().len(), 1);
            assert_eq!(fs::read_dir(directory.outside()).unwrap().count(), 1);
            directory.clock.advance(HOUR);
            assert_eq!(directory.driver.gc().await.unwrap(), 1);
            assert_eq!(directory.files().len(), 0);
        });
    }
}
