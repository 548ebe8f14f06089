//! Thousands of histories over a store in memory, and hundreds over every other driver. Each comes from its seed: `LOSSLESS_HISTORIES=1000000` runs
//! more, `LOSSLESS_START=7` begins elsewhere, `LOSSLESS_SEED=42` runs one and tells what happened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use session_tests::Backing;

use crate::model::Counts;
use crate::script::History;
use crate::stage::Depth;
use crate::world::Outcome;

/// What all histories came to.
#[derive(Debug, Default)]
struct Total {
    steps: u64,
    deepest: Depth,
    counts: Counts,
}

impl Total {
    fn add(&mut self, outcome: &Outcome) {
        self.steps += outcome.depth.steps;
        if outcome.depth.switches > self.deepest.switches {
            self.deepest = outcome.depth;
        }
        let (all, one) = (&mut self.counts, &outcome.counts);
        all.most_conflicts = all.most_conflicts.max(one.most_conflicts);
        for (all, one) in all.each().into_iter().zip(one.clone().each()) {
            *all += *one;
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{name}` is a number")))
}

/// The same over a driver, each in a module of its name.
macro_rules! over {
    ($($module:ident: $backing:ident, $usually:literal;)*) => {$(
        mod $module {
            #[test]
            fn concurrent_requests_lose_nothing() {
                super::run(super::Backing::$backing, $usually);
            }
        }
    )*};
}

// So many that all of them together take some seconds on a machine that has nothing else to do.
over! {
    memory: Memory, 10_000;
    file: File, 200;
    sqlite: Sqlite, 150;
    postgres: Postgres, 200;
    mysql: MySql, 200;
    redis: Redis, 300;
    redis_cluster: Cluster, 300;
    cached: Cached, 300;
    tower_sessions: TowerSessions, 300;
}

fn run(backing: Backing, usually: u64) {
    if let Some(seed) = setting("LOSSLESS_SEED") {
        return fail_if_violated(seed, backing, true);
    }
    let (start, count) = (
        setting("LOSSLESS_START").unwrap_or(0),
        setting("LOSSLESS_HISTORIES").unwrap_or(usually),
    );
    let (begun, next) = (Instant::now(), AtomicU64::new(start));
    let total = Mutex::new(Total::default());
    let failed = Mutex::new(None::<u64>);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut own = Vec::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + count || failed.lock().unwrap().is_some() {
                        break;
                    }
                    let outcome = History::draw(seed).run(backing, false);
                    if outcome.violation.is_some() {
                        failed.lock().unwrap().get_or_insert(seed);
                    }
                    own.push(outcome);
                    if own.len() == 256 {
                        let mut total = total.lock().unwrap();
                        own.drain(..).for_each(|outcome| total.add(&outcome));
                    }
                }
                let mut total = total.lock().unwrap();
                own.iter().for_each(|outcome| total.add(outcome));
            });
        }
    });
    if let Some(seed) = failed.into_inner().unwrap() {
        fail_if_violated(seed, backing, false);
        panic!("the history of LOSSLESS_SEED={seed} failed once, and not again: the test is not deterministic");
    }
    let total = total.into_inner().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{backing:?}: {count} histories in {seconds:.1} s, {:.0} a second; {total:#?}",
        count as f64 / seconds
    );
    let mut counts = total.counts;
    if count >= 10_000 {
        assert!(
            counts.each().iter().all(|count| **count > 0),
            "some rule was never at work: {counts:?}"
        );
    }
}

/// Runs one history, and if a rule is broken shows the smallest that breaks it.
fn fail_if_violated(seed: u64, backing: Backing, tell: bool) {
    let history = History::draw(seed);
    let outcome = history.run(backing, true);
    let Some(violation) = outcome.violation else {
        if tell {
            println!("{history}\n{}", outcome.trace.join("\n"));
        }
        return;
    };
    let (smaller, outcome) = shrink(history, backing, outcome.trace, &violation);
    panic!(
        "LOSSLESS_SEED={seed}: {violation}\n\nthe smallest history found that breaks a rule:\n{smaller}\n\n{}\n",
        outcome.join("\n")
    );
}

/// Leaves out what can be left out. Another schedule may be needed then, so some are tried.
/// What breaks has to stay the same but for its numbers.
fn shrink(mut history: History, backing: Backing, mut trace: Vec<String>, violation: &str) -> (History, Vec<String>) {
    let kind = |text: &str| text.replace(|letter: char| letter.is_ascii_digit(), "");
    let same = |outcome: &Outcome| {
        outcome
            .violation
            .as_deref()
            .is_some_and(|found| kind(found) == kind(violation))
    };
    let mut budget = 20_000;
    'smaller: loop {
        for candidate in history.smaller() {
            for schedule in 0..40 {
                budget -= 1;
                if budget == 0 {
                    break 'smaller;
                }
                let candidate = History {
                    schedule: history.schedule.wrapping_add(schedule),
                    ..candidate.clone()
                };
                let outcome = candidate.run(backing, true);
                if same(&outcome) {
                    (history, trace) = (candidate, outcome.trace);
                    continue 'smaller;
                }
            }
        }
        break;
    }
    (history, trace)
}
