//! A folder of record files, in which files come into being whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::name;

/// One of the folders that the records are spread over. It was a folder, and no symbolic link, when it was looked at.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fsync: bool,
}

impl Folder {
    /// The folder `name` in `root`, or `None` when there is none yet.
    pub(super) fn find(root: &Path, name: &str, fsync: bool) -> io::Result<Option<Self>> {
        let path = root.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Some(Self { path, fsync })),
            Ok(_) => Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The folder `name` in `root`, made if need be, as is `root`.
    pub(super) fn make(root: &Path, name: &str, fsync: bool) -> io::Result<Self> {
        loop {
            if let Some(folder) = Self::find(root, name, fsync)? {
                return Ok(folder);
            }
            make_root(root)?;
            match private().create(root.join(name)) {
                Ok(()) if fsync => sync(root)?,
                Ok(()) => {}
                // Another request was faster. Or something else has the name: then the next look tells.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the file `name` is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the file `name` with `content`, unless there is one: says whether it did.
    pub(super) fn create(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        match self.temporary(content)?.persist_noclobber(self.path(name)) {
            Ok(_) => self.sync().map(|()| true),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(refused) => Err(refused.error),
        }
    }

    /// Puts `content` in the place of the file `name`.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.temporary(content)?
            .persist(self.path(name))
            .map_err(|refused| refused.error)?;
        self.sync()
    }

    /// Removes the file `name`.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))?;
        self.sync()
    }

    /// A file only this user can read (`tempfile` makes it so), in this folder because only then renaming it is one step.
    fn temporary(&self, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
        let mut file = name::temporary().tempfile_in(&self.path)?;
        file.write_all(content)?;
        if self.fsync {
            file.as_file().sync_all()?;
        }
        Ok(file)
    }

    /// Has the names in this folder survive a power cut.
    fn sync(&self) -> io::Result<()> {
        if self.fsync { sync(&self.path) } else { Ok(()) }
    }
}

/// Makes the directory and those above it. That it is a link to one is its operator's choice.
pub(super) fn make_root(root: &Path) -> io::Result<()> {
    private().recursive(true).create(root)
}

/// Makes folders that only this user may enter.
fn private() -> DirBuilder {
    #[allow(unused_mut, reason = "there are no modes but on Unix")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn sync(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file.
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_created_again_and_stays_as_it_is() {
        // STORE-02
        for fsync in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let folder = Folder::make(root.path(), "ab", fsync).unwrap();
            assert!(folder.create("abc.session", b"first").unwrap());
            assert!(!folder.create("abc.session", b"second").unwrap());
            assert_eq!(fs::read(folder.path("abc.session")).unwrap(), b"first");
            // Nor is anything left of the attempt.
            assert_eq!(fs::read_dir(root.path().join("ab")).unwrap().count(), 1);
        }
    }
}
