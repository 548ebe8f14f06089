//! The session of a request, and how others find it.

use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Request};

use super::{Inner, Session, Source};
use crate::backend::Backend;
use crate::id::SessionId;

impl Session {
    /// Puts the session on a request, so that extractors and [`Session::of`] find it.
    ///
    /// If the request then goes through a [`SessionLayer`](crate::SessionLayer), the layer leaves this session alone
    /// and does not save it.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        let attached = Attached {
            session: self.clone(),
            outer: None,
        };
        let extensions = request.extensions_mut();
        if let Some(outer) = extensions.insert(attached)
            && let Some(attached) = extensions.get_mut::<Attached>()
        {
            attached.outer = Some(Arc::new(outer));
        }
    }

    /// Returns the session of a request, if a layer or [`attach`](Session::attach) gave it one. If layers are nested,
    /// it is that of the innermost.
    ///
    /// The session may not be [started](Session::start) yet. If the request is a prefetch, `start` ages no flash and
    /// prolongs nothing.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        Self::of_head(request.extensions(), request.headers())
    }

    /// Returns the session of a request that is given as its parts, as [`of`](Session::of) does. For custom extractors.
    pub fn of_parts(parts: &Parts) -> Option<Self> {
        Self::of_head(&parts.extensions, &parts.headers)
    }

    fn of_head(extensions: &Extensions, headers: &HeaderMap) -> Option<Self> {
        let session = Attached::of(extensions)?.session.clone();
        if !session.is_started() && is_speculative(headers) {
            session.lock().speculative = true;
        }
        Some(session)
    }

    /// Puts the session in front of those that a request already has, unless it is among them.
    pub(crate) fn attach_again<B>(&self, request: &mut Request<B>) {
        let innermost = Attached::of(request.extensions()).map(|attached| &attached.session);
        if innermost.is_none_or(|innermost| !Arc::ptr_eq(&innermost.0, &self.0)) {
            self.attach(request);
        }
    }

    /// Marks the request as no activity: it ages no flash and prolongs nothing, even if its session has already been
    /// loaded.
    pub(crate) fn be_passive(&self) {
        let mut slot = self.lock();
        slot.speculative = true;
        if let Some(state) = &mut slot.state {
            state.be_speculative();
        }
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

    fn is_by_hand(&self) -> bool {
        matches!(self.0.source, Source::Given(_))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }
}

/// The sessions of a request, in its extensions. This is a separate type because `extensions.get::<Session>()` would
/// find a session that has not been loaded, which reads as empty even if the visitor is signed in.
#[derive(Clone)]
pub(crate) struct Attached {
    /// The session of the innermost layer.
    pub(crate) session: Session,
    outer: Option<Arc<Attached>>,
}

/// What a layer finds on a request.
pub(crate) enum Within {
    /// Sessions of other layers, if any.
    Other,
    /// The session that the layer would load itself.
    Same(Session),
    /// One that was built by hand and attached to the request.
    ByHand(Session),
    /// A session of another layer whose cookie has the same name.
    SameName,
}

impl Attached {
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The sessions, from the innermost to the outermost.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        let attached = std::iter::successors(Some(self), |attached| attached.outer.as_deref());
        attached.map(|attached| &attached.session)
    }

    /// Returns what a layer over `backend` finds.
    pub(crate) fn within(&self, backend: &Backend) -> Within {
        let is_same = |session: &&Session| {
            let other = session.backend();
            session.is_by_hand() || other.store.is_same(&backend.store) && other.namespace == backend.namespace
        };
        if let Some(session) = self.sessions().find(is_same) {
            return match session.is_by_hand() {
                true => Within::ByHand(session.clone()),
                false => Within::Same(session.clone()),
            };
        }
        let name = backend.cookie.name();
        match self.sessions().any(|session| session.backend().cookie.name() == name) {
            true => Within::SameName,
            false => Within::Other,
        }
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
