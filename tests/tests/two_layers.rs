//! The warning about a second layer. A process gives it once, so this test has one of its own.

use session_tests::{App, Backing, Log, Site};
use tracing::Level;

#[tokio::test]
async fn two_layers_warn_once() {
    // ID-33, D28
    let site = Site::over(Backing::Memory);
    let (outer, inner) = (site.layer(), site.layer());
    let app = App::around("__Host-session", |router| router.layer(inner).layer(outer));
    let log = Log::capture();
    for _ in 0..3 {
        let visit = app.browser().visit(|session| session.put("n", 1).unwrap()).await;
        visit.value();
        let warnings = log.at(Level::WARN);
        assert!(
            warnings.len() == 1 && warnings[0].message.contains("two `SessionLayer`s"),
            "{warnings:?}"
        );
    }
}
