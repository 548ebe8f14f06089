//! Between a session id and the headers `Cookie` and `Set-Cookie`.
//!
//! * [`CookieSettings`] are checked once, when the layer is built: what a browser would ignore or refuse is an error
//!   there.
//! * [`CookieWriter`] holds the attributes rendered, so that setting a cookie copies four strings.
//! * [`candidates`] finds ids in what a browser sent. Whatever else is in there is no error: it comes from anyone.
//!
//! The rules are those of [RFC 6265] and of its successor, which browsers follow already ([RFC 6265bis]).
//!
//! [RFC 6265]: https://www.rfc-editor.org/rfc/rfc6265
//! [RFC 6265bis]: https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cookie::Cookie;
use http::HeaderValue;
use httpdate::HttpDate;

use crate::clock::end_of_time;
use crate::error::ConfigError;
use crate::id::SessionId;

#[cfg(test)]
mod tests;

/// The default name of the cookie if the rules of the prefix hold: `Secure`, `Path=/`, no domain.
pub(crate) const HOST_NAME: &str = "__Host-session";
/// The default name of the cookie if those rules do not hold.
pub(crate) const PLAIN_NAME: &str = "session";
/// Browsers drop a cookie whose name and value together have more bytes than this (RFC 6265bis section 5.6).
const NAME_AND_VALUE_MAX: usize = 4096;
/// Browsers ignore an attribute whose value has more bytes than this (RFC 6265bis section 5.6).
const ATTRIBUTE_MAX: usize = 1024;
/// The longest name and the longest label of a host (RFC 1035 section 2.3.4).
const DOMAIN_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// On which requests from other sites a browser sends the session's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SameSite {
    /// On none: who follows a link from another site arrives without a session.
    Strict,
    /// Only when the visitor navigates to the application, by a link for example. What browsers do unless told
    /// otherwise.
    #[default]
    Lax,
    /// On all of them. Browsers want the cookie to be `Secure` then, and only a CSRF token tells requests apart.
    None,
}

impl From<SameSite> for cookie::SameSite {
    fn from(same_site: SameSite) -> Self {
        match same_site {
            SameSite::Strict => Self::Strict,
            SameSite::Lax => Self::Lax,
            SameSite::None => Self::None,
        }
    }
}

/// Name and attributes of the session's cookie, as the application wrote them.
#[derive(Clone, Debug)]
pub(crate) struct CookieSettings {
    /// `None` means the safest name that the other settings allow.
    pub name: Option<String>,
    pub path: String,
    pub domain: Option<String>,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    pub partitioned: bool,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self {
            name: None,
            path: "/".into(),
            domain: None,
            secure: true,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
        }
    }
}

impl CookieSettings {
    /// The name that was set. Otherwise [`HOST_NAME`] if browsers accept it, so that no sibling domain can plant an id,
    /// and [`PLAIN_NAME`] if they do not.
    pub(crate) fn name(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None if self.secure && self.path == "/" && self.domain.is_none() => HOST_NAME,
            None => PLAIN_NAME,
        }
    }

    /// What writes the cookie.
    ///
    /// # Errors
    ///
    /// The first setting that is malformed or contradicts another one, so that a browser would ignore it or the cookie.
    pub(crate) fn check(&self) -> Result<CookieWriter, ConfigError> {
        check_name(self.name())?;
        check_path(&self.path)?;
        self.domain.as_deref().map_or(Ok(()), check_domain)?;
        self.check_prefix()?;
        if self.same_site == SameSite::None && !self.secure {
            return Err(ConfigError::new(
                "`same_site` is none, which browsers accept only of secure cookies: \
                 set `secure` to true, or `same_site` to lax or strict",
            ));
        }
        if self.partitioned && !self.secure {
            return Err(ConfigError::new(
                "`partitioned` is true, which browsers accept only of secure cookies: set `secure` to true, or `partitioned` to false",
            ));
        }
        Ok(CookieWriter::new(self))
    }

    /// Whether the cookie keeps what its name promises. Browsers refuse it otherwise.
    fn check_prefix(&self) -> Result<(), ConfigError> {
        let Some(prefix) = Prefix::of(self.name()) else {
            return Ok(());
        };
        let promise = if !self.secure {
            "`secure` is true"
        } else if prefix.http_only && !self.http_only {
            "`http_only` is true"
        } else if prefix.host && self.path != "/" {
            "`path` is `/`"
        } else if prefix.host && self.domain.is_some() {
            "`domain` is unset"
        } else {
            return Ok(());
        };
        Err(ConfigError::new(format!(
            "`cookie`: browsers refuse a name that begins with `{}` unless {promise}: change that, or the name",
            prefix.text
        )))
    }
}

/// The beginning of a name by which a cookie promises its attributes (RFC 6265bis section 4.1.3, and for `Http` its
/// successor, draft-ietf-httpbis-layered-cookies). All of them promise `Secure`.
struct Prefix {
    text: &'static str,
    /// Promises to belong to this host alone: `Path=/` and no `Domain`.
    host: bool,
    http_only: bool,
}

