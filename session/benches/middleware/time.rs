//! Times, in short turns that everybody has again and again: what slows the machine for a while slows all of them.

use std::time::Instant;

use tokio::runtime::Runtime;

use crate::contender::{self, Contender};
use crate::workload::{Visit, Workload};

/// Nanoseconds per request.
pub(crate) struct Times(Vec<(&'static str, Workload, f64)>);

impl Times {
    fn of(&self, contender: &Contender, workload: Workload) -> f64 {
        let is_it = |&&(by, what, _): &&(&str, Workload, f64)| by == contender.id && what == workload;
        self.0.iter().find(is_it).map_or(f64::NAN, |&(_, _, time)| time)
    }

    pub(crate) fn show(&self, contender: &Contender, workload: Workload) -> String {
        let time = self.of(contender, workload);
        let bare = self.of(&contender::ALL[0], workload.baseline());
        format!("{:.2}x {time:>5.0} ns", time / bare)
    }
}

/// How many requests are measured at once: few enough that most bursts are over before the machine turns to something else.
const BURST: usize = 100;

pub(crate) fn measure(runtime: &Runtime, rounds: usize, requests: usize) -> Times {
    let pairs: Vec<_> = contender::pairs().collect();
    let mut times = vec![Vec::new(); pairs.len()];
    for _ in 0..rounds {
        // New applications in every round: sessions pile up in them.
        let visits = pairs
            .iter()
            .map(|&(contender, workload)| runtime.block_on(Visit::new(contender, workload)));
        let visits: Vec<_> = visits.collect();
        for burst in 0..requests.div_ceil(BURST) {
            for turn in 0..pairs.len() {
                // Nobody always comes after the same other.
                let at = (turn + burst) % pairs.len();
                times[at].push(runtime.block_on(one_burst(&visits[at])));
            }
        }
    }
    let medians = times.into_iter().map(median);
    Times(
        pairs
            .iter()
            .zip(medians)
            .map(|(&(by, what), time)| (by.id, what, time))
            .collect(),
    )
}

async fn one_burst(visit: &Visit) -> f64 {
    // The others have had the caches.
    visit.repeat(BURST / 10).await;
    let start = Instant::now();
    visit.repeat(BURST).await;
    start.elapsed().as_nanos() as f64 / BURST as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
