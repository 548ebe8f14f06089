//! One-request data: which keys are flash, and since when.
//!
//! Goravel and Laravel keep two lists, what was flashed in this request and what in the one before, and age them at each
//! save. Between requests the first is always empty, so a record knows one list: [`key::FLASH_OLD`], what the next request
//! reads for the last time. A random stamp beside each name tells a message from a later one under the same key, so that a
//! slow request does not age away what another has flashed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::payload::{Payload, key};
use crate::table::Table;

/// Tells one flash of a key from another. 32 bits pass unharmed through a Go program's `float64`.
pub(crate) type Stamp = u32;

pub(crate) fn new_stamp() -> Stamp {
    fastrand::u32(1..)
}

/// Flash keys that a request is the last to see, each with the stamp it has seen.
pub(crate) type Passing = Table<Stamp>;

/// The flash keys of a session.
#[derive(Clone, Default)]
pub(crate) struct Flash {
    entries: Table<Entry>,
    /// How many have been set.
    turns: u64,
    /// The stored lists do not say what `entries` says.
    changed: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    /// The keys are listed in the order in which they were set.
    turn: u64,
    stamp: Stamp,
    until_read: bool,
}

/// The texts of the four stored lists, `None` where there is nothing to store.
pub(crate) type Lists = [(&'static str, Option<String>); 4];

impl Flash {
    #[inline]
    pub(crate) fn read(payload: &Payload) -> Self {
        match payload.lists_flash() {
            true => Self::of_lists(payload),
            false => Self::default(),
        }
    }

    fn of_lists(payload: &Payload) -> Self {
        let old = names(payload, key::FLASH_OLD);
        let new = names(payload, key::FLASH_NEW);
        let unread = stamps(payload, key::FLASH_UNREAD);
        if old.is_empty() && new.is_empty() && unread.is_empty() {
            return Self::default();
        }
        let at = stamps(payload, key::FLASH_AT);
        let mut flash = Self::default();
        for key in old {
            let stamp = at.get(&key).copied().unwrap_or_default();
            flash.set(key.into(), stamp, false);
        }
        for (key, stamp) in unread {
            flash.set(key.into(), stamp, true);
        }
        flash.changed = false;
        // What another program left as new has not been seen by a request: it becomes old with the next save.
        for key in new {
            flash.set(key.into(), new_stamp(), false);
        }
        flash
    }

    /// The keys whose values the request that loads them is the last to see.
    pub(crate) fn passing(&self, payload: &Payload) -> Passing {
        if self.entries.is_empty() {
            return Passing::new();
        }
        let new: BTreeSet<String> = match self.changed {
            true => names(payload, key::FLASH_NEW).into_iter().collect(),
            false => BTreeSet::new(),
        };
        self.of_kind(false)
            .filter(|(key, _)| !new.contains(&***key))
            .map(|(key, stamp)| (key.clone(), stamp))
            .collect()
    }

    pub(crate) fn keys(&self) -> Vec<Arc<str>> {
        self.in_order(false).chain(self.in_order(true)).cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Lets the stored lists be, also where another program has left some as new.
    pub(crate) fn leave_as_stored(&mut self) {
        self.changed = false;
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.changed
    }

    /// The stamp of a flash key, and whether it stays until read.
    pub(crate) fn find(&self, key: &str) -> Option<(Stamp, bool)> {
        let entry = self.entries.get(key)?;
        Some((entry.stamp, entry.until_read))
    }

    pub(crate) fn set(&mut self, key: Arc<str>, stamp: Stamp, until_read: bool) {
        self.turns += 1;
        let turn = self.turns;
        self.entries.insert(
            key,
            Entry {
                turn,
                stamp,
                until_read,
            },
        );
        self.changed = true;
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.changed |= self.entries.remove(key).is_some();
    }

    pub(crate) fn clear(&mut self) {
        self.changed |= !self.entries.is_empty();
        self.entries.clear();
    }

    /// What to store. Where Goravel's lists were stored before, they stay, empty if need be.
    pub(crate) fn lists(&self, payload: &Payload) -> Lists {
        let old: Vec<&str> = self.in_order(false).map(|key| &**key).collect();
        let listed = !old.is_empty() || payload.get(key::FLASH_OLD).is_some() || payload.get(key::FLASH_NEW).is_some();
        let stamps = |until_read| -> Option<String> {
            let stamps: BTreeMap<&str, Stamp> = self.of_kind(until_read).map(|(key, stamp)| (&**key, stamp)).collect();
            (!stamps.is_empty()).then(|| text(&stamps))
        };
        [
            (key::FLASH_AT, stamps(false)),
            (key::FLASH_NEW, listed.then(|| "[]".to_owned())),
            (key::FLASH_OLD, listed.then(|| text(&old))),
            (key::FLASH_UNREAD, stamps(true)),
        ]
    }

    fn in_order(&self, until_read: bool) -> impl Iterator<Item = &Arc<str>> {
        let of_kind = self.entries.iter().filter(|(_, entry)| entry.until_read == until_read);
        let mut keys: Vec<_> = of_kind.map(|(key, entry)| (entry.turn, key)).collect();
        keys.sort_unstable_by_key(|(turn, _)| *turn);
        keys.into_iter().map(|(_, key)| key)
    }

    fn of_kind(&self, until_read: bool) -> impl Iterator<Item = (&Arc<str>, Stamp)> {
        let is_of_kind = move |entry: &Entry| entry.until_read == until_read;
        let entries = self.entries.iter().filter(move |(_, entry)| is_of_kind(entry));
        entries.map(|(key, entry)| (key, entry.stamp))
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers are written to memory")
}

/// A stored list of keys. One that is no list of strings, which no program writes, lists nothing. Bookkeeping is never flash, whatever a list says: it
/// would age.
fn names(payload: &Payload, key: &str) -> Vec<String> {
    let stored = payload.get(key).filter(|text| *text != "[]");
    let names: Option<Vec<String>> = stored.and_then(|text| serde_json::from_str(text).ok());
    let mut names = names.unwrap_or_default();
    names.retain(|name| !key::is_bookkeeping(name));
    names
}

fn stamps(payload: &Payload, key: &str) -> BTreeMap<String, Stamp> {
    let stored = payload.get(key);
    let stamps: Option<BTreeMap<String, Stamp>> = stored.and_then(|text| serde_json::from_str(text).ok());
    let mut stamps = stamps.unwrap_or_default();
    stamps.retain(|name, _| !key::is_bookkeeping(name));
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Payload, Flash) {
        let payload = Payload::new(text.into());
        let flash = Flash::read(&payload);
        (payload, flash)
    }

    #[test]
    fn what_goravel_lists_as_old_passes_and_what_it_lists_as_new_stays_once_more() {
        let (payload, flash) = of(r#"{"_flash.new":["b"],"_flash.old":["a"],"a":1,"b":2}"#);
        let passing = flash.passing(&payload);
        assert_eq!(passing.keys().map(|key| &**key).collect::<Vec<_>>(), ["a"]);
        assert!(flash.is_changed(), "the next save has to make the new ones old");
        assert_eq!(flash.lists(&payload)[1].1.as_deref(), Some("[]"));
    }

    #[test]
    fn lists_survive_being_stored() {
        let mut flash = Flash::default();
        flash.set("a\"".into(), 7, false);
        flash.set("b".into(), 9, true);
        let lists = flash.lists(&Payload::empty());
        let edits = lists.iter().map(|(key, text)| (*key, text.as_deref()));
        let stored = Payload::empty().edit(edits);
        let read = Flash::read(&stored);
        assert_eq!((read.find("a\""), read.find("b")), (Some((7, false)), Some((9, true))));
        assert!(read.passing(&stored).iter().eq([(&"a\"".into(), &7)]));
        assert!(!read.is_changed());
    }

    #[test]
    fn bookkeeping_does_not_age_though_a_list_names_it() {
        let (payload, flash) = of(r#"{"_created":1,"_flash.old":["_created","_flash.old","_old_input"],"_token":"t"}"#);
        let passing = flash.passing(&payload);
        assert_eq!(passing.keys().map(|key| &**key).collect::<Vec<_>>(), ["_old_input"]);
    }

    #[test]
    fn lists_of_another_shape_list_nothing() {
        let (payload, flash) = of(r#"{"_flash.new":{},"_flash.old":[1],"_flash.at":[],"_flash.unread":7}"#);
        assert!(flash.passing(&payload).is_empty() && flash.is_empty());
    }
}
