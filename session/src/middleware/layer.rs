use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tower_layer::Layer;

use crate::backend::Backend;
use crate::clock::{Clock, SharedClock};
use crate::config::{Config, LoadErrors, SaveErrors, Settings, limit};
use crate::cookie::SameSite;
use crate::driver::Driver;
use crate::error::ConfigError;
use crate::middleware::SessionService;
use crate::store::Store;

/// Gives every request of a service a session, and saves it when the handler has returned.
///
/// * A request that does not ask for its session costs a look at its `Cookie` header: nothing is parsed, read or written.
/// * The session is saved before the response goes out, whatever its status. If that fails the response becomes the error, unless
///   [`SaveErrors::Log`] says otherwise. A handler that panics and a service that fails save nothing. Once begun, a save runs to its end though
///   the client hangs up.
/// * The cookie is set when it has to change, and removed only by the request whose handler ended its session: a response that merely
///   found a dead id may be a slow one, and would remove the cookie that a sign-in has set meanwhile. Where it is set, it replaces what
///   the handler has set under its name, for whatever path; cookies of other names stay.
/// * A response that depends on the session carries `Vary: Cookie`. If the session has an owner, and the handler has
///   set no `Cache-Control`, the response carries `Cache-Control: no-store`, so that the browser's back button shows
///   nothing after a sign-out.
/// * A response that sets the cookie is kept out of shared caches, which would give one visitor's session to everybody
///   ([RFC 9111 section 3](https://www.rfc-editor.org/rfc/rfc9111#section-3)). The layer adds `Cache-Control: private`,
///   unless the handler has set `private`, `no-store` or `no-cache`. It removes `public` and `s-maxage`, with a
///   warning.
/// * A response that the library makes itself has no body. It has an [`ErrorKind`](crate::ErrorKind) as an extension,
///   so `axum::middleware::map_response` outside the layer can turn it into a page.
/// * An id that the server has not issued is never adopted, and a malformed cookie is no error. Names are compared byte by byte. Of several cookies of
///   the name, the first eight that are well-formed are looked up in order, and the first that leads to a session wins.
/// * A store that is out of reach, or does not answer in [time](SessionLayer::with_store_timeout), is a 503 for requests that use their session, unless
///   [`LoadErrors::Empty`] says otherwise; all others go on. After five such calls in a row further ones fail at once, and one request now and
///   then finds out whether the store answers again: after a second at first, later every eight seconds at most. A warning says when that begins, a line when it ends.
/// * Expired means that the moment has come. An expiry is moved, in the store and in the browser, only when a tenth of the lifetime has
///   gone by since it was last moved.
/// * Layers can be nested. An inner layer that differs from the outer one has a session of its own, and extractors
///   inside it find that session. Give its cookie another name; otherwise requests through both layers are refused with
///   500 and a line in the log. Two layers are the same if one is a clone of the other, or if they share the same `Arc`
///   of a driver and the same [namespace](SessionLayer::with_namespace). Then the inner layer uses the outer one's
///   session, and a warning says so once.
///
/// ```
/// use axum::{Router, routing::get};
/// use session_schema::{MemoryDriver, Session, SessionLayer};
///
/// let app: Router = Router::new()
///     .route("/", get(async |session: Session| session.increment("views", 1).map(|views| views.to_string())))
///     .layer(SessionLayer::new(MemoryDriver::new()));
/// ```
///
/// # Without Axum
///
/// It goes around every tower service of `http` requests, of whatever body, whose response body is [`Default`]: where a session cannot be saved, the
/// response becomes one with an empty body. No extractor loads the session there, so the service does: [`Session::of`](crate::Session::of) is
/// the session of its request, [`start`](crate::Session::start) loads it.
///
/// ```
/// use http::{Request, Response};
/// use session_schema::{MemoryDriver, Result, Session, SessionLayer};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// async fn count(request: Request<()>) -> Result<Response<String>> {
///     let session = Session::of(&request).expect("the layer gives every request a session");
///     session.start().await?;
///     Ok(Response::new(format!("seen {} times", session.increment("views", 1)?)))
/// }
///
/// let service = SessionLayer::new(MemoryDriver::new()).layer(service_fn(count));
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let response = service.oneshot(Request::new(())).await?;
/// assert_eq!(response.body(), "seen 1 times");
/// # Ok::<(), session_schema::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct SessionLayer(Arc<Inner>);

/// Shared by the clones: Axum clones a layer and applies it anew for every connection, to each route.
struct Inner {
    store: Arc<Store>,
    settings: Settings,
    clock: SharedClock,
    /// What the services share, made when the layer is first applied.
    backend: OnceLock<Arc<Backend>>,
}

