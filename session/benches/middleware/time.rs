//! Times: rounds in which everybody has a turn, in a process of its own, so that nobody works in the memory another has left
//! behind. What slows the machine for a while spoils a turn, not the median.

use std::env;
use std::process::Command;
use std::time::Instant;

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

/// # Errors
///
/// When this program cannot start itself, or fails then.
pub(crate) fn measure(rounds: usize, requests: usize) -> Result<Times, String> {
    let pairs: Vec<_> = contender::pairs().collect();
    let mut times = vec![Vec::new(); pairs.len()];
    for round in 0..rounds {
        for turn in 0..pairs.len() {
            // Nobody always comes after the same other.
            let at = if round % 2 == 0 { turn } else { pairs.len() - 1 - turn };
            let (contender, workload) = pairs[at];
            times[at].push(start_turn(contender, workload, requests)?);
        }
    }
    let medians = times.into_iter().map(median);
    let of_pair = |(&(by, what), time): (&(&'static Contender, Workload), f64)| (by.id, what, time);
    Ok(Times(pairs.iter().zip(medians).map(of_pair).collect()))
}

fn start_turn(contender: &Contender, workload: Workload, requests: usize) -> Result<f64, String> {
    let bench = env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let mut turn = Command::new(bench);
    turn.args(["turn", contender.id, workload.id(), &requests.to_string()]);
    let turn = turn
        .output()
        .map_err(|error| format!("this program cannot be started: {error}"))?;
    let time = String::from_utf8_lossy(&turn.stdout);
    time.trim()
        .parse()
        .map_err(|_| format!("a turn failed: {time}{}", String::from_utf8_lossy(&turn.stderr)))
}

/// Nanoseconds per request, once the caches know what there is to do.
pub(crate) async fn turn(contender: &Contender, workload: Workload, requests: usize) -> f64 {
    let visit = Visit::new(contender, workload).await;
    visit.repeat(requests / 20).await;
    let start = Instant::now();
    visit.repeat(requests).await;
    start.elapsed().as_nanos() as f64 / requests as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
