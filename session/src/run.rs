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
        // One that panics is not put back: dropping this must not run it again.
        let mut future = self.future.take().expect("a future is not polled after it is done");
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for RunToEnd<T> {
    fn drop(&mut self) {
        if let (Some(future), true) = (self.future.take(), self.begun) {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(future)),
                Err(_) => tracing::error!(
                    target: "session_schema",
                    "a call of the session store was dropped outside a tokio runtime, half done: whether it has done its work is not known"
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn what_panicked_is_not_run_again_when_it_is_dropped() {
        let polls = Arc::new(AtomicU32::new(0));
        let counted = polls.clone();
        let mut run = RunToEnd::<()>::new(Box::pin(std::future::poll_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("a driver, or a function given to `update`")
        })));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        catch_unwind(AssertUnwindSafe(|| Pin::new(&mut run).poll(&mut cx).is_ready())).unwrap_err();
        drop(run);
        tokio::task::yield_now().await;
        assert_eq!(polls.load(Ordering::Relaxed), 1);
    }
}