impl SessionLayer {
    /// Keeps sessions in `driver`, with safe settings.
    ///
    /// The cookie is named `__Host-session` and is `HttpOnly`, `Secure` and `SameSite=Lax`. A session lives for two
    /// hours after its last use, and for 30 days at most. The driver is opened with the first request, and swept every
    /// 30 minutes.
    pub fn new(driver: impl Driver) -> Self {
        let store = Store::new(Arc::new(driver));
        Self::over(Arc::new(store), Settings::default(), SharedClock::default())
    }

    pub(crate) fn over(store: Arc<Store>, settings: Settings, clock: SharedClock) -> Self {
        Self(Arc::new(Inner {
            store,
            settings,
            clock,
            backend: OnceLock::new(),
        }))
    }

    /// A layer with other settings.
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::over(self.0.store.clone(), settings, self.0.clock.clone())
    }

    /// Replaces every setting that a [`Config`] has, also those that a `with_` method set before, so call it first. Ignores `Config::driver`; the layer
    /// already has one.
    ///
    /// # Errors
    ///
    /// What is wrong with a setting, or contradicts another.
    pub fn with_config(self, config: &Config) -> Result<Self, ConfigError> {
        let old = &self.0.settings;
        let settings = Settings {
            store_timeout: old.store_timeout,
            max_bytes: old.max_bytes,
            load_errors: old.load_errors,
            save_errors: old.save_errors,
            exclusive_wait: old.exclusive_wait,
            ..config.settings()?
        };
        settings.check()?;
        Ok(self.with(|changed| *changed = settings))
    }

    /// Sets the name of the cookie.
    ///
    /// Defaults to `__Host-session` if the cookie is `Secure`, its path is `/` and it has no domain, as is the case by
    /// default. Browsers let no other host set such a cookie, so a sibling domain cannot plant an id. Defaults to
    /// `session` otherwise.
    #[must_use]
    pub fn with_cookie_name(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.cookie.name = Some(name.into()))
    }

    /// The path under which browsers send the cookie, `/` unless said otherwise.
    #[must_use]
    pub fn with_path(self, path: impl Into<String>) -> Self {
        self.with(|settings| settings.cookie.path = path.into())
    }

    /// The domain to whose hosts browsers send the cookie; only to the one that set it unless said otherwise.
    #[must_use]
    pub fn with_domain(self, domain: impl Into<String>) -> Self {
        self.with(|settings| settings.cookie.domain = Some(domain.into()))
    }

    /// Whether browsers send the cookie over HTTPS only, as they do unless said otherwise. Chrome, Firefox and curl accept it on `http://localhost` too;
    /// Safari is reported to drop it there, so with Safari use `false` while developing.
    #[must_use]
    pub fn with_secure(self, secure: bool) -> Self {
        self.with(|settings| settings.cookie.secure = secure)
    }

    /// Whether scripts are kept from the cookie, as they are unless said otherwise.
    #[must_use]
    pub fn with_http_only(self, http_only: bool) -> Self {
        self.with(|settings| settings.cookie.http_only = http_only)
    }

    /// On which requests from other sites browsers send the cookie; [`SameSite::Lax`] unless said otherwise.
    #[must_use]
    pub fn with_same_site(self, same_site: SameSite) -> Self {
        self.with(|settings| settings.cookie.same_site = same_site)
    }

    /// Sets whether browsers keep a separate cookie for each site that embeds the application
    /// ([CHIPS](https://developer.mozilla.org/en-US/docs/Web/Privacy/Guides/Privacy_sandbox/Partitioned_cookies)).
    /// Defaults to `false`.
    ///
    /// The cookie has to be `Secure`. For requests from other sites it also has to be [`SameSite::None`].
    #[must_use]
    pub fn with_partitioned(self, partitioned: bool) -> Self {
        self.with(|settings| settings.cookie.partitioned = partitioned)
    }

    /// Sets how long a session lives without use. Defaults to two hours.
    #[must_use]
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        self.with(|settings| settings.lifetime = lifetime)
    }

    /// Sets how long a session lives at most, however much it is used. Defaults to 30 days; zero means no limit.
    ///
    /// A new id from [`regenerate`](crate::Session::regenerate) does not prolong the session.
    #[must_use]
    pub fn with_absolute_lifetime(self, lifetime: Duration) -> Self {
        self.with(|settings| settings.absolute_lifetime = limit(lifetime))
    }

    /// Sets whether browsers forget the cookie when they are closed. Defaults to `false`.
    ///
    /// Does not apply to sessions with an [expiry of their own](crate::Session::set_expiry).
    #[must_use]
    pub fn with_expire_on_close(self, expire_on_close: bool) -> Self {
        self.with(|settings| settings.expire_on_close = expire_on_close)
    }

    /// Sets how long the store may give no answer before it counts as out of reach. Defaults to 5 seconds for a call.
    ///
    /// Calls for [all sessions of an owner](crate::SessionManager::sessions_of) have a minute, and a garbage collection
    /// has an hour.
    ///
    /// Some stores take only a few calls at a time: SQLite has one writer, and a pool has a fixed number of
    /// connections. A call that waits for its turn behind others of this process does not fail because of that wait.
    /// Its time starts again whenever the store answers one of the others, and again when its turn comes. It fails if
    /// the store answers none of them for this long, and after six times as long in any case.
    ///
    /// A pool given to `from_pool` has a time limit of its own, which applies if the application's other queries use
    /// all connections.
    #[must_use]
    pub fn with_store_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.store_timeout = timeout)
    }

    /// How often expired sessions are removed, on a task of its own; every 30 minutes unless said otherwise, never if zero. Of several layers over one
    /// driver of a [`SessionManager`](crate::SessionManager) the first to be used decides.
    #[must_use]
    pub fn with_gc_interval(self, interval: Duration) -> Self {
        self.with(|settings| settings.gc_interval = Some(interval).filter(|interval| !interval.is_zero()))
    }

    /// Sets how many bytes a session may have as JSON. Defaults to 1 MiB.
    ///
    /// Saving a larger session fails. A larger session that is already stored reads as empty, with a warning: if the
    /// limit is lowered, visitors with larger sessions are signed out.
    #[must_use]
    pub fn with_max_bytes(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_bytes = bytes)
    }

    /// What becomes of a request whose session cannot be loaded; [`LoadErrors::Fail`] unless said otherwise.
    #[must_use]
    pub fn with_load_errors(self, load_errors: LoadErrors) -> Self {
        self.with(|settings| settings.load_errors = load_errors)
    }

    /// What becomes of a response whose session cannot be saved; [`SaveErrors::Fail`] unless said otherwise.
    #[must_use]
    pub fn with_save_errors(self, save_errors: SaveErrors) -> Self {
        self.with(|settings| settings.save_errors = save_errors)
    }

    /// How long a request waits for [exclusive use](crate::Exclusive) of its session; 10 seconds unless said otherwise.
    #[must_use]
    pub fn with_exclusive_wait(self, wait: Duration) -> Self {
        self.with(|settings| settings.exclusive_wait = wait)
    }

    /// Keeps the sessions of this application apart from those of other applications that share its store.
    ///
    /// A session id of one application is useless in another, and "all sessions of user 42" finds only those of this
    /// application. The namespace is part of what the store sees of ids and owners.
    /// [`Session::owner`](crate::Session::owner) returns the owner without it.
    ///
    /// Defaults to the name of the cookie, or to no namespace if that is one of the default names, `__Host-session` or
    /// `session`. So two applications with default names that share a store share their sessions, unless each sets a
    /// namespace. An empty name means no namespace. A new namespace ends all sessions, because they are not found under
    /// it.
    ///
    /// A namespace cannot be combined with [`Config::raw_ids`]. It must not contain U+001F, which separates it from
    /// owners in the store.
    #[must_use]
    pub fn with_namespace(self, namespace: impl Into<String>) -> Self {
        self.with(|settings| settings.namespace = Some(namespace.into()))
    }

    /// Sets the clock by which sessions expire. Defaults to the system's clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self::over(self.0.store.clone(), self.0.settings.clone(), SharedClock::new(clock))
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    /// # Panics
    ///
    /// When a setting is wrong or contradicts another, in the words of the [`ConfigError`].
    fn layer(&self, inner: S) -> Self::Service {
        let backend = self.0.backend.get_or_init(|| Arc::new(self.0.backend()));
        SessionService::new(inner, backend.clone())
    }
}

