//! The dynamic session: string keys, checked when it runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::backend::{Backend, Found};
use crate::changes::{Change, UpdateFn};
use crate::codec;
use crate::cookie;
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::lease::Lease;
use crate::payload::{Text, is_reserved};
use crate::run::{RunToEnd, Timer};
use crate::state::{CookieChange, State};

/// The session of a request: data under string keys, kept between the requests of one visitor.
///
/// A handle, cheap to clone; all clones of one request, in extractors, middleware and tasks, are the same session. With the feature
/// `axum` it is an extractor. Compiler-checked keys are one step away: [`TypedSession`](crate::TypedSession).
///
/// * It is loaded once, when it is first extracted, or by [`start`](Session::start). After that no method but
///   [`save`](Session::save) does I/O. Before that it reads as empty, and what is changed is kept and applied to what `start` loads.
/// * Keys are literal: `a.b` is one key. Keys that begin with `_` belong to the library: reading finds nothing, writing is an error.
/// * What cannot be stored (see [`ErrorKind::Encode`](crate::ErrorKind::Encode)) fails in the method that was to store it, and changes nothing.
/// * A change records what is different, not the whole content: concurrent requests of one visitor lose nothing.
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
/// * A page that a browser prefetches may never be shown, so such a request ages no flash and prolongs no session. What its handler
///   changes is saved: a header that the client chooses must not switch a counter off.
///
/// # Errors
///
/// Every method that changes the session fails with [`ErrorKind::Committed`](crate::ErrorKind::Committed) once the response is on
/// its way, because nobody would save the change, and with [`ErrorKind::ReservedKey`](crate::ErrorKind::ReservedKey) for a key that begins with `_`.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    backend: Arc<Backend>,
    source: Source,
    slot: Mutex<Slot>,
    /// Held while the store is asked or told something, so that this is done once at a time.
    io: tokio::sync::Mutex<()>,
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
            Self::Headers(first, more) => cookie::candidates(first.iter().chain(more), cookie).nth(at),
            Self::Given(id) => id.filter(|_| at == 0),
        }
    }
}

/// The state, made when it is first needed.
#[derive(Default)]
struct Slot {
    phase: Phase,
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

    /// Everything the application stored.
    pub fn all(&self) -> Map<String, Value> {
        self.collect(|_| true)
    }

    /// What is stored under these keys. Absent keys are left out.
    pub fn only(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Map<String, Value> {
        let keys: Vec<_> = keys.into_iter().collect();
        self.collect(|key| keys.iter().any(|wanted| wanted.as_ref() == key))
    }

    /// Everything but what is stored under these keys.
    pub fn except(&self, keys: impl IntoIterator<Item: AsRef<str>>) -> Map<String, Value> {
        let keys: Vec<_> = keys.into_iter().collect();
        self.collect(|key| keys.iter().all(|unwanted| unwanted.as_ref() != key))
    }

    fn collect(&self, wanted: impl Fn(&str) -> bool) -> Map<String, Value> {
        let entries = self.read(State::entries).unwrap_or_default();
        entries
            .into_iter()
            .filter(|(key, _)| wanted(key))
            .map(|(key, text)| {
                let value =
                    serde_json::from_str(&text).expect("what is stored under a key has been checked to be JSON");
                (key, value)
            })
            .collect()
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
        self.change(|state| keys.iter().try_for_each(|key| state.forget(key.as_ref())))
    }

    /// Removes everything: values, flash, the owner, and the CSRF token, in whose place there is another. Id and lifetime stay.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn flush(&self) -> Result<()> {
        self.change(State::flush)
    }

