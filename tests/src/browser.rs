use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use session_schema::Session;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::{App, Visit};

/// A `Set-Cookie`, read.
pub type SetCookie = cookie::Cookie<'static>;

/// A visitor's browser. Clones are tabs: they share their cookies.
///
/// It never lets a cookie expire, only be removed: that a session ends in time is the server's business.
#[derive(Clone, Debug)]
pub struct Browser {
    app: App,
    cookies: Arc<Mutex<BTreeMap<String, String>>>,
}

/// A request whose handler has done what it was to do with its session, and has not returned.
#[derive(Debug)]
pub struct Slow<T> {
    go_on: oneshot::Sender<()>,
    visit: JoinHandle<Visit<T>>,
}

impl Browser {
    pub(crate) fn new(app: App) -> Self {
        Self {
            app,
            cookies: Arc::default(),
        }
    }

    /// Asks for a page whose handler does this with its session.
    pub async fn visit<T: Send + 'static>(&self, handler: impl FnOnce(Session) -> T + Send + 'static) -> Visit<T> {
        self.visit_async(async move |session| handler(session)).await
    }

    /// The same, where the handler is async.
    pub async fn visit_async<F, Fut, T>(&self, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.visit_as(Request::new(Body::empty()), handler).await
    }

    /// The same with another request than `GET /`; the cookies are put on it.
    pub async fn visit_as<F, Fut, T>(&self, request: Request, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let visit = self.app.visit(self.with_cookies(request), handler).await;
        self.take_cookies(&visit);
        visit
    }

    /// Sends a request, with the cookies, to a handler that may or may not ask for its session.
    pub async fn send<F, Fut>(&self, request: Request, handler: F) -> Visit<()>
    where
        F: FnOnce(Request) -> Fut + Send + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let visit = self.app.send(self.with_cookies(request), handler).await;
        self.take_cookies(&visit);
        visit
    }

    /// Sends a request whose handler does this with its session, and then waits to be told to
    /// [finish](Slow::finish).
    pub async fn begin<T: Send + 'static>(&self, handler: impl FnOnce(Session) -> T + Send + 'static) -> Slow<T> {
        let (go_on, wait) = oneshot::channel();
        let (tell_begun, begun) = oneshot::channel();
        let browser = self.clone();
        let visit = tokio::spawn(async move {
            let handler = async move |session| {
                let value = handler(session);
                tell_begun.send(()).expect("the test waits for the handler");
                // Not told to finish, but dropped: a client that has hung up.
                let told: Result<(), _> = wait.await;
                told.map_or_else(|_| None, |()| Some(value))
                    .expect("the test finishes what it begins")
            };
            browser.visit_async(handler).await
        });
        begun.await.expect("the session is loaded and the handler called");
        Slow { go_on, visit }
    }

    /// The id in the session's cookie.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn id(&self) -> String {
        self.maybe_id().expect("the browser has a session cookie")
    }

    /// The id in the session's cookie, if there is one.
    pub fn maybe_id(&self) -> Option<String> {
        self.jar().get(self.app.cookie_name()).cloned()
    }

    /// Puts an id in the session's cookie.
    pub fn set_id(&self, id: &str) {
        self.jar().insert(self.app.cookie_name().to_owned(), id.to_owned());
    }

    /// Another browser with the same cookies, which does not see what becomes of them: a copied cookie, or an old tab.
    pub fn copy(&self) -> Self {
        let cookies = self.jar().clone();
        Self {
            app: self.app.clone(),
            cookies: Arc::new(Mutex::new(cookies)),
        }
    }

    fn with_cookies(&self, mut request: Request) -> Request {
        let jar = self.jar();
        let pairs: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            let value = pairs.join("; ").parse().expect("cookies are visible ASCII");
            request.headers_mut().append(header::COOKIE, value);
        }
        drop(jar);
        request
    }

    fn take_cookies<T>(&self, visit: &Visit<T>) {
        let mut jar = self.jar();
        for cookie in visit.cookies() {
            match cookie.max_age().is_some_and(|age| age.is_zero()) {
                true => drop(jar.remove(cookie.name())),
                false => drop(jar.insert(cookie.name().to_owned(), cookie.value().to_owned())),
            }
        }
    }

    fn jar(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slow<T> {
    /// Lets the handler return, and waits for the response.
    pub async fn finish(self) -> Visit<T> {
        self.go_on.send(()).expect("the handler waits");
        self.visit.await.expect("the handler does not panic")
    }

    /// The client hangs up: whatever was under way for the request is dropped.
    pub async fn hang_up(self) {
        self.visit.abort();
        let ended = self.visit.await.err().expect("the request had not been answered");
        assert!(ended.is_cancelled());
    }

    /// Lets the handler return, and does not wait for the response.
    pub fn let_go(self) -> JoinHandle<Visit<T>> {
        self.go_on.send(()).expect("the handler waits");
        self.visit
    }
}
