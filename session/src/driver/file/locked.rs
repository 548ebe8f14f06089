//! One writer per record, across threads and processes, without lock files.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use same_file::Handle;

use super::folder::Folder;
use super::format::{Head, Stored};

/// A record's file, locked: until this is dropped nobody else replaces or removes it.
///
/// The lock is on the file itself, not on its name: it is of the operating system (`flock`), so it ends with the process that
/// holds it, and it leaves nothing behind. A file that was replaced while somebody waited for its lock is no longer the record; who
/// gets its lock sees that the name leads elsewhere, and takes the lock of what it leads to.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    name: &'a str,
    file: Handle,
}

impl<'a> Locked<'a> {
    /// Waits for the lock of the file `name`; `None` when there is no such file.
    pub(super) fn find(folder: &'a Folder, name: &'a str) -> io::Result<Option<Self>> {
        let file = hold(&folder.path(name), |file| file.lock().map(|()| true))?;
        Ok(file.map(|file| Self { folder, name, file }))
    }

    /// What stands in the file.
    pub(super) fn stored(&self) -> io::Result<Stored> {
        Stored::read(self.file.as_file())
    }

    /// What stands in the file before the payload.
    pub(super) fn head(&self) -> io::Result<Head> {
        Head::read(self.file.as_file())
    }

    /// Puts `content` in the place of the file.
    pub(super) fn replace(self, content: &[u8]) -> io::Result<()> {
        self.folder.replace(self.name, content)
    }

    /// Removes the file.
    pub(super) fn remove(self) -> io::Result<()> {
        self.folder.remove(self.name)
    }
}

/// A file that is not there is no error.
pub(super) fn present<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the lock of the file at `path`, which several may share; `None` when there is no such file.
pub(super) fn shared(path: &Path) -> io::Result<Option<Handle>> {
    hold(path, |file| file.lock_shared().map(|()| true))
}

/// The lock of the file at `path`, for its holder alone; `None` when somebody else has it, or there is no such file.
pub(super) fn if_free(path: &Path) -> io::Result<Option<Handle>> {
    hold(path, |file| match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    })
}

/// The file at `path` once `lock` has locked it: `None` when it says that it did not, or when there is no such file.
fn hold(path: &Path, lock: impl Fn(&File) -> io::Result<bool>) -> io::Result<Option<Handle>> {
    loop {
        let Some(file) = present(File::open(path))? else {
            return Ok(None);
        };
        let file = Handle::from_file(file)?;
        match lock(file.as_file()) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // A signal came while waiting.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match present(Handle::from_path(path))? {
            Some(current) if current == file => return Ok(Some(file)),
            Some(_replaced) => {}
            None => return Ok(None),
        }
    }
}
