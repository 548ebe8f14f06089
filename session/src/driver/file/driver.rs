//! The driver: the blocking calls, away from the threads that serve requests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::error::FileError;
use super::files::{Collected, Files};
use super::walk::{self, Batch, Found, Gathered, Walk};
use crate::clock::{Clock, SystemClock};
use crate::driver::{Driver, Expected, OwnerIndex, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;
use crate::run::RunToEnd;

/// Sessions in a directory, one file each: they survive a restart, and the processes of one machine share them.
///
/// * A write replaces the whole file in one step. A process that is killed at any moment leaves the old record or the new one,
///   and perhaps a temporary file, which [`gc`](Driver::gc) removes after an hour. A reader never sees half a record.
/// * Compare-and-swap holds between processes: writers lock the record's own file. Readers take no lock. No lock files are left behind.
/// * Files are for this user alone (0600, folders 0700). The driver makes its directory, and the folders in it, when they are missing.
/// * A file that was damaged is an empty session with a warning, never an error, and goes a day after it was last written.
/// * [`gc`](Driver::gc) removes files only that this driver has written: of the right name, in the right folder. One that cannot be
///   removed is traced and stops nothing.
/// * An index in the folder `owners` finds the sessions of an [owner](OwnerIndex). Signing out everywhere reads no
///   other owner's sessions, and overlooks none of the owner's that other processes are writing.
///
/// # The index of owners
///
/// Each owner has a folder in `owners`, named by a hash, with an empty file for each session. Writing a session without
/// an owner does not touch the index. A write that keeps the owner checks that the file is there. A write that names
/// another owner creates a file. `gc` removes what a killed process leaves behind.
///
/// A directory of a version without an index still works. [`open`](Driver::open) starts to build the index and does not
/// wait for it, so sessions can be used at once. A search for an owner's sessions waits until the index is complete.
/// The layer and the manager give up after a minute. The work goes on, so the same call succeeds later. If the process
/// dies first, the next one starts again.
///
/// A process that still runs a version without an index can use the directory at the same time. If it creates a
/// session, or gives one to another owner, a search overlooks that session until this version writes or touches it, or
/// until the next `gc`. To close that gap at once, call [`rebuild_owner_index`](FileDriver::rebuild_owner_index) when
/// the last such process has ended.
///
/// # What is checked, and what is not
///
/// A folder of the directory that is a symbolic link is refused, files are made by a name that did not exist, and renaming replaces a
/// link instead of following it. The directory itself may be a link. Who may write into the directory can still do there what they like, so it
/// should belong to this user alone.
///
/// The file system has to be a local one: locks and atomic renames over a network are promises that some keep and some do not. The driver
/// works in the blocking threads of Tokio's runtime, so it has to be called within one.
///
/// It is made for Unix and tested on Linux. On Windows, other processes can neither read nor replace a locked file, so
/// concurrent requests may fail. On Windows, use
/// [`SqliteDriver`](https://docs.rs/session-schema/latest/session_schema/struct.SqliteDriver.html) instead.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use session_schema::{Driver, Expected, FileDriver, Record, StoreKey, Written};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let driver = FileDriver::new(directory.join("sessions"));
/// let key: StoreKey = "a-key".parse()?;
/// let record = Record::new(br#"{"views":1}"#.to_vec(), SystemTime::now() + Duration::from_secs(60));
/// driver.write(&key, &record, Expected::Absent).await?;
///
/// let after_a_restart = FileDriver::new(directory.join("sessions"));
/// assert_eq!(after_a_restart.read(&key).await?.unwrap().payload(), br#"{"views":1}"#);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct FileDriver {
    files: Files,
    /// Held while the index of owners is completed.
    indexing: Arc<Mutex<()>>,
}

