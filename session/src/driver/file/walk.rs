//! All files of the directory, a batch at a time.

use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

use super::locked::present;
use super::name;
use crate::id::StoreKey;

/// How many entries are looked at in one go.
const BATCH: usize = 256;

/// A walk through the folders of a directory. It finds what the driver has written and nothing else, and goes through no symbolic link.
#[derive(Debug)]
pub(super) struct Walk {
    /// What is still to come; `None` when there is no directory.
    folders: Option<ReadDir>,
    /// The folder it is in, and what is still to come of it.
    files: Option<(String, ReadDir)>,
}

/// A file that the driver has written.
#[derive(Debug)]
pub(super) enum Found {
    /// The record of this key.
    Record(StoreKey),
    /// One that is to become a record, if its writer still lives.
    Temporary(PathBuf),
}

impl Walk {
    /// A walk that is yet to begin. A directory that does not exist has no files.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            folders: present(fs::read_dir(root))?,
            files: None,
        })
    }

    /// Some files, perhaps none; `None` at the end. After an error the walk goes on behind what could not be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<Found>>> {
        let Some((folder, mut files)) = self.files.take() else {
            return self.enter();
        };
        let mut found = Vec::new();
        for _ in 0..BATCH {
            let Some(entry) = files.next() else {
                return Ok(Some(found));
            };
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Links and folders are not ours, whatever they are called.
            if let Some(key) = name::key(&folder, name).filter(|_| is_file(&entry)) {
                found.push(Found::Record(key));
            } else if name::is_temporary(name) && is_file(&entry) {
                found.push(Found::Temporary(entry.path()));
            }
        }
        self.files = Some((folder, files));
        Ok(Some(found))
    }

    /// Goes into the next folder.
    fn enter(&mut self) -> io::Result<Option<Vec<Found>>> {
        let Some(entry) = self.folders.as_mut().and_then(Iterator::next) else {
            return Ok(None);
        };
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.len() <= 2
            && entry.file_type()?.is_dir()
        {
            self.files = present(fs::read_dir(entry.path()))?.map(|files| (name, files));
        }
        Ok(Some(Vec::new()))
    }
}

/// Whether it is a regular file; one that is gone meanwhile is none.
fn is_file(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// What was learned on a [`Walk`].
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
    /// Asks `visit` about some more files, each of them whatever becomes of the others; says whether there may be more.
    pub(super) fn batch(&mut self, walk: &mut Walk, visit: impl Fn(&Found) -> io::Result<Option<T>>) -> bool {
        match walk.next() {
            Ok(None) => return false,
            Ok(Some(batch)) => {
                for found in &batch {
                    match visit(found) {
                        Ok(answer) => self.answers.extend(answer),
                        Err(error) => self.fail(error),
                    }
                }
            }
            Err(error) => self.fail(error),
        }
        true
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
        let (mut walk, mut gathered) = (Walk::new(root).unwrap(), Gathered::default());
        while gathered.batch(&mut walk, &visit) {}
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
        let (mut walk, mut found) = (Walk::new(root.path()).unwrap(), Vec::new());
        while let Some(batch) = walk.next().unwrap() {
            found.push(batch.len());
        }
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
