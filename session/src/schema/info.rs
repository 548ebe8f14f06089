//! What there is to know about a key apart from the type of its value.

use crate::codec;
use crate::error::{Error, ErrorKind, Result};
use crate::payload::Payload;
use crate::session::Session;

/// A key of a schema, as data: one of [`SessionSchema::KEYS`](crate::SessionSchema::KEYS).
#[derive(Clone, Copy, Debug)]
pub struct KeyInfo {
    entry: Entry,
    rust_type: &'static str,
    doc: &'static str,
}

/// The kind of a key, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyKind {
    /// Kept until it is changed: [`Data`](crate::Data).
    Data,
    /// Shown once: [`Flash`](crate::Flash).
    Flash,
}

impl KeyInfo {
    pub(super) const fn new(entry: Entry, rust_type: &'static str, doc: &'static str) -> Self {
        Self { entry, rust_type, doc }
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The key in the stored session, with the schema's prefix.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The field's type, as it is written in the struct.
    #[must_use]
    pub const fn rust_type(&self) -> &'static str {
        self.rust_type
    }

    /// Whether the value is kept or shown once.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.entry.kind
    }

    /// The former names under which a value is still found.
    #[must_use]
    pub const fn aliases(&self) -> &'static [&'static str] {
        self.entry.aliases
    }

    /// The first line of the field's documentation, or nothing.
    #[must_use]
    pub const fn doc(&self) -> &'static str {
        self.doc
    }

    /// Whether the value says whose session it is.
    #[must_use]
    pub const fn is_owner(&self) -> bool {
        self.entry.owner
    }

    /// Whether a flash value waits for a request that reads it: `flash = "until_read"`.
    #[must_use]
    pub const fn is_until_read(&self) -> bool {
        self.entry.until_read
    }
}

/// The part of a field that does not depend on its type, and what can be done with its JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) schema: &'static str,
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) kind: KeyKind,
    /// The value names the session's owner.
    pub(crate) owner: bool,
    /// A flash value does not age before it was read.
    pub(crate) until_read: bool,
    /// The field has a default of its own.
    pub(crate) own_default: bool,
    /// The field is written by a module of its own.
    pub(crate) own_codec: bool,
    /// A value of another shape reads as the default.
    pub(crate) lenient: bool,
}

impl Entry {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            schema: "",
            name,
            aliases: &[],
            kind: KeyKind::Data,
            owner: false,
            until_read: false,
            own_default: false,
            own_codec: false,
            lenient: false,
        }
    }

    /// The key and its former names, in the order in which they are looked up.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Lends the visible text to `read`.
    pub(crate) fn look<R>(&self, session: &Session, read: impl FnOnce(Option<&str>) -> R) -> R {
        match self.names().find_map(|name| session.peek(name)) {
            Some(text) => read(Some(&text)),
            None => read(None),
        }
    }

    /// The text in a payload that no session holds.
    pub(crate) fn look_in<'a>(&self, payload: &'a Payload) -> Option<&'a str> {
        self.names().find_map(|name| payload.get(name))
    }

    pub(crate) fn exists(&self, session: &Session) -> bool {
        self.look(session, |text| text.is_some())
    }

    pub(crate) fn has(&self, session: &Session) -> bool {
        self.look(session, |text| text.is_some_and(|text| text != "null"))
    }

    /// Lets a flash value that waited for its reader age.
    pub(crate) fn mark_read(&self, session: &Session) {
        if let Some(name) = self.names().find(|name| self.until_read && session.exists(name)) {
            session.mark_read(name);
        }
    }

    /// Moves a value from a former name to the present one.
    pub(crate) fn settle(&self, session: &Session) -> Result<()> {
        match self.aliases {
            [] => Ok(()),
            aliases => session.rename(aliases, self.name),
        }
    }

    pub(crate) fn put(&self, session: &Session, text: String) -> Result<()> {
        // Nobody is no owner: a stored null would outlive the sign-out.
        if self.owner && text == "null" {
            return self.forget(session);
        }
        if !self.owner {
            self.settle(session)?;
            return session.put_text(self.name, text);
        }
        let owner = self.owner_in(Some(&text))?;
        self.check_owner(session, owner.as_deref())?;
        self.settle(session)?;
        session.name_owner(owner.as_deref(), |state| state.put(self.name, text.clone()))
    }

    pub(crate) fn flash(&self, session: &Session, text: String) -> Result<()> {
        self.write(session, text, |session, text| {
            session.flash_text(self.name, text, self.until_read)
        })
    }

    pub(crate) fn now(&self, session: &Session, text: String) -> Result<()> {
        self.write(session, text, |session, text| session.now_text(self.name, text))
    }

    fn write(&self, session: &Session, text: String, write: impl FnOnce(&Session, String) -> Result<()>) -> Result<()> {
        let owner = self.owner_in(Some(&text))?;
        self.check_owner(session, owner.as_deref())?;
        self.settle(session)?;
        write(session, text)?;
        self.set_owner(session, owner)
    }

    pub(crate) fn keep(&self, session: &Session) -> Result<()> {
        self.settle(session)?;
        session.keep([self.name])
    }

    pub(crate) fn forget(&self, session: &Session) -> Result<()> {
        session.forget(self.names())?;
        self.set_owner(session, None)
    }

    /// A session has one owner, so one field names it: that of another schema must not take the session over.
    fn check_owner(&self, session: &Session, owner: Option<&str>) -> Result<()> {
        let Some(present) = session.owner().filter(|_| self.owner && owner.is_some()) else {
            return Ok(());
        };
        let is_named_here = self.look(session, |text| self.owner_in(text))?.is_some();
        if is_named_here || owner == Some(&*present) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::WrongType,
            format!(
                "the session has an owner already, and the owner field `{}` of `{}` does not name it: keep `#[session(owner)]` in one schema, \
                 or sign out first",
                self.name, self.schema
            ),
        ))
    }

    /// The owner that a text names. `None` for a field that says nothing about it.
    pub(crate) fn owner_in(&self, text: Option<&str>) -> Result<Option<String>> {
        let Some(text) = text.filter(|text| self.owner && *text != "null") else {
            return Ok(None);
        };
        match codec::kind(text) {
            "a string" => codec::decode(self.name, text).map(Some),
            "a number" => Ok(Some(text.to_owned())),
            kind => Err(Error::new(
                ErrorKind::Encode,
                format!(
                    "the session key `{}` of `{}` is the session's owner, and {kind} cannot be one: use a type that is stored as a string or a number",
                    self.name, self.schema
                ),
            )),
        }
    }

    pub(crate) fn set_owner(&self, session: &Session, owner: Option<String>) -> Result<()> {
        match self.owner {
            true => session.set_owner(owner.as_deref()),
            false => Ok(()),
        }
    }

    /// Names the owner after a change whose outcome only the session knows.
    pub(crate) fn sync_owner(&self, session: &Session) -> Result<()> {
        match self.owner {
            true => {
                let owner = self.look(session, |text| self.owner_in(text))?;
                self.set_owner(session, owner)
            }
            false => Ok(()),
        }
    }
}
