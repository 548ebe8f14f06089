//! Who sends requests: a browser, or somebody who pretends to be one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use session_tests::stepwise::{Done, Seen, Step};
use tokio::task::JoinHandle;

use crate::ground::{Raw, Server};

/// A browser and the application that it talks to. Clones share the cookie: they are tabs.
#[derive(Clone)]
pub(crate) struct Visitor {
    name: &'static str,
    server: Server,
    state: Arc<Mutex<Jar>>,
}

#[derive(Clone, Default)]
struct Jar {
    cookie: Option<String>,
    /// Every id that the visitor has ever seen.
    known: BTreeSet<String>,
}

/// A request that waits at a gate.
pub(crate) struct InFlight {
    visitor: Visitor,
    name: String,
    /// The gate at which it waits.
    gate: usize,
    answer: JoinHandle<Raw>,
}

/// A task that a request has left behind.
pub(crate) struct Task {
    server: Server,
    name: String,
}

/// The response to a request, and what its handler reported.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) set_cookie: Option<String>,
    pub(crate) done: Vec<Done>,
    name: String,
}

impl Visitor {
    pub(crate) fn new(name: &'static str, server: Server) -> Self {
        Self {
            name,
            server,
            state: Arc::default(),
        }
    }

    /// A visitor whose browser has this id.
    pub(crate) fn of(name: &'static str, server: Server, id: &str) -> Self {
        let visitor = Self::new(name, server);
        visitor.take(id);
        visitor
    }

    /// Comes with this id from now on: that of a copied or a planted cookie.
    pub(crate) fn take(&self, id: &str) {
        let mut jar = self.jar();
        jar.cookie = Some(id.to_owned());
        jar.known.insert(id.to_owned());
    }

    pub(crate) fn cookie(&self) -> Option<String> {
        self.jar().cookie.clone()
    }

    pub(crate) fn id(&self) -> String {
        self.cookie().expect("the visitor has a session cookie")
    }

    pub(crate) fn known(&self) -> BTreeSet<String> {
        self.jar().known.clone()
    }

    /// The same visitor at another application.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self {
            server: server.clone(),
            ..self.clone()
        }
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request whose handler does this, and waits for the response.
    pub(crate) async fn does(&self, steps: &[Step]) -> Answer {
        let (name, raw) = self.send(steps);
        self.hear(name, raw.await.expect("a request is answered")).await
    }

    /// The same, but the response never arrives.
    pub(crate) async fn does_unheard(&self, steps: &[Step]) {
        let (_, raw) = self.send(steps);
        raw.await.expect("a request is answered");
    }

    /// The same with these cookies and no others.
    pub(crate) async fn does_with(&self, cookies: &str, steps: &[Step]) -> Answer {
        let (name, raw) = self.send_with(Some(cookies.to_owned()), steps);
        self.hear(name, raw.await.expect("a request is answered")).await
    }

    /// Sends a request, and waits until its handler waits at its first gate.
    pub(crate) async fn begins(&self, steps: &[Step]) -> InFlight {
        let (name, answer) = self.send(steps);
        let mut request = InFlight {
            visitor: self.clone(),
            name,
            gate: 0,
            answer,
        };
        request.reached().await;
        request
    }

    /// What the session holds that the cookie leads to.
    pub(crate) async fn sees(&self) -> Seen {
        let answer = self.does(&[Step::Look]).await;
        assert_eq!(answer.status, 200);
        answer.seen()
    }

    fn send(&self, steps: &[Step]) -> (String, JoinHandle<Raw>) {
        let cookies = self.cookie().map(|id| format!("session={id}"));
        self.send_with(cookies, steps)
    }

    fn send_with(&self, cookies: Option<String>, steps: &[Step]) -> (String, JoinHandle<Raw>) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", self.name, COUNT.fetch_add(1, Ordering::Relaxed));
        let body = serde_json::to_string(steps).expect("steps are JSON");
        let (server, path) = (self.server.clone(), format!("/do/{name}"));
        let answer = tokio::spawn(async move { server.post(&path, cookies.as_deref(), &body).await });
        (name, answer)
    }

    /// Takes note of a response as a browser does.
    async fn hear(&self, name: String, raw: Raw) -> Answer {
        let answer = self.overhear(name, raw).await;
        if let Some(cookie) = &answer.set_cookie {
            let value = cookie
                .strip_prefix("session=")
                .and_then(|rest| rest.split(';').next())
                .expect("the cookie is the session's");
            let mut jar = self.jar();
            match value {
                "" => jar.cookie = None,
                id => {
                    jar.cookie = Some(id.to_owned());
                    jar.known.insert(id.to_owned());
                }
            }
        }
        answer
    }

    async fn overhear(&self, name: String, raw: Raw) -> Answer {
        let report = self.server.get(&format!("/report/{name}")).await;
        let mut cookies = raw.cookies;
        assert!(cookies.len() <= 1, "a response sets two cookies");
        let done: Vec<Done> = serde_json::from_slice(&report.body).expect("a report is JSON");
        let seen = done.iter().filter_map(|done| match done {
            Done::Saw(seen) => Some(seen.id.clone()),
            _ => None,
        });
        self.jar().known.extend(seen);
        Answer {
            status: raw.status,
            set_cookie: cookies.pop(),
            done,
            name,
        }
    }
}