    /// Makes `content` all that the application has stored. The CSRF token and the owner stay.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors); nothing is changed then.
    pub fn replace(&self, content: Map<String, Value>) -> Result<()> {
        let content = encoded(content)?;
        self.change(|state| {
            state.remove_all()?;
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
        self.push_text(key, codec::encode(key, &value)?)
    }

    /// Changes a value in place, beginning with `T::default()` where it is absent or null.
    ///
    /// The function runs now, and again when the session is saved if another request has changed the value meanwhile, so it must
    /// do nothing but change the value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when what is there is no `T`, [`ErrorKind::Encode`](crate::ErrorKind::Encode) when JSON cannot hold
    /// what the function made of it. The save fails with the same kinds if that happens when the function runs again.
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
        self.change(|state| keys.iter().try_for_each(|key| state.keep(key.as_ref())))
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
        slot.state()
            .token(may_change)
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

    /// The id. A session that has none yet gets one, which is used if something is stored.
    ///
    /// # Panics
    ///
    /// When the operating system's random generator fails.
    pub fn id(&self) -> SessionId {
        let mut slot = self.lock();
        if let (Source::Given(Some(id)), false) = (&self.0.source, slot.is_started())
            && slot.state.as_ref().and_then(|state| state.known_id()).is_none()
        {
            return *id;
        }
        slot.state()
            .id()
            .expect("the operating system's random generator works")
    }

    /// The name of the cookie that holds the id.
    pub fn name(&self) -> String {
        self.0.backend.cookie.name().to_owned()
    }

    /// Whether the session began with this request: there was none, or it has been [invalidated](Session::invalidate).
    pub fn is_new(&self) -> bool {
        self.read(|state| state.is_new()).unwrap_or(true)
    }

    /// Whether the session has been loaded.
    pub fn is_started(&self) -> bool {
        self.lock().is_started()
    }

    /// Gives the session a new id and a new CSRF token, and keeps the data. The old id stops working. Call it whenever someone gains
    /// rights, at sign-in above all ([OWASP](https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html#renew-the-session-id-after-any-privilege-level-change)).
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

    /// Ends the session: its record is destroyed, the data gone, the id another. What is stored afterwards begins a new session.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn invalidate(&self) -> Result<()> {
        self.change(State::invalidate)
    }

    /// Lets this session alone live for so long without use ("remember me"), and its cookie with it, even where cookies are kept only until
    /// the browser is closed. It stays so until it is said otherwise.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.change(|state| state.set_lifetime(Some(lifetime)))
    }

    /// Gives the session the lifetime of all others again.
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn reset_lifetime(&self) -> Result<()> {
        self.change(|state| state.set_lifetime(None))
    }

    /// Whose session it is.
    pub fn owner(&self) -> Option<String> {
        self.read(State::owner).flatten()
    }

    /// Says whose session it is, for "all sessions of user 42" ([`SessionManager::sessions_of`](crate::SessionManager::sessions_of)).
    ///
    /// # Errors
    ///
    /// Those of every [change](Session#errors).
    pub fn set_owner(&self, owner: Option<&str>) -> Result<()> {
        self.change(|state| match state.owner().as_deref() == owner {
            true => Ok(()),
            false => state.make(Change::Owner(owner.map(Arc::from))),
        })
    }
}

// Loading and saving.
impl Session {
    /// Loads the session, if that has not been done. Extractors call it; only who builds a session by hand or takes it from a request
    /// with [`Session::of`] has to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store cannot be read,
    /// [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when a change that was made before does not fit what was loaded. The session is as before then,
    /// and can be started again.
    pub async fn start(&self) -> Result<()> {
        self.start_as(|| false).await
    }

    /// Loads the session for a request that is perhaps `speculative`.
    pub(crate) async fn start_as(&self, speculative: impl FnOnce() -> bool) -> Result<()> {
        if self.is_started() {
            return Ok(());
        }
        let _gate = self.gate().await;
        self.load(speculative).await
    }