#[rustfmt::skip]
const PREFIXES: [Prefix; 4] = [
    // Before `__Host-`, which it begins with.
    Prefix { text: "__Host-Http-", host: true, http_only: true },
    Prefix { text: "__Host-", host: true, http_only: false },
    Prefix { text: "__Http-", host: false, http_only: true },
    Prefix { text: "__Secure-", host: false, http_only: false },
];

impl Prefix {
    /// The prefix `name` has in any case of letters, which is how browsers look for it.
    fn of(name: &str) -> Option<&'static Self> {
        PREFIXES.iter().find(|prefix| {
            name.get(..prefix.text.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.text))
        })
    }
}

/// Writes `Set-Cookie`.
///
/// Its values are marked sensitive: their `Debug` shows nothing, and HTTP/2 keeps them out of its compression tables
/// (RFC 7541 section 7.1.3).
#[derive(Clone, Debug)]
pub(crate) struct CookieWriter {
    name: Box<str>,
    /// The cookie as the `cookie` crate renders it, without a value: `session=; HttpOnly; SameSite=Lax; Secure;
    /// Path=/`.
    template: Box<str>,
    removal: HeaderValue,
    /// The last expiry that was written: whoever begins a session in the same second has the same.
    last: Arc<Mutex<RenderedExpiry>>,
}

impl CookieWriter {
    /// `settings` must have been checked.
    fn new(settings: &CookieSettings) -> Self {
        let mut cookie = Cookie::build((settings.name(), ""))
            .path(settings.path.as_str())
            .secure(settings.secure)
            .http_only(settings.http_only)
            .same_site(settings.same_site.into())
            .partitioned(settings.partitioned)
            .build();
        if let Some(domain) = &settings.domain {
            cookie.set_domain(domain.as_str());
        }
        let template = cookie.to_string();
        let mut removal = template.clone();
        removal += &Expiry::new(UNIX_EPOCH, UNIX_EPOCH).to_string();
        Self {
            name: settings.name().into(),
            template: template.into(),
            removal: HeaderValue::try_from(removal).expect("the settings were checked to be visible ASCII"),
            last: Arc::default(),
        }
    }

    /// The cookie's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The cookie that holds `id`, until `expiry`: the present moment and the moment the session expires. Without an
    /// expiry the browser drops it when it closes.
    pub(crate) fn set(&self, id: &SessionId, expiry: Option<(SystemTime, SystemTime)>) -> HeaderValue {
        let Some((now, expires_at)) = expiry else {
            return self.value(id, "");
        };
        let expiry = Expiry::new(now, expires_at);
        match self.last.try_lock() {
            Ok(mut last) => self.value(id, last.text_of(expiry)),
            Err(_) => self.value(id, RenderedExpiry::default().text_of(expiry)),
        }
    }

    fn value(&self, id: &SessionId, expiry: &str) -> HeaderValue {
        let (name, attributes) = self.template.split_at(self.name.len() + "=".len());
        let parts = [name, id.as_str(), attributes, expiry];
        // `concat` makes it of the exact size, because a larger buffer would be reallocated or boxed once more inside `HeaderValue`.
        let mut value = HeaderValue::try_from(parts.concat()).expect("the settings were checked to be visible ASCII");
        value.set_sensitive(true);
        value
    }

    /// The cookie that makes a browser forget the session's: the same name, path and domain, no value, expired in 1970.
    pub(crate) fn remove(&self) -> HeaderValue {
        self.removal.clone()
    }
}

/// When a browser drops the cookie, said in both ways, because old clients know `Expires` only and the others prefer
/// `Max-Age`, which does not depend on their clock.
///
/// Both are rounded up to seconds: a client that dropped the cookie before the server drops the session would end it
/// early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Expiry {
    max_age: u64,
    /// Seconds since 1970.
    expires: u64,
}

impl Expiry {
    fn new(now: SystemTime, expires_at: SystemTime) -> Self {
        let expires_at = expires_at.min(end_of_time());
        Self {
            max_age: seconds_between(now, expires_at),
            expires: seconds_between(UNIX_EPOCH, expires_at),
        }
    }
}

/// The two attributes.
impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expires = HttpDate::from(UNIX_EPOCH + Duration::from_secs(self.expires));
        write!(f, "; Max-Age={}; Expires={expires}", self.max_age)
    }
}

/// An expiry and its text, once there was one.
#[derive(Debug, Default)]
struct RenderedExpiry {
    expiry: Expiry,
    text: String,
}

impl RenderedExpiry {
    fn text_of(&mut self, expiry: Expiry) -> &str {
        if self.text.is_empty() || self.expiry != expiry {
            self.text = expiry.to_string();
            self.expiry = expiry;
        }
        &self.text
    }
}

