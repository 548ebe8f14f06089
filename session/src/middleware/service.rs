use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::{Request, Response, header};
use tower_service::Service;

use crate::backend::Backend;
use crate::middleware::ResponseFuture;
use crate::session::{Attached, Session, Within};

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
        if let Some(attached) = Attached::of(request.extensions()) {
            match attached.within(&self.backend) {
                Within::Other => {}
                Within::Same(session) => {
                    warn_of_two_layers();
                    return self.call_within(session, request);
                }
                Within::ByHand(session) => return self.call_within(session, request),
                Within::SameName => {
                    report_contradiction(self.backend.cookie.name());
                    return ResponseFuture::refused();
                }
            }
        }
        let cookies = request.headers().get_all(header::COOKIE).iter();
        let session = Session::of_headers(self.backend.clone(), cookies);
        session.attach(&mut request);
        ResponseFuture::new(self.inner.call(request), Some(session))
    }
}

impl<S> SessionService<S> {
    /// Calls the inner service with a session that is not this layer's to save.
    fn call_within<ReqBody, ResBody>(
        &mut self,
        session: Session,
        mut request: Request<ReqBody>,
    ) -> ResponseFuture<S::Future, ResBody>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    {
        session.attach_again(&mut request);
        ResponseFuture::new(self.inner.call(request), None)
    }
}

fn warn_of_two_layers() {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            target: "session_schema",
            "a request went through two `SessionLayer`s of the same driver and namespace: the outer one's session is used, remove the other"
        );
    }
}

#[cold]
fn report_contradiction(cookie: &str) {
    tracing::error!(
        target: "session_schema",
        cookie,
        "a request went through two `SessionLayer`s that keep different sessions in cookies of one name, and was refused: \
         give one of the layers another name with `with_cookie_name`, or use clones of one layer"
    );
}
