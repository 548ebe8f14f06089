//! What most visitors do.

use session_schema::Session;

use crate::app::Visit;
use crate::browser::Browser;
use crate::site::Site;

/// A browser whose session says `"user": 7`, and counters at zero.
pub async fn signed_in(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser.visit(|session| session.put("user", 7).unwrap()).await.value();
    site.calls.take();
    browser
}

/// Whose session a browser has.
pub async fn user(browser: &Browser) -> Option<u32> {
    browser.visit(|session| session.get("user").unwrap()).await.value()
}

/// Gives the session a new id, and returns it.
pub fn regenerate(session: Session) -> String {
    session.regenerate().unwrap();
    session.id().as_str().to_owned()
}

/// Ends the session.
pub fn invalidate(session: Session) {
    session.invalidate().unwrap();
}

/// Asserts that a response succeeds and says nothing about the cookie.
#[track_caller]
pub fn assert_silent<T>(visit: &Visit<T>) {
    assert!(visit.cookies().is_empty(), "{:?}", visit.headers);
    assert!(visit.status.is_success());
}
