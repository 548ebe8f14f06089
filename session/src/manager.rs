//! Drivers by name, sessions by hand, and what concerns more than one session.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::clock::{Clock, SharedClock};
use crate::config::{Config, Settings};
use crate::cookie::CookieWriter;
use crate::driver::Driver;
use crate::error::{ConfigError, DriverError, Error, ErrorKind, Result};
use crate::id::{SessionId, StoreKey};
use crate::middleware::SessionLayer;
use crate::record::Record;
use crate::run::RunToEnd;
use crate::schema::SessionSchema;
use crate::session::Session;
use crate::store::{OPENING, Store, too_late};
use crate::typed;

/// The sessions of an application as its [`Config`] describes them.
///
/// * The driver is chosen by name: `file`, `memory`, `sqlite`, `postgres`, `mysql`, `redis` (each with the feature of its name), or one
///   [registered](SessionManager::extend) by the application. It is made and opened on first use, once.
/// * [`layer`](SessionManager::layer) gives every request its session; [`build_session`](SessionManager::build_session) makes one by hand, for what is no HTTP.
/// * [`sessions_of`](SessionManager::sessions_of) and [`destroy_sessions_of`](SessionManager::destroy_sessions_of) are "where am I signed in" and
///   "sign me out everywhere else".
/// * It is cheap to clone, for Axum's state; the clones share their drivers.
///
/// ```
/// use session_schema::{Config, MemoryDriver, SessionManager};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut config = Config::default();
/// config.driver = "scratch".into();
/// let manager = SessionManager::new(config)?;
/// manager.extend("scratch", async || Ok(MemoryDriver::new()));
///
/// let driver = manager.driver(None).await?;
/// let session = manager.build_session(driver.clone(), None);
/// session.start().await?;
/// session.put("greeting", "hello")?;
/// session.save().await?;
///
/// let again = manager.build_session(driver, Some(session.id().as_str()));
/// again.start().await?;
/// assert_eq!(again.get::<String>("greeting")?.as_deref(), Some("hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SessionManager(Arc<Inner>);

struct Inner {
    config: Config,
    settings: Settings,
    cookie: CookieWriter,
    clock: SharedClock,
    drivers: Mutex<BTreeMap<String, Arc<Named>>>,
    /// Over drivers that are not registered, but were given to [`build_session`](SessionManager::build_session).
    given: Mutex<Vec<Arc<Store>>>,
}

/// A driver by its name.
struct Named {
    /// It is made by this crate, of the settings and the clock, and not by the application.
    is_own: bool,
    make: Factory,
    store: OnceCell<Arc<Store>>,
}

type Made = Pin<Box<dyn Future<Output = Result<Arc<dyn Driver>, ConfigError>> + Send>>;
type Factory = Box<dyn Fn() -> Made + Send + Sync>;

/// The drivers of this crate; each comes with the feature of its name.
const OWN: [&str; 6] = ["file", "memory", "mysql", "postgres", "redis", "sqlite"];

