//! What a request sees of its session: what was loaded, with its own changes, behind values for this request only.

use std::any::TypeId;
use std::time::SystemTime;

use super::{State, Touch};
use crate::config::Settings;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::id::SessionId;
use crate::payload::{Text, is_reserved, key};

impl State {
    #[inline]
    pub(crate) fn peek(&self, key: &str) -> Option<Text> {
        if is_reserved(key) {
            return None;
        }
        match self.shown.get(key) {
            Some(text) => Some(text.clone()),
            None => self.draft.text(key),
        }
    }

    /// Whether the list under a key is known to be of a type.
    pub(crate) fn is_list(&self, key: &str, list: TypeId) -> bool {
        !self.shown.contains_key(key) && self.draft.is_list(key, list)
    }

    /// Every application key with its JSON text, sharing what is stored.
    pub(crate) fn entries(&self) -> Vec<(String, Text)> {
        let stored = self
            .draft
            .entries()
            .filter(|(key, _)| !self.shown.contains_key(key))
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

    /// The expiry that the session has for itself alone.
    pub(crate) fn expiry(&self) -> Option<Expiry> {
        Expiry::of_json(self.draft.get(key::LIFETIME))
    }

    /// When the session expires: as it is stored, or as a save would store it now.
    pub(crate) fn expires_at(&self, settings: &Settings, now: SystemTime) -> SystemTime {
        let Some(stored) = self.stored().filter(|_| !self.regenerated) else {
            return settings.expiry(&self.draft, now);
        };
        let is_saved = self.draft.has_edits() || self.draft.flash.is_changed() || matches!(self.touch, Touch::Due);
        let moved = is_saved.then(|| settings.moved_expiry(&stored.record, &self.draft, now));
        moved.flatten().unwrap_or_else(|| stored.record.expires_at())
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
