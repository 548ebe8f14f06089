//! A task that outlives its response: behind a WebSocket, a stream of events, or in the background.

use session_schema::{ErrorKind, Session};
use session_tests::{Browser, Call, Log, Site, on_every_driver};
use tracing::Level;

async fn begun(site: &Site) -> Browser {
    let browser = site.app().browser();
    browser
        .visit(|session| session.put("begun", true).unwrap())
        .await
        .value();
    browser
}

/// The session of a request that has been answered.
async fn left_behind(browser: &Browser) -> Session {
    browser.visit(|session| session).await.value()
}

async fn a_change_after_the_response_is_refused_and_reported(site: Site) {
    let log = Log::capture();
    let session = left_behind(&begun(&site).await).await;
    let error = session.put("late", 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Committed);
    assert!(error.to_string().contains("`reload`"), "{error}");
    assert_eq!(session.get::<u32>("late").unwrap(), None);
    let errors = log.at(Level::ERROR);
    assert!(
        errors.len() == 1 && errors[0].message.contains("after its response"),
        "{errors:?}"
    );
}

async fn a_change_after_a_reload_is_stored_by_save(site: Site) {
    let browser = begun(&site).await;
    let session = left_behind(&browser).await;
    browser
        .visit(|session| session.put("meanwhile", 1).unwrap())
        .await
        .value();
    session.reload().await.unwrap();
    assert_eq!(
        session.get("meanwhile").unwrap(),
        Some(1),
        "what others have stored since is seen"
    );
    session.increment("events", 2).unwrap();
    browser
        .visit(|session| session.increment("events", 40).unwrap())
        .await
        .value();
    session.save().await.unwrap();
    assert_eq!(site.payload(&browser.id()).await["events"], 42);
}

async fn changes_after_a_reload_that_are_dropped_unsaved_are_reported(site: Site) {
    let browser = begun(&site).await;
    let session = left_behind(&browser).await;
    session.reload().await.unwrap();
    session.put("late", 1).unwrap();
    let log = Log::capture();
    drop(session);
    let errors = log.at(Level::ERROR);
    assert!(
        errors.len() == 1 && errors[0].message.contains("dropped unsaved"),
        "{errors:?}"
    );
    assert_eq!(site.payload(&browser.id()).await.get("late"), None);
}

async fn a_session_that_saves_what_it_changes_is_dropped_without_a_word(site: Site) {
    let browser = begun(&site).await;
    let log = Log::capture();
    let session = left_behind(&browser).await;
    session.reload().await.unwrap();
    session.put("late", 1).unwrap();
    session.save().await.unwrap();
    drop(session);
    assert!(log.at(Level::ERROR).is_empty(), "{}", log.text());
}

async fn a_save_that_fails_can_be_tried_again(site: Site) {
    let browser = begun(&site).await;
    let session = left_behind(&browser).await;
    session.reload().await.unwrap();
    session.put("late", 1).unwrap();
    site.faults.unreachable(Call::Write);
    assert_eq!(session.save().await.unwrap_err().kind(), ErrorKind::Unavailable);
    site.faults.heal();
    session.save().await.unwrap();
    assert_eq!(site.payload(&browser.id()).await["late"], 1);
}

async fn what_the_browser_cannot_be_told_is_refused(site: Site) {
    let browser = begun(&site).await;
    let session = left_behind(&browser).await;
    session.reload().await.unwrap();
    assert_eq!(session.regenerate().unwrap_err().kind(), ErrorKind::Committed);
    // Nor can a session begin: nobody would have its id.
    let session = left_behind(&site.app().browser()).await;
    session.reload().await.unwrap();
    session.put("late", 1).unwrap();
    assert_eq!(session.save().await.unwrap_err().kind(), ErrorKind::Committed);
}

async fn a_session_that_was_destroyed_meanwhile_reads_as_empty_and_stays_destroyed(site: Site) {
    let browser = begun(&site).await;
    let (id, session) = (browser.id(), left_behind(&browser).await);
    browser.visit(|session| session.invalidate().unwrap()).await.value();
    session.reload().await.unwrap();
    assert!(session.all().is_empty());
    session.put("late", 1).unwrap();
    session.save().await.unwrap();
    assert!(site.record(&id).await.is_none());
}

async fn a_session_that_goes_by_a_new_id_is_not_followed_there(site: Site) {
    // DESIGN 6: whoever planted the old id would read along, and write, for as long as the stream runs.
    let browser = begun(&site).await;
    let session = left_behind(&browser).await;
    let sign_in = |session: Session| {
        session.regenerate().unwrap();
        session.put("user", 42).unwrap();
        session.set_owner(Some("42")).unwrap();
        (session.token(), session.id().as_str().to_owned())
    };
    let (token, id) = browser.visit(sign_in).await.value();
    let log = Log::capture();
    for _ in 0..2 {
        session.reload().await.unwrap();
        assert!(session.all().is_empty() && session.owner().is_none());
        assert!(session.token() != token && session.id().as_str() != id);
        session.put("late", 1).unwrap();
        session.save().await.unwrap();
    }
    let payload = site.payload(&browser.id()).await;
    assert_eq!((payload.get("late"), &payload["user"]), (None, &42.into()));
    assert!(
        log.at(Level::WARN)
            .iter()
            .any(|entry| entry.message.contains("dropped"))
    );
}

async fn a_task_that_reloads_while_the_response_is_saved_does_not_keep_it_from_setting_the_cookie(site: Site) {
    // ISSUE Lossless 7: a stream that starts with the request that signs in.
    let browser = begun(&site).await;
    let mut reloading = site.faults.hold_after(1, Call::Read);
    let tab = browser.clone();
    let visit = tokio::spawn(async move {
        let handler = async |session: Session| {
            let stream = session.clone();
            let task = tokio::spawn(async move { stream.reload().await });
            tokio::task::yield_now().await;
            session.regenerate().unwrap();
            session.put("user", 42).unwrap();
            // In a list, because the visit must not wait for it.
            [task]
        };
        tab.visit_async(handler).await
    });
    reloading.reached().await;
    // The handler returns, and its session waits to be saved.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    reloading.release();
    let visit = visit.await.unwrap();
    assert!(visit.cookie().is_some(), "{}", visit.status);
    let [task] = visit.value();
    task.await.unwrap().unwrap();
    assert_eq!(
        browser.visit(|session| session.get("user").unwrap()).await.value(),
        Some(42)
    );
}

on_every_driver! {
    a_task_that_reloads_while_the_response_is_saved_does_not_keep_it_from_setting_the_cookie,
    a_change_after_the_response_is_refused_and_reported,
    a_change_after_a_reload_is_stored_by_save,
    changes_after_a_reload_that_are_dropped_unsaved_are_reported,
    a_session_that_saves_what_it_changes_is_dropped_without_a_word,
    a_save_that_fails_can_be_tried_again,
    what_the_browser_cannot_be_told_is_refused,
    a_session_that_was_destroyed_meanwhile_reads_as_empty_and_stays_destroyed,
    a_session_that_goes_by_a_new_id_is_not_followed_there,
}