impl FileDriver {
    /// A driver over `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            files: Files {
                root: directory.into().into(),
                clock: Arc::new(SystemClock),
                fsync: false,
            },
            indexing: Arc::default(),
        }
    }

    /// Takes the time from `clock`. All processes that share the directory should agree on the time.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.files.clock = Arc::new(clock);
        self
    }

    /// Sets whether a write waits until it is on the disk, with its name and the directories that were created for it.
    /// Defaults to `false`.
    ///
    /// Without it, what was written survives the death of the process, whichever way it dies, but the operating system keeps it in memory for
    /// some seconds: a power cut can take the last changes back, a logout among them, or leave a damaged file. With it, what was
    /// reported as done survives a power cut too, and every write takes as long as the disk does.
    #[must_use]
    pub fn with_fsync(mut self, fsync: bool) -> Self {
        self.files.fsync = fsync;
        self
    }

    /// Rebuilds the index of owners from the records. Returns how many sessions were missing from the index.
    ///
    /// The driver does this by itself for a directory without an index. Call this method after copying session files or
    /// restoring them from a backup, or when the last process with an earlier version of this library has ended.
    /// Sessions can be used at the same time.
    ///
    /// # Errors
    ///
    /// [`DriverError::backend`] if a file or folder cannot be read, or an entry cannot be written. All other sessions
    /// are in the index then.
    pub async fn rebuild_owner_index(&self) -> Result<u64, DriverError> {
        let purpose = "rebuild the index of owners";
        let added = self.gather(purpose, |files| Walk::records(&files.root), Files::index);
        let added = added.await?.complete().map_err(|error| self.error(purpose, &error))?;
        self.run(purpose, Files::set_indexed).await?;
        Ok(added.len() as u64)
    }

    /// Rebuilds the index of owners unless it is complete. Of several concurrent calls one does the work. The work goes
    /// on if the call is dropped.
    async fn complete_index(&self) -> Result<(), DriverError> {
        let purpose = "look for the index of owners";
        if self.run(purpose, Files::is_indexed).await? {
            return Ok(());
        }
        let driver = self.clone();
        RunToEnd::new(Box::pin(async move {
            let _turn = driver.indexing.lock().await;
            match driver.run(purpose, Files::is_indexed).await? {
                true => Ok(()),
                false => driver.rebuild_owner_index().await.map(drop),
            }
        }))
        .await
    }

    /// Calls `visit` on every record that may be the owner's, and collects the results.
    async fn gather_of_owner<T: Send + 'static>(
        &self,
        purpose: &'static str,
        owner: &str,
        visit: impl Fn(&Files, &StoreKey, &str) -> io::Result<Option<T>> + Send + 'static,
    ) -> Result<Vec<T>, DriverError> {
        self.complete_index().await?;
        let owner: Arc<str> = owner.into();
        let asked = owner.clone();
        let gathered = self.gather(
            purpose,
            move |files| Ok(walk::batches(files.keys_of(&asked)?)),
            move |files, found| match found {
                Found::Record(key) => visit(files, key, &owner),
                _ => Ok(None),
            },
        );
        gathered.await?.complete().map_err(|error| self.error(purpose, &error))
    }

    /// Runs `work` where it may block. It runs to its end although the caller hangs up.
    async fn run<T: Send + 'static>(
        &self,
        purpose: &'static str,
        work: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let files = self.files.clone();
        match tokio::task::spawn_blocking(move || work(&files)).await {
            Ok(result) => result.map_err(|error| self.error(purpose, &error)),
            Err(stopped) => Err(DriverError::backend(stopped)),
        }
    }

    /// Calls `visit` on files, a batch at a time, and collects the results.
    async fn gather<T, F, V>(
        &self,
        purpose: &'static str,
        files: impl FnOnce(&Files) -> io::Result<F> + Send + 'static,
        visit: V,
    ) -> Result<Gathered<T>, DriverError>
    where
        T: Send + 'static,
        F: Iterator<Item = Batch> + Send + 'static,
        V: Fn(&Files, &Found) -> io::Result<Option<T>> + Send + 'static,
    {
        let mut batches = self.run(purpose, files).await?;
        let (mut gathered, mut visit, mut more) = (Gathered::default(), visit, true);
        while more {
            (batches, gathered, visit, more) = self
                .run(purpose, move |files| {
                    let batch = batches.next();
                    let more = batch.is_some();
                    gathered.batch(batch.unwrap_or_default(), |found| visit(files, found));
                    Ok((batches, gathered, visit, more))
                })
                .await?;
        }
        Ok(gathered)
    }

    fn error(&self, purpose: &'static str, error: &io::Error) -> DriverError {
        DriverError::backend(FileError::new(purpose, &self.files.root, error))
    }
}

