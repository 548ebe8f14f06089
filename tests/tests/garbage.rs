//! Garbage collection: what is removed, when, and by whom.

use std::time::Duration;

use session_schema::{Config, Session};
use session_tests::{App, Backing, Browser, Call, Log, Site, on_every_driver};
use tokio::time::advance;
use tracing::Level;

const MINUTE: Duration = Duration::from_secs(60);

/// A visitor whose session lives for so long.
async fn visitor(app: &App, lifetime: Duration) -> Browser {
    let browser = app.browser();
    let begin = move |session: Session| {
        session.put("a", 1).unwrap();
        session.set_lifetime(lifetime).unwrap();
    };
    browser.visit(begin).await.value();
    browser
}

/// Lets tokio's time go by, and other tasks run before and after.
async fn pass(time: Duration) {
    let others = async || {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    others().await;
    advance(time).await;
    others().await;
}

async fn what_has_expired_is_removed_and_counted_and_nothing_else(site: Site) {
    // GC-01, GC-04, GC-14
    let (app, manager) = (site.app(), site.manager());
    let short = visitor(&app, 10 * MINUTE).await;
    let long = visitor(&app, 20 * MINUTE).await;
    site.clock.advance(10 * MINUTE);
    assert_eq!(manager.gc().await.unwrap(), site.garbage(1));
    assert_eq!(manager.gc().await.unwrap(), 0, "it is gone");
    assert!(site.record(&short.id()).await.is_none());
    assert!(site.record(&long.id()).await.is_some());
}

async fn an_empty_store_has_no_garbage(site: Site) {
    // GC-02
    assert_eq!(site.manager().gc().await.unwrap(), 0);
}

async fn garbage_begins_at_the_very_moment_at_which_a_session_ends(site: Site) {
    // GC-03
    let browser = visitor(&site.app(), MINUTE).await;
    site.clock.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(site.manager().gc().await.unwrap(), 0);
    assert!(browser.copy().visit(|session| session.has("a")).await.value());
    let browser = visitor(&site.app(), MINUTE).await;
    site.clock.advance(MINUTE);
    assert!(!browser.visit(|session| session.has("a")).await.value());
    assert_eq!(site.manager().gc().await.unwrap(), site.garbage(2));
}

async fn the_mark_of_an_old_id_is_garbage_after_its_grace(site: Site) {
    // GC-01, DESIGN 6
    let browser = visitor(&site.app(), 60 * MINUTE).await;
    browser.visit(|session| session.regenerate().unwrap()).await.value();
    assert_eq!(site.manager().gc().await.unwrap(), 0);
    site.clock.advance(Duration::from_secs(30));
    assert_eq!(site.manager().gc().await.unwrap(), site.garbage(1));
    assert!(browser.visit(|session| session.has("a")).await.value());
}

#[tokio::test(start_paused = true)]
async fn the_layer_collects_after_each_interval_and_stops_when_it_is_dropped() {
    // GC-06, GC-08, GC-09, OBS-13
    let site = Site::over(Backing::Memory);
    let log = Log::capture();
    let app = site.app_with(|layer| layer.with_gc_interval(10 * MINUTE));
    pass(60 * MINUTE).await;
    assert_eq!(site.calls.take().gc, 0, "nothing was used yet");
    visitor(&app, MINUTE).await;
    site.clock.advance(MINUTE);
    pass(10 * MINUTE - Duration::from_millis(1)).await;
    assert_eq!(site.calls.take().gc, 0);
    pass(Duration::from_millis(1)).await;
    assert_eq!(site.calls.take().gc, 1);
    let collected = log.at(Level::DEBUG);
    assert!(
        collected.iter().any(|entry| entry.field("removed") == Some("1")),
        "{collected:?}"
    );
    pass(10 * MINUTE).await;
    pass(10 * MINUTE).await;
    assert_eq!(site.calls.take().gc, 2);
    drop(app);
    pass(60 * MINUTE).await;
    assert_eq!(site.calls.take().gc, 0);
}

#[tokio::test(start_paused = true)]
async fn the_layer_of_a_manager_collects_from_the_start() {
    // GC-06, GC-09
    let site = Site::over(Backing::Memory);
    let manager = site.manager();
    let layer = manager.layer().await.unwrap();
    let second = manager.layer().await.unwrap();
    pass(30 * MINUTE - Duration::from_millis(1)).await;
    assert_eq!(site.calls.take().gc, 0);
    pass(Duration::from_millis(1)).await;
    assert_eq!(site.calls.take().gc, 1, "two layers over one driver collect once");
    drop((layer, second, manager));
    pass(60 * MINUTE).await;
    assert_eq!(site.calls.take().gc, 0);
}

#[tokio::test(start_paused = true)]
async fn a_layer_collects_though_its_driver_need_not_be_asked_for_anything_else() {
    // GC-06
    let site = Site::over(Backing::AtHand);
    let mut config = Config::default();
    (config.driver, config.gc_interval) = ("site".into(), 0);
    let layer = site.manager_with(config).layer().await.unwrap();
    let app = App::new(layer.with_gc_interval(MINUTE));
    visitor(&app, MINUTE).await;
    pass(MINUTE).await;
    assert_eq!(site.calls.take().gc, 1);
}

#[tokio::test(start_paused = true)]
async fn no_interval_or_a_negative_one_is_no_collection() {
    // GC-07
    for interval in [0, -5] {
        let site = Site::over(Backing::Memory);
        let mut config = Config::default();
        (config.driver, config.gc_interval) = ("site".into(), interval);
        let manager = site.manager_with(config);
        let app = App::new(manager.layer().await.unwrap());
        visitor(&app, MINUTE).await;
        pass(600 * MINUTE).await;
        assert_eq!(site.calls.take().gc, 0);
        drop(app);
    }
    let site = Site::over(Backing::Memory);
    let app = site.app_with(|layer| layer.with_gc_interval(Duration::ZERO));
    visitor(&app, MINUTE).await;
    pass(600 * MINUTE).await;
    assert_eq!(site.calls.take().gc, 0);
}

#[tokio::test(start_paused = true)]
async fn a_collection_that_fails_is_logged_and_tried_again() {
    // GC-11 (D67)
    let site = Site::over(Backing::Memory);
    let log = Log::capture();
    let app = site.app_with(|layer| layer.with_gc_interval(MINUTE));
    visitor(&app, MINUTE).await;
    site.faults.fail_next(Call::Gc);
    pass(MINUTE).await;
    let warned = log.at(Level::WARN);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].field("err").is_some());
    pass(MINUTE).await;
    assert_eq!((site.calls.take().gc, log.at(Level::WARN).len()), (2, 1));
}

#[test]
fn a_layer_is_built_outside_a_runtime() {
    // GC-07: there is no task to start yet, and no panic.
    let site = Site::over(Backing::Memory);
    let app = site.app();
    drop(app);
}

on_every_driver! {
    what_has_expired_is_removed_and_counted_and_nothing_else,
    an_empty_store_has_no_garbage,
    garbage_begins_at_the_very_moment_at_which_a_session_ends,
    the_mark_of_an_old_id_is_garbage_after_its_grace,
}
