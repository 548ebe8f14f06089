//! What a store can report by itself.

use crate::id::StoreKey;

/// Who is told when a record has changed in the store, by whomever: what a driver calls for whoever asked with
/// [`watch`](crate::Driver::watch).
///
/// The methods return at once and never wait, so they can be called from wherever the store's messages arrive.
pub trait Watcher: Send + Sync + 'static {
    /// From now on every record that is read through the watched driver is reported when it next changes. After a report it has to be read again to be reported
    /// again, and what was only written is not reported at all.
    fn watching(&self);

    /// The record under `key` was written, touched or destroyed, or has expired. Changes made through the watched driver itself need not be
    /// reported, but may be.
    ///
    /// A report may overtake the answer of a read: what is reported while one is under way counts against what it finds.
    fn changed(&self, key: &StoreKey);

    /// Reports may have been lost, as when the connection was, or come too fast to be told one by one. Nothing that was read before counts
    /// as known, and nothing that is read from now on, until [`watching`](Watcher::watching) is called again.
    fn lost(&self);

    /// The store turns out to report nothing, as when it is an old one or must not be asked for it: it is as if [`watch`](crate::Driver::watch) had answered
    /// `false`, until [`watching`](Watcher::watching) is called. Counts as [`lost`](Watcher::lost) unless said otherwise.
    fn unsupported(&self) {
        self.lost();
    }
}
