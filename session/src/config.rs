//! Settings, by the names that Goravel gives them.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use serde::{Deserialize, Deserializer};

use crate::cookie::{CookieSettings, CookieWriter, HOST_NAME, PLAIN_NAME, SameSite};
use crate::error::ConfigError;
use crate::namespace::Namespace;

#[cfg(test)]
mod tests;

/// The fewest bytes a key has: less than that can be guessed.
const KEY_MIN: usize = 32;

/// In minutes: 30 days, the longest that NIST SP 800-63B-4 allows before a user has to sign in again.
const ABSOLUTE_LIFETIME: u64 = 30 * 24 * 60;

/// The settings of an application's sessions, as a file or the environment holds them.
///
/// * Names and meanings are Goravel's. So are the defaults, except those of `secure`, `cookie` and `absolute_lifetime`.
/// * [`from_env`](Config::from_env) reads each from the variable `SESSION_` and its name: `SESSION_LIFETIME=30`.
/// * With serde it is read from any format. What is left out has its default, an unknown name is an error.
/// * Contradictions, such as a `__Host-` cookie with a domain, are an error where the settings are first used:
///   `SessionManager::new`, `SessionLayer::with_config`.
/// * `Debug` shows neither `key` nor `url`, which may hold a password.
///
/// ```
/// use session_schema::Config;
///
/// let mut config: Config = serde_json::from_str(r#"{ "driver": "redis", "url": "redis://h/", "lifetime": 30 }"#)?;
/// config.cookie = "__Host-shop".into();
///
/// assert_eq!(config.lifetime, 30);
/// assert_eq!(config.same_site, "lax");
/// assert!(config.secure);
///
/// let misspelt = serde_json::from_str::<Config>(r#"{ "life_time": 30 }"#).unwrap_err();
/// assert!(misspelt.to_string().contains("expected one of `driver`, `lifetime`"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The name of the driver that keeps the sessions: `file`, `memory`, `sqlite`, `postgres`, `mysql`, `redis` (each with
    /// the feature of its name), or one that the application [registered](crate::SessionManager::extend).
    pub driver: String,
    /// Minutes without a request after which a session expires.
    pub lifetime: u64,
    /// Whether the browser drops the cookie when it closes. On the server the session expires as ever.
    pub expire_on_close: bool,
    /// The directory in which the `file` driver keeps sessions. An empty path is an error.
    pub files: PathBuf,
    /// Minutes between two removals of expired sessions from the store; with 0 or less there are none.
    pub gc_interval: i64,
    /// The cookie's name. Defaults to an empty name, which means `__Host-session` if `secure` is true, `path` is `/`
    /// and `domain` is unset, and `session` otherwise. Browsers let no other host, not even a sibling domain, set a
    /// cookie whose name begins with `__Host-`.
    pub cookie: String,
    /// The path below which browsers send the cookie.
    pub path: String,
    /// The domain to whose hosts browsers send the cookie. Without one, or with an empty one, only the host that set
    /// it gets it.
    #[serde(deserialize_with = "none_if_empty")]
    pub domain: Option<String>,
    /// Whether browsers send the cookie over HTTPS only. Chrome, Firefox and curl accept it on `http://localhost` too; Safari is reported to drop it
    /// there, so with Safari use `false` while developing.
    pub secure: bool,
    /// Whether the cookie is hidden from scripts.
    pub http_only: bool,
    /// Whether browsers send the cookie with requests from other sites: `strict`, `lax` or `none`, in any case of
    /// letters.
    pub same_site: String,
    /// Whether browsers keep a separate cookie for each site that embeds the application (CHIPS). Needs `secure`.
    /// Defaults to `false`.
    pub partitioned: bool,
    /// The address of the database or server that keeps the sessions, for drivers that have one.
    ///
    /// Over a network that you share with others, have the server's certificate checked:
    /// `postgres://...?sslmode=verify-full`, `mysql://...?ssl-mode=VERIFY_IDENTITY`, `rediss://...`. Otherwise
    /// PostgreSQL and MySQL use TLS only if the server offers it, and accept any certificate. `redis://` does not use
    /// TLS.
    #[serde(deserialize_with = "none_if_empty")]
    pub url: Option<String>,
    /// Minutes after which a session expires even if it is used. Defaults to 43,200, which is 30 days; `None` and
    /// `Some(0)` mean no limit. The earlier of this and `lifetime` applies.
    pub absolute_lifetime: Option<u64>,
    /// Whether the store sees session ids as they are, instead of hashed. Only for a store shared with another
    /// framework: a copy of such a store opens every session in it. So does whatever holds a store key, which is the id
    /// then: [`StoredSession::key`](crate::StoredSession::key), and for half a minute, under the old id, the mark of a
    /// session that was given a new one.
    pub raw_ids: bool,
    /// Keeps the sessions of this application apart from those of other applications that share its store: see
    /// [`SessionLayer::with_namespace`](crate::SessionLayer::with_namespace).
    ///
    /// `None` and an empty `SESSION_NAMESPACE` mean the cookie's name, or no namespace if that is `__Host-session` or
    /// `session`. `Some` of an empty string means no namespace.
    pub namespace: Option<String>,
    /// Reserved for the key that will encrypt sessions in the store: setting it is an error until encryption exists.
    #[serde(deserialize_with = "none_if_empty")]
    pub key: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let cookie = CookieSettings::default();
        Self {
            driver: "file".into(),
            lifetime: 120,
            expire_on_close: false,
            files: "storage/framework/sessions".into(),
            gc_interval: 30,
            cookie: String::new(),
            path: cookie.path,
            domain: cookie.domain,
            secure: cookie.secure,
            http_only: cookie.http_only,
            same_site: "lax".into(),
            partitioned: cookie.partitioned,
            url: None,
            absolute_lifetime: Some(ABSOLUTE_LIFETIME),
            raw_ids: false,
            namespace: None,
            key: None,
        }
    }
}

