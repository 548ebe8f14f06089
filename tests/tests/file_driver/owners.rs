//! The index of owners, and directories that have none.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use session_schema::{Clock, Driver, Expected, FileDriver, OwnerIndex, StoreKey, Written};
use session_tests::Log;
use tracing::Level;

use crate::directory::{Directory, HOUR};

impl Directory {
    async fn sign_in(&self, key: &str, owner: &str) -> StoreKey {
        let (key, record) = (key.parse().unwrap(), self.record("owned").with_owner(owner));
        let written = self.driver.write(&key, &record, Expected::Absent).await.unwrap();
        assert!(matches!(written, Written::Done(_)));
        key
    }

    fn owners(&self) -> PathBuf {
        self.path().join("owners")
    }

    /// Leaves the directory as versions without an index did.
    fn forget_index(&self) {
        fs::remove_dir_all(self.owners()).unwrap();
    }

    /// The files of the index.
    fn entries(&self) -> Vec<PathBuf> {
        let files = self.files().into_iter();
        files.filter(|file| file.starts_with("owners")).collect()
    }

    fn forget_entries(&self) {
        for entry in self.entries() {
            fs::remove_file(self.path().join(entry)).unwrap();
        }
    }

    /// Another driver over the directory, as another process has one.
    fn other(&self) -> FileDriver {
        FileDriver::new(self.path()).with_clock(self.clock.clone())
    }
}

async fn sessions_of(driver: &FileDriver, owner: &str) -> BTreeSet<StoreKey> {
    let sessions = driver.sessions_of(owner).await.expect("the owner's sessions are found");
    sessions.into_iter().map(|(key, _)| key).collect()
}

#[tokio::test]
async fn no_session_of_a_directory_without_an_index_is_overlooked() {
    for is_opened in [true, false] {
        let directory = Directory::new();
        let mut anns = BTreeSet::new();
        for number in 0..300 {
            anns.insert(directory.sign_in(&format!("{number}-ann"), "ann").await);
            directory.create(&format!("{number}-nobody"), "nobody's").await;
        }
        directory.sign_in("bob", "bob").await;
        directory.forget_index();
        let driver = directory.other();
        if is_opened {
            driver.open().await.unwrap();
        }
        assert_eq!(sessions_of(&driver, "ann").await, anns);
        assert_eq!(driver.destroy_sessions_of("ann", anns.first()).await.unwrap(), 299);
        assert_eq!(sessions_of(&directory.other(), "ann").await.len(), 1);
        assert_eq!(sessions_of(&driver, "bob").await.len(), 1);
    }
}

#[tokio::test]
async fn no_session_is_overlooked_because_a_process_died_while_it_made_the_index() {
    let directory = Directory::new();
    let mut anns = BTreeSet::new();
    for number in 0..20 {
        anns.insert(directory.sign_in(&format!("{number}-ann"), "ann").await);
    }
    directory.forget_index();
    assert_eq!(sessions_of(&directory.other(), "ann").await, anns);
    for entry in directory.entries().iter().step_by(2) {
        fs::remove_file(directory.path().join(entry)).unwrap();
    }
    fs::remove_dir(directory.owners().join("complete")).unwrap();
    assert_eq!(sessions_of(&directory.other(), "ann").await, anns);
}

#[tokio::test]
async fn several_that_open_a_directory_without_an_index_at_once_leave_no_session_out() {
    let directory = Directory::new();
    let mut anns = BTreeSet::new();
    for number in 0..500 {
        anns.insert(directory.sign_in(&format!("{number}-ann"), "ann").await);
    }
    directory.forget_index();
    let opening = (0..4).map(|_| {
        let driver = directory.other();
        tokio::spawn(async move {
            driver.open().await.unwrap();
            sessions_of(&driver, "ann").await
        })
    });
    for found in opening.collect::<Vec<_>>() {
        assert_eq!(found.await.unwrap(), anns);
    }
}

