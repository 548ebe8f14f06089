use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Response};
use pin_project_lite::pin_project;

use crate::config::SaveErrors;
use crate::error::Error;
use crate::run::RunToEnd;
use crate::session::{Closing, Committed, Session};

pin_project! {
    /// The response of a [`SessionService`](crate::SessionService), once its session has been saved.
    pub struct ResponseFuture<F, B> {
        #[pin]
        step: Step<F, B>,
        session: Option<Session>,
    }
}

pin_project! {
    /// One after the other, in the same place: what is moved with every request stays small.
    #[project = StepProjection]
    enum Step<F, B> {
        Handling { #[pin] inner: F },
        Saving { response: Response<B>, commit: RunToEnd<Committed> },
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(crate) fn new(inner: F, session: Option<Session>) -> Self {
        let step = Step::Handling { inner };
        Self { step, session }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let StepProjection::Handling { inner } = this.step.as_mut().project() {
            // A response is large, so it is changed where it is.
            let mut polled = inner.poll(cx);
            let (Poll::Ready(Ok(response)), Some(session)) = (&mut polled, &this.session) else {
                return polled;
            };
            match session.close() {
                Closing::Untouched => return polled,
                Closing::Unchanged => {
                    vary_by_cookie(response.headers_mut());
                    return polled;
                }
                Closing::Saved(committed) => {
                    finish(response, session, committed);
                    return polled;
                }
                Closing::Changed => {
                    let commit = RunToEnd::new(Box::pin(session.clone().commit()));
                    let response = std::mem::take(response);
                    this.step.set(Step::Saving { response, commit });
                }
            }
        }
        let (StepProjection::Saving { response, commit }, Some(session)) = (this.step.project(), this.session) else {
            unreachable!("only a response with a session waits for a save");
        };
        let committed = ready!(Pin::new(commit).poll(cx));
        let mut response = std::mem::take(response);
        finish(&mut response, session, committed);
        Poll::Ready(Ok(response))
    }
}

/// Puts the outcome of a save on its response.
fn finish<B: Default>(response: &mut Response<B>, session: &Session, committed: Committed) {
    if let Err(error) = committed.result {
        report(&error);
        if session.backend().settings.save_errors == SaveErrors::Fail {
            *response = Response::default();
            *response.status_mut() = error.status();
        }
    }
    let headers = response.headers_mut();
    vary_by_cookie(headers);
    if let Some(cookie) = committed.cookie {
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
fn vary_by_cookie(headers: &mut HeaderMap) {
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

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
