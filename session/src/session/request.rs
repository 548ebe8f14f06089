//! The session of a request: how it comes to be, and what the layer does with it when the handler has returned.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request};
use tokio::sync::Notify;

use super::{Inner, Phase, Session, Source};
use crate::backend::Backend;
use crate::error::Result;
use crate::id::SessionId;
use crate::state::State;

impl Session {
    /// Puts the session on a request, for extractors and [`Session::of`] to find.
    pub fn attach<B>(&self, request: &mut Request<B>) {
        request.extensions_mut().insert(self.clone());
    }

    /// The session of a request, if a layer or [`attach`](Session::attach) gave it one. It may not be [started](Session::start) yet.
    pub fn of<B>(request: &Request<B>) -> Option<Self> {
        let session: Self = request.extensions().get().cloned()?;
        if !session.is_started() && is_speculative(request.headers()) {
            session.lock().speculative = true;
        }
        Some(session)
    }
}

impl Session {
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
            idle: Notify::const_new(),
        }))
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Ends the time in which the session can be changed, and says what is left to do; a save for which nobody has to be waited for is done.
    pub(crate) fn close(&self) -> Closing {
        let mut slot = self.lock();
        if slot.phase == Phase::Open {
            slot.phase = Phase::Committed;
        }
        // Where the load failed, the response depends on the session all the same.
        let untouched = match slot.asked {
            true => Closing::Unchanged,
            false => Closing::Untouched,
        };
        match &slot.state {
            None => return untouched,
            Some(_) if slot.lease.is_some() => return Closing::Changed,
            Some(state) if state.is_idle() => return untouched,
            // A `save` that still runs, in a task that the handler left behind, has the last word on the cookie.
            Some(state) if state.is_settled() && !slot.busy => return Closing::Unchanged,
            Some(_) => {}
        }
        match self.save_at_hand(&mut slot, true) {
            Some(result) => Closing::Saved(Committed::new(result, self.backend(), slot.state())),
            None => Closing::Changed,
        }
    }

    /// Saves a closed session.
    pub(crate) async fn commit(self) -> Committed {
        let result = self.save_now(true).await;
        let (lease, committed) = {
            let mut slot = self.lock();
            (slot.lease.take(), Committed::new(result, self.backend(), slot.state()))
        };
        if let Some(lease) = lease {
            // That it failed, or that the lease had run out, is in the log.
            Box::pin(lease.release()).await.ok();
        }
        committed
    }
}

/// What is left to do when a handler has returned.
pub(crate) enum Closing {
    /// Nobody asked for the session.
    Untouched,
    /// It was read at most, or could not be.
    Unchanged,
    /// It has been saved.
    Saved(Committed),
    /// It has to be saved.
    Changed,
}

/// How the save of a closed session went, and what the browser is told in any case.
pub(crate) struct Committed {
    pub(crate) result: Result<()>,
    pub(crate) cookie: Option<HeaderValue>,
}

impl Committed {
    fn new(result: Result<()>, backend: &Backend, state: &State) -> Self {
        let cookie = state.cookie(&backend.cookie);
        Self { result, cookie }
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
