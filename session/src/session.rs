//! Stand-in, not to be merged.
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::id::SessionId;

/// Stand-in.
#[derive(Clone, Debug, Default)]
pub struct Session(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, String>,
    flash: BTreeMap<String, bool>,
    owner: Option<String>,
    read: Vec<String>,
}

pub(crate) struct Text(String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

#[allow(clippy::missing_errors_doc, missing_docs)]
impl Session {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
    pub fn new_for_tests() -> Self {
        Self::default()
    }
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.lock().values.clone()
    }
    pub fn set_text(&self, key: &str, text: &str) {
        self.lock().values.insert(key.into(), text.into());
    }
    pub fn flashed(&self) -> BTreeMap<String, bool> {
        self.lock().flash.clone()
    }
    pub fn marked(&self) -> Vec<String> {
        self.lock().read.clone()
    }
    pub fn owner(&self) -> Option<String> {
        self.lock().owner.clone()
    }
    pub(crate) fn peek(&self, key: &str) -> Option<Text> {
        self.lock().values.get(key).cloned().map(Text)
    }
    pub(crate) fn put_text(&self, key: &str, text: String) -> Result<()> {
        self.lock().flash.remove(key);
        self.lock().values.insert(key.into(), text);
        Ok(())
    }
    pub(crate) fn pull_text<T>(&self, key: &str, decode: impl FnOnce(Option<&str>) -> Result<T>) -> Result<T> {
        let value = decode(self.peek(key).as_deref())?;
        self.lock().values.remove(key);
        Ok(value)
    }
    pub(crate) fn flash_text(&self, key: &str, text: String, until_read: bool) -> Result<()> {
        self.put_text(key, text)?;
        self.lock().flash.insert(key.into(), until_read);
        Ok(())
    }
    pub(crate) fn now_text(&self, key: &str, text: String) -> Result<()> {
        self.put_text(key, text)
    }
    pub(crate) fn mark_read(&self, key: &str) {
        self.lock().read.push(key.into());
    }
    pub(crate) fn push_text(&self, key: &str, text: String) -> Result<()> {
        let old = self.peek(key).map_or("[]".into(), |text| text.to_string());
        let separator = if old == "[]" { "" } else { "," };
        let list = old
            .strip_suffix(']')
            .ok_or(Error::new(ErrorKind::WrongType, "no list"))?;
        self.put_text(key, format!("{list}{separator}{text}]"))
    }
    pub(crate) fn increment_from(&self, key: &str, by: i64, start: i64) -> Result<i64> {
        let now: Option<i64> = match self.peek(key) {
            Some(text) => crate::codec::decode(key, &text)?,
            None => None,
        };
        let next = now.unwrap_or(start).checked_add(by).unwrap();
        self.put_text(key, next.to_string())?;
        Ok(next)
    }
    pub(crate) fn update_text(
        &self,
        key: &str,
        change: Arc<dyn Fn(Option<&str>) -> Result<String> + Send + Sync>,
    ) -> Result<()> {
        let next = change(self.peek(key).as_deref())?;
        self.put_text(key, next)
    }
    pub(crate) fn rename(&self, from: &[&str], to: &str) -> Result<()> {
        for old in from {
            let mut state = self.lock();
            if let Some(text) = state.values.remove(*old) {
                state.values.entry(to.to_string()).or_insert(text);
            }
        }
        Ok(())
    }
    pub fn has(&self, key: &str) -> bool {
        self.peek(key).is_some_and(|text| &*text != "null")
    }
    pub fn exists(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }
    pub fn forget(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<()> {
        for key in keys {
            self.lock().values.remove(key.as_ref());
        }
        Ok(())
    }
    pub fn keep(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<()> {
        for key in keys {
            self.lock().flash.insert(key.as_ref().into(), false);
        }
        Ok(())
    }
    pub fn flush(&self) -> Result<()> {
        self.lock().values.clear();
        Ok(())
    }
    pub fn reflash(&self) -> Result<()> {
        Ok(())
    }
    pub fn regenerate(&self) -> Result<()> {
        Ok(())
    }
    pub fn invalidate(&self) -> Result<()> {
        self.flush()
    }
    pub fn token(&self) -> String {
        String::new()
    }
    pub fn regenerate_token(&self) -> Result<()> {
        Ok(())
    }
    pub fn id(&self) -> SessionId {
        SessionId::generate().unwrap()
    }
    pub fn set_lifetime(&self, _lifetime: Duration) -> Result<()> {
        Ok(())
    }
    pub fn set_owner(&self, owner: Option<&str>) -> Result<()> {
        self.lock().owner = owner.map(Into::into);
        Ok(())
    }
    pub async fn save(&self) -> Result<()> {
        Ok(())
    }
}
