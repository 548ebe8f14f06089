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
use super::owners::{self, Noted, Owner};
use super::walk::Found;
use crate::clock::Clock;
use crate::driver::{Expected, Written};
use crate::id::StoreKey;
use crate::record::{Record, Version};

/// No write takes that long: who made a temporary file that is so old is dead.
const TEMPORARY_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// A record that is to be stored.
struct New {
    record: Record,
    content: Vec<u8>,
}

impl New {
    fn of(record: Record) -> io::Result<Self> {
        let content = format::encode(&record)?;
        Ok(Self { record, content })
    }
}

/// What a sweep did with a record.
pub(super) enum Collected {
    /// It had expired and is removed.
    Record,
    /// It is live, and could not be added to the index of owners, where it was missing.
    NotIndexed(io::Error),
}

/// The directory of the sessions.
#[derive(Clone)]
pub(super) struct Files {
    pub(super) root: Arc<Path>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) fsync: bool,
}

impl Files {
    /// Makes the directory, and says whether the index of owners is complete.
    pub(super) fn open(&self) -> io::Result<bool> {
        folder::make_root(&self.root, self.fsync)?;
        // Where nothing is yet, nothing has to be indexed: what comes is.
        if !owners::is_complete(&self.root)? && fs::read_dir(&*self.root)?.next().is_none() {
            self.set_indexed()?;
        }
        owners::is_complete(&self.root)
    }

    /// Whether every record that names an owner is in the index. In a directory that does not exist every one is.
    pub(super) fn is_indexed(&self) -> io::Result<bool> {
        Ok(owners::is_complete(&self.root)? || present(fs::metadata(&self.root))?.is_none())
    }

    pub(super) fn set_indexed(&self) -> io::Result<()> {
        owners::set_complete(&self.root, self.fsync)
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
        let version = Version::random().map_err(io::Error::other)?;
        let new = New::of(record.with_version(version))?;
        match expected {
            Expected::Version(seen) => self.replace(key, seen, &new),
            Expected::Absent => self.create(key, &new),
        }
    }

    fn replace(&self, key: &StoreKey, seen: Version, new: &New) -> io::Result<Written> {
        let written = self.locked(key, |locked, stored| match stored.record {
            record if record.version() == seen => self.put(locked, key, record.owner(), new),
            record => Ok(Written::Conflict(Some(record))),
        });
        Ok(written?.unwrap_or(Written::Gone))
    }

    fn create(&self, key: &StoreKey, new: &New) -> io::Result<Written> {
        let name = name::of_record(key);
        let folder = Folder::make(&self.root, &[name::of_folder(&name)], self.fsync)?;
        loop {
            if let Some(locked) = Locked::find(&folder, &name)? {
                let current = locked.stored()?.record;
                if !self.is_past(current.expires_at()) {
                    return Ok(Written::Conflict(Some(current)));
                }
                return self.put(locked, key, current.owner(), new);
            }
            let _noted = self.note(key, None, new.record.owner())?;
            if folder.create(&name, &new.content)? {
                return Ok(Written::Done(new.record.version()));
            }
            // Another request was faster; what it made is looked at next.
        }
    }

    /// Puts a record in the place of one that named `before`.
    fn put(&self, locked: Locked<'_>, key: &StoreKey, before: Option<&str>, new: &New) -> io::Result<Written> {
        let owner = new.record.owner();
        let noted = self.note(key, before, owner)?;
        locked.replace(&new.content)?;
        drop(noted);
        if before != owner {
            self.forget(key, before);
        }
        Ok(Written::Done(new.record.version()))
    }

    /// Makes the entry of a session that is to be `owner`'s. What is returned has to be held until the record is written.
    ///
    /// `before` is what the record names now, if it is locked. A record that names the owner has an entry already, which nobody removes.
    /// It is looked at all the same, because earlier versions of the driver made none.
    fn note(&self, key: &StoreKey, before: Option<&str>, owner: Option<&str>) -> io::Result<Option<Noted>> {
        let Some(name) = owner else { return Ok(None) };
        let index = Owner::named(&self.root, name);
        if before == owner && index.has(key)? {
            return Ok(None);
        }
        index.note(key, self.fsync).map(Some)
    }

    /// Removes the entry of a session that is no longer `owner`'s. If it cannot be removed now, the next sweep tries again, and tells of it.
    fn forget(&self, key: &StoreKey, owner: Option<&str>) {
        if let Some(owner) = owner {
            let owner = Owner::named(&self.root, owner);
            drop(owner.forget(key, || self.is_named(key, &owner)));
        }
    }

    /// Whether the record under `key` names `owner`, even if it has expired.
    fn is_named(&self, key: &StoreKey, owner: &Owner<'_>) -> io::Result<bool> {
        let head = self.head(key)?;
        Ok(head.is_some_and(|(_, head)| owner.is(head.owner.as_deref())))
    }