impl SessionManager {
    /// The sessions that `config` describes.
    ///
    /// # Errors
    ///
    /// Names the setting that is wrong. An unknown driver is an error only when it is asked for: it may yet be registered.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let settings = config.settings()?;
        let cookie = settings.check()?;
        if config.url.as_ref().is_some_and(|url| !url.is_empty()) && ["file", "memory"].contains(&&*config.driver) {
            tracing::warn!(
                target: "session_schema",
                "`url` is set, but sessions are kept by the driver `{}`, which has none: set `driver` as well",
                config.driver
            );
        }
        let manager = Self(Arc::new(Inner {
            config,
            settings,
            cookie,
            clock: SharedClock::default(),
            drivers: Mutex::default(),
            given: Mutex::default(),
        }));
        manager.register_own();
        Ok(manager)
    }

    /// The sessions that the environment describes: see [`Config::from_env`].
    ///
    /// # Errors
    ///
    /// Names the variable or the setting that is wrong.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new(Config::from_env()?)
    }

    /// The clock by which sessions expire; the system's unless said otherwise. Drivers that are registered have their own, under whatever
    /// name, and clones made before keep theirs.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        let manager = Self(Arc::new(Inner {
            config: self.0.config.clone(),
            settings: self.0.settings.clone(),
            cookie: self.0.cookie.clone(),
            clock: SharedClock::new(clock),
            drivers: Mutex::default(),
            given: Mutex::default(),
        }));
        manager.register_own();
        let mut registered = self.drivers().clone();
        registered.retain(|_, named| !named.is_own);
        manager.drivers().extend(registered);
        manager
    }

    fn register_own(&self) {
        #[cfg(feature = "file")]
        {
            let (files, clock) = (self.0.config.files.clone(), self.0.clock.clone());
            self.register("file", true, move || {
                let driver = crate::FileDriver::new(files.clone()).with_clock(clock.clone());
                std::future::ready(Ok(driver))
            });
        }
        #[cfg(feature = "memory")]
        {
            let clock = self.0.clock.clone();
            self.register("memory", true, move || {
                let driver = crate::MemoryDriver::new().with_clock(clock.clone());
                std::future::ready(Ok(driver))
            });
        }
        #[cfg(feature = "sqlite")]
        self.register_over_url("sqlite", "sqlite://sessions.db", |url: String, clock| async move {
            let driver = crate::SqliteDriver::connect(&url).await?;
            Ok(driver.with_clock(clock))
        });
        #[cfg(feature = "postgres")]
        self.register_over_url(
            "postgres",
            "postgres://user:password@host/database",
            |url: String, clock| async move {
                let driver = crate::PostgresDriver::connect(&url).await?;
                Ok(driver.with_clock(clock))
            },
        );
        #[cfg(feature = "mysql")]
        self.register_over_url(
            "mysql",
            "mysql://user:password@host/database",
            |url: String, clock| async move {
                let driver = crate::MySqlDriver::connect(&url).await?;
                Ok(driver.with_clock(clock))
            },
        );
        #[cfg(feature = "redis")]
        self.register_over_url("redis", "redis://127.0.0.1:6379/", |url: String, clock| async move {
            let driver = crate::RedisDriver::connect(&url).await?;
            Ok(driver.with_clock(clock))
        });
    }

    /// Registers a driver under a name, for `Config::driver` and [`driver`](SessionManager::driver).
    ///
    /// The factory runs once, when the driver is first asked for. If it fails, or takes longer than a minute, it runs
    /// again the next time. If the name is taken, even by a driver of this crate, the new driver replaces the old one
    /// from now on.
    pub fn extend<F, Fut, D>(&self, name: impl Into<String>, factory: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<D, DriverError>> + Send + 'static,
        D: Driver,
    {
        self.register(name, false, factory);
    }

    fn register<F, Fut, D>(&self, name: impl Into<String>, is_own: bool, factory: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<D, DriverError>> + Send + 'static,
        D: Driver,
    {
        let name = name.into();
        let named = name.clone();
        self.register_made(name, is_own, move || {
            let (made, name) = (factory(), named.clone());
            Box::pin(async move {
                let driver = made.await.map_err(|error| not_opened(&name, error))?;
                Ok(Arc::new(driver) as Arc<dyn Driver>)
            })
        });
    }

    fn register_made(&self, name: String, is_own: bool, make: impl Fn() -> Made + Send + Sync + 'static) {
        let named = Named {
            is_own,
            make: Box::new(make),
            store: OnceCell::new(),
        };
        self.drivers().insert(name, Arc::new(named));
    }

    /// Registers a driver of this crate that is made of `url`, of which `example` is one.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "redis"))]
    fn register_over_url<F, Fut, D>(&self, name: &'static str, example: &'static str, connect: F)
    where
        F: Fn(String, SharedClock) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<D, DriverError>> + Send + 'static,
        D: Driver,
    {
        let (url, clock) = (self.0.config.url.clone(), self.0.clock.clone());
        match url.filter(|url| !url.is_empty()) {
            Some(url) => self.register(name, true, move || connect(url.clone(), clock.clone())),
            None => self.register_made(name.to_owned(), true, move || {
                let missing = format!("`url` is missing, which the driver `{name}` needs: write one like `{example}`");
                Box::pin(std::future::ready(Err(ConfigError::new(missing))))
            }),
        }
    }

    /// The driver of that name, or the configured one; made and opened, once.
    ///
    /// # Errors
    ///
    /// If there is no driver of that name, or if making it or opening it fails or takes longer than a minute.
    pub async fn driver(&self, name: Option<&str>) -> Result<Arc<dyn Driver>, ConfigError> {
        Ok(self.store(name).await?.driver().clone())
    }

    async fn store(&self, name: Option<&str>) -> Result<Arc<Store>, ConfigError> {
        let name = name.unwrap_or(&self.0.config.driver);
        let named = self.drivers().get(name).cloned();
        let named = named.ok_or_else(|| self.unknown(name))?;
        let made = named.store.get_or_try_init(async || {
            let made = timeout(OPENING, (named.make)()).await;
            let driver = made.unwrap_or_else(|_| Err(not_opened(name, too_late(OPENING))))?;
            let store = Store::new(driver);
            store.open().await.map_err(|error| not_opened(name, error))?;
            Ok(Arc::new(store))
        });
        made.await.cloned()
    }

    fn unknown(&self, name: &str) -> ConfigError {
        // It may have a password in it.
        if name.contains("://") {
            return ConfigError::new(
                "`driver` is a URL: write the name of the driver there, such as `redis`, and the URL into `url`",
            );
        }
        let registered: Vec<_> = self.drivers().keys().map(|name| format!("`{name}`")).collect();
        let hint = match OWN.contains(&name) {
            true => {
                format!("enable the feature `{name}` of session-schema, or register it with `SessionManager::extend`")
            }
            false => "register it with `SessionManager::extend`".to_owned(),
        };
        let known = registered.join(", ");
        ConfigError::new(format!(
            "`driver` is `{name}`, which is not known: write one of {known}, or {hint}"
        ))
    }

    fn drivers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Named>>> {
        self.0.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session by hand: [start](Session::start) it, use it, [save](Session::save) it. It is the stored session `id`, if there is one; an id that is
    /// not well-formed, or that no live session has, gives a new session with an id of its own.
    ///
    /// The driver is one of this manager's, or another. That is opened once as well, on first use, for as long as somebody has it.
    pub fn build_session(&self, driver: Arc<dyn Driver>, id: Option<&str>) -> Session {
        let backend = Arc::new(self.backend(self.store_over(driver)));
        Session::by_hand(backend, id.and_then(|id| id.parse().ok()))
    }

    /// The store over a driver, always the same: whether it is open, and whether it answers, is known there.
    fn store_over(&self, driver: Arc<dyn Driver>) -> Arc<Store> {
        let is_over = |store: &&Arc<Store>| Arc::ptr_eq(store.driver(), &driver);
        let drivers = self.drivers();
        if let Some(store) = drivers.values().filter_map(|named| named.store.get()).find(is_over) {
            return store.clone();
        }
        drop(drivers);
        let mut given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = given.iter().find(is_over) {
            return store.clone();
        }
        // Nobody can come with a driver again that is nowhere but here.
        given.retain(|store| Arc::strong_count(store) > 1 || Arc::strong_count(store.driver()) > 1);
        let store = Arc::new(Store::new(driver));
        given.push(store.clone());
        store
    }

    /// What sessions by hand share. They do not collect garbage on their own.
    fn backend(&self, store: Arc<Store>) -> Backend {
        let settings = Settings {
            gc_interval: None,
            ..self.0.settings.clone()
        };
        Backend {
            store,
            namespace: settings.namespace(),
            settings,
            clock: self.0.clock.clone(),
            cookie: self.0.cookie.clone(),
        }
    }

    /// The layer over the configured driver. Its expired sessions are removed every `gc_interval` from now on, until the layer, whatever it was
    /// applied to, and the manager with all its clones are dropped. They are removed once per interval, however many layers there are over one
    /// driver: the interval of the first one stands.
    ///
    /// # Errors
    ///
    /// As [`driver`](SessionManager::driver).
    pub async fn layer(&self) -> Result<SessionLayer, ConfigError> {
        let store = self.store(None).await?;
        if let Some(interval) = self.0.settings.gc_interval {
            store.sweep_every(interval);
        }
        Ok(SessionLayer::over(store, self.0.settings.clone(), self.0.clock.clone()))
    }

    /// Removes the expired sessions of the configured driver, and says how many there were.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the store is out of reach or needs more than an hour, [`ErrorKind::Driver`] when it fails or cannot be opened.
    pub async fn gc(&self) -> Result<u64> {
        self.opened().await?.collect().await
    }

    /// The live sessions of an owner (see [`Session::set_owner`]).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the store is out of reach or needs more than a minute, [`ErrorKind::Driver`] when it fails, cannot be opened,
    /// or keeps no index of owners.
    pub async fn sessions_of(&self, owner: &str) -> Result<Vec<StoredSession>> {
        let store = self.opened().await?;
        let found = store.owners(&self.0.settings.namespace())?.sessions_of(owner).await?;
        let now = self.0.clock.now();
        let live = found.into_iter().filter(|(_, record)| !record.is_expired(now));
        Ok(live.map(|(key, record)| StoredSession { key, record }).collect())
    }

    /// Destroys the sessions of an owner, all but `except`, and says how many. Requests that are using them at this moment do not bring them
    /// back, under no id: one that gives its session a new id waits until this is done. Once begun, it runs to its end though the caller is gone.
    ///
    /// The session `except` has to be stored under that id: a handler that has called [`regenerate`](Session::regenerate) before calls
    /// [`save`](Session::save) first. If another request gives it a new id at this very moment, it may end with the others.
    ///
    /// # Errors
    ///
    /// As [`sessions_of`](SessionManager::sessions_of), and [`ErrorKind::Busy`] when somebody else has been ending the sessions of the same owner for more than
    /// 10 seconds, or this process is halted again and again. Call it again then: some of the sessions may have been destroyed.
    pub async fn destroy_sessions_of(&self, owner: &str, except: Option<&SessionId>) -> Result<u64> {
        let store = self.opened().await?;
        let backend = Arc::new(self.backend(store));
        backend.store.owners(&backend.namespace)?;
        let (owner, except) = (owner.to_owned(), except.copied());
        RunToEnd::new(Box::pin(async move {
            let ended = backend.clone().end_sessions_of(&owner, except).await;
            // Whose they were is known, but not under which keys.
            backend.note_ending(None);
            ended
        }))
        .await
    }

    /// The configured driver's store, for methods that speak of sessions and not of settings.
    async fn opened(&self) -> Result<Arc<Store>> {
        self.store(None).await.map_err(|error| {
            let unavailable = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<DriverError>())
                .is_some_and(DriverError::is_unavailable);
            let kind = match unavailable {
                true => ErrorKind::Unavailable,
                false => ErrorKind::Driver,
            };
            Error::new(kind, "the session driver could not be opened").with_source(error)
        })
    }
}

fn not_opened(name: &str, error: DriverError) -> ConfigError {
    ConfigError::new(format!("the session driver `{name}` could not be opened")).with_source(error)
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// A session in the store, seen from outside.
#[derive(Clone)]
pub struct StoredSession {
    key: StoreKey,
    record: Record,
}

impl StoredSession {
    /// Where the store keeps it. Nobody can come back to the id from that, but with [`Config::raw_ids`], where it *is* the id: then it opens the
    /// session, and belongs in no page and no log.
    pub fn key(&self) -> &StoreKey {
        &self.key
    }

    /// Its content, as JSON.
    pub fn payload(&self) -> &[u8] {
        self.record.payload()
    }

    /// The moment from which it is expired.
    pub fn expires_at(&self) -> SystemTime {
        self.record.expires_at()
    }

    /// Its content, as the schema `S` sees it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Decode`] when the content cannot be read, [`ErrorKind::WrongType`] when a field holds something else.
    pub fn decode<S: SessionSchema>(&self) -> Result<S> {
        let payload = self.record.parsed();
        payload
            .check()
            .map_err(|_| Error::new(ErrorKind::Decode, "the stored session is not a JSON object"))?;
        typed::decode(payload)
    }
}

impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSession")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}
