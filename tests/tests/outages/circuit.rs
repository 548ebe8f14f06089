//! A store that is down is spared, and so are those who would wait for it.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use session_schema::Session;
use session_tests::{App, Backing, Browser, Call, Counts, Log, Site, signed_in, user};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};
use tracing::Level;

/// How many calls in a row have to fail, as `SessionLayer` says.
const FAILURES: usize = 5;
/// How long the store is spared at first, and later, at most.
const SECOND: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(8);

async fn status(browser: &Browser) -> u16 {
    browser.visit(|session| session.has("user")).await.status.as_u16()
}

/// A visitor of a store that is down, and the circuit just open.
async fn down(site: &Site) -> Browser {
    let browser = signed_in(site).await;
    site.faults.unreachable(Call::Read);
    for _ in 0..FAILURES {
        assert_eq!(status(&browser).await, 503);
    }
    site.calls.take();
    browser
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_in_a_row_the_store_is_not_asked_any_more() {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    site.faults.unreachable(Call::Read);
    for _ in 0..FAILURES {
        assert_eq!(status(&browser).await, 503);
    }
    assert_eq!(site.calls.take().read, FAILURES as u64);
    for _ in 0..20 {
        assert_eq!(status(&browser).await, 503);
    }
    assert_eq!(site.calls.take(), Counts::NONE);
}

#[tokio::test(start_paused = true)]
async fn requests_that_need_no_session_go_on() {
    let site = Site::over(Backing::Memory);
    let browser = down(&site).await;
    let page = browser.send(Request::new(Body::empty()), async |_| {
        "a page for everybody".into_response()
    });
    assert_eq!(&page.await.body[..], b"a page for everybody");
    assert_eq!(
        status(&site.app().browser()).await,
        200,
        "a visitor without a cookie has nothing to load"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_no_request_for_longer_than_the_limit_and_later_ones_not_at_all() {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    let held: Vec<_> = (0..FAILURES).map(|_| site.faults.hold(Call::Read)).collect();
    let begun = Instant::now();
    let mut waiting = JoinSet::new();
    for _ in 0..FAILURES {
        let browser = browser.clone();
        waiting.spawn(async move { status(&browser).await });
    }
    assert_eq!(waiting.join_all().await, [503; FAILURES]);
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(status(&browser).await, 503);
    assert_eq!(
        (begun.elapsed().as_secs(), site.calls.take().read),
        (5, FAILURES as u64)
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_finds_out_whether_the_store_is_back_and_then_all_go_on() {
    let site = Site::over(Backing::Memory);
    let browser = down(&site).await;
    advance(SECOND / 2).await;
    assert_eq!(status(&browser).await, 503);
    assert_eq!(site.calls.take(), Counts::NONE, "it is spared for almost a second");
    advance(SECOND / 2).await;
    site.faults.heal();
    let mut probe = site.faults.hold(Call::Read);
    let first = tokio::spawn({
        let browser = browser.clone();
        async move { user(&browser).await }
    });
    probe.reached().await;
    for _ in 0..10 {
        assert_eq!(status(&browser).await, 503);
    }
    assert_eq!(site.calls.take().read, 1);
    probe.release();
    assert_eq!(first.await.unwrap(), Some(7));
    for _ in 0..10 {
        assert_eq!(user(&browser).await, Some(7));
    }
    assert_eq!(site.calls.take().read, 10);
}

#[tokio::test(start_paused = true)]
async fn the_longer_the_store_is_down_the_less_often_it_is_asked_but_never_less_than_every_eight_seconds() {
    let site = Site::over(Backing::Memory);
    let browser = down(&site).await;
    let (begun, mut asked_at) = (Instant::now(), Vec::new());
    while asked_at.len() < 8 {
        advance(Duration::from_millis(50)).await;
        assert!(begun.elapsed() < 10 * LONGEST, "it was asked at {asked_at:?} only");
        assert_eq!(status(&browser).await, 503);
        if site.calls.take().read == 1 {
            asked_at.push(begun.elapsed());
        }
    }
    let pauses: Vec<_> = [Duration::ZERO]
        .iter()
        .chain(&asked_at)
        .zip(&asked_at)
        .map(|(a, b)| *b - *a)
        .collect();
    let mut longest = SECOND;
    for pause in pauses {
        let (at_least, at_most) = (longest * 3 / 4, longest + Duration::from_millis(50));
        assert!(
            (at_least..=at_most).contains(&pause),
            "{pause:?} is not about {longest:?}"
        );
        longest = (longest * 2).min(LONGEST);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_while_it_finds_out_makes_room_for_the_next() {
    let site = Site::over(Backing::Memory);
    let browser = down(&site).await;
    advance(SECOND).await;
    site.faults.heal();
    let mut probe = site.faults.hold(Call::Read);
    let first = tokio::spawn({
        let browser = browser.clone();
        async move { user(&browser).await }
    });
    probe.reached().await;
    assert_eq!(status(&browser).await, 503);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(user(&browser).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_between_begins_the_count_anew() {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    for _ in 0..4 {
        for _ in 1..FAILURES {
            site.faults.unreachable_next(Call::Read);
            assert_eq!(status(&browser).await, 503);
        }
        assert_eq!(user(&browser).await, Some(7));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_store_is_an_answer() {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    for _ in 0..4 * FAILURES {
        site.faults.fail_next(Call::Read);
        assert_eq!(status(&browser).await, 500);
    }
    assert_eq!(site.calls.take().read, 4 * FAILURES as u64);
    // It ends an outage, too.
    down(&site).await;
    advance(SECOND).await;
    site.faults.heal();
    site.faults.fail_next(Call::Read);
    assert_eq!(status(&browser).await, 500);
    assert_eq!(user(&browser).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn saves_open_it_as_loads_do_and_a_store_that_cannot_be_opened() {
    let site = Site::over(Backing::Memory);
    let browser = signed_in(&site).await;
    site.faults.unreachable(Call::Write);
    for _ in 0..FAILURES {
        let save = browser.visit(|session| session.increment("n", 1).unwrap());
        assert_eq!(save.await.status, 503);
        // The visit before the last one has read, which is an answer.
    }
    assert_eq!(user(&browser).await, Some(7), "a store that can be read is asked");

    let site = Site::over(Backing::Memory);
    site.faults.unreachable(Call::Open);
    let app = site.app();
    let visit = async || app.browser().visit(|session| session.put("a", 1).unwrap()).await.status;
    for _ in 0..FAILURES + 3 {
        assert_eq!(visit().await, 503);
    }
    assert_eq!(
        site.calls.take(),
        Counts {
            open: FAILURES as u64,
            ..Counts::NONE
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_says_once_when_it_begins_and_once_when_it_ends() {
    let site = Site::over(Backing::Memory);
    let log = Log::capture();
    let browser = down(&site).await;
    for _ in 0..10 {
        status(&browser).await;
    }
    let warned = log.at(Level::WARN);
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].message.contains("out of reach"), "{warned:?}");
    assert!(log.at(Level::INFO).is_empty());
    advance(SECOND).await;
    site.faults.heal();
    for _ in 0..3 {
        user(&browser).await;
    }
    let told = log.at(Level::INFO);
    assert_eq!((told.len(), told[0].field("down")), (1, Some("1s")), "{told:?}");
    assert_eq!(log.at(Level::WARN).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn layers_that_share_a_store_share_what_they_know_of_it_and_others_do_not() {
    let site = Site::over(Backing::Memory);
    let layer = site.layer();
    let (app, clone) = (App::new(layer.clone()), App::new(layer.with_max_bytes(100)));
    site.faults.unreachable(Call::Read);
    let visit = async |app: &App| {
        let cookie = b"__Host-session=0123456789012345678901234567890123456789";
        app.visit_with_cookies(&[cookie], |session: Session| session.is_new())
            .await
            .status
    };
    for _ in 0..FAILURES {
        assert_eq!(visit(&app).await, 503);
    }
    site.calls.take();
    assert_eq!(visit(&clone).await, 503);
    assert_eq!(site.calls.take(), Counts::NONE);
    let other = Site::over(Backing::Memory);
    assert_eq!(user(&signed_in(&other).await).await, Some(7));
}
