use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response, header};
use tower_service::Service;

use crate::backend::Backend;
use crate::middleware::ResponseFuture;
use crate::session::Session;

/// A service whose requests have sessions; what [`SessionLayer`](crate::SessionLayer) makes.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    backend: Arc<Backend>,
}

impl<S> SessionService<S> {
    pub(crate) fn new(inner: S, backend: Arc<Backend>) -> Self {
        Self { inner, backend }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if request.extensions().get::<Session>().is_some() {
            warn_of_two_layers();
            return ResponseFuture::new(self.inner.call(request), None);
        }
        let cookies = request.headers().get_all(header::COOKIE).iter();
        let session = Session::of_headers(self.backend.clone(), cookies);
        session.attach(&mut request);
        ResponseFuture::new(self.inner.call(request), Some(session))
    }
}

fn warn_of_two_layers() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            target: "session_schema",
            "a request went through two `SessionLayer`s: the outer one's session is used, remove the other"
        );
    }
}
