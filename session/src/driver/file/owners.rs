//! Finds the sessions that an owner may have, without looking at those of others.
//!
//! ```text
//! owners/73/73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049/<key>.owned
//! owners/complete/
//! ```
//!
//! An owner has a folder, named by the SHA-256 of the owner's name. For each session there is an empty file in it, the *entry*.
//! An entry is only a hint: the record says who owns the session.
//!
//! * While a record names an owner there is an entry. It is made before the record is written, so a process that dies in between
//!   leaves one entry too many.
//! * An entry is made once, and never renamed or replaced. Some file systems do not show a file that is replaced while its folder is read.
//! * An entry has a lock. To remove an entry, a process holds its lock exclusively, and has seen under the lock that
//!   the record does not name the owner. A process that is about to write a record that names the owner holds the lock
//!   shared until the record is written.
//! * If the record already names the owner, it is written without the lock: no process removes its entry.
//!
//! `complete` is a folder, because creating one is a single step. It exists once all records that are older than the
//! index have entries.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use same_file::Handle;

use super::folder::Folder;
use super::locked::{self, present};
use super::name;
use crate::id::StoreKey;

/// The folder of the index. It is longer than the names of the folders that records are in.
const INDEX: &str = "owners";
const COMPLETE: &str = "complete";

/// The folder of all owners, if there is one.
pub(super) fn index(root: &Path) -> io::Result<Option<Folder>> {
    Folder::find(root, &[INDEX], false)
}

/// Whether every record that names an owner has an entry.
pub(super) fn is_complete(root: &Path) -> io::Result<bool> {
    Ok(Folder::find(root, &[INDEX, COMPLETE], false)?.is_some())
}

/// Notes that every record that names an owner has an entry.
pub(super) fn set_complete(root: &Path, fsync: bool) -> io::Result<()> {
    Folder::make(root, &[INDEX, COMPLETE], fsync).map(drop)
}

/// An owner in the index.
#[derive(Debug)]
pub(super) struct Owner<'a> {
    root: &'a Path,
    /// The name of the owner's folder.
    hash: String,
}

/// An entry that nobody removes while this is held.
#[derive(Debug)]
pub(super) struct Noted {
    _lock: Handle,
}

impl<'a> Owner<'a> {
    pub(super) fn named(root: &'a Path, owner: &str) -> Self {
        Self::of_folder(root, name::of_owner(owner))
    }

    /// The owner whose folder is called `hash`.
    pub(super) fn of_folder(root: &'a Path, hash: String) -> Self {
        Self { root, hash }
    }

    /// Whether `owner` is this one.
    pub(super) fn is(&self, owner: Option<&str>) -> bool {
        owner.is_some_and(|owner| name::of_owner(owner) == self.hash)
    }

    fn path(&self) -> [&str; 3] {
        [INDEX, name::of_folder(&self.hash), &self.hash]
    }

    /// Whether the session under `key` has an entry.
    pub(super) fn has(&self, key: &StoreKey) -> io::Result<bool> {
        let mut path = self.root.to_owned();
        path.extend(self.path());
        path.push(name::of_entry(key));
        Ok(present(fs::symlink_metadata(path))?.is_some())
    }

    /// Makes an entry for the session under `key`, if there is none.
    pub(super) fn note(&self, key: &StoreKey, fsync: bool) -> io::Result<Noted> {
        let name = name::of_entry(key);
        loop {
            let folder = Folder::make(self.root, &self.path(), fsync)?;
            // Folder and entry may be removed at any moment until the entry is locked.
            if folder.create_empty(&name)?.is_some()
                && let Some(lock) = locked::shared(&folder.path(&name))?
            {
                folder.sync()?;
                return Ok(Noted { _lock: lock });
            }
        }
    }

    /// The keys of all entries.
    pub(super) fn keys(&self) -> io::Result<Vec<StoreKey>> {
        let mut keys = Vec::new();
        if let Some(folder) = Folder::find(self.root, &self.path(), false)?
            && let Some(entries) = present(fs::read_dir(folder.path("")))?
        {
            for entry in entries {
                let name = entry?.file_name();
                keys.extend(name.to_str().and_then(name::key_of_entry));
            }
        }
        Ok(keys)
    }

    /// Removes the entry of the session under `key`, unless its record names the owner or is about to. `is_owners` says
    /// whether it does.
    pub(super) fn forget(&self, key: &StoreKey, is_owners: impl FnOnce() -> io::Result<bool>) -> io::Result<()> {
        let Some(folder) = Folder::find(self.root, &self.path(), false)? else {
            return Ok(());
        };
        let path = folder.path(&name::of_entry(key));
        let Some(_lock) = locked::if_free(&path)? else {
            return Ok(());
        };
        if is_owners()? {
            return Ok(());
        }
        fs::remove_file(&path)?;
        remove_if_empty(&folder.path(""))
    }
}

/// Removes a folder if it is empty.
pub(super) fn remove_if_empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
        result => present(result).map(drop),
    }
}
