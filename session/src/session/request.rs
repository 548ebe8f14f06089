//! The session of a request, and how others find it.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request};

use super::{Inner, Session, Source};
use crate::backend::Backend;
use crate::id::SessionId;

impl Session {
    /// Puts the session on a request, for extractors and [`Session::of`] to find.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        request.extensions_mut().insert(self.clone());
    }

    /// The session of a request, if a layer or [`attach`](Session::attach) gave it one. It may not be [started](Session::start) yet. Notes
    /// whether the request is a prefetch, for `start` to age no flash then and prolong nothing.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let session: Self = request.extensions().get().cloned()?;
        if !session.is_started() && is_speculative(request.headers()) {
            session.lock().speculative = true;
        }
        Some(session)
    }

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
            gate: tokio::sync::Mutex::const_new(()),
        }))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }
}

/// Whether the response may never be seen: a prefetch (Fetch metadata's `Sec-Purpose`, and the older `Purpose` and `X-Moz`) or a form that
/// is validated while it is filled in (Laravel's `Precognition`).
pub(crate) fn is_speculative(headers: &HeaderMap) -> bool {
    let says = |name: &str, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    says("sec-purpose", "prefetch")
        || says("purpose", "prefetch")
        || says("x-moz", "prefetch")
        || says("precognition", "true")
}
