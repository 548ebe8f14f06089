//! All files of the directory, a batch at a time.

use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use super::locked::present;
use super::{name, owners};
use crate::id::StoreKey;

/// How many entries are looked at in one go.
const BATCH: usize = 256;

/// A walk through folders of the driver. It finds what the driver has written and nothing else, and goes through no symbolic link. It goes on behind
/// what cannot be read.
#[derive(Debug)]
pub(super) struct Walk {
    /// The folders that are being gone through, each in the one before it.
    open: Vec<Open>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `root/ab/`
    Records,
    /// `root/owners/ab/ab.../`
    Entries,
}

impl Kind {
    /// How many folders deep the files are.
    fn depth(self) -> usize {
        match self {
            Self::Records => 2,
            Self::Entries => 3,
        }
    }
}

#[derive(Debug)]
struct Open {
    path: PathBuf,
    name: String,
    entries: ReadDir,
    is_empty: bool,
}

/// Something that the driver has written.
#[derive(Debug)]
pub(super) enum Found {
    /// The record of this key.
    Record(StoreKey),
    /// One that is to become a record, if its writer still lives.
    Temporary(PathBuf),
    /// An entry of the index: the name of the owner's folder, and the key.
    Entry(String, StoreKey),
    /// An owner's folder in which nothing was.
    Empty(PathBuf),
}

/// Some files, perhaps none, and what could not be read.
pub(super) type Batch = Vec<io::Result<Found>>;

impl Walk {
    /// A walk through the records, and what is to become one. A directory that does not exist has none.
    pub(super) fn records(root: &Path) -> io::Result<Self> {
        Self::begin(root.to_owned(), Kind::Records)
    }

    /// A walk through the index of owners.
    pub(super) fn entries(root: &Path) -> io::Result<Self> {
        match owners::index(root)? {
            Some(index) => Self::begin(index.path(""), Kind::Entries),
            None => Ok(Self {
                open: Vec::new(),
                kind: Kind::Entries,
            }),
        }
    }

    fn begin(path: PathBuf, kind: Kind) -> io::Result<Self> {
        let mut walk = Self { open: Vec::new(), kind };
        walk.enter(path, String::new())?;
        Ok(walk)
    }

    /// Goes into a folder, if it is still there.
    fn enter(&mut self, path: PathBuf, name: String) -> io::Result<()> {
        let entries = present(fs::read_dir(&path))?;
        self.open.extend(entries.map(|entries| Open {
            path,
            name,
            entries,
            is_empty: true,
        }));
        Ok(())
    }

    /// One step; `None` when it leads to nothing that is the driver's.
    fn step(&mut self) -> io::Result<Option<Found>> {
        let depth = self.open.len();
        let Some(folder) = self.open.last_mut() else {
            return Ok(None);
        };
        let Some(entry) = folder.entries.next() else {
            let left = self.open.pop().filter(|left| left.is_empty);
            let owners = left.filter(|_| self.kind == Kind::Entries && depth == self.kind.depth());
            return Ok(owners.map(|folder| Found::Empty(folder.path)));
        };
        folder.is_empty = false;
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Ok(None);
        };
        if depth == self.kind.depth() {
            return Ok(self.kind.file(&folder.name, &name, &entry));
        }
        if self.kind.is_folder(depth, &folder.name, &name) && entry.file_type()?.is_dir() {
            self.enter(entry.path(), name)?;
        }
        Ok(None)
    }
}

impl Kind {
    /// Whether a folder in another one, so deep, may be the driver's.
    fn is_folder(self, depth: usize, parent: &str, name: &str) -> bool {
        match depth {
            1 => name.len() <= 2,
            _ => name::is_owner(name) && name::of_folder(name) == parent,
        }
    }

    /// What the file `folder/name` is. Links and folders are not the driver's, whatever they are called.
    fn file(self, folder: &str, name: &str, entry: &fs::DirEntry) -> Option<Found> {
        let found = match self {
            Self::Records if name::is_temporary(name) => Found::Temporary(entry.path()),
            Self::Records => Found::Record(name::key(folder, name)?),
            Self::Entries => Found::Entry(folder.to_owned(), name::key_of_entry(name)?),
        };
        is_file(entry).then_some(found)
    }
}

