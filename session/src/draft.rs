//! A working copy of a session: the payload that was loaded, and what has become different since.

use std::sync::Arc;

use crate::codec;
use crate::flash::Flash;
use crate::payload::{Payload, Text, is_reserved, key};
use crate::record::Record;

/// A payload with edits on top. It is read as if the edits were made; [`finish`](Draft::finish) makes them.
#[derive(Clone)]
pub(crate) struct Draft {
    base: Payload,
    base_owner: Option<Arc<str>>,
    /// Sorted by key; an edit that says what the base says is left out.
    edits: Vec<(Arc<str>, Option<Arc<str>>)>,
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
            edits: Vec::new(),
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
        match self.edit_of(key) {
            Ok(at) => self.edits[at].1.as_deref(),
            Err(_) => self.base.get(key),
        }
    }

    /// The same, shared instead of borrowed.
    #[inline]
    pub(crate) fn text(&self, key: &str) -> Option<Text> {
        match self.edit_of(key) {
            Ok(at) => self.edits[at].1.clone().map(Text::Whole),
            Err(_) => self.base.text_at(key),
        }
    }

    /// Sets or removes what is under a key, whether it is flash or not.
    pub(crate) fn set(&mut self, key: &Arc<str>, value: Option<Arc<str>>) {
        let stored = self.base.get(key);
        let as_stored = match (&value, stored) {
            (Some(value), Some(stored)) => codec::same(value, stored),
            (None, None) => true,
            _ => false,
        };
        match (self.edit_of(key), as_stored) {
            (Ok(at), true) => drop(self.edits.remove(at)),
            (Ok(at), false) => self.edits[at].1 = value,
            (Err(_), true) => {}
            (Err(at), false) => self.edits.insert(at, (key.clone(), value)),
        }
    }

    /// Whether a sealed draft differs from what was loaded.
    pub(crate) fn has_edits(&self) -> bool {
        !self.edits.is_empty() || self.owner != self.base_owner
    }

    #[cfg(feature = "testing")]
    pub(crate) fn edited_keys(&self) -> impl Iterator<Item = &str> {
        self.edits.iter().map(|(key, _)| &**key)
    }

    pub(crate) fn is_edited(&self, key: &str) -> bool {
        self.edit_of(key).is_ok()
    }

    #[inline]
    fn edit_of(&self, key: &str) -> Result<usize, usize> {
        self.edits.binary_search_by(|(edited, _)| (**edited).cmp(key))
    }

    /// Every application key that is present, with its JSON text; in no particular order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let stored = self.base.iter().filter(|(key, _)| self.edit_of(key).is_err());
        let edited = self
            .edits
            .iter()
            .filter_map(|(key, value)| Some((&**key, value.as_deref()?)));
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
        self.edits.retain(|(key, _)| !which(key));
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
                self.set(&key.into(), list.map(Arc::from));
            }
        }
    }

    /// Whether a sealed draft of a session without a record has nothing worth a record.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let kept = |(key, value): &(Arc<str>, Option<Arc<str>>)| {
            value.is_some() && **key != *key::CREATED && **key != *key::LIFETIME
        };
        self.owner.is_none() && !self.edits.iter().any(kept)
    }

    /// The payload of a sealed draft.
    #[inline]
    pub(crate) fn finish(&self) -> Payload {
        match self.edits.is_empty() {
            true => self.base.clone(),
            false => self.base.edit(&self.edits),
        }
    }
}
