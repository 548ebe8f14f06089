use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::session::Attached;

/// Marks requests that do not count as activity of the visitor, such as those of a page that polls in the background.
///
/// Such a request does not prolong its session, in the store or in the browser, and ages no flash message. Changes that
/// its handler makes are saved. Without this layer, a polling page that is left open keeps its session alive forever.
///
/// Add it inside the [`SessionLayer`](crate::SessionLayer), around the routes that are polled:
///
/// ```
/// use axum::{Router, routing::get};
/// use session_schema::{MemoryDriver, Passive, Session, SessionLayer};
///
/// async fn unread(session: Session) -> session_schema::Result<String> {
///     Ok(session.get_or("unread", 0)?.to_string())
/// }
///
/// let app: Router = Router::new()
///     .route("/unread", get(unread).layer(Passive))
///     .layer(SessionLayer::new(MemoryDriver::new()));
/// ```
///
/// A session that an outer middleware has already loaded is treated in the same way, with one exception: Redis prolongs
/// a session with the message that reads it, so that session has already been prolonged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passive;

impl<S> Layer<S> for Passive {
    type Service = PassiveService<S>;

    fn layer(&self, inner: S) -> PassiveService<S> {
        PassiveService { inner }
    }
}

/// The service that [`Passive`] produces.
#[derive(Clone, Debug)]
pub struct PassiveService<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for PassiveService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        match Attached::of(request.extensions()) {
            Some(attached) => attached.sessions().for_each(|session| session.be_passive()),
            None => warn_of_missing_layer(),
        }
        self.inner.call(request)
    }
}

fn warn_of_missing_layer() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            target: "session_schema",
            "`Passive` found no session on a request and does nothing: put it inside the `SessionLayer`"
        );
    }
}