impl Config {
    /// The settings in the environment: `SESSION_DRIVER`, `SESSION_LIFETIME` and so on.
    ///
    /// A variable that is not set or empty leaves its default. Yes-or-no settings are `true` or `false`, and `1` or
    /// `0`, `yes` or `no`, `on` or `off`, in any case of letters. Other variables that begin with `SESSION_` are left
    /// alone, without a warning: they belong to other programs, as `SESSION_MANAGER` does on every Linux desktop.
    ///
    /// # Errors
    ///
    /// Names the variable whose value is malformed, and what to write. It does not repeat the value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(std::env::var_os)
    }

    fn from_lookup(lookup: impl Fn(&'static str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let env = Environment(lookup);
        let default = Self::default();
        Ok(Self {
            driver: env.text("SESSION_DRIVER")?.unwrap_or(default.driver),
            lifetime: env.parsed("SESSION_LIFETIME", MINUTES)?.unwrap_or(default.lifetime),
            expire_on_close: env.flag("SESSION_EXPIRE_ON_CLOSE")?.unwrap_or(default.expire_on_close),
            files: env.set("SESSION_FILES").map_or(default.files, PathBuf::from),
            gc_interval: env
                .parsed("SESSION_GC_INTERVAL", "a whole number of minutes, or 0 to turn it off")?
                .unwrap_or(default.gc_interval),
            cookie: env.text("SESSION_COOKIE")?.unwrap_or(default.cookie),
            path: env.text("SESSION_PATH")?.unwrap_or(default.path),
            domain: env.text("SESSION_DOMAIN")?,
            secure: env.flag("SESSION_SECURE")?.unwrap_or(default.secure),
            http_only: env.flag("SESSION_HTTP_ONLY")?.unwrap_or(default.http_only),
            same_site: env.text("SESSION_SAME_SITE")?.map_or(Ok(default.same_site), |text| {
                same_site(&text, "SESSION_SAME_SITE").map(|_| text)
            })?,
            partitioned: env.flag("SESSION_PARTITIONED")?.unwrap_or(default.partitioned),
            url: env.text("SESSION_URL")?,
            absolute_lifetime: env
                .parsed(
                    "SESSION_ABSOLUTE_LIFETIME",
                    "a whole number of minutes, or `0` for no limit",
                )?
                .or(default.absolute_lifetime),
            raw_ids: env.flag("SESSION_RAW_IDS")?.unwrap_or(default.raw_ids),
            namespace: env.text("SESSION_NAMESPACE")?,
            key: env.text("SESSION_KEY")?,
        })
    }

    /// The settings a layer works with.
    ///
    /// # Errors
    ///
    /// Names a setting that is malformed by itself. Contradictions between settings are found by [`Settings::check`].
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        self.check_key()?;
        self.check_files()?;
        Ok(Settings {
            cookie: CookieSettings {
                name: Some(self.cookie.clone()).filter(|name| !name.is_empty()),
                path: self.path.clone(),
                domain: self.domain.clone().filter(|domain| !domain.is_empty()),
                secure: self.secure,
                http_only: self.http_only,
                same_site: same_site(&self.same_site, "same_site")?,
                partitioned: self.partitioned,
            },
            lifetime: minutes(self.lifetime),
            absolute_lifetime: limit(self.absolute_lifetime.map_or(Duration::ZERO, minutes)),
            expire_on_close: self.expire_on_close,
            raw_ids: self.raw_ids,
            namespace: self.namespace.clone(),
            gc_interval: u64::try_from(self.gc_interval)
                .ok()
                .filter(|&interval| interval > 0)
                .map(minutes),
            ..Settings::default()
        })
    }

    /// A key that was set and not used would be worse than none: the sessions would lie in the clear, against what
    /// the settings say.
    fn check_key(&self) -> Result<(), ConfigError> {
        let Some(keys) = self.key.as_deref().filter(|keys| !keys.is_empty()) else {
            return Ok(());
        };
        if !keys.split(',').all(is_key) {
            return Err(ConfigError::new(format!(
                "`key` is malformed: write base64 of at least {KEY_MIN} random bytes (`openssl rand -base64 32`), \
                 older keys after commas"
            )));
        }
        Err(ConfigError::new(
            "`key` is set, but encryption is not part of this build: unset it, for sessions would lie in the clear",
        ))
    }

    /// Whichever driver is the configured one: that of files can be asked for by its name.
    fn check_files(&self) -> Result<(), ConfigError> {
        if self.files.as_os_str().is_empty() {
            return Err(ConfigError::new(
                "`files` is empty, so that sessions would lie wherever the application was started: \
                 write a directory of their own, such as `storage/framework/sessions`",
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without `..`, so that a new field must be shown or left out on purpose.
        let Self {
            driver,
            lifetime,
            expire_on_close,
            files,
            gc_interval,
            cookie,
            path,
            domain,
            secure,
            http_only,
            same_site,
            partitioned,
            url,
            absolute_lifetime,
            raw_ids,
            namespace,
            key,
        } = self;
        f.debug_struct("Config")
            .field("driver", driver)
            .field("lifetime", lifetime)
            .field("expire_on_close", expire_on_close)
            .field("files", files)
            .field("gc_interval", gc_interval)
            .field("cookie", cookie)
            .field("path", path)
            .field("domain", domain)
            .field("secure", secure)
            .field("http_only", http_only)
            .field("same_site", same_site)
            .field("partitioned", partitioned)
            // Not even its host: where a malformed address has its password, nobody knows.
            .field("url", &url.as_ref().map(|_| Hidden))
            .field("absolute_lifetime", absolute_lifetime)
            .field("raw_ids", raw_ids)
            .field("namespace", namespace)
            .field("key", &key.as_ref().map(|_| Hidden))
            .finish()
    }
}

/// Stands for a secret in `Debug`.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// What becomes of a request whose session cannot be loaded, because the store is out of reach or answers with an error.
///
/// ```
/// use session_schema::{LoadErrors, MemoryDriver, SessionLayer};
///
/// # let driver = MemoryDriver::new();
/// // A shop window goes on though nobody can be told from anybody else; baskets do not.
/// let layer = SessionLayer::new(driver).with_load_errors(LoadErrors::Empty);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadErrors {
    /// The error is the response, 503 when the store is out of reach and 500 otherwise, and the handler is not called: it would take
    /// the visitor for another.
    #[default]
    Fail,
    /// The handler is called, and its session is empty and [read-only](crate::Session::is_read_only): the visitor looks like one who is not
    /// signed in.
    ///
    /// * Nothing is saved, so the stored session is as it was when the store is back; no cookie is sent; a warning is logged.
    /// * Everything that changes a session, `invalidate` and `regenerate` among it, fails with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable), which is 503 as a
    ///   response. A sign-out is not confirmed that did not take place.
    /// * The [token](crate::Session::token) is one that no request can send: forms of this page will be refused, and so are those sent now.
    /// * `Exclusive` sessions are still an error: who cannot read the session cannot have it alone.
    /// * What was changed before the session was loaded has no place then, so loading it is an error as well.
    Empty,
}

/// What becomes of a response whose session could not be saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SaveErrors {
    /// The error is the response, with its [status](crate::Error::status). Nobody is told that something was done which was not.
    #[default]
    Fail,
    /// The handler's response goes out, and the error is in the log only. What another request is the reason for is a response all the same:
    /// [`ErrorKind::Superseded`](crate::ErrorKind::Superseded) and [`ErrorKind::SignInRefused`](crate::ErrorKind::SignInRefused).
    Log,
}

