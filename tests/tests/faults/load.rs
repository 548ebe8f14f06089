//! Visitors who use an application all the time, and what was answered to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_tests::{App, Browser, Log};
use tokio::task::JoinHandle;
use tracing::Level;

/// How long a test waits for what has to come about in the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Visitors, each with a session whose counter two tabs increment for as long as this lasts.
pub(crate) struct Load {
    visitors: Vec<Visitor>,
    go_on: Arc<AtomicBool>,
    tabs: Vec<JoinHandle<()>>,
}

struct Visitor {
    browser: Browser,
    number: u64,
    answers: Arc<Answers>,
}

#[derive(Default)]
struct Answers {
    acknowledged: AtomicU64,
    failed: AtomicU64,
    /// Of the longest that a request took.
    longest_millis: AtomicU64,
}

impl Load {
    /// So many visitors begin. Whatever fails has to fail with one of these statuses.
    pub(crate) async fn begin(app: &App, visitors: u64, failures: &'static [u16]) -> Self {
        let (go_on, mut all, mut tabs) = (Arc::new(AtomicBool::new(true)), Vec::new(), Vec::new());
        for number in 0..visitors {
            let browser = app.browser();
            let visit = browser.visit(move |session| {
                session.put("visitor", number).unwrap();
                session.put("count", 0).unwrap();
            });
            visit.await.value();
            let answers = Arc::<Answers>::default();
            for _ in 0..2 {
                tabs.push(tokio::spawn(count(
                    browser.copy(),
                    go_on.clone(),
                    answers.clone(),
                    failures,
                )));
            }
            all.push(Visitor {
                browser,
                number,
                answers,
            });
        }
        Self {
            visitors: all,
            go_on,
            tabs,
        }
    }

    /// Waits until every visitor has been served again, and says how long that took.
    pub(crate) async fn served(&self) -> Duration {
        self.wait_for_more(|answers| &answers.acknowledged).await
    }

    /// Waits until a request of every visitor has failed.
    pub(crate) async fn refused(&self) -> Duration {
        self.wait_for_more(|answers| &answers.failed).await
    }

    async fn wait_for_more(&self, counter: impl Fn(&Answers) -> &AtomicU64) -> Duration {
        let since = Instant::now();
        let now = || -> BTreeMap<u64, u64> {
            let visitors = self.visitors.iter();
            visitors
                .map(|visitor| (visitor.number, counter(&visitor.answers).load(Ordering::SeqCst)))
                .collect()
        };
        let before = now();
        // Two tabs may have been under way: what they get belongs to the time before.
        while now().iter().any(|(number, count)| *count < before[number] + 3) {
            assert!(since.elapsed() < PATIENCE, "nothing happens any more");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        since.elapsed()
    }

    /// Ends the load. Every visitor has their own session, in which all counts that was acknowledged, and nothing that was never asked for.
    pub(crate) async fn end(self) -> Summary {
        let summary = self.end_with_losses().await;
        assert_eq!(summary.lost, 0, "acknowledged changes are lost: {summary:?}");
        summary
    }

    /// The same where the store does not promise to keep all that it has answered for. What was stored before the load has to be there.
    pub(crate) async fn end_with_losses(self) -> Summary {
        self.go_on.store(false, Ordering::SeqCst);
        for tab in self.tabs {
            tab.await.expect("the visitors get what they may get");
        }
        let mut summary = Summary::default();
        for visitor in self.visitors {
            let visit = visitor.browser.visit(|session| {
                let (number, count) = (session.get("visitor").unwrap(), session.get("count").unwrap());
                (number, count)
            });
            let (number, count): (Option<u64>, Option<u64>) = visit.await.value();
            let load = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
            let (acknowledged, failed) = (load(&visitor.answers.acknowledged), load(&visitor.answers.failed));
            assert_eq!(number, Some(visitor.number), "whose session it is");
            let count = count.expect("the counter is there");
            assert!(
                count <= acknowledged + failed,
                "{count} changes, of which {acknowledged} succeeded and {failed} failed"
            );
            summary.acknowledged += acknowledged;
            summary.failed += failed;
            summary.unknown += count.saturating_sub(acknowledged);
            summary.lost += acknowledged.saturating_sub(count);
            let longest = Duration::from_millis(load(&visitor.answers.longest_millis));
            summary.longest = summary.longest.max(longest);
        }
        summary
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    /// Failed, and done nevertheless.
    pub(crate) unknown: u64,
    /// Acknowledged, and not there.
    pub(crate) lost: u64,
    pub(crate) longest: Duration,
}

/// Increments for as long as it may; after a failure a visitor takes a breath.
async fn count(browser: Browser, go_on: Arc<AtomicBool>, answers: Arc<Answers>, failures: &'static [u16]) {
    while go_on.load(Ordering::SeqCst) {
        let since = Instant::now();
        let visit = browser.visit(|session| session.increment("count", 1).map(drop).unwrap());
        let status = visit.await.status.as_u16();
        let took = since.elapsed().as_millis() as u64;
        answers.longest_millis.fetch_max(took, Ordering::SeqCst);
        match status {
            200 => drop(answers.acknowledged.fetch_add(1, Ordering::SeqCst)),
            failed if failures.contains(&failed) => {
                answers.failed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => panic!("status {other}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Asserts that the log has a line like this, and returns what it says besides.
#[track_caller]
pub(crate) fn assert_logged(log: &Log, level: Level, message: &str, detail: &str) {
    let said = log.at(level);
    let found = said.iter().any(|entry| {
        let mut fields = entry.fields.iter();
        entry.message.contains(message) && (detail.is_empty() || fields.any(|(_, text)| text.contains(detail)))
    });
    assert!(
        found,
        "no {level} line says `{message}` with `{detail}`; the first lines are {:#?}",
        said.iter().take(3).collect::<Vec<_>>()
    );
}