impl InFlight {
    async fn reached(&mut self) {
        let path = format!("/reached/{}-{}", self.name, self.gate);
        tokio::select! {
            _ = self.visitor.server.get(&path) => {}
            raw = &mut self.answer => {
                let status = raw.map(|raw| raw.status);
                panic!("{} was answered ({status:?}) before it was to be", self.name);
            }
        }
    }

    async fn open(&self) {
        let path = format!("/open/{}-{}", self.name, self.gate);
        self.visitor.server.post(&path, None, "").await;
    }

    /// Goes on to the next gate.
    pub(crate) async fn goes_on(&mut self) {
        self.open().await;
        self.gate += 1;
        self.reached().await;
    }

    /// Goes on to its end, and the response arrives.
    pub(crate) async fn ends(self) -> Answer {
        self.open().await;
        let raw = self.answer.await.expect("a request is answered");
        self.visitor.hear(self.name, raw).await
    }

    /// Goes on to its end, and the response is lost on its way.
    pub(crate) async fn ends_unheard(self) -> Answer {
        self.open().await;
        let raw = self.answer.await.expect("a request is answered");
        self.visitor.overhear(self.name, raw).await
    }
}

impl Answer {
    /// What the last step that looked has seen.
    pub(crate) fn seen(&self) -> Seen {
        let mut seen = self.done.iter().rev().filter_map(|done| match done {
            Done::Saw(seen) => Some(seen.clone()),
            _ => None,
        });
        seen.next().expect("a step looked")
    }

    /// The kinds of the errors, in the order of the steps.
    pub(crate) fn failures(&self) -> Vec<&str> {
        let failed = self.done.iter().filter_map(|done| match done {
            Done::Failed(kind) => Some(kind.as_str()),
            _ => None,
        });
        failed.collect()
    }

    /// It is of this status and says nothing about the cookie.
    #[track_caller]
    pub(crate) fn is_silent(&self, status: u16) {
        assert_eq!((self.status, self.set_cookie.as_deref()), (status, None), "{self:?}");
    }

    /// It succeeds and gives the browser an id.
    #[track_caller]
    pub(crate) fn gives_an_id(&self) {
        let id = self
            .set_cookie
            .as_deref()
            .is_some_and(|cookie| !cookie.starts_with("session=;"));
        assert!(self.status == 200 && id, "{self:?}");
    }

    /// The task that the request has left behind, at the application of `visitor`.
    pub(crate) fn task(&self, visitor: &Visitor) -> Task {
        Task {
            server: visitor.server.clone(),
            name: format!("{}-task", self.name),
        }
    }
}

impl Task {
    /// Lets it go on from its one gate, and waits for its end.
    pub(crate) async fn ends(self) -> Vec<Done> {
        self.server.post(&format!("/open/{}-0", self.name), None, "").await;
        let report = self.server.get(&format!("/report/{}", self.name)).await;
        serde_json::from_slice(&report.body).expect("a report is JSON")
    }
}
