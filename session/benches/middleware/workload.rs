//! What a request does with its session.

use axum::Router;
use axum::body::{Body, to_bytes};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode};
use tower::ServiceExt;

use crate::contender::Contender;
pub(crate) use crate::content::{DONE, KEY, VALUE, content};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// W1: the request has the cookie of a session, and the handler does not ask for it.
    Untouched,
    /// W2: the handler reads one integer.
    Read,
    /// W3: it reads the integer and stores it plus one.
    Replace,
    /// W4: the request has no cookie, and the handler stores one key in a new session.
    Create,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Untouched, Self::Read, Self::Replace, Self::Create];

    /// Its name on the command line.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Untouched => "untouched",
            Self::Read => "read",
            Self::Replace => "replace",
            Self::Create => "create",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Untouched => "W1 untouched",
            Self::Read => "W2 read",
            Self::Replace => "W3 replace",
            Self::Create => "W4 create",
        }
    }

    pub(crate) fn has_cookie(self) -> bool {
        self != Self::Create
    }

    /// The same request at bare axum: what a contender's cost is a multiple of. Handlers without a session do nothing.
    pub(crate) fn baseline(self) -> Self {
        match self.has_cookie() {
            true => Self::Untouched,
            false => Self::Create,
        }
    }
}

/// A visitor: an application, and the request to send it again and again.
pub(crate) struct Visit {
    app: Router,
    cookie: Option<HeaderValue>,
}

impl Visit {
    /// A new application, and a session in it if the workload wants one.
    pub(crate) async fn new(contender: &Contender, workload: Workload) -> Self {
        let app = (contender.app)(workload);
        let cookie = match (workload.has_cookie(), contender.has_sessions) {
            (false, _) => None,
            (true, false) => Some(HeaderValue::from_static(
                "session=TkBuvNpGTe2oc9bjJhsX_5Hq8KxW3aZyRd7LfQEm",
            )),
            (true, true) => {
                let response = send(&app, "/seed", None).await;
                Some(cookie_of(&response).expect("what stores something in a new session gets a cookie"))
            }
        };
        Self { app, cookie }
    }

    pub(crate) async fn repeat(&self, requests: usize) {
        for _ in 0..requests {
            let response = send(&self.app, "/", self.cookie.as_ref()).await;
            assert_eq!(response.status(), StatusCode::OK);
        }
    }

    /// The value in the session that has this cookie.
    async fn value(&self, cookie: Option<&HeaderValue>) -> String {
        text(send(&self.app, "/value", cookie).await).await
    }
}

async fn send(app: &Router, path: &'static str, cookie: Option<&HeaderValue>) -> Response<Body> {
    let mut request = Request::builder().uri(path);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie.clone());
    }
    let request = request.body(Body::empty()).expect("it is well-formed");
    match app.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The cookie that a browser sends back.
fn cookie_of(response: &Response<Body>) -> Option<HeaderValue> {
    let text = response.headers().get(SET_COOKIE)?.to_str().ok()?;
    let pair = text.split(';').next()?;
    HeaderValue::from_str(pair).ok()
}

/// Whether a contender does what the workload says.
///
/// # Panics
///
/// When it does not, with the names of both.
pub(crate) async fn check(contender: &Contender, workload: Workload) {
    assert_eq!(serde_json::to_string(&content()).expect("it is JSON").len(), 855);
    let visit = Visit::new(contender, workload).await;
    let who = format!("{}, {}", contender.name, workload.title());
    let value = |value: u64| match contender.has_sessions {
        true => value.to_string(),
        false => DONE.to_owned(),
    };
    if workload.has_cookie() {
        assert_eq!(
            visit.value(visit.cookie.as_ref()).await,
            value(VALUE),
            "{who}: the value at the beginning"
        );
    }
    for round in 1..=3 {
        let response = send(&visit.app, "/", visit.cookie.as_ref()).await;
        assert_eq!(response.status(), StatusCode::OK, "{who}");
        let cookie = cookie_of(&response);
        assert_eq!(text(response).await, DONE, "{who}");
        let (cookie, expected) = match workload {
            Workload::Untouched | Workload::Read => {
                assert_eq!(cookie, None, "{who}: nothing has changed, so no cookie is set");
                (visit.cookie.as_ref(), VALUE)
            }
            Workload::Replace => (visit.cookie.as_ref(), VALUE + round),
            Workload::Create => {
                assert_eq!(
                    cookie.is_some(),
                    contender.has_sessions,
                    "{who}: a new session has a cookie"
                );
                (cookie.as_ref(), VALUE)
            }
        };
        assert_eq!(
            visit.value(cookie).await,
            value(expected),
            "{who}: the value after request {round}"
        );
    }
}

async fn text(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), usize::MAX).await;
    String::from_utf8(bytes.expect("the body is in memory").into()).expect("handlers answer with text")
}
