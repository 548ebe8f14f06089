//! What a session costs a request, beside bare axum and another library, measured within one process.
//!
//! ```text
//! cargo bench --bench middleware                           times and ratios: nine rounds of 100,000 requests
//! cargo bench --bench middleware -- time 3 20000           three rounds of 20,000
//! cargo bench --bench middleware -- instructions           instructions and allocations, by valgrind
//! cargo bench --bench middleware -- run ours replace 5000  only that, for a profiler
//! ```
//!
//! Requests go to the router directly (`tower::ServiceExt::oneshot`), on one thread, so nothing but the work of the CPU is measured:
//! sessions live in memory, as JSON of 855 bytes under ten keys. Called like this axum applies the layers anew for every request
//! (`axum::serve` does so for every connection), so what `Layer::layer` costs is in the figures.
//!
//! Before anything is measured every contender has to show that it does what the [workload](workload::Workload) says. Times are
//! reported, and never judged: they depend on the machine, and only ratios of one run can be compared. Instructions do not depend
//! on what else the machine does, but valgrind's CPU has no instructions for SHA-256: some 3,000 of them are few in fact.

mod contender;
mod content;
mod instructions;
mod table;
mod time;
mod workload;

use std::env;
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};

use contender::Contender;
use workload::{Visit, Workload};

const USAGE: &str = "usage: cargo bench --bench middleware [-- MODE], where MODE is one of
  time [ROUNDS [REQUESTS]]           measure times (the default)
  instructions [REQUESTS]            count instructions and allocations; needs valgrind
  run CONTENDER WORKLOAD [REQUESTS]  serve requests, for a profiler
  turn CONTENDER WORKLOAD [REQUESTS] the same, and say how many nanoseconds one took
  check                              only check that the workloads do what they say";

fn main() -> ExitCode {
    // `cargo bench` adds `--bench`; `cargo test --benches` does not, and wants to know whether it works, not how fast.
    let (flags, words): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|word| word.starts_with("--"));
    let mode = match flags.iter().any(|flag| flag == "--bench") {
        true => "time",
        false => "check",
    };
    match run_mode(mode, &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the words say; without any, what `mode` says.
fn run_mode(mode: &str, words: &[String]) -> Result<(), String> {
    let word = |at: usize| words.get(at).map(String::as_str);
    let number = |at, default| word(at).map_or(Ok(default), number);
    match word(0).unwrap_or(mode) {
        "check" => check(),
        "time" => time(number(1, 9)?, number(2, 100_000)?)?,
        "instructions" => instructions(number(1, 2_000)?)?,
        "run" => {
            let (contender, workload) = pair(word(1), word(2))?;
            let requests = number(3, 2_000)?;
            runtime().block_on(async { Visit::new(contender, workload).await.repeat(requests).await });
        }
        "turn" => {
            let (contender, workload) = pair(word(1), word(2))?;
            println!(
                "{}",
                runtime().block_on(time::turn(contender, workload, number(3, 100_000)?))
            );
        }
        _ => return Err(USAGE.to_owned()),
    }
    Ok(())
}

fn number(word: &str) -> Result<usize, String> {
    match word.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{word}` is not a number above zero\n{USAGE}")),
    }
}

fn check() {
    let runtime = runtime();
    for (contender, workload) in contender::pairs() {
        runtime.block_on(workload::check(contender, workload));
    }
}

fn time(rounds: usize, requests: usize) -> Result<(), String> {
    check();
    println!("Median of {rounds} rounds of {requests} requests, and its ratio to bare axum.\n");
    let times = time::measure(rounds, requests)?;
    print!(
        "{}",
        table::render(|contender, workload| times.show(contender, workload))
    );
    Ok(())
}

fn instructions(requests: usize) -> Result<(), String> {
    check();
    let counts = instructions::measure(requests)?;
    println!(
        "Instructions per request and their ratio to bare axum; calls of malloc, calloc and realloc per request.\n"
    );
    print!(
        "{}",
        table::render(|contender, workload| counts.show(contender, workload))
    );
    Ok(())
}

fn pair(contender: Option<&str>, workload: Option<&str>) -> Result<(&'static Contender, Workload), String> {
    let (contender, workload) = (contender.unwrap_or_default(), workload.unwrap_or_default());
    let is_it = |(by, what): &(&Contender, Workload)| by.id == contender && what.id() == workload;
    contender::pairs().find(is_it).ok_or_else(|| {
        let known: Vec<_> = contender::pairs()
            .map(|(by, what)| format!("{} {}", by.id, what.id()))
            .collect();
        format!("`{contender} {workload}` is none of: {}\n{USAGE}", known.join(", "))
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime on this thread needs nothing that could be missing")
}
