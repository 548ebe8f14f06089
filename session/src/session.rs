//! The dynamic session: string keys, checked when it runs.

#[cfg(feature = "testing")]
mod for_testing;
mod gate;
mod loading;
mod locked;
mod reloading;
mod request;
mod saving;
mod texts;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::backend::Backend;
use crate::codec;
use crate::cookie;
use crate::draft::Draft;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::id::{SessionId, StoreKey};
use crate::lease::Lease;
use crate::payload::{Text, is_reserved};
use crate::state::{Base, State};

#[cfg(feature = "axum")]
pub(crate) use request::is_speculative;
pub(crate) use request::{Attached, Within};
pub(crate) use saving::{Closing, SaveReport};

use gate::Work;
use locked::Locked;

/// The session of a request: data under string keys, kept between the requests of one visitor.
///
/// A handle, cheap to clone; all clones of one request, in extractors, middleware and tasks, are the same session. With the feature
/// `axum` it is an extractor. Compiler-checked keys are one step away: [`TypedSession`](crate::TypedSession).
///
/// * It is loaded once, when it is first extracted, or by [`start`](Session::start). After that no method but
///   [`save`](Session::save) and [`reload`](Session::reload) does I/O. Before that it reads as empty, and what is changed is kept and applied to what `start` loads.
/// * Keys are literal: `a.b` is one key. Keys that begin with `_` belong to the library: reading finds nothing, writing is an error.
/// * What cannot be stored (see [`ErrorKind::Encode`](crate::ErrorKind::Encode)) fails in the method that was to store it, and changes nothing.
/// * A change records what is different, not the whole content: concurrent requests of one visitor lose nothing.
/// * A page that a browser prefetches may never be shown, and a form that it validates meanwhile (`Precognition`) is not sent, so such a request ages no flash and
///   prolongs no session. What its handler changes is saved: a header that the client chooses must not switch a counter off.
///
/// # As an extractor
///
/// ```
/// use session_schema::{Result, Session};
///
/// async fn visits(session: Session) -> Result<String> {
///     let visits = session.increment("visits", 1)?;
///     Ok(format!("visit number {visits}"))
/// }
/// ```
///
/// * `Session` and `TypedSession<S>` load the session, once per request, however many extractors and middleware ask for it. A store that fails is
///   an error response (503 or 500, without a detail), and the handler is not called: it would take the visitor for another.
/// * `Option<Session>` and `Option<TypedSession<S>>` are `None` where no [`SessionLayer`](crate::SessionLayer) is installed. Without the `Option` that is
///   a 500, and a line in the log that says what is missing.
///
/// # Errors
///
/// Every method that changes the session fails with [`ErrorKind::Committed`](crate::ErrorKind::Committed) once the response is on
/// its way, because nobody would save the change, with [`ErrorKind::ReservedKey`](crate::ErrorKind::ReservedKey) for a key that begins with `_`, and with
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the session is [read-only](Session::is_read_only).
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    backend: Arc<Backend>,
    source: Source,
    slot: Mutex<Slot>,
    /// See [`Gate`](gate::Gate).
    gate: tokio::sync::Mutex<()>,
}

/// Where the id of a session comes from.
enum Source {
    /// The `Cookie` headers of a request; few have more than one.
    Headers(Option<HeaderValue>, Vec<HeaderValue>),
    /// Whoever built the session by hand.
    Given(Option<SessionId>),
}

impl Source {
    fn nth_id(&self, at: usize, cookie: &str) -> Option<SessionId> {
        match self {
            Self::Headers(first, more) => {
                cookie::nth_distinct(cookie::candidates(first.iter().chain(more), cookie), at)
            }
            Self::Given(id) => id.filter(|_| at == 0),
        }
    }
}

/// What changes of a session, behind its lock.
#[derive(Default)]
struct Slot {
    phase: Phase,
    /// What whoever has the [`Gate`](gate::Gate) does.
    busy: Option<Work>,
    /// A load that may fail has begun: the response depends on the session even if that leaves no state.
    load_begun: bool,
    /// The response may never be seen, or the request does not count as activity. It ages no flash and prolongs
    /// nothing.
    speculative: bool,
    /// Made when it is first needed.
    state: Option<Box<State>>,
    lease: Option<Lease>,
}

/// How far the request is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// The handler runs, or the session was built by hand.
    #[default]
    Open,
    /// The response is on its way, and the layer has saved the session or does it now.
    Committed,
    /// The session was reloaded after that, by a task that goes on: it is that task's to save.
    Detached,
}