    /// Waits until nobody else of this request asks the store; hardly ever has to.
    async fn gate(&self) -> tokio::sync::MutexGuard<'_, ()> {
        match self.0.io.try_lock() {
            Ok(gate) => gate,
            Err(_) => self.0.io.lock().await,
        }
    }

    async fn load(&self, speculative: impl FnOnce() -> bool) -> Result<()> {
        if self.is_started() {
            return Ok(());
        }
        let backend = &*self.0.backend;
        let timer = Timer::start();
        let found = backend
            .find(|at| self.0.source.nth_id(at, backend.cookie.name()))
            .await?;
        if let Some(elapsed) = timer.elapsed() {
            let found = matches!(found, Found::Session(..));
            tracing::debug!(target: "session_schema", found, ?elapsed, "a session was loaded");
        }
        self.lock().state().start(found, backend, speculative)
    }

    /// Saves what has been changed. The layer does it when the handler has returned; a session built by hand is saved by this alone.
    /// It can be used on afterwards. Once begun, a save runs to its end though the caller is gone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) or [`ErrorKind::Driver`](crate::ErrorKind::Driver) when the store fails,
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when too many others save the same session, [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) when it has
    /// become too large, [`ErrorKind::WrongType`](crate::ErrorKind::WrongType) when an `increment`, `push` or `update` does not fit what another request has stored under
    /// its key. What was changed stays to be saved then.
    pub async fn save(&self) -> Result<()> {
        let session = self.clone();
        RunToEnd::new(Box::pin(async move { session.save_now().await })).await
    }

    async fn save_now(&self) -> Result<()> {
        let _gate = self.gate().await;
        if !self.is_started() {
            // Boxed, because the future of every save would be as large as this one otherwise.
            Box::pin(self.load(|| false)).await?;
        }
        let backend = &*self.0.backend;
        let (job, refused) = {
            let mut slot = self.lock();
            let may_tell_an_id = slot.phase != Phase::Detached;
            slot.state().plan(backend, backend.clock.now(), may_tell_an_id)
        };
        let timer = Timer::start();
        let outcome = backend.perform(&job).await;
        if let (Some(elapsed), Ok(_)) = (timer.elapsed(), &outcome) {
            tracing::debug!(target: "session_schema", what = job.plan.name(), ?elapsed, "a session was saved");
        }
        self.lock().state().settle(job, outcome, backend).and(refused)
    }

    /// Loads the session anew: what other requests have stored since is seen, and what was changed here and not yet saved is applied to it.
    ///
    /// This is how a task goes on that outlives its request, behind a WebSocket or a stream of events. When the response has been sent, a session takes no
    /// more changes, until it is reloaded; from then on [`save`](Session::save) is the task's to call, and changes that are dropped without it are reported in
    /// the log. The browser can be told nothing any more, so such a session cannot be created or given a new id.
    ///
    /// A session that was destroyed meanwhile, or goes by a new id, reads as empty afterwards.
    ///
    /// # Errors
    ///
    /// As [`start`](Session::start).
    pub async fn reload(&self) -> Result<()> {
        let _gate = self.gate().await;
        let backend = &*self.0.backend;
        let stored = self
            .read(|state| state.stored().cloned().map(|stored| (stored, state.endings())))
            .flatten();
        match stored {
            None => self.load(|| false).await?,
            Some((stored, endings)) => {
                let now = backend.clock.now();
                let newest = backend.newest(stored, now).await?;
                self.lock().state().rebase(newest, endings)?;
            }
        }
        let mut slot = self.lock();
        if slot.phase == Phase::Committed {
            slot.phase = Phase::Detached;
        }
        Ok(())
    }

    /// Waits until no other request uses the session exclusively, and loads it anew then.
    #[cfg(feature = "axum")]
    pub(crate) async fn lock_out_others(&self) -> Result<()> {
        self.start().await?;
        if self.lock().lease.is_some() {
            return Ok(());
        }
        let mut held = None;
        loop {
            let place = self.read(|state| state.stored().map(|stored| stored.key)).flatten();
            let Some(key) = place.filter(|place| held != Some(*place)) else {
                return Ok(());
            };
            let lease = Lease::acquire(self.0.backend.clone(), &key).await?;
            self.lock().lease = Some(lease);
            held = Some(key);
            // While it waited another may have given the session a new id. Whoever comes with that one asks for it in the new place.
            self.reload().await?;
        }
    }

    /// Puts the session on a request, for extractors and [`Session::of`] to find.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        request.extensions_mut().insert(self.clone());
    }

    /// The session of a request, if a layer or [`attach`](Session::attach) gave it one. It may not be [started](Session::start) yet.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        request.extensions().get().cloned()
    }
}

// What the layer does with a session.
impl Session {
    /// The session of a request that came with these `Cookie` headers.
    pub(crate) fn of_headers<'a>(backend: Arc<Backend>, mut cookies: impl Iterator<Item = &'a HeaderValue>) -> Self {
        let first = cookies.next().cloned();
        Self::new(backend, Source::Headers(first, cookies.cloned().collect()))
    }

    /// A session with this id, if there is one, and a new one otherwise.
    pub(crate) fn by_hand(backend: Arc<Backend>, id: Option<SessionId>) -> Self {
        Self::new(backend, Source::Given(id))
    }

    fn new(backend: Arc<Backend>, source: Source) -> Self {
        Self(Arc::new(Inner {
            backend,
            source,
            slot: Mutex::default(),
            io: tokio::sync::Mutex::const_new(()),
        }))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Ends the time in which the session can be changed, and says what is left to do.
    pub(crate) fn close(&self) -> Closing {
        let mut slot = self.lock();
        if slot.phase == Phase::Open {
            slot.phase = Phase::Committed;
        }
        match &slot.state {
            None => Closing::Untouched,
            Some(_) if slot.lease.is_some() => Closing::Changed,
            Some(state) if state.is_idle() => Closing::Untouched,
            // A `save` that still runs, in a task that the handler left behind, has the last word on the cookie.
            Some(state) if state.is_settled() && self.0.io.try_lock().is_ok() => Closing::Unchanged,
            Some(_) => Closing::Changed,
        }
    }

    /// Saves a closed session.
    pub(crate) async fn commit(self) -> Committed {
        let result = self.save_now().await;
        let lease = self.lock().lease.take();
        if let Some(lease) = lease {
            Box::pin(lease.release()).await;
        }
        Committed {
            result,
            cookie: self.lock().state().cookie(),
        }
    }
}

