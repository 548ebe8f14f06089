//! What a response says of its session: headers, and the error where it could not be saved.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Response};

use crate::config::SaveErrors;
use crate::error::{Error, ErrorKind};
use crate::middleware::caching::{keep_private, store_nothing_by_default, vary_by_cookie};
use crate::session::{SaveReport, Session};

/// Puts the outcome of a save on its response.
pub(super) fn finish<B: Default>(response: &mut Response<B>, session: &Session, saved: SaveReport) {
    if let Err(error) = saved.result {
        report(&error);
        // Nobody is told that they are signed in, or that something was done, where it was refused.
        let is_refused = matches!(error.kind(), ErrorKind::Superseded | ErrorKind::SignInRefused);
        if is_refused || session.backend().settings.save_errors == SaveErrors::Fail {
            *response = refusal(error.kind());
        }
    }
    let headers = response.headers_mut();
    depend_on(headers, session);
    if let Some(cookie) = saved.cookie {
        set_cookie(headers, session.backend().cookie.name(), cookie);
        keep_private(headers);
    }
}

/// Says of a response that it depends on the session.
pub(super) fn depend_on(headers: &mut HeaderMap, session: &Session) {
    vary_by_cookie(headers);
    if session.had_owner() {
        store_nothing_by_default(headers);
    }
}

/// A response of the library's own: no body, and the kind of the error as an extension, of which the application may make a page.
pub(super) fn refusal<B: Default>(kind: ErrorKind) -> Response<B> {
    let mut response = Response::default();
    *response.status_mut() = kind.status();
    response.extensions_mut().insert(kind);
    response
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
    let (err, kind) = (error as &dyn std::error::Error, error.kind());
    match kind {
        // Nothing is wrong: another request was faster, and the visitor is told so.
        ErrorKind::Superseded | ErrorKind::SignInRefused => {
            tracing::info!(target: "session_schema", err, ?kind, "a request was refused to save its session");
        }
        _ => tracing::error!(target: "session_schema", err, ?kind, "a session could not be saved"),
    }
}