/// What a layer works with: a [`Config`] understood, or what its builder was told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub cookie: CookieSettings,
    pub lifetime: Duration,
    pub absolute_lifetime: Option<Duration>,
    pub expire_on_close: bool,
    pub raw_ids: bool,
    /// `None` means the cookie's name.
    pub namespace: Option<String>,
    /// `None`: expired sessions are not removed by this process.
    pub gc_interval: Option<Duration>,
    /// How long one call of the store may take.
    pub store_timeout: Duration,
    /// The largest payload that is stored, in bytes.
    pub max_bytes: usize,
    pub load_errors: LoadErrors,
    pub save_errors: SaveErrors,
    /// How long a request waits for exclusive use of its session.
    pub exclusive_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cookie: CookieSettings::default(),
            lifetime: minutes(120),
            absolute_lifetime: Some(minutes(ABSOLUTE_LIFETIME)),
            expire_on_close: false,
            raw_ids: false,
            namespace: None,
            gc_interval: Some(minutes(30)),
            store_timeout: Duration::from_secs(5),
            max_bytes: 1024 * 1024,
            load_errors: LoadErrors::Fail,
            save_errors: SaveErrors::Fail,
            exclusive_wait: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// What writes the cookie, once every setting has been checked.
    ///
    /// # Errors
    ///
    /// Names the first setting that makes no sense, alone or beside the others.
    pub(crate) fn check(&self) -> Result<CookieWriter, ConfigError> {
        let impossible = [
            (
                self.lifetime.is_zero(),
                "`lifetime` is 0, so that every session would expire at once: write for how long, such as 120 minutes",
            ),
            (
                self.gc_interval.is_some_and(|interval| interval.is_zero()),
                "`gc_interval` is 0: leave it unset to turn it off",
            ),
            (
                self.store_timeout.is_zero(),
                "`store_timeout` is 0, so that no call of the store could succeed: write a few seconds",
            ),
            (
                self.max_bytes == 0,
                "`max_bytes` is 0, so that no session could be stored: write the size of the largest one, in bytes",
            ),
            (
                self.raw_ids && self.namespace.as_ref().is_some_and(|name| !name.is_empty()),
                "`namespace` is set, but with `raw_ids` the store sees ids as they are: unset one of the two",
            ),
            (
                self.namespace.as_ref().is_some_and(|name| !Namespace::is_valid(name)),
                "`namespace` holds U+001F, which separates it from the names of owners: write a name without it",
            ),
        ];
        match impossible.iter().find(|(is_so, _)| *is_so) {
            Some((_, why)) => Err(ConfigError::new(*why)),
            None => self.cookie.check(),
        }
    }

    /// Returns how ids and owners are written in the store.
    pub(crate) fn namespace(&self) -> Namespace {
        if self.raw_ids {
            return Namespace::Raw;
        }
        match self.namespace.as_deref().unwrap_or_else(|| self.cookie.name()) {
            "" => Namespace::Nameless,
            HOST_NAME | PLAIN_NAME if self.namespace.is_none() => Namespace::Nameless,
            name => Namespace::Named(name.into()),
        }
    }
}