// What tests do with a session.
#[cfg(feature = "testing")]
impl Session {
    pub(crate) fn begin(&self, found: Found) -> Result<()> {
        let backend = &*self.0.backend;
        self.lock().state().start(found, backend, || false)
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

impl AsRef<Session> for Session {
    fn as_ref(&self) -> &Session {
        self
    }
}

/// What is left to do when a handler has returned.
pub(crate) enum Closing {
    /// Nobody asked for the session.
    Untouched,
    /// It was read at most.
    Unchanged,
    /// It has to be saved.
    Changed,
}

/// How the save of a closed session went, and what the browser is told in any case.
pub(crate) struct Committed {
    pub(crate) result: Result<()>,
    pub(crate) cookie: CookieChange,
}

// JSON texts: what the typed session stands on.
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

    pub(crate) fn push_text(&self, key: &str, text: String) -> Result<()> {
        self.change_key(key, |state| state.change(key, |key| Change::Push(key, text.into())))
    }

    fn add(&self, key: &str, by: i128) -> Result<i64> {
        self.change_key(key, |state| {
            state.change(key, |key| Change::Increment(key, by))?;
            let sum = state.peek(key).and_then(|text| text.parse().ok());
            Ok(sum.expect("the sum of two integers is one"))
        })
    }

    /// Replaces a JSON text by what `function` makes of it; `None` leaves it as it is.
    pub(crate) fn update_text(&self, key: &str, function: Arc<UpdateFn>) -> Result<()> {
        // The function is the application's, so it runs without the lock, and again if a clone of this session was faster.
        loop {
            let before = self.peek(key);
            let after = function(before.as_deref())?;
            let done = self.change_key(key, |state| {
                if state.peek(key).as_deref() != before.as_deref() {
                    return Ok(false);
                }
                state.change(key, |key| Change::Update {
                    key,
                    function: function.clone(),
                    before: before.as_deref().map(Arc::from),
                    after: after.map(Arc::from),
                })?;
                Ok(true)
            })?;
            if done {
                return Ok(());
            }
        }
    }

    /// Moves the first of `from` that is present to `to`, if that is absent, and removes the others.
    pub(crate) fn rename(&self, from: &[&str], to: &str) -> Result<()> {
        if from.iter().all(|old| self.missing(old)) {
            return Ok(());
        }
        let from = from.iter().map(|old| Arc::from(*old)).collect();
        self.change_key(to, |state| state.make(Change::Rename { from, to: to.into() }))
    }

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
        let mut slot = self.lock();
        if slot.phase == Phase::Committed {
            drop(slot);
            tracing::error!(target: "session_schema", "a session was changed after its response had been sent; the change is refused");
            return Err(Error::committed());
        }
        change(slot.state())
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // No code of the application runs under the lock, so a panic under it has left nothing half done.
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn state(&mut self) -> &mut State {
        self.state.get_or_insert_default()
    }

    fn is_started(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_started())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        let own_saves = slot.phase == Phase::Detached || matches!(self.source, Source::Given(_));
        if own_saves && slot.state.as_ref().is_some_and(|state| state.has_unsaved()) {
            tracing::error!(
                target: "session_schema",
                "changes of a session were dropped unsaved: a session built by hand, or reloaded after its response, has to be saved with `save`"
            );
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

/// The keys, if all of them are the application's.
fn writable<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Vec<K>> {
    let keys: Vec<K> = keys.into_iter().collect();
    match keys.iter().find(|key| is_reserved(key.as_ref())) {
        Some(key) => Err(Error::reserved_key(key.as_ref())),
        None => Ok(keys),
    }
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
