use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use crate::error::ErrorKind;
use crate::middleware::outcome::{depend_on, finish, refusal};
use crate::run::RunToEnd;
use crate::session::{Closing, SaveReport, Session};

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
        Refused,
        Saving { response: Response<B>, commit: RunToEnd<SaveReport> },
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(crate) fn new(inner: F, session: Option<Session>) -> Self {
        let step = Step::Handling { inner };
        Self { step, session }
    }

    /// The response to a request whose layers contradict each other.
    pub(crate) fn refused() -> Self {
        Self {
            step: Step::Refused,
            session: None,
        }
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
                    depend_on(response.headers_mut(), session);
                    return polled;
                }
                Closing::Saved(report) => {
                    finish(response, session, report);
                    return polled;
                }
                Closing::Changed => {
                    let commit = RunToEnd::new(Box::pin(session.clone().commit()));
                    let response = std::mem::take(response);
                    this.step.set(Step::Saving { response, commit });
                }
            }
        }
        let (response, commit, session) = match (this.step.project(), this.session) {
            (StepProjection::Saving { response, commit }, Some(session)) => (response, commit, session),
            _ => return Poll::Ready(Ok(refusal(ErrorKind::Unsupported))),
        };
        let report = ready!(Pin::new(commit).poll(cx));
        finish(response, session, report);
        Poll::Ready(Ok(std::mem::take(response)))
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
