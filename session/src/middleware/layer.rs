use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use crate::backend::Backend;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, SaveErrors, Settings};
use crate::cookie::SameSite;
use crate::driver::Driver;
use crate::error::ConfigError;
use crate::middleware::SessionService;
use crate::store::Store;

/// Gives the requests of a service their sessions. See the [module](crate::middleware).
///
/// ```
/// use axum::{Router, routing::get};
/// use session_schema::{MemoryDriver, Session, SessionLayer};
///
/// let app: Router = Router::new()
///     .route("/", get(async |session: Session| session.increment("views", 1).map(|views| views.to_string())))
///     .layer(SessionLayer::new(MemoryDriver::new()));
/// ```
#[derive(Clone)]
pub struct SessionLayer {
    store: Arc<Store>,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl SessionLayer {
    /// Sessions in `driver`, with safe settings: a cookie `session` that is `HttpOnly`, `Secure` and `SameSite=Lax`, for two hours from the last use.
    /// The driver is opened with the first request, and swept every 30 minutes.
    pub fn new(driver: impl Driver) -> Self {
        let store = Store::new(Arc::new(driver));
        Self::over(Arc::new(store), Settings::default(), Arc::new(SystemClock))
    }

    pub(crate) fn over(store: Arc<Store>, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self { store, settings, clock }
    }

    /// Takes every setting that concerns the layer from `config`.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting, or contradicts another.
    pub fn with_config(mut self, config: &Config) -> Result<Self, ConfigError> {
        let settings = config.settings()?;
        settings.check()?;
        self.settings = settings;
        Ok(self)
    }

    /// The name of the cookie, `session` unless said otherwise. `__Host-session` lets no other application under the domain plant one.
    #[must_use]
    pub fn with_cookie_name(mut self, name: impl Into<String>) -> Self {
        self.settings.cookie.name = name.into();
        self
    }

    /// The path under which browsers send the cookie, `/` unless said otherwise.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.settings.cookie.path = path.into();
        self
    }

    /// The domain to whose hosts browsers send the cookie; only to the one that set it unless said otherwise.
    #[must_use]
    pub fn with_domain(mut self, domain: impl Into<String>) -> Self {
        self.settings.cookie.domain = Some(domain.into());
        self
    }

    /// Whether browsers send the cookie over HTTPS only (and to localhost), as they do unless said otherwise.
    #[must_use]
    pub fn with_secure(mut self, secure: bool) -> Self {
        self.settings.cookie.secure = secure;
        self
    }

    /// Whether scripts are kept from the cookie, as they are unless said otherwise.
    #[must_use]
    pub fn with_http_only(mut self, http_only: bool) -> Self {
        self.settings.cookie.http_only = http_only;
        self
    }

    /// On which requests from other sites browsers send the cookie; [`SameSite::Lax`] unless said otherwise.
    #[must_use]
    pub fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.settings.cookie.same_site = same_site;
        self
    }

    /// How long a session lives without use; two hours unless said otherwise.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// How long a session lives at most, however much it is used; without limit unless said otherwise. A new id does not prolong it.
    #[must_use]
    pub fn with_absolute_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.absolute_lifetime = Some(lifetime);
        self
    }

    /// Whether browsers forget the cookie when they are closed; they do not unless said otherwise. Sessions with a
    /// [lifetime of their own](crate::Session::set_lifetime) are kept all the same.
    #[must_use]
    pub fn with_expire_on_close(mut self, expire_on_close: bool) -> Self {
        self.settings.expire_on_close = expire_on_close;
        self
    }

    /// How long one call of the store may take before it counts as out of reach; 5 seconds unless said otherwise.
    #[must_use]
    pub fn with_store_timeout(mut self, timeout: Duration) -> Self {
        self.settings.store_timeout = timeout;
        self
    }

    /// How often expired sessions are removed, on a task of its own; every 30 minutes unless said otherwise, never if zero.
    #[must_use]
    pub fn with_gc_interval(mut self, interval: Duration) -> Self {
        self.settings.gc_interval = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// How many bytes a session may have as JSON; 4 MiB unless said otherwise. A save of more fails.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// What becomes of a response whose session cannot be saved; [`SaveErrors::Fail`] unless said otherwise.
    #[must_use]
    pub fn with_save_errors(mut self, save_errors: SaveErrors) -> Self {
        self.settings.save_errors = save_errors;
        self
    }

    /// How long a request waits for [exclusive use](crate::Exclusive) of its session; 10 seconds unless said otherwise.
    #[must_use]
    pub fn with_exclusive_wait(mut self, wait: Duration) -> Self {
        self.settings.exclusive_wait = wait;
        self
    }

    /// The clock by which sessions expire; the system's unless said otherwise.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(crate) fn backend(&self) -> Result<Backend, ConfigError> {
        Ok(Backend {
            cookie: self.settings.check()?,
            store: self.store.clone(),
            settings: self.settings.clone(),
            clock: self.clock.clone(),
        })
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    /// # Panics
    ///
    /// When a setting is wrong or contradicts another, in the words of the [`ConfigError`].
    fn layer(&self, inner: S) -> Self::Service {
        match self.backend() {
            Ok(backend) => SessionService::new(inner, Arc::new(backend)),
            Err(error) => panic!("SessionLayer: {error}"),
        }
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