#[tokio::test]
async fn an_index_that_cannot_be_completed_is_not_taken_for_complete() {
    let directory = Directory::new();
    let key = directory.sign_in("ann", "ann").await;
    directory.sign_in("bob", "bob").await;
    let anns_folders = directory.entries()[0].parent().unwrap().parent().unwrap().to_owned();
    directory.forget_index();
    // Nothing can be noted of the owner of this folder.
    let in_the_way = directory.path().join(anns_folders);
    fs::create_dir(directory.owners()).unwrap();
    fs::write(&in_the_way, "").unwrap();

    let log = Log::capture();
    let driver = directory.other();
    driver.open().await.unwrap();
    assert!(driver.read(&key).await.unwrap().is_some());
    for owner in ["ann", "bob"] {
        driver.sessions_of(owner).await.map(drop).unwrap_err();
        driver.destroy_sessions_of(owner, None).await.map(drop).unwrap_err();
    }
    driver.rebuild_owner_index().await.unwrap_err();
    // A sweep tells of it too, and goes on.
    driver.gc().await.unwrap();
    let warned = log.at(Level::WARN);
    assert!(
        warned
            .iter()
            .any(|warned| format!("{warned:?}").contains("index of owners")),
        "{warned:?}"
    );

    fs::remove_file(&in_the_way).unwrap();
    for owner in ["ann", "bob"] {
        assert_eq!(sessions_of(&driver, owner).await.len(), 1);
    }
}

#[tokio::test]
async fn what_an_earlier_version_writes_is_not_overlooked_once_it_was_written_or_swept() {
    let directory = Directory::new();
    let driver = &directory.driver;
    driver.open().await.unwrap();
    let key = directory.sign_in("ann", "ann").await;
    for step in ["replaced", "touched", "swept", "rebuilt"] {
        directory.forget_entries();
        assert_eq!(sessions_of(driver, "ann").await.len(), 0, "the index alone is read");
        match step {
            "replaced" => {
                let version = directory.read(&key).await.unwrap().version();
                let record = directory.record("replaced").with_owner("ann");
                drop(driver.write(&key, &record, Expected::Version(version)).await.unwrap());
            }
            "touched" => drop(driver.touch(&key, directory.clock.now() + HOUR).await.unwrap()),
            "swept" => assert_eq!(driver.gc().await.unwrap(), 0),
            _ => {
                assert_eq!(driver.rebuild_owner_index().await.unwrap(), 1);
                assert_eq!(driver.rebuild_owner_index().await.unwrap(), 0);
            }
        }
        assert_eq!(sessions_of(driver, "ann").await, BTreeSet::from([key]), "{step}");
    }
}

#[tokio::test]
async fn an_owner_is_not_named_by_the_index() {
    let directory = Directory::new();
    let long = "o".repeat(100_000);
    for (number, owner) in ["", "secret", "../secret", "/", "a\0b", "..", &long]
        .into_iter()
        .enumerate()
    {
        let key = directory.sign_in(&format!("{number}-session"), owner).await;
        assert_eq!(sessions_of(&directory.driver, owner).await, BTreeSet::from([key]));
        assert_eq!(
            directory.driver.destroy_sessions_of(owner, Some(&key)).await.unwrap(),
            0
        );
    }
    let entries = directory.entries();
    assert_eq!(entries.len(), 7);
    for entry in entries {
        assert_eq!(entry.components().count(), 4, "{}", entry.display());
        assert!(!entry.to_string_lossy().contains("secret"), "{}", entry.display());
        assert_eq!(fs::read(directory.path().join(entry)).unwrap(), b"");
    }
    // Nothing is beside the directory.
    assert_eq!(fs::read_dir(directory.outside()).unwrap().count(), 1);
}