impl Iterator for Walk {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        Some((0..BATCH).filter_map(|_| self.step().transpose()).collect())
    }
}

/// The records of `keys`, a batch at a time.
pub(super) fn batches(keys: Vec<StoreKey>) -> impl Iterator<Item = Batch> + Send + 'static {
    let mut keys = keys.into_iter();
    std::iter::from_fn(move || {
        let batch: Batch = keys.by_ref().take(BATCH).map(|key| Ok(Found::Record(key))).collect();
        (!batch.is_empty()).then_some(batch)
    })
}

/// Whether it is a regular file; one that is gone meanwhile is none.
fn is_file(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// What was learned about files.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    pub(super) answers: Vec<T>,
    /// What went wrong first, and how often something did.
    pub(super) failed: Option<(io::Error, u64)>,
}

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            failed: None,
        }
    }
}

impl<T> Gathered<T> {
    /// Asks `visit` about the files of a batch, each of them whatever becomes of the others.
    pub(super) fn batch(&mut self, batch: Batch, visit: impl Fn(&Found) -> io::Result<Option<T>>) {
        for found in batch {
            match found.and_then(|found| visit(&found)) {
                Ok(answer) => self.answers.extend(answer),
                Err(error) => self.fail(error),
            }
        }
    }

    fn fail(&mut self, error: io::Error) {
        match &mut self.failed {
            Some((_, count)) => *count += 1,
            None => self.failed = Some((error, 1)),
        }
    }

    /// The answers, if every file could be asked about.
    pub(super) fn complete(self) -> io::Result<Vec<T>> {
        match self.failed {
            Some((error, _)) => Err(error),
            None => Ok(self.answers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(records: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for number in 0..records {
            let name = name::of_record(&format!("ab{number}").parse().unwrap());
            let folder = root.path().join(name::of_folder(&name));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), "").unwrap();
        }
        root
    }

    fn gather(root: &Path, visit: impl Fn(&Found) -> io::Result<Option<()>>) -> Gathered<()> {
        let mut gathered = Gathered::default();
        Walk::records(root)
            .unwrap()
            .for_each(|batch| gathered.batch(batch, &visit));
        gathered
    }

    #[test]
    fn every_record_is_found_though_a_folder_has_more_than_a_batch() {
        for records in [0, 1, 100, 3 * BATCH] {
            let root = directory(records);
            let gathered = gather(root.path(), |_| Ok(Some(())));
            assert_eq!(gathered.complete().unwrap().len(), records);
        }
    }

    #[test]
    fn a_batch_is_bounded_by_what_is_looked_at_not_by_what_is_found() {
        // The number is written out: with `BATCH` itself every bound would do.
        const BOUND: usize = 256;
        let root = directory(2 * BOUND);
        let folder = root.path().join("ab");
        for number in 0..4 * BOUND {
            fs::write(folder.join(format!("foreign{number}")), "").unwrap();
        }
        let found: Vec<_> = Walk::records(root.path()).unwrap().map(|batch| batch.len()).collect();
        assert_eq!(found.iter().sum::<usize>(), 2 * BOUND);
        assert!(found.iter().all(|&files| files <= BOUND), "{found:?}");
        // Most of the entries are nobody's, and cost as much.
        assert!(found.len() >= 6, "{found:?}");
    }

    #[test]
    fn one_file_that_fails_stops_nothing_and_is_told() {
        let root = directory(10);
        let gathered = gather(root.path(), |found| match found {
            Found::Record(key) if key.as_str().ends_with(['3', '7']) => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Ok(Some(())),
        });
        assert_eq!(gathered.answers.len(), 8);
        assert_eq!(gathered.failed.as_ref().map(|(_, count)| *count), Some(2));
        assert_eq!(gathered.complete().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