// Reading.
impl Session {
    /// The value under `key`; `None` when it is absent or null.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when the value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.peek(key) {
            None => Ok(None),
            Some(text) if &*text == "null" => Ok(None),
            Some(text) => codec::decode(key, &text).map(Some),
        }
    }

    /// The value under `key`, or `default` when it is absent or null.
    ///
    /// # Errors
    ///
    /// As [`get`](Session::get).
    pub fn get_or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.get(key)?.unwrap_or(default))
    }

    /// Everything the application stored, but for what a [`Value`] cannot hold though it is well-formed JSON, such as `1e400`; a warning in the log
    /// says so.
    pub fn all(&self) -> Map<String, Value> {
        decoded(self.entries())
    }

    /// What is stored under these keys. Absent keys are left out.
    pub fn only(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Map<String, Value> {
        let wanted = names(keys);
        decoded(self.entries().filter(|(key, _)| wanted.contains(key)))
    }

    /// Everything but what is stored under these keys.
    pub fn except(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Map<String, Value> {
        let unwanted = names(keys);
        decoded(self.entries().filter(|(key, _)| !unwanted.contains(key)))
    }

    fn entries(&self) -> impl Iterator<Item = (String, Text)> {
        self.read(State::entries).unwrap_or_default().into_iter()
    }

    /// Whether there is a value under `key` that is not null.
    pub fn has(&self, key: &str) -> bool {
        self.peek(key).is_some_and(|text| &*text != "null")
    }

    /// Whether there is a value under `key`, even if it is null.
    pub fn exists(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// Whether there is nothing under `key`, not even null.
    pub fn missing(&self, key: &str) -> bool {
        !self.exists(key)
    }

    /// Whether the session [has](Session::has) at least one of the keys.
    pub fn has_any(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> bool {
        keys.into_iter().any(|key| self.has(key.as_ref()))
    }
}

// Changing.
impl Session {
    /// Stores a value. `None` stores null; a value equal to the one that is there is no change. What was flash is so no longer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold the value.
    pub fn put(&self, key: &str, value: impl Serialize) -> Result<()> {
        self.put_text(key, codec::encode(key, &value)?)
    }

    /// The value under `key`, which is then gone; `None` when it is absent or null.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when the value is of another type; it stays where it is.
    pub fn pull<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.pull_text(key, |text| match text {
            None | Some("null") => Ok(None),
            Some(text) => codec::decode(key, text).map(Some),
        })
    }

    /// The value under `key`, which is then gone, or `default` when it is absent or null.
    ///
    /// # Errors
    ///
    /// As [`pull`](Session::pull).
    pub fn pull_or<T: DeserializeOwned>(&self, key: &str, default: T) -> Result<T> {
        Ok(self.pull(key)?.unwrap_or(default))
    }

    /// Removes what is under these keys, also where it is null. Absent keys are no error and no change.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn forget(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<()> {
        let keys = writable(keys)?;
        self.change(|state| keys.into_iter().try_for_each(|key| state.forget(key)))
    }

    /// Removes everything: values and flash. The CSRF token is replaced by another. Id and lifetime stay.
    ///
    /// If the session has an owner, this signs out, as [`invalidate`](Session::invalidate) does.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn flush(&self) -> Result<()> {
        self.change(|state| match state.is_ended_by(None) {
            true => state.invalidate(),
            false => state.flush(),
        })
    }

    /// Replaces everything that the application has stored by `content`. The CSRF token stays.
    ///
    /// If the session has an owner, this ends it, as [`invalidate`](Session::invalidate) does, and begins another with
    /// `content`.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors); nothing is changed then.
    pub fn replace(&self, content: Map<String, Value>) -> Result<()> {
        let content = encoded(content)?;
        self.change(|state| {
            match state.is_ended_by(None) {
                true => state.invalidate()?,
                false => state.remove_all()?,
            }
            content.into_iter().try_for_each(|(key, text)| state.put(&key, text))
        })
    }

    /// Stores everything in `content`, and leaves the rest as it is.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors); nothing is changed then.
    pub fn merge(&self, content: Map<String, Value>) -> Result<()> {
        let content = encoded(content)?;
        self.change(|state| content.into_iter().try_for_each(|(key, text)| state.put(&key, text)))
    }

    /// The value under `key`; when it is absent or null, what `make` returns, which is stored.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Session::get) and [`put`](Session::put).
    pub fn remember<T: Serialize + DeserializeOwned>(&self, key: &str, make: impl FnOnce() -> T) -> Result<T> {
        if let Some(value) = self.get(key)? {
            return Ok(value);
        }
        let value = make();
        self.put(key, &value)?;
        Ok(value)
    }

    /// Adds to an integer and returns the sum. Absent and null count as 0. Concurrent additions all count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when the value is no integer or the sum does not fit `i64`; the value stays as it is.
    pub fn increment(&self, key: &str, by: i64) -> Result<i64> {
        self.add(key, by.into())
    }

    /// Subtracts from an integer and returns the difference. See [`increment`](Session::increment).
    ///
    /// # Errors
    ///
    /// As [`increment`](Session::increment).
    pub fn decrement(&self, key: &str, by: i64) -> Result<i64> {
        self.add(key, -i128::from(by))
    }

    /// Appends to a list. Absent and null count as an empty one. Concurrent requests all append.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold the value, [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when what is there is no list.
    pub fn push(&self, key: &str, value: impl Serialize) -> Result<()> {
        self.push_text(key, codec::encode(key, &value)?, None)
    }

    /// Changes a value in place, beginning with `T::default()` where it is absent or null.
    ///
    /// The function runs now, and again when the session is saved if another request has changed the value meanwhile, so it must
    /// do nothing but change the value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when what is there is no `T`, [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold
    /// what the function made of it. The save fails with the same kinds if that happens when the function runs again. [`ErrorKind::Conflict`](crate::ErrorKind::Conflict)
    /// when the function itself changes what is under the key.
    pub fn update<T>(&self, key: &str, change: impl Fn(&mut T) + Send + Sync + 'static) -> Result<()>
    where
        T: Default + Serialize + DeserializeOwned,
    {
        let name: Arc<str> = key.into();
        let function = move |text: Option<&str>| {
            let text = text.filter(|text| *text != "null");
            let mut value: T = match text {
                Some(text) => codec::decode(&name, text)?,
                None => T::default(),
            };
            let before = match text {
                Some(_) => None,
                None => Some(codec::encode(&name, &value)?),
            };
            change(&mut value);
            let after = codec::encode(&name, &value)?;
            // A default that nobody changed is not worth a record.
            Ok((before.as_ref() != Some(&after)).then_some(after))
        };
        self.update_text(key, Arc::new(function))
    }

    /// Stores a value for this request and the next.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold the value.
    pub fn flash(&self, key: &str, value: impl Serialize) -> Result<()> {
        self.flash_text(key, codec::encode(key, &value)?, false)
    }

    /// Shows a value to this request only. It is never stored, and what is stored under the key is not changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold the value.
    pub fn now(&self, key: &str, value: impl Serialize) -> Result<()> {
        self.now_text(key, codec::encode(key, &value)?)
    }

    /// Keeps all flash values, and those of [`now`](Session::now), for one more request.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn reflash(&self) -> Result<()> {
        self.change(State::reflash)
    }

    /// Keeps the flash values under these keys for one more request. Keys that are not flash stay what they are (in Goravel and
    /// Laravel they become flash, and vanish).
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn keep(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Result<()> {
        let keys = writable(keys)?;
        self.change(|state| keys.iter().try_for_each(|key| state.keep(key)))
    }
}

// Identity.
impl Session {
    /// The CSRF token, 40 characters, created on first use and then kept.
    ///
    /// # Panics
    ///
    /// When the operating system's random generator fails.
    pub fn token(&self) -> String {
        let mut slot = self.lock();
        let may_change = slot.phase != Phase::Committed;
        let state = slot.state();
        state
            .token(may_change && !state.is_read_only())
            .expect("the operating system's random generator works")
    }

    /// Replaces the CSRF token; forms that hold the old one are refused.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn regenerate_token(&self) -> Result<()> {
        self.change(State::regenerate_token)
    }

    /// The id. A session that has none yet gets one, which is used if something is stored. Before it is [loaded](Session::start) it is the id that the session
    /// would have if it were a new one.
    ///
    /// # Panics
    ///
    /// When the operating system's random generator fails.
    pub fn id(&self) -> SessionId {
        let mut slot = self.lock();
        // Who builds a session by hand knows what id it has, unless it has been given another since.
        if let (Source::Given(Some(id)), false) = (&self.0.source, slot.is_started())
            && slot.state.as_ref().and_then(|state| state.known_id()).is_none()
        {
            return *id;
        }
        slot.state()
            .id()
            .expect("the operating system's random generator works")
    }

    /// Returns what the store sees of the [id](Session::id): the key of the session's record.
    ///
    /// The id cannot be derived from it. The exception is [`Config::raw_ids`](crate::Config::raw_ids), with which it
    /// *is* the id.
    ///
    /// # Panics
    ///
    /// When the operating system's random generator fails.
    pub fn store_key(&self) -> StoreKey {
        self.0.backend.key_of(&self.id())
    }

    /// The name of the cookie that holds the id.
    pub fn name(&self) -> String {
        self.0.backend.cookie.name().to_owned()
    }

    /// Whether the session began with this request: there was none, or it has been [invalidated](Session::invalidate).
    pub fn is_new(&self) -> bool {
        self.read(|state| state.is_new()).unwrap_or(true)
    }

    /// Whether the store could not be read and the session is therefore empty and takes no changes, which is so only where the layer says
    /// [`LoadErrors::Empty`](crate::LoadErrors::Empty): the visitor may well be signed in. [`reload`](Session::reload) tries again.
    pub fn is_read_only(&self) -> bool {
        self.read(|state| state.is_read_only()).unwrap_or_default()
    }

    /// Whether the session has been loaded.
    pub fn is_started(&self) -> bool {
        self.lock().is_started()
    }

    /// Gives the session a new id and a new CSRF token, and keeps the data. The old id stops working.
    ///
    /// A sign-in through the [owner](Session::set_owner) does this by itself. Call it whenever a visitor gains rights
    /// in another way
    /// ([OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html#renew-the-session-id-after-any-privilege-level-change)).
    ///
    /// If another request has already given the session a new id, this request does not share that id: see
    /// [the guide](crate::guide::concurrency#a-new-id).
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn regenerate(&self) -> Result<()> {
        if self.lock().phase == Phase::Detached {
            return Err(Error::no_more_cookie());
        }
        self.change(State::regenerate)
    }

    /// Ends the session: destroys its record, removes the data, and gives up the id. If the request came with several
    /// cookies of the same name, every other live session among them ends as well.
    ///
    /// Data stored afterwards begins a new session.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn invalidate(&self) -> Result<()> {
        self.change(State::invalidate)
    }

    /// Overrides the idle lifetime for this session ("remember me"): the same as
    /// `set_expiry(Some(Expiry::Idle(lifetime)))`.
    ///
    /// The layer's [absolute lifetime](crate::SessionLayer::with_absolute_lifetime), 30 days by default, still ends the
    /// session. Raise that limit for a longer lifetime.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.set_expiry(Some(Expiry::Idle(lifetime)))
    }

    /// Overrides how long this session and its cookie live. `None` restores the lifetime of the layer. The setting is
    /// stored with the session.
    ///
    /// An absolute lifetime of the layer still ends the session if that is earlier. A lifetime of zero, or a time in
    /// the past, ends the session as soon as it is saved. An expiry alone causes no record: in a session that stores
    /// nothing else it has no effect.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn set_expiry(&self, expiry: Option<Expiry>) -> Result<()> {
        self.change(|state| state.set_expiry(expiry))
    }

    /// Returns the expiry that was set for this session alone, or `None` if the session has the lifetime of the layer.
    pub fn expiry(&self) -> Option<Expiry> {
        self.read(State::expiry).flatten()
    }

    /// Returns when the session expires. If nothing is stored yet, or this request has changed the session, returns
    /// when it would expire if it were saved now.
    ///
    /// Using the session prolongs it, but not before a tenth of the idle lifetime has gone by.
    pub fn expires_at(&self) -> SystemTime {
        let settings = &self.0.backend.settings;
        // A clock is the application's code, so it is not asked under the lock.
        let now = self.0.backend.now();
        let known = self.read(|state| state.expires_at(settings, now));
        known.unwrap_or_else(|| settings.expiry(&Draft::empty(), now))
    }

    /// Returns the owner of the session: who is signed in.
    pub fn owner(&self) -> Option<String> {
        self.read(|state| state.owner().map(str::to_owned)).flatten()
    }

    /// Whether the session had an owner at some time in this request.
    pub(crate) fn had_owner(&self) -> bool {
        self.read(State::had_owner).unwrap_or_default()
    }

    /// Sets the owner of the session: who is signed in. An `owner` field of a schema does this by itself.
    ///
    /// The manager finds all sessions of an owner: see
    /// [`SessionManager::sessions_of`](crate::SessionManager::sessions_of).
    ///
    /// * If the session had no owner, this is a sign-in. The session gets a new id, as with
    ///   [`regenerate`](Session::regenerate), and keeps its data.
    /// * If the session had another owner, or `owner` is `None`, it ends, as with [`invalidate`](Session::invalidate),
    ///   together with the data of its owner. What this request has changed and not yet saved goes into the next
    ///   session.
    /// * If the session already has this owner, nothing changes, and there is no new id.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors). Saving fails with
    /// [`ErrorKind::SignInRefused`](crate::ErrorKind::SignInRefused) if the session has ended since it was loaded and
    /// `owner` is the owner that it had.
    pub fn set_owner(&self, owner: Option<&str>) -> Result<()> {
        self.name_owner(owner, |_| Ok(()))
    }

    /// Sets the owner and stores the owner field in one step, because a task with a clone of the session may save it at
    /// any moment.
    pub(crate) fn name_owner(&self, owner: Option<&str>, store: impl Fn(&mut State) -> Result<()>) -> Result<()> {
        let ends = |state: &State| state.is_ended_by(owner);
        let name = |state: &mut State| {
            state.name_owner(owner)?;
            match state.owner() == owner {
                true => store(state),
                // The sign-in is refused, and the response will say so.
                false => Ok(()),
            }
        };
        let named = self.change(|state| match ends(state) {
            true => Ok(false),
            false => name(state).map(|()| true),
        })?;
        if named {
            return Ok(());
        }
        self.replayed(
            |_| Base::Nothing,
            |slot, own| {
                let state = slot.writable()?;
                if ends(state) {
                    state.start_over(own)?;
                }
                name(state)
            },
        )
    }
}

