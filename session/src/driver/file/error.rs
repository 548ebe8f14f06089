//! What can go wrong with files, told without the names of files.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

/// Says what could not be done, in which directory, and why. A file's name has the session's key in it, and the errors of
/// other libraries have file names in them: of those only the kind is kept.
#[derive(Debug)]
pub(super) struct FileError {
    purpose: &'static str,
    directory: Arc<Path>,
    cause: io::Error,
}

impl FileError {
    pub(super) fn new(purpose: &'static str, directory: &Arc<Path>, error: &io::Error) -> Self {
        Self {
            purpose,
            directory: Arc::clone(directory),
            cause: match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => error.kind().into(),
            },
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "could not {} in the session directory `{}`",
            self.purpose,
            self.directory.display()
        )
    }
}

impl StdError for FileError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_in_an_error_of_another_library_is_not_passed_on() {
        let directory: Arc<Path> = Path::new("/sessions").into();
        let foreign = tempfile::Builder::new().tempfile_in("/no/such/secret").unwrap_err();
        assert!(foreign.to_string().contains("secret"));
        let error = FileError::new("write a session", &directory, &foreign);
        assert!(!format!("{error} {error:?} {}", error.source().unwrap()).contains("secret"));
        assert_eq!(
            error.to_string(),
            "could not write a session in the session directory `/sessions`"
        );
    }
}
