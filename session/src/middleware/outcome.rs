//! What a response says of its session: headers, and the error where it could not be saved.

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Response};

use crate::config::SaveErrors;
use crate::error::Error;
use crate::session::{SaveReport, Session};

/// Puts the outcome of a save on its response.
pub(super) fn finish<B: Default>(response: &mut Response<B>, session: &Session, saved: SaveReport) {
    if let Err(error) = saved.result {
        report(&error);
        if session.backend().settings.save_errors == SaveErrors::Fail {
            *response = Response::default();
            *response.status_mut() = error.status();
        }
    }
    let headers = response.headers_mut();
    vary_by_cookie(headers);
    if let Some(cookie) = saved.cookie {
        set_cookie(headers, session.backend().cookie.name(), cookie);
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("private"));
    }
}

/// Sets the session's cookie in the place of what the handler has set under its name: of two, some clients keep the first
/// ([RFC 6265 section 4.1.1](https://www.rfc-editor.org/rfc/rfc6265#section-4.1.1)).
fn set_cookie(headers: &mut HeaderMap, name: &str, cookie: HeaderValue) {
    if headers.contains_key(SET_COOKIE) {
        let is_of_another_name = |set: &&HeaderValue| {
            let mut parts = set.as_bytes().split(|&byte| byte == b'=').map(<[u8]>::trim_ascii);
            parts.next() != Some(name.as_bytes())
        };
        let set = headers.get_all(SET_COOKIE).iter();
        let others: Vec<_> = set.filter(is_of_another_name).cloned().collect();
        headers.remove(SET_COOKIE);
        headers.extend(others.into_iter().map(|other| (SET_COOKIE, other)));
    }
    headers.append(SET_COOKIE, cookie);
}

fn report(error: &Error) {
    tracing::error!(
        target: "session_schema",
        err = error as &dyn std::error::Error,
        kind = ?error.kind(),
        "a session could not be saved"
    );
}

/// Adds `Cookie` to what the response varies by.
pub(super) fn vary_by_cookie(headers: &mut HeaderMap) {
    const COOKIE: HeaderValue = HeaderValue::from_static("Cookie");
    let mut vary = match headers.entry(VARY) {
        Entry::Vacant(entry) => {
            entry.insert(COOKIE);
            return;
        }
        Entry::Occupied(entry) => entry,
    };
    let names_cookie = |value: &HeaderValue| {
        let mut names = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"cookie"))
    };
    if vary.iter().any(names_cookie) {
        return;
    }
    let merged = HeaderValue::from_bytes(&[vary.get().as_bytes(), b", Cookie"].concat()).ok();
    match merged.filter(|_| vary.iter().count() == 1) {
        Some(merged) => drop(vary.insert(merged)),
        None => vary.append(COOKIE),
    }
}
