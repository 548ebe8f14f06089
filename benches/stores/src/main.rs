//! What sessions cost in each store.
//!
//! ```text
//! cargo run --release -p bench-stores                              requests per second over HTTP, beside bare axum and other libraries
//! cargo run --release -p bench-stores -- compare 5 2 redis sqlite  five rounds of two seconds, only these
//! cargo run --release -p bench-stores -- million postgres          what a million sessions need, and what they slow down
//! cargo run --release -p bench-stores -- serve redis redis://h/    only that application, for a profiler
//! ```
//!
//! Everything runs on one machine, which the load, the application and the store share: only ratios of one run can be compared. A session is that of
//! `session/benches/middleware`: 855 bytes of JSON under ten keys. The servers are started for the occasion as the tests start them, which means that none
//! of them waits for the disk (`fsync` and the like are off); where one does, that adds the same to whoever writes.

mod client;
mod compare;
mod contender;
#[path = "../../../session/benches/middleware/content.rs"]
mod content;
mod filled;
mod load;
mod million;
mod serving;
mod stores;
mod table;
mod work;
mod workload;

use std::process::ExitCode;

use tokio::runtime::Runtime;

use contender::{Contender, Maker};

const USAGE: &str = "usage: bench-stores [MODE], where MODE is one of
  compare [ROUNDS [SECONDS [CONTENDER...]]]  requests per second (the default; 5 rounds of 2 seconds, all)
  million STORE [SIZE...] [--owners]         what so many sessions need (1000, 100000 and 1000000)
  serve CONTENDER ADDRESS                    one application, which prints its port";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<(), String> {
    let word = |at: usize| words.get(at).map(String::as_str);
    match word(0).unwrap_or("compare") {
        "compare" => {
            let number = |at, default| word(at).map_or(Ok(default), number);
            compare::compare(
                number(1, 5)?,
                number(2, 2)? as u64,
                &contenders(words.get(3..).unwrap_or(&[]))?,
            )
        }
        "million" => {
            let (flags, sizes): (Vec<_>, Vec<_>) = words.iter().skip(2).partition(|word| word.starts_with("--"));
            let sizes: Vec<usize> = sizes.into_iter().map(|word| number(word)).collect::<Result<_, _>>()?;
            let sizes = if sizes.is_empty() {
                vec![1_000, 100_000, 1_000_000]
            } else {
                sizes
            };
            let owners = flags.iter().any(|flag| *flag == "--owners");
            runtime().block_on(million::million(word(1).ok_or(USAGE)?, &sizes, owners))
        }
        "serve" => runtime().block_on(serve(word(1).ok_or(USAGE)?, word(2).unwrap_or(""))),
        _ => Err(USAGE.to_owned()),
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("`{word}` is no number\n{USAGE}"))
}

/// Those with these names, after bare axum; all if none is named. On demand the other libraries are left out.
fn contenders(names: &[String]) -> Result<Vec<&'static Contender>, String> {
    let all: Vec<_> = const { &contender::ALL }.iter().collect();
    match names {
        [] => Ok(all),
        [one] if one == "ours" => Ok(all
            .into_iter()
            .filter(|contender| contender.maker == Maker::Ours)
            .collect()),
        names => ["bare"]
            .into_iter()
            .chain(names.iter().map(String::as_str).filter(|&name| name != "bare"))
            .map(Contender::named)
            .collect(),
    }
}

async fn serve(id: &str, address: &str) -> Result<(), String> {
    let app = contender::app(id, address).await.map_err(|error| error.to_string())?;
    serving::serve(app).await.map_err(|error| error.to_string())
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime can be made")
}
