use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use session_schema::{Session, SessionLayer};
use tower::ServiceExt;

use crate::browser::{Browser, SetCookie};

/// An Axum application with sessions. What its one handler does comes with each request, from the test.
#[derive(Clone, Debug)]
pub struct App {
    router: Router,
    cookie_name: String,
}

type Handling = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Box<dyn FnOnce(Request) -> Handling + Send>;

/// The handler of one request, on its way through the layers.
#[derive(Clone)]
struct Job(Arc<Mutex<Option<Handler>>>);

impl App {
    /// An application with this layer, whose cookie is called `__Host-session`.
    pub fn new(layer: SessionLayer) -> Self {
        Self::with_name(layer, "__Host-session")
    }

    /// An application with this layer, whose cookie has this name.
    pub fn with_name(layer: SessionLayer, cookie_name: &str) -> Self {
        Self::around(cookie_name, |router| router.layer(layer))
    }

    /// An application with these layers around its handler.
    pub fn around(cookie_name: &str, layers: impl FnOnce(Router) -> Router) -> Self {
        let router = layers(Router::new().fallback(handle));
        Self {
            router,
            cookie_name: cookie_name.to_owned(),
        }
    }

    /// A visitor who has not been here before.
    pub fn browser(&self) -> Browser {
        Browser::new(self.clone())
    }

    /// The name of the session's cookie.
    pub fn cookie_name(&self) -> &str {
        &self.cookie_name
    }

    /// Sends a request as it is to a handler, and waits for the whole response.
    pub async fn send<F, Fut>(&self, request: Request, handler: F) -> Visit<()>
    where
        F: FnOnce(Request) -> Fut + Send + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let response = self.respond(request, handler).await;
        Visit::of(Some(()), response, &self.cookie_name).await
    }

    /// Sends a request with its session to a handler.
    pub async fn visit<F, Fut, T>(&self, request: Request, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let value = Arc::new(Mutex::new(None));
        let slot = value.clone();
        let handler = async move |request: Request| {
            let (mut parts, _) = request.into_parts();
            match extract(&mut parts).await {
                Err(rejection) => rejection,
                Ok(session) => {
                    let value = handler(session).await;
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
                    StatusCode::OK.into_response()
                }
            }
        };
        let response = self.respond(request, move |request| Box::pin(handler(request))).await;
        let value = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        Visit::of(value, response, &self.cookie_name).await
    }

    /// The same with these `Cookie` headers and no others, byte for byte.
    pub async fn visit_with_cookies<F, T>(&self, cookies: &[&[u8]], handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> T + Send + 'static,
        T: Send + 'static,
    {
        let mut request = Request::new(Body::empty());
        for cookie in cookies {
            let value = HeaderValue::from_bytes(cookie).expect("a header holds no control characters");
            request.headers_mut().append(header::COOKIE, value);
        }
        self.visit(request, async move |session| handler(session)).await
    }

    async fn respond<F, Fut>(&self, mut request: Request, handler: F) -> Response
    where
        F: FnOnce(Request) -> Fut + Send + 'static,
        Fut: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Box::new(move |request| Box::pin(handler(request)));
        request
            .extensions_mut()
            .insert(Job(Arc::new(Mutex::new(Some(handler)))));
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }
}

async fn extract(parts: &mut Parts) -> Result<Session, Response> {
    let session = Session::from_request_parts(parts, &()).await;
    session.map_err(IntoResponse::into_response)
}

async fn handle(mut request: Request) -> Response {
    let Job(job) = request.extensions_mut().remove().expect("requests come from a test");
    let handler = job.lock().unwrap_or_else(PoisonError::into_inner).take();
    handler.expect("a request is handled once")(request).await
}

/// What came of a request: what its handler returned, and the response.
#[derive(Debug)]
pub struct Visit<T> {
    value: Option<T>,
    cookie_name: String,
    /// The response's status.
    pub status: StatusCode,
    /// The response's headers.
    pub headers: HeaderMap,
    /// The response's body.
    pub body: Bytes,
}

impl<T> Visit<T> {
    async fn of(value: Option<T>, response: Response, cookie_name: &str) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            value,
            cookie_name: cookie_name.to_owned(),
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.expect("the body is in memory"),
        }
    }

    /// What the handler returned.
    ///
    /// # Panics
    ///
    /// When it was not called, or the response is no success.
    pub fn value(self) -> T {
        assert_eq!(self.status, StatusCode::OK);
        self.value.expect("the handler was called")
    }

    /// Whether the handler was called.
    pub fn was_handled(&self) -> bool {
        self.value.is_some()
    }

    /// Every `Set-Cookie` of the response.
    pub fn cookies(&self) -> Vec<SetCookie> {
        let values = self.headers.get_all(header::SET_COOKIE).iter();
        values
            .map(|value| {
                let text = value.to_str().expect("a cookie is visible ASCII").to_owned();
                SetCookie::parse(text).expect("a cookie is well-formed")
            })
            .collect()
    }

    /// What the response says about the session's cookie.
    ///
    /// # Panics
    ///
    /// When it says two things.
    pub fn cookie(&self) -> Option<SetCookie> {
        let mut cookies = self.cookies();
        cookies.retain(|cookie| cookie.name() == self.cookie_name);
        assert!(cookies.len() <= 1, "more than one Set-Cookie of one name: {cookies:?}");
        cookies.pop()
    }

    /// All values of a header, joined by commas.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}
