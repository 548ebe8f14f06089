//! Functions given to `update` that use the session they belong to: whenever they run again, nobody waits for himself.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use session_schema::{ErrorKind, Session};
use session_tests::{Backing, Browser, Call, Site};

/// How long a deadlock is waited for.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs a test in a thread of its own, which a deadlock would stop for good.
fn in_time(test: impl AsyncFnOnce(Site) + Send + 'static) {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(Site::over(Backing::Memory)));
        tell.send(()).unwrap();
    });
    told.recv_timeout(LIMIT)
        .expect("a test failed, or an update that uses its own session waits for itself");
}

async fn begun(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser.visit(|session| session.put("by", 10).unwrap()).await.value();
    browser
}

/// Adds what is under "by", which it reads from the session.
fn add_from_session(session: &Session) {
    let own = session.clone();
    let add = move |n: &mut u64| *n += own.get_or::<u64>("by", 1).unwrap();
    session.update("n", add).unwrap();
}

async fn add(browser: &Browser, by: i64) {
    let add = move |session: Session| assert!(session.increment("n", by).is_ok());
    browser.visit(add).await.value();
}

#[test]
fn an_update_that_reads_its_session_is_applied_to_what_start_loads() {
    in_time(async |site| {
        let browser = begun(&site).await;
        add(&browser, 5).await;
        let session = site.manager().build_session(site.driver.clone(), Some(&browser.id()));
        add_from_session(&session);
        assert_eq!(session.get("n").unwrap(), Some(1));
        session.start().await.unwrap();
        session.save().await.unwrap();
        // The session is not loaded yet when its function runs on what was found.
        assert_eq!(
            Value::Object(site.payload(&browser.id()).await),
            json!({"by": 10, "n": 6})
        );
    });
}

#[test]
fn an_update_that_reads_its_session_is_applied_to_what_reload_finds() {
    in_time(async |site| {
        let browser = begun(&site).await;
        let other = browser.copy();
        let visit = browser.visit_async(async move |session: Session| {
            add_from_session(&session);
            add(&other, 5).await;
            session.reload().await.unwrap();
            assert_eq!(session.get("n").unwrap(), Some(15));
        });
        visit.await.value();
        assert_eq!(site.payload(&browser.id()).await["n"], 15);
    });
}

#[test]
fn an_update_that_reads_its_session_is_applied_to_what_a_save_has_met() {
    in_time(async |site| {
        let browser = begun(&site).await;
        let (other, faults) = (browser.copy(), site.faults.clone());
        let visit = browser.visit_async(async move |session: Session| {
            add(&other, 5).await;
            session.put("a", 1).unwrap();
            let mut held = faults.hold(Call::Write);
            let saving = tokio::spawn({
                let session = session.clone();
                async move { session.save().await }
            });
            held.reached().await;
            add_from_session(&session);
            held.release();
            saving.await.unwrap().unwrap();
            assert_eq!(session.get("n").unwrap(), Some(15));
        });
        visit.await.value();
        let stored = Value::Object(site.payload(&browser.id()).await);
        assert_eq!(stored, json!({"by": 10, "a": 1, "n": 15}));
    });
}

#[test]
fn an_update_that_changes_its_session_each_time_is_an_error_and_not_for_ever() {
    in_time(async |site| {
        let browser = begun(&site).await;
        let other = browser.copy();
        let visit = browser.visit_async(async move |session: Session| {
            let own = session.clone();
            let count_runs = move |n: &mut u64| {
                own.increment("runs", 1).unwrap();
                *n += 1;
            };
            session.update("n", count_runs).unwrap();
            add(&other, 5).await;
            let error = session.reload().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            session.forget(["n"]).unwrap();
        });
        visit.await.value();
        assert_eq!(site.payload(&browser.id()).await.get("n"), None);
    });
}
