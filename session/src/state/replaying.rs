//! What is still to be saved, applied to what the store has.
//!
//! The functions given to `update` are the application's, and may use their session. So they run while nobody holds its lock: what is
//! unsaved is taken out, applied, and put back if the session has not been changed meanwhile.

use super::State;
use crate::changes::Changes;
use crate::draft::Draft;
use crate::error::{Error, ErrorKind, Result};

/// The changes that are still to be saved, as of one moment.
pub(crate) struct Unsaved {
    changes: Changes,
    revision: u64,
}

/// What they make of a draft.
pub(crate) struct Replayed {
    pub(super) draft: Draft,
    /// Those that fit.
    pub(super) changes: Changes,
    /// Whether all do.
    pub(super) fit: Result<()>,
    revision: u64,
}

/// What the changes are applied to.
pub(crate) enum Base {
    Draft(Draft),
    /// Nothing, because the session they were made in is left behind, and with it its CSRF token.
    Nothing,
}

/// Which functions may run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Functions {
    Run,
    /// A change that has to call one does not fit.
    Refuse,
}

impl Unsaved {
    /// Applies the changes. This may run functions of the application, so it must not be done under the lock.
    pub(crate) fn replay(&self, base: Base) -> Replayed {
        Replayed::new(&self.changes, self.revision, base, Functions::Run)
    }
}

impl Replayed {
    #[inline]
    fn new(unsaved: &Changes, revision: u64, base: Base, functions: Functions) -> Self {
        let (draft, keep_tokens) = match base {
            Base::Draft(draft) => (draft, true),
            Base::Nothing => (Draft::empty(), false),
        };
        let mut replayed = Self {
            draft,
            changes: Changes::default(),
            fit: Ok(()),
            revision,
        };
        if !unsaved.is_empty() {
            replayed.apply(unsaved, functions, keep_tokens);
        }
        replayed
    }

    fn apply(&mut self, unsaved: &Changes, functions: Functions, keep_tokens: bool) {
        for change in unsaved.iter().filter(|change| keep_tokens || !change.is_of_token()) {
            let made = match functions == Functions::Refuse && change.has_function() {
                true => Err(unstable()),
                false => self.changes.make(change.clone(), &mut self.draft),
            };
            if made.is_err() && self.fit.is_ok() {
                self.fit = made;
            }
        }
    }
}

impl State {
    pub(crate) fn has_unsaved_functions(&self) -> bool {
        self.changes.iter().any(|change| change.has_function())
    }

    /// Applies what is unsaved under the lock, where no function of the application may run.
    #[inline]
    pub(crate) fn replay(&self, base: Base) -> Replayed {
        Replayed::new(&self.changes, self.revision, base, Functions::Refuse)
    }

    /// What the changes are applied to when a session of `owner` is loaded.
    pub(crate) fn base_of(&self, draft: &Draft, owner: Option<&str>) -> Base {
        match owner.is_some_and(|owner| self.changes.leave(owner)) {
            true => Base::Nothing,
            false => Base::Draft(draft.clone()),
        }
    }

    pub(crate) fn unsaved(&self) -> Unsaved {
        Unsaved {
            changes: self.changes.clone(),
            revision: self.revision,
        }
    }

    /// Whether nothing has been changed since these were taken out.
    pub(crate) fn is_current(&self, replayed: &Replayed) -> bool {
        self.revision == replayed.revision
    }
}

fn unstable() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the session was changed each time that the function given to `update` ran on what another request has stored: the function must do \
         nothing but change the value it is given",
    )
}