    pub(super) fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> io::Result<bool> {
        let touched = self.locked(key, |locked, stored| match stored {
            // Left as it is, for somebody to look at, and to go when its time has come.
            Stored { damaged: true, .. } => Ok(()),
            Stored { record, .. } => {
                let new = New::of(record.with_expires_at(expires_at))?;
                self.put(locked, key, new.record.owner(), &new).map(drop)
            }
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
        let head = locked.head()?;
        let live = !self.is_past(head.expires_at);
        self.remove(locked, key, &head)?;
        Ok(live)
    }

    fn remove(&self, locked: Locked<'_>, key: &StoreKey, head: &Head) -> io::Result<()> {
        locked.remove()?;
        self.forget(key, head.owner.as_deref());
        Ok(())
    }

    /// Removes what has expired, was abandoned, or leads nowhere. A live record gets the entry that it should have.
    pub(super) fn collect(&self, found: &Found) -> io::Result<Option<Collected>> {
        match found {
            Found::Record(key) => return self.collect_record(key),
            Found::Temporary(path) => self.collect_temporary(path)?,
            Found::Entry(folder, key) => self.collect_entry(folder, key)?,
            Found::Empty(path) => owners::remove_if_empty(path)?,
        }
        Ok(None)
    }

    fn collect_record(&self, key: &StoreKey) -> io::Result<Option<Collected>> {
        let Some((folder, head)) = self.head(key)? else {
            return Ok(None);
        };
        let is_expired = |head: &Head| self.is_past(head.expires_at);
        Ok(match is_expired(&head) {
            true => self.remove_if(key, &folder, is_expired)?.then_some(Collected::Record),
            false => self.index_head(key, &head).err().map(Collected::NotIndexed),
        })
    }

    fn collect_entry(&self, folder: &str, key: &StoreKey) -> io::Result<()> {
        let owner = Owner::of_folder(&self.root, folder.to_owned());
        let is_named = || self.is_named(key, &owner);
        // Most are needed: those are not locked.
        if is_named()? {
            Ok(())
        } else {
            owner.forget(key, is_named)
        }
    }

    /// Makes the entry that a record should have, and says whether it was missing.
    pub(super) fn index(&self, found: &Found) -> io::Result<Option<()>> {
        let Found::Record(key) = found else { return Ok(None) };
        let Some((_, head)) = self.head(key)? else {
            return Ok(None);
        };
        Ok(self.index_head(key, &head)?.map(drop))
    }

    /// The record may have changed since its head was read: then it is one entry too many.
    fn index_head(&self, key: &StoreKey, head: &Head) -> io::Result<Option<Noted>> {
        let owner = head.owner.as_deref();
        self.note(key, owner, owner)
    }

    /// The keys of the sessions that may be the owner's.
    pub(super) fn keys_of(&self, owner: &str) -> io::Result<Vec<StoreKey>> {
        Owner::named(&self.root, owner).keys()
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
        Ok(self.read(key)?.filter(|record| record.owner() == Some(owner)))
    }

    /// Removes the record under `key` if it is a live one of `owner`; says whether it was.
    pub(super) fn destroy_of_owner(&self, key: &StoreKey, owner: &str) -> io::Result<bool> {
        match self.folder(&name::of_record(key))? {
            Some(folder) => self.remove_if(key, &folder, |head| self.is_live_of(head, owner)),
            None => Ok(false),
        }
    }

    /// Removes a record that is `unwanted`, which is asked when the record is locked: it may have changed since it was looked at.
    fn remove_if(&self, key: &StoreKey, folder: &Folder, unwanted: impl Fn(&Head) -> bool) -> io::Result<bool> {
        let name = name::of_record(key);
        let Some(locked) = Locked::find(folder, &name)? else {
            return Ok(false);
        };
        let head = locked.head()?;
        if !unwanted(&head) {
            return Ok(false);
        }
        self.remove(locked, key, &head)?;
        Ok(true)
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

    /// Applies `change` to the live record under `key` while it is locked. `None` if there is none.
    fn locked<T>(
        &self,
        key: &StoreKey,
        change: impl FnOnce(Locked<'_>, Stored) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let name = name::of_record(key);
        let Some(folder) = self.folder(&name)? else {
            return Ok(None);
        };
        let Some(locked) = Locked::find(&folder, &name)? else {
            return Ok(None);
        };
        let stored = locked.stored()?;
        if self.is_past(stored.record.expires_at()) {
            return Ok(None);
        }
        change(locked, stored).map(Some)
    }

    fn folder(&self, name: &str) -> io::Result<Option<Folder>> {
        Folder::find(&self.root, &[name::of_folder(name)], self.fsync)
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
    use crate::driver::file::walk::Walk;
    use std::cell::Cell;

    fn record(files: &Files, owner: &str) -> Record {
        Record::new(b"{}".to_vec(), files.clock.now() + Duration::from_secs(60)).with_owner(owner)
    }

    fn files(root: &tempfile::TempDir) -> Files {
        Files {
            root: root.path().into(),
            clock: Arc::new(crate::clock::SystemClock),
            fsync: false,
        }
    }

    fn write(files: &Files, key: &StoreKey, owner: &str, expected: Expected) -> Version {
        match files.write(key, record(files, owner), expected).unwrap() {
            Written::Done(version) => version,
            other => panic!("expected `Written::Done`, got {other:?}"),
        }
    }

    /// A sweep of the index alone.
    fn sweep(files: &Files) {
        for found in Walk::entries(&files.root).unwrap().flatten() {
            files.collect(&found.unwrap()).unwrap();
        }
    }

    #[test]
    fn a_record_that_changes_hands_before_it_is_locked_is_not_removed() {
        let root = tempfile::tempdir().unwrap();
        let (files, key) = (files(&root), "a-key".parse().unwrap());
        let version = write(&files, &key, "ann", Expected::Absent);
        let is_anns = |head: &Head| files.is_live_of(head, "ann");
        let (folder, head) = files.head(&key).unwrap().unwrap();
        assert!(is_anns(&head));
        // Between the first look and the lock somebody else signs in.
        write(&files, &key, "bob", Expected::Version(version));
        assert!(!files.remove_if(&key, &folder, is_anns).unwrap());
        assert_eq!(files.read(&key).unwrap().unwrap().owner(), Some("bob"));
    }

    #[test]
    fn an_entry_is_not_swept_while_its_record_is_about_to_be_written() {
        let root = tempfile::tempdir().unwrap();
        let (files, key) = (files(&root), "a-key".parse().unwrap());
        for number in 0..2 {
            let noted: Vec<_> = (0..=number)
                .map(|_| files.note(&key, None, Some("ann")).unwrap().unwrap())
                .collect();
            for noted in noted {
                sweep(&files);
                assert_eq!(files.keys_of("ann").unwrap(), [key]);
                drop(noted);
            }
            // Nobody is going to write it any more.
            sweep(&files);
            assert_eq!(files.keys_of("ann").unwrap(), []);
        }
    }

    #[test]
    fn an_entry_is_not_swept_though_its_record_is_written_just_before_it_would_be_removed() {
        let root = tempfile::tempdir().unwrap();
        let (files, key) = (files(&root), "a-key".parse().unwrap());
        let owner = Owner::named(&files.root, "ann");
        drop(files.note(&key, None, Some("ann")).unwrap());
        let asked = Cell::new(false);
        let is_named = || {
            asked.set(true);
            files.is_named(&key, &owner)
        };
        // The sweep has found no record. Then one is written, and only then the entry is locked.
        write(&files, &key, "ann", Expected::Absent);
        owner.forget(&key, is_named).unwrap();
        assert!(asked.get());
        assert_eq!(files.keys_of("ann").unwrap(), [key]);
    }

    #[test]
    fn a_record_is_not_written_before_an_entry_that_is_being_removed_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let (files, key) = (files(&root), "a-key".parse().unwrap());
        let owner = Owner::named(&files.root, "ann");
        drop(files.note(&key, None, Some("ann")).unwrap());
        std::thread::scope(|threads| {
            let mut writer = None;
            let (tell, told) = std::sync::mpsc::channel();
            let (files, key) = (&files, &key);
            let removed = owner.forget(key, || {
                // The entry is locked and is going to be removed, and somebody signs in.
                writer = Some(threads.spawn(move || {
                    tell.send(()).unwrap();
                    write(files, key, "ann", Expected::Absent)
                }));
                told.recv().unwrap();
                for _ in 0..1000 {
                    std::thread::yield_now();
                }
                assert!(files.read(key).unwrap().is_none());
                Ok(false)
            });
            removed.unwrap();
            writer.unwrap().join().unwrap();
        });
        assert_eq!(files.keys_of("ann").unwrap(), [key]);
        assert_eq!(files.read(&key).unwrap().unwrap().owner(), Some("ann"));
    }

    #[test]
    fn nothing_is_left_in_the_index_of_a_session_that_is_gone_or_anothers() {
        let root = tempfile::tempdir().unwrap();
        let (files, key) = (files(&root), "a-key".parse().unwrap());
        let owners = || -> Vec<_> {
            let folder = root.path().join("owners").join(name::of_folder(&name::of_owner("ann")));
            fs::read_dir(folder).map_or(Vec::new(), |found| {
                found.map(|owner| owner.unwrap().file_name()).collect()
            })
        };
        let version = write(&files, &key, "ann", Expected::Absent);
        assert_eq!(owners().len(), 1);
        let version = write(&files, &key, "bob", Expected::Version(version));
        assert_eq!((files.keys_of("ann").unwrap(), owners()), (Vec::new(), Vec::new()));
        write(&files, &key, "ann", Expected::Version(version));
        assert!(files.destroy(&key).unwrap());
        assert_eq!((files.keys_of("ann").unwrap(), owners()), (Vec::new(), Vec::new()));
        // What a process leaves that dies between two steps.
        drop(files.note(&key, None, Some("ann")).unwrap());
        fs::create_dir_all(root.path().join("owners/73").join("73".repeat(32))).unwrap();
        sweep(&files);
        assert_eq!(owners(), Vec::<std::ffi::OsString>::new());
        assert_eq!(fs::read_dir(root.path().join("owners/73")).unwrap().count(), 0);
    }
}
