//! What `testing` does with a session.

use serde_json::{Map, Value};

use super::Session;
use crate::backend::Found;
use crate::error::Result;
use crate::payload::Text;
use crate::state::State;

impl Session {
    pub(crate) fn begin(&self, found: Found) -> Result<()> {
        self.take(found)
    }

    /// The session of the next request of the same visitor.
    pub(crate) fn successor(&self) -> Self {
        Self::by_hand(self.0.backend.clone(), Some(self.id()))
    }

    pub(crate) fn changed_values(&self) -> Map<String, Value> {
        let changed = self.read(State::changed).unwrap_or_default();
        let value = |text: Option<Text>| {
            text.and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        };
        changed.into_iter().map(|(key, text)| (key, value(text))).collect()
    }
}
