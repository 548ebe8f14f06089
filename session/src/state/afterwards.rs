//! Work that must not be done under the session's lock, because it runs code of the application: writing to its log
//! subscriber, and dropping a function given to `update` with all that it holds. Both may use the session.

use super::State;
use crate::changes::Change;

/// What is to be done once the lock is free.
pub(crate) struct Afterwards {
    events: Vec<Event>,
    /// Only to be dropped.
    _unneeded: Vec<Change>,
}

/// What is worth a line in the log.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// The session ended while the request used it.
    EndedMeanwhile,
    /// The changes of a request are dropped: its session has ended, or it came with an id that was given up.
    ChangesDropped,
}

impl State {
    pub(super) fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Takes out what has to be done once the lock is free. There is rarely anything.
    #[inline]
    pub(crate) fn take_afterwards(&mut self) -> Option<Afterwards> {
        let is_something = !self.events.is_empty() || self.changes.has_unneeded();
        is_something.then(|| Afterwards {
            events: std::mem::take(&mut self.events),
            _unneeded: self.changes.take_unneeded(),
        })
    }
}

impl Afterwards {
    /// Does the work. The lock must be free.
    #[cold]
    pub(crate) fn run(self) {
        for event in &self.events {
            match event {
                Event::EndedMeanwhile => tracing::info!(
                    target: "session_schema",
                    "a session ended while a request used it; what the request changed is dropped"
                ),
                Event::ChangesDropped => tracing::warn!(
                    target: "session_schema",
                    "changes of a session that has ended or goes by a new id are dropped"
                ),
            }
        }
    }
}
