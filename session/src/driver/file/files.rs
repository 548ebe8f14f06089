//! What a driver does, in blocking calls.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::folder::{self, Folder};
use super::format::{self, Head, Stored};
use super::locked::{Locked, present};
use super::name;
use super::walk::Found;
use crate::clock::Clock;
use crate::driver::{Expected, Written};
use crate::id::StoreKey;
use crate::record::{Record, Version};

/// No write takes that long: who made a temporary file that is so old is dead.
const TEMPORARY_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The directory of the sessions.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) root: Arc<Path>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fsync: bool,
}

impl Files {
    /// Makes the directory.
    pub(super) fn open(&self) -> io::Result<()> {
        folder::make_root(&self.root)
    }

    /// The live record under `key`. It takes no lock: a file is never seen half-written.
    pub(super) fn read(&self, key: &StoreKey) -> io::Result<Option<Record>> {
        let name = name::of_record(key);
        let Some(folder) = self.folder(&name)? else {
            return Ok(None);
        };
        let Some(file) = present(File::open(folder.path(&name)))? else {
            return Ok(None);
        };
        let record = Stored::read(&file)?.record;
        Ok((!self.is_past(record.expires_at())).then_some(record))
    }

    pub(super) fn write(&self, key: &StoreKey, record: Record, expected: Expected) -> io::Result<Written> {
        let name = name::of_record(key);
        let version = Version::random().map_err(io::Error::other)?;
        let content = format::encode(&record.with_version(version))?;
        match expected {
            Expected::Version(seen) => self.replace(&name, seen, version, &content),
            Expected::Absent => self.create(&name, version, &content),
        }
    }

    fn replace(&self, name: &str, seen: Version, version: Version, content: &[u8]) -> io::Result<Written> {
        self.locked(name, |locked, stored| match stored {
            Stored { record, .. } if record.version() == seen => {
                locked.replace(content)?;
                Ok(Written::Done(version))
            }
            Stored { record, .. } => Ok(Written::Conflict(Some(record))),
        })
        .map(|written| written.unwrap_or(Written::Gone))
    }

    fn create(&self, name: &str, version: Version, content: &[u8]) -> io::Result<Written> {
        let folder = Folder::make(&self.root, name::of_folder(name), self.fsync)?;
        loop {
            if let Some(locked) = Locked::find(&folder, name)? {
                let current = locked.stored()?.record;
                if !self.is_past(current.expires_at()) {
                    return Ok(Written::Conflict(Some(current)));
                }
                locked.replace(content)?;
                return Ok(Written::Done(version));
            }
            if folder.create(name, content)? {
                return Ok(Written::Done(version));
            }
            // Another request was faster; what it made is looked at next.
        }
    }

    pub(super) fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> io::Result<bool> {
        let touched = self.locked(&name::of_record(key), |locked, stored| match stored {
            // Left as it is, for somebody to look at, and to go when its time has come.
            Stored { damaged: true, .. } => Ok(()),
            Stored { record, .. } => locked.replace(&format::encode(&record.with_expires_at(expires_at))?),
        });
        Ok(touched?.is_some())
    }

    pub(super) fn destroy(&self, key: &StoreKey) -> io::Result<bool> {
        let name = name::of_record(key);
        let Some(folder) = self.folder(&name)? else {
            return Ok(false);
        };
        let Some(locked) = Locked::find(&folder, &name)? else {
            return Ok(false);
        };
        let live = !self.is_past(locked.head()?.expires_at);
        locked.remove()?;
        Ok(live)
    }

    /// Removes a file that has expired or was abandoned; an answer stands for a record.
    pub(super) fn collect(&self, found: &Found) -> io::Result<Option<()>> {
        match found {
            Found::Temporary(path) => self.collect_temporary(path).map(|()| None),
            Found::Record(key) => {
                let removed = self.remove_if(key, |head| self.is_past(head.expires_at))?;
                Ok(removed.then_some(()))
            }
        }
    }

    fn collect_temporary(&self, path: &Path) -> io::Result<()> {
        let Some(found) = present(fs::symlink_metadata(path))? else {
            return Ok(());
        };
        let abandoned = crate::clock::after(found.modified()?, TEMPORARY_LIFETIME);
        if self.is_past(abandoned) {
            present(fs::remove_file(path))?;
        }
        Ok(())
    }

