//! Times, in rounds in which everybody has a turn: what slows the machine for a while slows all of them.

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

pub(crate) fn measure(runtime: &Runtime, rounds: usize, requests: usize) -> Times {
    let pairs: Vec<_> = contender::pairs().collect();
    let mut times = vec![Vec::with_capacity(rounds); pairs.len()];
    for round in 0..rounds {
        for turn in 0..pairs.len() {
            // Nobody always comes after the same other.
            let at = (turn + round) % pairs.len();
            let (contender, workload) = pairs[at];
            times[at].push(runtime.block_on(one_turn(contender, workload, requests)));
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

/// A new application each time, so that sessions which pile up cost every round the same.
async fn one_turn(contender: &Contender, workload: Workload, requests: usize) -> f64 {
    let visit = Visit::new(contender, workload).await;
    visit.repeat(requests.div_ceil(10)).await;
    let start = Instant::now();
    visit.repeat(requests).await;
    start.elapsed().as_nanos() as f64 / requests as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