impl Inner {
    fn backend(&self) -> Backend {
        match self.settings.check() {
            Ok(cookie) => Backend {
                cookie,
                store: self.store.clone(),
                namespace: self.settings.namespace(),
                settings: self.settings.clone(),
                clock: self.clock.clone(),
            },
            Err(error) => panic!("SessionLayer: {error}"),
        }
    }
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLayer")
            .field("store", &self.0.store)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "axum", feature = "memory"))]
mod tests {
    use super::*;
    use crate::{MemoryDriver, Session};
    use axum::body::Body;
    use axum::{Router, routing::get};
    use http::{Request, header::SET_COOKIE};
    use tower::ServiceExt;

    async fn cookie_of(layer: SessionLayer) -> String {
        let app = Router::new().route("/", get(async |session: Session| session.put("a", 1)));
        let response = app.layer(layer).oneshot(Request::new(Body::empty())).await.unwrap();
        response.headers()[SET_COOKIE].to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_layer_that_was_applied_can_be_given_other_settings() {
        let layer = SessionLayer::new(MemoryDriver::new()).with_path("/shop");
        let before = cookie_of(layer.clone()).await;
        assert!(before.starts_with("session="), "no `__Host-` with a path: {before}");
        let changed = cookie_of(layer.clone().with_cookie_name("other")).await;
        assert!(
            changed.starts_with("other=") && changed.contains("Path=/shop"),
            "{changed}"
        );
        assert!(cookie_of(layer).await.starts_with("session="));
    }
}