    /// Whether the record under `key` is a live one of `owner`, and the record if so.
    pub(super) fn of_owner(&self, key: &StoreKey, owner: &str) -> io::Result<Option<Record>> {
        let is_owners = self.head(key)?.is_some_and(|(_, head)| self.is_live_of(&head, owner));
        // Most are not: their payload is not read.
        match is_owners {
            true => Ok(self.read(key)?.filter(|record| record.owner() == Some(owner))),
            false => Ok(None),
        }
    }

    /// Removes the record under `key` if it is a live one of `owner`; says whether it was.
    pub(super) fn destroy_of_owner(&self, key: &StoreKey, owner: &str) -> io::Result<bool> {
        self.remove_if(key, |head| self.is_live_of(head, owner))
    }

    /// Removes a record that is `unwanted`, which is asked once more when the record is locked: it may have changed meanwhile.
    fn remove_if(&self, key: &StoreKey, unwanted: impl Fn(&Head) -> bool) -> io::Result<bool> {
        let Some((folder, head)) = self.head(key)? else {
            return Ok(false);
        };
        if !unwanted(&head) {
            return Ok(false);
        }
        let name = name::of_record(key);
        match Locked::find(&folder, &name)? {
            Some(locked) if unwanted(&locked.head()?) => locked.remove().map(|()| true),
            _ => Ok(false),
        }
    }

    /// What the file under `key` says before its payload, and the folder it is in.
    fn head(&self, key: &StoreKey) -> io::Result<Option<(Folder, Head)>> {
        let name = name::of_record(key);
        let Some(folder) = self.folder(&name)? else {
            return Ok(None);
        };
        match present(File::open(folder.path(&name)))? {
            Some(file) => Ok(Some((folder, Head::read(&file)?))),
            None => Ok(None),
        }
    }

    /// Does `change` to the live record in the file `name`, which nobody else changes meanwhile; `None` when there is none.
    fn locked<T>(&self, name: &str, change: impl FnOnce(Locked<'_>, Stored) -> io::Result<T>) -> io::Result<Option<T>> {
        let Some(folder) = self.folder(name)? else {
            return Ok(None);
        };
        let Some(locked) = Locked::find(&folder, name)? else {
            return Ok(None);
        };
        let stored = locked.stored()?;
        if self.is_past(stored.record.expires_at()) {
            return Ok(None);
        }
        change(locked, stored).map(Some)
    }

    fn folder(&self, name: &str) -> io::Result<Option<Folder>> {
        Folder::find(&self.root, name::of_folder(name), self.fsync)
    }

    fn is_live_of(&self, head: &Head, owner: &str) -> bool {
        head.owner.as_deref() == Some(owner) && !self.is_past(head.expires_at)
    }

    /// Whether `expiry` is now or past. The clock is asked each time: who waited for a lock is later than it was.
    fn is_past(&self, expiry: SystemTime) -> bool {
        self.clock.now() >= expiry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn record(files: &Files, owner: &str) -> Record {
        Record::new(b"{}".to_vec(), files.clock.now() + Duration::from_secs(60)).with_owner(owner)
    }

    #[test]
    fn a_record_that_changes_hands_before_it_is_locked_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let files = Files {
            root: root.path().into(),
            clock: Arc::new(crate::clock::SystemClock),
            fsync: false,
        };
        let key: StoreKey = "a-key".parse().unwrap();
        let Written::Done(version) = files.write(&key, record(&files, "ann"), Expected::Absent).unwrap() else {
            panic!("nothing was there");
        };
        let asked = Cell::new(0);
        let removed = files.remove_if(&key, |head| {
            asked.set(asked.get() + 1);
            let anns = files.is_live_of(head, "ann");
            if asked.get() == 1 {
                // Between the first look and the lock somebody else signs in.
                files
                    .write(&key, record(&files, "bob"), Expected::Version(version))
                    .unwrap();
            }
            anns
        });
        assert!(!removed.unwrap() && asked.get() == 2);
        assert_eq!(files.read(&key).unwrap().unwrap().owner(), Some("bob"));
    }
}
