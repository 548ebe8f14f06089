//! What must not be done under the session's lock, because it runs code of the application: the subscriber of its log, and whatever a
//! function given to `update` holds, when that is dropped. Both may use the session.

use crate::changes::Changes;

/// What is to be done once the lock is free.
#[derive(Default)]
pub(crate) struct Afterwards {
    events: Vec<Event>,
    dropped: Vec<Changes>,
}

/// What is worth a line in the log.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    /// The session ended while the request used it.
    EndedMeanwhile,
    /// The changes of a request are dropped: its session has ended, or it came with an id that was given up.
    ChangesDropped,
}

impl Afterwards {
    pub(super) fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(super) fn drop_changes(&mut self, changes: Changes) {
        if !changes.is_empty() {
            self.dropped.push(changes);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dropped.is_empty()
    }

    /// Does it. The lock must be free.
    #[cold]
    pub(crate) fn run(self) {
        for event in self.events {
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
