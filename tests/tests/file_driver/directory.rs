//! A driver over a directory of its own, and a look at what is in it.

use std::fs;
use std::path::{Path, PathBuf};

use session_schema::testing::ManualClock;
use session_schema::{Clock, Driver, Expected, FileDriver, Record, StoreKey, Version, Written};

pub(crate) const HOUR: std::time::Duration = std::time::Duration::from_secs(60 * 60);

pub(crate) struct Directory {
    pub(crate) clock: ManualClock,
    pub(crate) driver: FileDriver,
    outside: tempfile::TempDir,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// One in the directory `place`.
    pub(crate) fn within(place: &Path) -> Self {
        let (clock, outside) = (
            ManualClock::new(),
            tempfile::tempdir_in(place).expect("a directory is made"),
        );
        Self {
            driver: FileDriver::new(outside.path().join("sessions")).with_clock(clock.clone()),
            clock,
            outside,
        }
    }

    /// The directory of the sessions.
    pub(crate) fn path(&self) -> PathBuf {
        self.outside().join("sessions")
    }

    /// The directory that it is in, where nothing else is.
    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// A record that lives for an hour.
    pub(crate) fn record(&self, text: &str) -> Record {
        Record::new(format!("{{\"text\":\"{text}\"}}").into_bytes(), self.clock.now() + HOUR)
    }

    pub(crate) async fn create(&self, key: &str, text: &str) -> (StoreKey, Version) {
        let key = key.parse().expect("a well-formed key");
        match self.driver.write(&key, &self.record(text), Expected::Absent).await {
            Ok(Written::Done(version)) => (key, version),
            other => panic!("expected `Written::Done`, got {other:?}"),
        }
    }

    pub(crate) async fn read(&self, key: &StoreKey) -> Option<Record> {
        self.driver.read(key).await.expect("the record is read")
    }

    /// Everything in and under the directory that is no folder, by its path in it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("the folder is read") {
                let entry = entry.expect("the folder is read");
                match entry.file_type().expect("the file has a type").is_dir() {
                    true => folders.push(entry.path()),
                    false => files.push(entry.path().strip_prefix(self.path()).expect("it is inside").to_owned()),
                }
            }
        }
        files.sort();
        files
    }

    /// The only file.
    pub(crate) fn file(&self) -> PathBuf {
        match &self.files()[..] {
            [file] => self.path().join(file),
            files => panic!("expected one file, got {files:?}"),
        }
    }
}
