//! Who is measured.

use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, get};
use http::Request;
use session_schema::{MemoryDriver, SessionLayer};
use tower::Service;
use tower::layer::layer_fn;
use tower_sessions::cookie::time;
use tower_sessions::{Expiry, MemoryStore, SessionManagerLayer};

use crate::workload::{DONE, Workload};

/// An application whose `/` does what a workload says.
pub(crate) struct Contender {
    /// Its name on the command line, and in tables.
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    /// Whether it also has `/seed`, which fills a session, and `/value`, which reads from it.
    pub(crate) has_sessions: bool,
    pub(crate) workloads: &'static [Workload],
    pub(crate) app: fn(Workload) -> Router,
}

/// The first one is what the others are compared with.
pub(crate) const ALL: [Contender; 5] = [
    Contender {
        id: "bare",
        name: "bare axum",
        has_sessions: false,
        workloads: &[Workload::Untouched, Workload::Create],
        app: |_| bare(),
    },
    Contender {
        id: "forward",
        name: "a layer that only forwards",
        has_sessions: false,
        workloads: &[Workload::Untouched],
        app: |_| bare().layer(layer_fn(|inner| Forward { inner, insert: false })),
    },
    Contender {
        id: "extension",
        name: "the same, inserting one extension",
        has_sessions: false,
        workloads: &[Workload::Untouched],
        app: |_| bare().layer(layer_fn(|inner| Forward { inner, insert: true })),
    },
    Contender {
        id: "ours",
        name: "session-schema",
        has_sessions: true,
        workloads: &Workload::ALL,
        app: |workload| routes(ours::handler(workload), get(ours::seed), get(ours::value)).layer(ours::layer()),
    },
    Contender {
        id: "tower-sessions",
        name: "tower-sessions",
        has_sessions: true,
        workloads: &Workload::ALL,
        app: |workload| routes(theirs::handler(workload), get(theirs::seed), get(theirs::value)).layer(theirs::layer()),
    },
];

/// All that is measured.
pub(crate) fn pairs() -> impl Iterator<Item = (&'static Contender, Workload)> {
    const { &ALL }
        .iter()
        .flat_map(|contender| contender.workloads.iter().map(move |&workload| (contender, workload)))
}

const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

async fn done() -> &'static str {
    DONE
}

fn bare() -> Router {
    routes(get(done), get(done), get(done))
}

fn routes(handler: MethodRouter, seed: MethodRouter, value: MethodRouter) -> Router {
    Router::new()
        .route("/", handler)
        .route("/seed", seed)
        .route("/value", value)
}

/// The least that any layer costs, and the least that one costs which has something for the handler.
#[derive(Clone)]
struct Forward<S> {
    inner: S,
    insert: bool,
}

#[derive(Clone)]
struct Extension(#[expect(dead_code, reason = "nobody reads it: inserting is what it is for")] u64);

impl<S: Service<Request<B>>, B> Service<Request<B>> for Forward<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if self.insert {
            request.extensions_mut().insert(Extension(1));
        }
        self.inner.call(request)
    }
}

mod ours {
    use super::*;
    use crate::workload::{KEY, VALUE, content};
    use session_schema::{Result, Session};

    pub(super) fn layer() -> SessionLayer {
        SessionLayer::new(MemoryDriver::new()).with_lifetime(LIFETIME)
    }

    pub(super) fn handler(workload: Workload) -> MethodRouter {
        match workload {
            Workload::Untouched => get(done),
            Workload::Read => get(async |session: Session| -> Result<_> {
                let value: Option<u64> = session.get(KEY)?;
                Ok(if value == Some(VALUE) { DONE } else { "wrong" })
            }),
            Workload::Replace => get(async |session: Session| -> Result<_> {
                let value: u64 = session.get_or(KEY, 0)?;
                session.put(KEY, value + 1)?;
                Ok(DONE)
            }),
            Workload::Create => get(async |session: Session| -> Result<_> {
                session.put(KEY, VALUE)?;
                Ok(DONE)
            }),
        }
    }

    pub(super) async fn seed(session: Session) -> Result<()> {
        session.replace(content())
    }

    pub(super) async fn value(session: Session) -> Result<String> {
        Ok(session.get_or(KEY, 0)?.to_string())
    }
}

mod theirs {
    use super::*;
    use crate::workload::{KEY, VALUE, content};
    use tower_sessions::Session;
    use tower_sessions::session::Error;

    pub(super) fn layer() -> SessionManagerLayer<MemoryStore> {
        let expiry = Expiry::OnInactivity(time::Duration::try_from(LIFETIME).expect("two hours fit"));
        SessionManagerLayer::new(MemoryStore::default())
            .with_name("session")
            .with_expiry(expiry)
    }

    /// Their errors are no responses, and do not happen in memory.
    fn working<T>(result: Result<T, Error>) -> T {
        result.expect("a store in memory works")
    }

    pub(super) fn handler(workload: Workload) -> MethodRouter {
        match workload {
            Workload::Untouched => get(done),
            Workload::Read => get(async |session: Session| {
                let value: Option<u64> = working(session.get(KEY).await);
                if value == Some(VALUE) { DONE } else { "wrong" }
            }),
            Workload::Replace => get(async |session: Session| {
                let value: Option<u64> = working(session.get(KEY).await);
                working(session.insert(KEY, value.unwrap_or(0) + 1).await);
                DONE
            }),
            Workload::Create => get(async |session: Session| {
                working(session.insert(KEY, VALUE).await);
                DONE
            }),
        }
    }

    pub(super) async fn seed(session: Session) {
        for (key, value) in content() {
            working(session.insert_value(&key, value).await);
        }
    }

    pub(super) async fn value(session: Session) -> String {
        working(session.get::<u64>(KEY).await).unwrap_or(0).to_string()
    }
}
