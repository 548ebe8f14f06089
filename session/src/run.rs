//! How store calls are run: to their end, though nobody waits for them any more, and timed, if somebody looks at it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Runs where it is awaited, and goes on in a task of its own when it is dropped half done, because the client has hung up:
/// the common case costs no task.
pub(crate) struct RunToEnd<T: Send + 'static> {
    future: Option<Boxed<T>>,
    begun: bool,
}

impl<T: Send + 'static> RunToEnd<T> {
    pub(crate) fn new(future: Boxed<T>) -> Self {
        Self {
            future: Some(future),
            begun: false,
        }
    }
}

impl<T: Send + 'static> Future for RunToEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        self.begun = true;
        let future = self.future.as_mut().expect("a future is not polled after it is done");
        let output = std::task::ready!(future.as_mut().poll(cx));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for RunToEnd<T> {
    fn drop(&mut self) {
        if let (Some(future), true) = (self.future.take(), self.begun) {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(future)),
                Err(_) => tracing::error!(
                    target: "session_schema",
                    "a save was dropped outside a tokio runtime, half done: whether the session is stored is not known"
                ),
            }
        }
    }
}

/// Measures a duration for the log, if it is looked at.
pub(crate) struct Timer(Option<Instant>);

impl Timer {
    pub(crate) fn start() -> Self {
        let logged = tracing::enabled!(target: "session_schema", tracing::Level::DEBUG);
        Self(logged.then(Instant::now))
    }

    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.0.map(|started| started.elapsed())
    }
}