impl fmt::Debug for FileDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDriver")
            .field("directory", &self.files.root)
            .field("fsync", &self.files.fsync)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Driver for FileDriver {
    async fn open(&self) -> Result<(), DriverError> {
        if self.files.root.as_os_str().is_empty() {
            return Err(DriverError::backend(
                "the path of the session directory is empty, so that sessions would lie wherever the application was started: write a directory of their own",
            ));
        }
        if !self.run("make the directory", Files::open).await? {
            let driver = self.clone();
            tokio::spawn(async move {
                if let Err(error) = driver.complete_index().await {
                    tracing::warn!(
                        target: "session_schema",
                        err = &error as &dyn std::error::Error,
                        "the index of owners could not be completed; the next search for an owner's sessions tries again"
                    );
                }
            });
        }
        Ok(())
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let key = *key;
        self.run("read a session", move |files| files.read(&key)).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let (key, record) = (*key, record.clone());
        self.run("write a session", move |files| files.write(&key, record, expected))
            .await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let key = *key;
        self.run("touch a session", move |files| files.touch(&key, expires_at))
            .await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let key = *key;
        self.run("destroy a session", move |files| files.destroy(&key)).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        let purpose = "collect expired sessions";
        let records = |files: &Files| Walk::records(&files.root);
        let entries = |files: &Files| Walk::entries(&files.root);
        // The index is swept after the records, so that no entry of an expired record is left.
        let records = self.gather(purpose, records, Files::collect).await?;
        let entries = self.gather(purpose, entries, Files::collect).await?;
        for (error, failures) in records.failed.into_iter().chain(entries.failed) {
            let error = FileError::new("remove an expired file", &self.files.root, &error);
            tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                failures,
                "expired session files could not be removed; the others were"
            );
        }
        let (mut removed, mut missing) = (0, Vec::new());
        for collected in records.answers {
            match collected {
                Collected::Record => removed += 1,
                Collected::NotIndexed(error) => missing.push(error),
            }
        }
        if let Some(error) = missing.first() {
            let error = FileError::new("add a session to the index of owners", &self.files.root, error);
            tracing::warn!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                failures = missing.len(),
                "sessions could not be added to the index of owners, where they were missing; the next sweep tries again"
            );
        }
        Ok(removed)
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }
}

#[async_trait]
impl OwnerIndex for FileDriver {
    async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        let sessions = self.gather_of_owner("look for an owner's sessions", owner, |files, key, owner| {
            Ok(files.of_owner(key, owner)?.map(|record| (*key, record)))
        });
        sessions.await
    }

    /// Tries to remove all sessions of the owner, even if one cannot be removed. Then it fails, because not every
    /// session has ended.
    async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let except = except.copied();
        let destroyed = self.gather_of_owner("destroy an owner's sessions", owner, move |files, key, owner| {
            let destroyed = Some(*key) != except && files.destroy_of_owner(key, owner)?;
            Ok(destroyed.then_some(()))
        });
        Ok(destroyed.await?.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn an_index_that_takes_its_time_keeps_nobody_from_using_sessions() {
        let root = tempfile::tempdir().unwrap();
        let before = FileDriver::new(root.path());
        let key: StoreKey = "a-key".parse().unwrap();
        let record = Record::new(b"{}".to_vec(), SystemTime::now() + Duration::from_secs(60)).with_owner("ann");
        before.write(&key, &record, Expected::Absent).await.unwrap();
        std::fs::remove_dir_all(root.path().join("owners")).unwrap();

        let driver = FileDriver::new(root.path());
        let turn = driver.indexing.clone().lock_owned().await;
        driver.open().await.unwrap();
        assert!(driver.read(&key).await.unwrap().is_some());
        drop(turn);
        assert_eq!(driver.sessions_of("ann").await.unwrap().len(), 1);
    }
}