impl AsRef<Session> for Session {
    fn as_ref(&self) -> &Session {
        self
    }
}

// Access to the state.
impl Session {
    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Option<T> {
        self.lock().state.as_deref().map(read)
    }

    fn change_key<T>(&self, key: &str, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        if is_reserved(key) {
            return Err(Error::reserved_key(key));
        }
        self.change(change)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let changed = self.lock().writable().and_then(change);
        if let Err(error) = &changed
            && error.kind() == ErrorKind::Committed
        {
            tracing::error!(target: "session_schema", "a session was changed after its response had been sent; the change is refused");
        }
        changed
    }

    fn lock(&self) -> Locked<'_> {
        self.0.lock()
    }
}

impl Slot {
    fn state(&mut self) -> &mut State {
        self.state.get_or_insert_default()
    }

    /// The state, if it may be changed.
    fn writable(&mut self) -> Result<&mut State> {
        if self.phase == Phase::Committed {
            return Err(Error::committed());
        }
        let state = self.state();
        match state.is_read_only() {
            true => Err(Error::read_only()),
            false => Ok(state),
        }
    }

    fn is_started(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_started())
    }
}

/// Changes that nobody will save are not dropped without a word.
impl Drop for Inner {
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !slot.state.as_ref().is_some_and(|state| state.has_unsaved()) {
            return;
        }
        match (slot.phase, &self.source) {
            (Phase::Detached, _) | (_, Source::Given(_)) => tracing::error!(
                target: "session_schema",
                "changes of a session were dropped unsaved: a session built by hand, or reloaded after its response, has to be saved with `save`"
            ),
            (Phase::Open, Source::Headers(..)) => tracing::info!(
                target: "session_schema",
                "a request ended without a response, as when its client hangs up or its handler panics: its changes of the session are dropped"
            ),
            (Phase::Committed, Source::Headers(..)) => {}
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("started", &self.is_started())
            .finish_non_exhaustive()
    }
}

