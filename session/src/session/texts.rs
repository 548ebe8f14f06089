//! JSON texts by key: what the methods of both sessions, dynamic and typed, stand on.

use std::any::TypeId;
use std::sync::Arc;

use super::{Phase, Session};
use crate::changes::{Change, UpdateFn};
use crate::error::{Error, ErrorKind, Result};
use crate::payload::{Json, Text};

/// How often `update` is tried. Clones of a session are few, so that only a function that changes its own key comes near.
const UPDATES: usize = 1000;

impl Session {
    /// The JSON text under `key`, as this request sees it. Holds no lock: decoding runs code of the application.
    pub(crate) fn peek(&self, key: &str) -> Option<Text> {
        self.read(|state| state.peek(key)).flatten()
    }

    pub(crate) fn put_text(&self, key: &str, text: String) -> Result<()> {
        self.change_key(key, |state| state.put(key, text))
    }

    /// Removes the value unless it cannot be decoded.
    pub(crate) fn pull_text<T>(&self, key: &str, decode: impl FnOnce(Option<&str>) -> Result<T>) -> Result<T> {
        let value = decode(self.peek(key).as_deref())?;
        self.change_key(key, |state| state.forget(key))?;
        Ok(value)
    }

    pub(crate) fn flash_text(&self, key: &str, text: String, until_read: bool) -> Result<()> {
        self.change_key(key, |state| state.flash(key, text, until_read))
    }

    pub(crate) fn now_text(&self, key: &str, text: String) -> Result<()> {
        self.change_key(key, |state| {
            state.now(key, text);
            Ok(())
        })
    }

    /// Notes that a flash value that stays until it is read has been read.
    pub(crate) fn mark_read(&self, key: &str) {
        // After the response nobody can be shown it, so it stays.
        let mut slot = self.lock();
        if slot.phase != Phase::Committed {
            slot.state().mark_read(key);
        }
    }

    /// Appends an item. The list is of the type `list` afterwards, if that is known: see [`is_list`](Session::is_list).
    pub(crate) fn push_text(&self, key: &str, item: String, list: Option<TypeId>) -> Result<()> {
        self.change_key(key, |state| state.push(key, item, list))
    }

    /// Whether the list under `key` is known to be of a type, because the last append said so. With this, many items
    /// can be appended one by one without reading the list each time.
    pub(crate) fn is_list(&self, key: &str, list: TypeId) -> bool {
        self.read(|state| state.is_list(key, list)).unwrap_or_default()
    }

    pub(super) fn add(&self, key: &str, by: i128) -> Result<i64> {
        self.change_key(key, |state| {
            state.change(key, |key| Change::Increment(key, by))?;
            let sum = state.peek(key).and_then(|text| text.parse().ok());
            Ok(sum.expect("the sum of two integers is one"))
        })
    }

    /// Replaces a JSON text by what `function` makes of it; `None` leaves it as it is.
    pub(crate) fn update_text(&self, key: &str, function: Arc<UpdateFn>) -> Result<()> {
        // The function is the application's, so it runs without the lock, and again if a clone of this session was faster.
        for _ in 0..UPDATES {
            let before = self.peek(key);
            let after = function(before.as_deref())?;
            let done = self.change_key(key, |state| {
                if state.peek(key).as_deref() != before.as_deref() {
                    return Ok(false);
                }
                state.change(key, |key| Change::Update {
                    key,
                    function: function.clone(),
                    before: before.as_ref().map(Text::json),
                    after: after.map(Json::new),
                })?;
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the session value under `{key}` changed each of {UPDATES} times while the function given to `update` ran: the function must \
                 do nothing but change the value it is given"
            ),
        ))
    }

    /// Moves the first of `from` that is present to `to`, if that is absent, and removes the others.
    pub(crate) fn rename(&self, from: &[&str], to: &str) -> Result<()> {
        if from.iter().all(|old| self.missing(old)) {
            return Ok(());
        }
        let from = from.iter().map(|old| Arc::from(*old)).collect();
        self.change_key(to, |state| state.make(Change::Rename { from, to: to.into() }))
    }
}
