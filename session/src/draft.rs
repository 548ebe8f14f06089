//! A working copy of a session: the payload that was loaded, and what has become different since.

use std::any::TypeId;
use std::sync::Arc;

use crate::codec;
use crate::flash::Flash;
use crate::payload::{Json, Payload, Text, is_reserved, key};
use crate::record::Record;
use crate::table::Table;

/// A payload with edits on top. It is read as if the edits were made; [`finish`](Draft::finish) makes them.
#[derive(Clone)]
pub(crate) struct Draft {
    base: Payload,
    base_owner: Option<Arc<str>>,
    /// An edit that says what the base says is left out.
    edits: Table<Option<Json>>,
    /// Lists that are known to be of a type, so that an item can be appended without reading them.
    lists: Table<TypeId>,
    pub(crate) flash: Flash,
    pub(crate) owner: Option<Arc<str>>,
    /// Its request prolongs nothing: what is stored expires when it would have.
    pub(crate) keeps_expiry: bool,
}

impl Draft {
    pub(crate) fn empty() -> Self {
        Self::new(Payload::empty(), None)
    }

    #[inline]
    pub(crate) fn of(record: &Record) -> Self {
        Self::new(record.parsed().clone(), record.shared_owner())
    }

    #[inline]
    fn new(base: Payload, owner: Option<Arc<str>>) -> Self {
        Self {
            flash: Flash::read(&base),
            base,
            base_owner: owner.clone(),
            edits: Table::new(),
            lists: Table::new(),
            owner,
            keeps_expiry: false,
        }
    }

    pub(crate) fn base(&self) -> &Payload {
        &self.base
    }

    /// The JSON text under a key.
    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        match self.edits.get(key) {
            Some(edit) => edit.as_deref().map(String::as_str),
            None => self.base.get(key),
        }
    }

    /// The same, shared instead of borrowed.
    #[inline]
    pub(crate) fn text(&self, key: &str) -> Option<Text> {
        match self.edits.get(key) {
            Some(edit) => edit.clone().map(Text::Whole),
            None => self.base.text_at(key),
        }
    }

    /// When the session began, in milliseconds since 1970, if it says so.
    #[inline]
    pub(crate) fn begun(&self) -> Option<u64> {
        match self.edits.get(key::CREATED) {
            Some(edit) => edit.as_deref()?.as_str().parse().ok(),
            None => self.base.begun(),
        }
    }

    /// Sets or removes what is under a key, whether it is flash or not.
    pub(crate) fn set(&mut self, key: &Arc<str>, value: Option<Json>) {
        self.lists.remove(key);
        let is_as_stored = match (&value, self.base.get(key)) {
            (Some(value), Some(stored)) => codec::same(value, stored),
            (None, None) => true,
            _ => false,
        };
        match is_as_stored {
            true => drop(self.edits.remove(key)),
            false => self.edits.insert(key.clone(), value),
        }
    }

    /// Changes the text under a key, in place where it is an edit that nobody else holds.
    pub(crate) fn grow(&mut self, key: &Arc<str>, change: impl FnOnce(&mut String)) {
        let edit = self.edits.get_mut(key).and_then(Option::take);
        let mut text = edit.unwrap_or_else(|| Arc::new(self.base.get(key).unwrap_or_default().to_owned()));
        change(Arc::make_mut(&mut text));
        self.set(key, Some(text));
    }

    /// Notes that the list under a key is of a type, until it is set to something else.
    pub(crate) fn note_list(&mut self, key: &Arc<str>, list: TypeId) {
        self.lists.insert(key.clone(), list);
    }

    pub(crate) fn is_list(&self, key: &str, list: TypeId) -> bool {
        self.lists.get(key) == Some(&list)
    }

    /// Whether a sealed draft differs from what was loaded.
    pub(crate) fn has_edits(&self) -> bool {
        !self.edits.is_empty() || self.owner != self.base_owner
    }

    #[cfg(feature = "testing")]
    pub(crate) fn edited_keys(&self) -> impl Iterator<Item = &str> {
        self.edits.keys().map(|key| &**key)
    }

    /// Every application key that is present, with its JSON text; in no particular order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored = self.base.iter().filter(|(key, _)| !self.edits.contains_key(key));
        let edited = self
            .edits
            .iter()
            .filter_map(|(key, value)| Some((&**key, value.as_ref()?.as_str())));
        stored.chain(edited).filter(|(key, _)| !is_reserved(key))
    }

    /// Removes everything but when the session began, how long it lives, and where its lease is.
    pub(crate) fn flush(&mut self) {
        self.flash.clear();
        self.owner = None;
        // The lists of flash keys are written anew where there were some; empty ones are not worth a write.
        let kept = [key::CREATED, key::LIFETIME, key::LEASE];
        self.remove_where(|key| !kept.contains(&key) && !key::is_flash_list(key));
    }

    /// Removes the application's keys, and what is known of them.
    pub(crate) fn remove_all(&mut self) {
        self.flash.clear();
        self.remove_where(|key| !is_reserved(key));
    }

    fn remove_where(&mut self, which: impl Fn(&str) -> bool) {
        self.edits.retain(|key, _| !which(key));
        self.lists.clear();
        let base = self.base.clone();
        for (key, _) in base.iter().filter(|(key, _)| which(key)) {
            self.set(&key.into(), None);
        }
    }

    /// Puts the bookkeeping of flash keys among the edits.
    #[inline]
    pub(crate) fn seal(&mut self) {
        if self.flash.is_changed() {
            for (key, list) in self.flash.lists(&self.base) {
                self.set(&key.into(), list.map(Json::new));
            }
        }
    }

    /// Whether a sealed draft of a session without a record has nothing worth a record.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let is_kept = |(key, value): (&Arc<str>, &Option<Json>)| {
            value.is_some() && **key != *key::CREATED && **key != *key::LIFETIME
        };
        self.owner.is_none() && !self.edits.iter().any(is_kept)
    }

    /// The payload of a sealed draft.
    #[inline]
    pub(crate) fn finish(&self) -> Payload {
        match self.edits.is_empty() {
            true => self.base.clone(),
            false => {
                let edits = self.edits.iter();
                self.base
                    .edit(edits.map(|(key, value)| (&**key, value.as_deref().map(String::as_str))))
            }
        }
    }
}