#[tokio::test]
async fn no_entry_outlives_its_session_and_the_next_sweep() {
    let directory = Directory::new();
    let driver = &directory.driver;
    driver.open().await.unwrap();
    for key in ["destroyed", "signed-out", "expires", "goes"] {
        directory.sign_in(key, "ann").await;
    }
    assert!(driver.destroy(&"destroyed".parse().unwrap()).await.unwrap());
    let except = "expires".parse().unwrap();
    assert_eq!(driver.destroy_sessions_of("ann", Some(&except)).await.unwrap(), 2);
    assert_eq!(directory.files().len(), 2, "{:?}", directory.files());
    // By somebody who knows nothing of the index.
    let key = directory.sign_in("gone", "bob").await;
    let gone = directory
        .files()
        .into_iter()
        .find(|file| file.ends_with("gone.session"));
    fs::remove_file(directory.path().join(gone.unwrap())).unwrap();
    assert_eq!(sessions_of(driver, "bob").await.len(), 0);
    assert!(!driver.destroy(&key).await.unwrap());

    directory.clock.advance(HOUR);
    assert_eq!(driver.gc().await.unwrap(), 1);
    assert_eq!(directory.files(), Vec::<PathBuf>::new());
    assert!(driver.sessions_of("ann").await.unwrap().is_empty());
}

#[tokio::test]
async fn gc_leaves_foreign_files_in_the_index_alone() {
    let directory = Directory::new();
    directory.sign_in("expires", "ann").await;
    let entry = directory.entries().remove(0);
    let folder = entry.parent().unwrap().to_owned();
    let (shard, hash) = (folder.parent().unwrap(), folder.file_name().unwrap().to_str().unwrap());
    let foreign = [
        folder.join("notes.owned.bak"),
        folder.join("EXPIRES.owned"),
        folder.join("expires.session"),
        folder.join(".gitkeep"),
        folder.join(".owned"),
        shard.join("expires.owned"),
        shard.join("notes").join("expires.owned"),
        PathBuf::from("owners/zz").join(hash).join("expires.owned"),
        PathBuf::from("owners/expires.owned"),
        PathBuf::from("owners/.session-abcdefghijkl.tmp"),
    ];
    for file in &foreign {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::create_dir(directory.path().join(&folder).join("folder.owned")).unwrap();
    let empty = [
        directory.owners().join("empty"),
        directory.path().join(shard).join("empty"),
    ];
    empty.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    directory.clock.advance(HOUR * 2);
    assert_eq!(directory.driver.gc().await.unwrap(), 1);
    let mut expected = foreign.to_vec();
    expected.sort();
    assert_eq!(directory.files(), expected);
    assert!(directory.path().join(folder).join("folder.owned").is_dir());
    assert!(empty.iter().all(|folder| folder.is_dir()));
}

#[cfg(unix)]
#[tokio::test]
async fn the_index_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    directory.driver.open().await.unwrap();
    directory.sign_in("ann", "ann").await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let entry = directory.path().join(&directory.entries()[0]);
    assert_eq!(mode(&entry), 0o600);
    for folder in entry.ancestors().skip(1).take(4) {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    assert_eq!(mode(&directory.owners().join("complete")), 0o700);
}

#[cfg(unix)]
#[tokio::test]
async fn no_folder_of_the_index_that_is_a_link_is_gone_through() {
    use std::os::unix::fs::symlink;
    for up in 1..=3 {
        let directory = Directory::new();
        let driver = &directory.driver;
        driver.open().await.unwrap();
        let key = directory.sign_in("ann1", "ann").await;
        let entry = directory.path().join(&directory.entries()[0]);
        let folder = entry.ancestors().nth(up).unwrap();
        let elsewhere = directory.outside().join("elsewhere");
        fs::rename(folder, &elsewhere).unwrap();
        symlink(&elsewhere, folder).unwrap();

        let record = directory.record("new").with_owner("ann");
        let new = "ann2".parse().unwrap();
        assert!(driver.write(&new, &record, Expected::Absent).await.is_err());
        assert!(driver.read(&new).await.unwrap().is_none());
        assert!(driver.sessions_of("ann").await.is_err());
        assert!(driver.destroy_sessions_of("ann", None).await.is_err());
        // The session can be used and ended.
        assert!(driver.touch(&key, directory.clock.now() + HOUR).await.unwrap());
        assert!(driver.destroy(&key).await.unwrap());
        drop(driver.gc().await);
        assert_eq!(directory.files().len(), 1, "the link");
        let left = elsewhere.join(entry.strip_prefix(folder).unwrap());
        assert!(left.is_file(), "nothing is removed behind a link");
    }
}
