//! The session as its schema sees it.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::expiry::Expiry;
use crate::id::{SessionId, StoreKey};
use crate::payload::Payload;
use crate::schema::{Accessors, DataKeyOf, Fill, Integer, KeyOf, List, SessionSchema, Source, StoreAs};
use crate::session::Session;

/// A [`Session`] whose keys are the fields of `S`: a wrong key or a value of the wrong type does not compile.
///
/// It is a handle on the very same session: cheap to clone, and any number of schemas may look at one session. As an argument of a
/// handler it is an extractor.
///
/// Beside the methods here it has those of the accessors that the derive makes for each field, `get_cart()` or `put_cart(..)`.
///
/// ```no_run
/// use session_schema::{SessionSchema, TypedSession};
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     /// The articles that were chosen so far.
///     cart: Vec<String>,
///     #[session(default = 20)]
///     page_size: u32,
///     views: u64,
/// }
///
/// fn add(session: TypedSession<Shop>) -> session_schema::Result<()> {
///     session.increment(Shop::VIEWS, 1)?;
///     session.push(Shop::CART, "a book")?;
///     assert_eq!(session.get_page_size()?, 20);
///     assert_eq!(session.get(Shop::CART)?.last().unwrap(), "a book");
///     Ok(())
/// }
/// ```
pub struct TypedSession<S: SessionSchema> {
    accessors: S::Accessors,
}

impl<S: SessionSchema> TypedSession<S> {
    /// The dynamic session: the one door to keys that are strings.
    pub fn session(&self) -> &Session {
        self.accessors.session()
    }

    /// The value. An absent key, like a stored null, reads as the field's default: `None` for an `Option`,
    /// the expression in `#[session(default = ..)]`, or [`Default::default`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when something else is stored, unless the field says `invalid = "default"`.
    pub fn get<K: KeyOf<S>>(&self, key: K) -> Result<K::Value> {
        key.field().get(self.session())
    }

    /// Whether the key is present and not null.
    pub fn has<K: KeyOf<S>>(&self, key: K) -> bool {
        key.field().entry.has(self.session())
    }

    /// Whether the key is present, even if null.
    pub fn exists<K: KeyOf<S>>(&self, key: K) -> bool {
        key.field().entry.exists(self.session())
    }

    /// Whether the key is absent.
    pub fn missing<K: KeyOf<S>>(&self, key: K) -> bool {
        !self.exists(key)
    }

    /// Stores a value; see [`StoreAs`] for what is one. `None` stores null. An equal value is no change.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold the value, [`ErrorKind::Committed`](crate::ErrorKind::Committed)
    /// after the response. Neither changes anything.
    pub fn put<K: DataKeyOf<S>>(&self, key: K, value: impl StoreAs<K::Value>) -> Result<()> {
        value.store_as(|value| key.field().put(self.session(), value))
    }

