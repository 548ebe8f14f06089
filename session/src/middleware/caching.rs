//! Headers for the caches between server and browser.

use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{CACHE_CONTROL, Entry, VARY};
use http::{HeaderMap, HeaderValue};

/// Adds `Cookie` to the `Vary` header.
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

/// Keeps a signed-in visitor's page out of every cache, including the browser's own, so that the back button shows
/// nothing after a sign-out. A `Cache-Control` that the handler has set stays.
pub(super) fn store_nothing_by_default(headers: &mut HeaderMap) {
    let unsaid = headers.entry(CACHE_CONTROL);
    unsaid.or_insert(HeaderValue::from_static("no-store"));
}

/// Keeps a response that sets the session's cookie out of shared caches, which would give one visitor's session to everybody.
///
/// Removes `public` and `s-maxage`, which allow shared caches. Adds `private`, unless the handler has set `private`,
/// `no-store` or `no-cache`. No restriction that the handler has set becomes weaker.
pub(super) fn keep_private(headers: &mut HeaderMap) {
    let said: Vec<&[u8]> = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|value| directives(value.as_bytes()))
        .collect();
    let kept: Vec<&[u8]> = said
        .iter()
        .copied()
        .filter(|directive| !invites_shared_caches(directive))
        .collect();
    let (dropped, is_kept_out) = (
        kept.len() < said.len(),
        kept.iter().any(|said| keeps_out_shared_caches(said)),
    );
    if is_kept_out && !dropped {
        return;
    }
    let private: &[&[u8]] = if is_kept_out { &[] } else { &[b"private"] };
    let value = [private, &kept].concat().join(&b", "[..]);
    let value = HeaderValue::from_bytes(&value).expect("parts of header values, joined by commas, are one");
    headers.insert(CACHE_CONTROL, value);
    if dropped {
        report_dropped();
    }
}

/// The directives in a `Cache-Control` header. A comma within quotes separates nothing (RFC 9110 section 5.6.4).
fn directives(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = header.split(move |&byte| {
        let ends = byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        ends
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// The name of a directive and its argument, which may be in quotes.
fn name_and_argument(directive: &[u8]) -> (&[u8], Option<&[u8]>) {
    match directive.iter().position(|&byte| byte == b'=') {
        None => (directive, None),
        Some(at) => {
            let argument = directive[at + 1..].trim_ascii();
            (directive[..at].trim_ascii(), Some(argument))
        }
    }
}

fn invites_shared_caches(directive: &[u8]) -> bool {
    let (name, _) = name_and_argument(directive);
    name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
}

/// Whether a directive forbids shared caches to reuse the cookie. With an argument, `private` and `no-cache` apply only
/// to the fields that the argument names (RFC 9111 section 5.2.2).
fn keeps_out_shared_caches(directive: &[u8]) -> bool {
    let (name, fields) = name_and_argument(directive);
    let names_the_cookie = || {
        let fields = fields.unwrap_or_default();
        let mut names = fields.split(|byte| b"\", \t".contains(byte));
        names.any(|name| name.eq_ignore_ascii_case(b"set-cookie"))
    };
    match name {
        name if name.eq_ignore_ascii_case(b"no-store") => true,
        name if name.eq_ignore_ascii_case(b"private") || name.eq_ignore_ascii_case(b"no-cache") => {
            fields.is_none() || names_the_cookie()
        }
        _ => false,
    }
}

/// A handler that allows shared caches does so for every visitor it gives a session, including bots. So this logs a
/// warning once, and a line at a lower level afterwards.
fn report_dropped() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    const MESSAGE: &str = "a response that sets a session's cookie said `public` or `s-maxage` in `Cache-Control`, which would have given the session \
                           to everybody behind a shared cache; it was made private: touch no session where pages are to be cached";
    match WARNED.swap(true, Ordering::Relaxed) {
        false => tracing::warn!(target: "session_schema", "{MESSAGE}"),
        true => tracing::debug!(target: "session_schema", "{MESSAGE}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_private(said: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        keep_private(&mut headers);
        let values = headers.get_all(CACHE_CONTROL).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn no_shared_cache_is_invited_to_keep_a_cookie() {
        // A6, D77
        for (said, kept) in [
            (&[][..], &["private"][..]),
            (&[""], &["private"]),
            (&["public"], &["private"]),
            (&["public, max-age=600"], &["private, max-age=600"]),
            (&["max-age=600"], &["private, max-age=600"]),
            (
                &["max-age=600", "must-revalidate"],
                &["private, max-age=600, must-revalidate"],
            ),
            (&["PUBLIC ,S-MaxAge = 60,, Max-Age=600"], &["private, Max-Age=600"]),
            (&["s-maxage=\"60\"", "public"], &["private"]),
            (&["private, public"], &["private"]),
            (&["no-cache, s-maxage=60"], &["no-cache"]),
            (
                &["private=\"x-user\", max-age=60"],
                &["private, private=\"x-user\", max-age=60"],
            ),
            (&["no-cache=\"x-a, public\""], &["private, no-cache=\"x-a, public\""]),
            (&["x=\"a\\\", no-store\""], &["private, x=\"a\\\", no-store\""]),
            (&["privately, no-storage"], &["private, privately, no-storage"]),
        ] {
            assert_eq!(kept_private(said), kept, "{said:?}");
        }
    }

    #[test]
    fn what_already_keeps_shared_caches_out_is_left_as_it_is() {
        // D77
        for said in [
            &["private"][..],
            &["Private, max-age=600"],
            &["NO-STORE"],
            &["max-age=0", "no-cache"],
            &["no-cache=\"Set-Cookie\""],
            &["no-cache = \"x-a, set-cookie\", max-age=60"],
            &["private=Set-Cookie"],
        ] {
            assert_eq!(kept_private(said), said);
        }
    }
}