/// What a setting counted in minutes has to be.
const MINUTES: &str = "a whole number of minutes, such as `120`";

/// Looks up variables of the environment, or of a test.
struct Environment<L>(L);

impl<L: Fn(&'static str) -> Option<OsString>> Environment<L> {
    /// The value of a variable that is set. Empty ones count as not set: `.env` files list them so.
    fn set(&self, name: &'static str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        // The `OsString` that comes back is dropped: it may be a secret.
        self.set(name)
            .map(OsString::into_string)
            .transpose()
            .map_err(|_| ConfigError::new(format!("`{name}` is not UTF-8")))
    }

    fn parsed<T: FromStr>(&self, name: &'static str, expected: &str) -> Result<Option<T>, ConfigError> {
        self.understood(name, expected, |text| text.parse().ok())
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        self.understood(name, "`true` or `false`", |text| {
            let is_one_of = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
            let yes = is_one_of(["true", "1", "yes", "on"]);
            let no = is_one_of(["false", "0", "no", "off"]);
            (yes || no).then_some(yes)
        })
    }

    fn understood<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match parse(text.trim()) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::new(format!("`{name}` is malformed: write {expected}"))),
        }
    }
}

/// `setting` is what the one who wrote `text` calls it.
fn same_site(text: &str, setting: &str) -> Result<SameSite, ConfigError> {
    let known = [
        ("strict", SameSite::Strict),
        ("lax", SameSite::Lax),
        ("none", SameSite::None),
    ];
    known
        .iter()
        .find(|(name, _)| text.trim().eq_ignore_ascii_case(name))
        .map(|&(_, same_site)| same_site)
        .ok_or_else(|| ConfigError::new(format!("`{setting}` is malformed: write `strict`, `lax` or `none`")))
}

/// Base64 in either alphabet, padded or not.
fn is_key(text: &str) -> bool {
    let text = text.trim().trim_end_matches('=').as_bytes();
    BASE64_NOPAD
        .decode(text)
        .or_else(|_| BASE64URL_NOPAD.decode(text))
        .is_ok_and(|key| key.len() >= KEY_MIN)
}

/// An empty text means none: Goravel's default for the domain is `""`.
fn none_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Turns a duration into a limit. Zero means no limit.
pub(crate) fn limit(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes.saturating_mul(60))
}