    /// Reads the value as [`get`](Self::get) does, and removes it.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); then the value stays. [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn pull<K: KeyOf<S>>(&self, key: K) -> Result<K::Value> {
        key.field().pull(self.session())
    }

    /// Removes the key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn forget<K: KeyOf<S>>(&self, key: K) -> Result<()> {
        key.field().entry.forget(self.session())
    }

    /// The value; where it is absent or null, what `make` returns, which is stored.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and [`put`](Self::put).
    pub fn remember<K: DataKeyOf<S>>(&self, key: K, make: impl FnOnce() -> K::Value) -> Result<K::Value> {
        key.field().remember(self.session(), make)
    }

    /// Adds to an integer and returns the sum. An absent key counts from the field's default. Of concurrent requests, all count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when something else is stored, or when the sum does not fit the field's
    /// type and `i64`; [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response. Nothing changes then.
    pub fn increment<K: DataKeyOf<S>>(&self, key: K, by: i64) -> Result<i64>
    where
        K::Value: Integer,
    {
        key.field().increment(self.session(), by)
    }

    /// Subtracts from an integer and returns the difference; see [`increment`](Self::increment).
    ///
    /// # Errors
    ///
    /// Those of [`increment`](Self::increment).
    pub fn decrement<K: DataKeyOf<S>>(&self, key: K, by: i64) -> Result<i64>
    where
        K::Value: Integer,
    {
        key.field().decrement(self.session(), by)
    }

    /// Appends to a list. An absent key counts as the field's default. Of concurrent requests, all count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when something else is stored, and the errors of [`put`](Self::put).
    pub fn push<K: DataKeyOf<S>>(&self, key: K, item: impl StoreAs<<K::Value as List>::Item>) -> Result<()>
    where
        K::Value: List,
    {
        item.store_as(|item| key.field().push(self.session(), item))
    }

    /// Changes the value in place, beginning with the field's default where the key is absent. The closure runs now, and again on
    /// the newer value if another request has changed the key meanwhile; so it should do nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and [`put`](Self::put).
    pub fn update<K: DataKeyOf<S>>(
        &self,
        key: K,
        change: impl Fn(&mut K::Value) + Send + Sync + 'static,
    ) -> Result<()> {
        key.field().update(self.session(), change)
    }

    /// Stores a value for this request and the next. A key that is not flash otherwise loses its value then.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    pub fn flash<K: KeyOf<S>>(&self, key: K, value: impl StoreAs<K::Value>) -> Result<()> {
        value.store_as(|value| key.field().flash(self.session(), value))
    }

    /// Stores a value for this request only. A key that is not flash otherwise loses its value then.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put).
    pub fn now<K: KeyOf<S>>(&self, key: K, value: impl StoreAs<K::Value>) -> Result<()> {
        value.store_as(|value| key.field().now(self.session(), value))
    }

    /// Keeps a flash value for one more request. Does nothing to a value that is not flash.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn keep<K: KeyOf<S>>(&self, key: K) -> Result<()> {
        key.field().entry.keep(self.session())
    }

    /// The whole struct. A flash field that waits for its reader has been read then.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), of any field.
    pub fn snapshot(&self) -> Result<S> {
        let snapshot = S::read(Source::session(self.session()))?;
        for key in S::KEYS {
            key.entry().mark_read(self.session());
        }
        Ok(snapshot)
    }

    /// Stores the whole struct: each field as [`put`](Self::put) does, a flash field as [`flash`](Self::flash) does; a flash field that
    /// is `None` is forgotten.
    ///
    /// # Errors
    ///
    /// Those of [`put`](Self::put), of any field. Then none of them is stored.
    pub fn fill(&self, values: &S) -> Result<()> {
        let mut fill = Fill::default();
        values.write(&mut fill)?;
        fill.store(self.session())
    }

    /// Removes every key of the session, those of other schemas too, and its owner; it keeps its id.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn flush(&self) -> Result<()> {
        self.session().flush()
    }

    /// Keeps every flash value for one more request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn reflash(&self) -> Result<()> {
        self.session().reflash()
    }

    /// Gives the session a new id and a new CSRF token: at every sign-in and every other change of rights.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Driver`](crate::ErrorKind::Driver) when there are no random numbers,
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn regenerate(&self) -> Result<()> {
        self.session().regenerate()
    }

    /// Ends the session: a new id, no data, and the old record is destroyed. At every sign-out.
    ///
    /// # Errors
    ///
    /// Those of [`regenerate`](Self::regenerate).
    pub fn invalidate(&self) -> Result<()> {
        self.session().invalidate()
    }

    /// The CSRF token, created on first use.
    pub fn token(&self) -> String {
        self.session().token()
    }

    /// Replaces the CSRF token.
    ///
    /// # Errors
    ///
    /// Those of [`regenerate`](Self::regenerate).
    pub fn regenerate_token(&self) -> Result<()> {
        self.session().regenerate_token()
    }

    /// The session's id, a secret.
    pub fn id(&self) -> SessionId {
        self.session().id()
    }

    /// What the store sees of the id: see [`Session::store_key`].
    ///
    /// # Panics
    ///
    /// When the operating system's random generator fails.
    pub fn store_key(&self) -> StoreKey {
        self.session().store_key()
    }

    /// The name of the cookie that holds the id.
    pub fn name(&self) -> String {
        self.session().name()
    }

    /// Whether the session began with this request; see [`Session::is_new`].
    pub fn is_new(&self) -> bool {
        self.session().is_new()
    }

    /// Whether the session has been loaded.
    pub fn is_started(&self) -> bool {
        self.session().is_started()
    }

    /// Whether the store could not be read, and the session takes no changes; see [`Session::is_read_only`].
    pub fn is_read_only(&self) -> bool {
        self.session().is_read_only()
    }

    /// Sets whose session it is. A schema with an owner field does so when the field is put.
    ///
    /// # Errors
    ///
    /// Those of [`Session::set_owner`].
    pub fn set_owner(&self, owner: Option<&str>) -> Result<()> {
        self.session().set_owner(owner)
    }

    /// Overrides the idle lifetime for this session ("remember me"); see [`Session::set_lifetime`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.session().set_lifetime(lifetime)
    }

    /// Overrides how long this session lives; `None` gives it the lifetime of the layer again. See [`Session::set_expiry`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Committed`](crate::ErrorKind::Committed) after the response.
    pub fn set_expiry(&self, expiry: Option<Expiry>) -> Result<()> {
        self.session().set_expiry(expiry)
    }

    /// The expiry that was set for this session alone.
    pub fn expiry(&self) -> Option<Expiry> {
        self.session().expiry()
    }

    /// When the session expires; see [`Session::expires_at`].
    pub fn expires_at(&self) -> SystemTime {
        self.session().expires_at()
    }

    /// Loads the session, if that has not been done. Extractors call it.
    ///
    /// # Errors
    ///
    /// Those of [`Session::start`].
    pub async fn start(&self) -> Result<()> {
        self.session().start().await
    }

    /// Loads the session anew, for a task that outlives its request; see [`Session::reload`].
    ///
    /// # Errors
    ///
    /// Those of [`Session::reload`].
    pub async fn reload(&self) -> Result<()> {
        self.session().reload().await
    }

    /// Saves what was changed so far, before the layer does.
    ///
    /// # Errors
    ///
    /// Those of [`Session::save`].
    pub async fn save(&self) -> Result<()> {
        self.session().save().await
    }
}

/// The accessors of the fields.
impl<S: SessionSchema> Deref for TypedSession<S> {
    type Target = S::Accessors;

    fn deref(&self) -> &S::Accessors {
        &self.accessors
    }
}

impl<S: SessionSchema> From<Session> for TypedSession<S> {
    fn from(session: Session) -> Self {
        Self {
            accessors: S::Accessors::new(session),
        }
    }
}

impl<S: SessionSchema> AsRef<Session> for TypedSession<S> {
    fn as_ref(&self) -> &Session {
        self.session()
    }
}

impl<S: SessionSchema> Clone for TypedSession<S> {
    fn clone(&self) -> Self {
        self.session().clone().into()
    }
}

impl<S: SessionSchema> fmt::Debug for TypedSession<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedSession")
            .field("schema", &S::NAME)
            .finish_non_exhaustive()
    }
}

/// The struct that a stored payload holds, as of the moment when it was read.
pub(crate) fn decode<S: SessionSchema>(payload: &Payload) -> Result<S> {
    S::read(Source::payload(payload))
}

#[cfg(all(test, feature = "testing"))]
mod tests;
