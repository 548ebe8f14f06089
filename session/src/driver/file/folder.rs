//! A folder of record files, in which files come into being whole or not at all.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::locked::present;
use super::name;

/// A folder that the driver has made. It was a folder, and no symbolic link, when it was looked at, and so were those between the
/// directory of the sessions and it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    fsync: bool,
}

impl Folder {
    /// The folder at `path`, a list of names, under `root`; `None` when there is none yet.
    pub(super) fn find(root: &Path, path: &[&str], fsync: bool) -> io::Result<Option<Self>> {
        let mut folder = root.to_owned();
        for name in path {
            folder.push(name);
            match present(fs::symlink_metadata(&folder))? {
                Some(found) if found.is_dir() => {}
                Some(_) => return Err(ErrorKind::NotADirectory.into()),
                None => return Ok(None),
            }
        }
        Ok(Some(Self { path: folder, fsync }))
    }

    /// The folder at `path` under `root`. It is made if need be, as is `root`.
    pub(super) fn make(root: &Path, path: &[&str], fsync: bool) -> io::Result<Self> {
        loop {
            if let Some(folder) = Self::find(root, path, fsync)? {
                return Ok(folder);
            }
            make_root(root, fsync)?;
            let mut parent = root.to_owned();
            for name in path {
                let folder = parent.join(name);
                match private().create(&folder) {
                    Ok(()) if fsync => sync(&parent)?,
                    Ok(()) => {}
                    // Another request was faster. Or something else has the name: then the next look tells.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    // The one above was empty and has been removed again.
                    Err(error) if error.kind() == ErrorKind::NotFound => break,
                    Err(error) => return Err(error),
                }
                parent = folder;
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

    /// Makes an empty file `name` for this user alone, unless there is one. It is not whole or half, so that it needs no other name before.
    /// `None` when the folder has been removed.
    pub(super) fn create_empty(&self, name: &str) -> io::Result<Option<()>> {
        let mut options = File::options();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(self.path(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Some(())),
            result => Ok(present(result)?.map(drop)),
        }
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

    /// Has the names in this folder survive a power cut, if that is asked for.
    pub(super) fn sync(&self) -> io::Result<()> {
        if self.fsync { sync(&self.path) } else { Ok(()) }
    }
}

/// Makes the directory and those above it. That it is a link to one is its operator's choice.
pub(super) fn make_root(root: &Path, fsync: bool) -> io::Result<()> {
    let parents = if fsync { parents_of_missing(root) } else { Vec::new() };
    private().recursive(true).create(root)?;
    parents.into_iter().try_for_each(sync)
}

/// The directories that get a new name in them when `root` is made with those above it, the innermost first.
fn parents_of_missing(root: &Path) -> Vec<&Path> {
    let missing = root.ancestors().take_while(|directory| !directory.is_dir());
    let parents = missing.filter_map(Path::parent);
    // The parent of a relative path of one name is where the application was started.
    parents
        .map(|parent| {
            if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            }
        })
        .collect()
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
            let folder = Folder::make(root.path(), &["ab"], fsync).unwrap();
            assert!(folder.create("abc.session", b"first").unwrap());
            assert!(!folder.create("abc.session", b"second").unwrap());
            assert_eq!(fs::read(folder.path("abc.session")).unwrap(), b"first");
            // Nor is anything left of the attempt.
            assert_eq!(fs::read_dir(root.path().join("ab")).unwrap().count(), 1);
        }
    }

    #[test]
    fn no_directory_that_is_made_is_left_out_when_the_disk_is_waited_for() {
        let outside = tempfile::tempdir().unwrap();
        let (outside, root) = (outside.path(), outside.path().join("made/by/us"));
        let expected = [outside.join("made/by"), outside.join("made"), outside.to_owned()];
        assert_eq!(parents_of_missing(&root), expected);
        make_root(&root, true).unwrap();
        assert!(root.is_dir());
        assert!(parents_of_missing(&root).is_empty());
        assert_eq!(
            parents_of_missing(&outside.join("made/by/them")),
            [outside.join("made/by")]
        );
    }

    #[test]
    fn a_directory_made_where_the_application_was_started_is_not_forgotten() {
        assert_eq!(
            parents_of_missing(Path::new("no-such/sessions")),
            [Path::new("no-such"), Path::new(".")]
        );
        assert_eq!(parents_of_missing(Path::new("no-such")), [Path::new(".")]);
    }
}