/// The seconds from `start` to `end`, rounded up, or 0 when `end` comes first.
fn seconds_between(start: SystemTime, end: SystemTime) -> u64 {
    let duration = end.duration_since(start).unwrap_or_default();
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Every well-formed id that the `Cookie` headers hold under `name`, in the order they were sent.
///
/// A browser sends several when cookies of other paths or domains have the name as well. Which of them is a session
/// only the store knows; how many are tried is the caller's to bound.
///
/// Names are compared byte by byte and not decoded, as browsers do when they look at prefixes: `%5F%5FHost-id` is not
/// `__Host-id`. What is not an id (an empty value, a quoted one, one of another length) is skipped. Each call
/// scans from the start; nothing is allocated.
pub(crate) fn candidates<'a>(
    headers: impl Iterator<Item = &'a HeaderValue> + 'a,
    name: &'a str,
) -> impl Iterator<Item = SessionId> + 'a {
    headers.flat_map(|header| pairs(header.as_bytes())).filter_map(|pair| {
        pair.trim_ascii()
            .strip_prefix(name.as_bytes())?
            .strip_prefix(b"=")
            .and_then(SessionId::parse)
    })
}

/// How many ids of one request are looked up. Each costs a read of the store. Cookies of the same name may differ in
/// path and domain, and the cookie of the live session may come later. A client that is not signed in can cause that
/// many reads, as it could with that many requests.
pub(crate) const CANDIDATES: usize = 8;

/// The `n`th of the first [`CANDIDATES`] ids, counted from 0. Repeated ids are skipped: they lead to the same session.
pub(crate) fn nth_distinct(ids: impl Iterator<Item = SessionId>, n: usize) -> Option<SessionId> {
    let mut ids = ids.take(CANDIDATES);
    if n == 0 {
        return ids.next();
    }
    let mut seen = Vec::with_capacity(n + 1);
    ids.find(|id| {
        let is_new = !seen.contains(id);
        if is_new {
            seen.push(*id);
        }
        is_new && seen.len() > n
    })
}

/// What stands between the semicolons.
fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let header = rest.take()?;
        let Some(end) = memchr::memchr(b';', header) else {
            return Some(header);
        };
        rest = Some(&header[end + 1..]);
        Some(&header[..end])
    })
}

/// A cookie's name is a token (RFC 6265 section 4.1.1, RFC 9110 section 5.6.2).
fn check_name(name: &str) -> Result<(), ConfigError> {
    const ID_LEN: usize = 40;
    if name.is_empty() {
        return Err(ConfigError::new(
            "`cookie` is empty: give the session's cookie a name, such as `session`",
        ));
    }
    if let Some(wrong) = name.chars().find(|&c| !is_token(c)) {
        return Err(ConfigError::new(format!(
            "`cookie` holds {wrong:?}: the name of a cookie consists of letters, digits and !#$%&'*+-.^_`|~"
        )));
    }
    if name.len() + ID_LEN > NAME_AND_VALUE_MAX {
        return Err(ConfigError::new(format!(
            "`cookie` is too long: browsers refuse a name of more than {} bytes",
            NAME_AND_VALUE_MAX - ID_LEN
        )));
    }
    Ok(())
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// What a browser compares with the path of an address: no address has an unencoded space in its path, or a `?` or `#`.
fn check_path(path: &str) -> Result<(), ConfigError> {
    if !path.starts_with('/') {
        return Err(ConfigError::new(
            "`path` must begin with `/`: write `/` for the whole site, or `/shop` for a part of it",
        ));
    }
    if let Some(wrong) = path.chars().find(|&c| !c.is_ascii_graphic() || ";?#".contains(c)) {
        return Err(ConfigError::new(format!(
            "`path` holds {wrong:?}: write it as it stands in an address, percent-encoded, without query or fragment"
        )));
    }
    if path.len() > ATTRIBUTE_MAX {
        return Err(ConfigError::new(format!(
            "`path` is too long: browsers ignore one of more than {ATTRIBUTE_MAX} bytes"
        )));
    }
    Ok(())
}

/// The name of a host. A dot before it is allowed and means nothing (RFC 6265 section 5.2.3); the `cookie` crate
/// leaves it out.
fn check_domain(domain: &str) -> Result<(), ConfigError> {
    let host = domain.strip_prefix('.').unwrap_or(domain);
    if let Some(wrong) = host
        .chars()
        .find(|&c| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
    {
        let hint = match wrong.is_ascii() {
            true => "without scheme, port, path or spaces",
            false => "in its ASCII form (`xn--...`)",
        };
        return Err(ConfigError::new(format!(
            "`domain` holds {wrong:?}: write the name of a host alone, such as `example.com`, {hint}"
        )));
    }
    let well_formed =
        |label: &str| (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if host.len() > DOMAIN_MAX || !host.split('.').all(well_formed) {
        return Err(ConfigError::new(
            "`domain` is not the name of a host: write one such as `example.com`, or leave it unset",
        ));
    }
    Ok(())
}
