//! What a request sees of its session: what was loaded, with its own changes, behind values for this request only.

use super::State;
use crate::error::Result;
use crate::id::SessionId;
use crate::payload::{Text, is_reserved};

impl State {
    #[inline]
    pub(crate) fn peek(&self, key: &str) -> Option<Text> {
        if is_reserved(key) {
            return None;
        }
        match self.shown_at(key) {
            Some(at) => Some(self.shown[at].1.clone()),
            None => self.draft.text(key),
        }
    }

    #[inline]
    pub(super) fn shown_at(&self, key: &str) -> Option<usize> {
        self.shown.iter().position(|(shown, _)| **shown == *key)
    }

    /// Every application key with its JSON text, sharing what is stored.
    pub(crate) fn entries(&self) -> Vec<(String, Text)> {
        let stored = self
            .draft
            .entries()
            .filter(|(key, _)| self.shown_at(key).is_none())
            .filter_map(|(key, _)| Some((key.to_owned(), self.draft.text(key)?)));
        let shown = self.shown.iter().map(|(key, text)| (key.to_string(), text.clone()));
        stored.chain(shown).collect()
    }

    /// Every application key whose value is another than when it was loaded.
    #[cfg(feature = "testing")]
    pub(crate) fn changed(&self) -> Vec<(String, Option<Text>)> {
        let keys = self.draft.edited_keys().filter(|key| !is_reserved(key));
        keys.map(|key| (key.to_owned(), self.draft.text(key))).collect()
    }

    pub(crate) fn has_owner(&self) -> bool {
        self.draft.owner.is_some()
    }

    pub(crate) fn owner(&self) -> Option<String> {
        self.draft.owner.as_deref().map(str::to_owned)
    }

    pub(crate) fn known_id(&self) -> Option<SessionId> {
        self.id
    }

    /// The id; a fresh session gets one now.
    pub(crate) fn id(&mut self) -> Result<SessionId> {
        match self.id {
            Some(id) => Ok(id),
            None => self.new_id(),
        }
    }

    pub(super) fn new_id(&mut self) -> Result<SessionId> {
        let id = SessionId::generate()?;
        self.id = Some(id);
        Ok(id)
    }
}