/// The keys, if none of them is reserved. Collected once, and not under the lock, because `AsRef` is the application's
/// code.
fn writable(keys: impl IntoIterator<Item: AsRef<str>>) -> Result<Vec<Arc<str>>> {
    let keys = keys.into_iter().map(|key| match key.as_ref() {
        reserved if is_reserved(reserved) => Err(Error::reserved_key(reserved)),
        key => Ok(key.into()),
    });
    keys.collect()
}

fn names(keys: impl IntoIterator<Item: AsRef<str>>) -> HashSet<String> {
    keys.into_iter().map(|key| key.as_ref().to_owned()).collect()
}

/// The values, without those that JSON can hold and a [`Value`] cannot.
fn decoded(entries: impl Iterator<Item = (String, Text)>) -> Map<String, Value> {
    let decoded = entries.filter_map(|(key, text)| match serde_json::from_str(&text) {
        Ok(value) => Some((key, value)),
        Err(_) => {
            tracing::warn!(target: "session_schema", "a stored value is left out: it is JSON, but too large a number or no text");
            None
        }
    });
    decoded.collect()
}

fn encoded(content: Map<String, Value>) -> Result<Vec<(String, String)>> {
    if let Some(key) = content.keys().find(|key| is_reserved(key)) {
        return Err(Error::reserved_key(key));
    }
    content
        .into_iter()
        .map(|(key, value)| {
            let text = codec::encode(&key, &value)?;
            Ok((key, text))
        })
        .collect()
}
