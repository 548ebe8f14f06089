use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::session::Attached;

/// Marks requests that are no activity of the visitor, such as a page that polls in the background.
///
/// Such a request does not prolong its session, in the store or in the browser, and ages no flash message. What its handler changes is saved.
/// Without this a page that is left open keeps its session alive for ever.
///
/// It goes inside the [`SessionLayer`](crate::SessionLayer), around the routes that poll:
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
/// A session that a middleware outside of it has loaded already is treated in the same way, with one exception: a store that prolongs a
/// session by the message that reads it (Redis) has done so by then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passive;

impl<S> Layer<S> for Passive {
    type Service = PassiveService<S>;

    fn layer(&self, inner: S) -> PassiveService<S> {
        PassiveService { inner }
    }
}

/// A service whose requests are no activity; what [`Passive`] makes.
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
