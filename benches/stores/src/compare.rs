//! The comparison: rounds in which every contender has a turn with every workload.
//!
//! Each contender is a process with an application of Axum's, and all are there from the beginning to the end. What slows the machine for a while spoils
//! some turns, not the medians.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::client;
use crate::contender::{self, Contender, Maker};
use crate::content::{DONE, VALUE};
use crate::load;
use crate::stores::Stores;
use crate::table;
use crate::work::Work;
use crate::workload::Workload;

/// How many sessions the requests are about: so many that two at a time about one are rare.
const VISITORS: usize = 1024;

/// Measures for so many rounds, in turns of so many seconds, and prints tables.
///
/// # Errors
///
/// When a contender does not do what it should, or something cannot be started.
pub(crate) fn compare(rounds: usize, seconds: u64, contenders: &[&'static Contender]) -> Result<(), String> {
    let mut stores = Stores::new()?;
    let peers = build_peers(contenders)?;
    let mut applications = Vec::new();
    for contender in contenders {
        eprintln!("starting {}", contender.id);
        applications.push(Application::start(contender, &mut stores, peers.as_deref())?);
    }
    let mut failures = Vec::new();
    let mut measured = vec![Vec::new(); contenders.len() * Workload::ALL.len()];
    // The first round warms everybody up.
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}");
        for turn in 0..measured.len() {
            // Nobody always comes after the same other.
            let at = if round % 2 == 0 {
                turn
            } else {
                measured.len() - 1 - turn
            };
            let (application, workload) = (
                &applications[at % contenders.len()],
                Workload::ALL[at / contenders.len()],
            );
            match application.turn(workload, if round == 0 { 1 } else { seconds }) {
                Ok(turn) if round > 0 => measured[at].push(turn),
                Ok(_) => {}
                // What the others have cost is worth knowing all the same.
                Err(failure) => {
                    eprintln!("{failure}");
                    failures.push(failure);
                }
            }
        }
    }
    let summaries: Vec<Summary> = measured.iter().map(|turns| Summary::of(turns)).collect();
    print(contenders, &summaries);
    match failures[..] {
        [] => Ok(()),
        _ => Err(format!(
            "Turns that failed, and are not in the tables:\n{}",
            failures.join("\n")
        )),
    }
}

/// What came of one turn.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    /// Microseconds of the processors for one request.
    contender: f64,
    store: f64,
    load: f64,
}

/// The medians of all turns.
struct Summary {
    per_second: f64,
    contender: f64,
    store: f64,
    all: f64,
}

impl Summary {
    fn of(turns: &[Turn]) -> Self {
        let median = |number: fn(&Turn) -> f64| median(turns.iter().map(number).collect());
        Self {
            per_second: median(|turn| turn.per_second),
            contender: median(|turn| turn.contender),
            store: median(|turn| turn.store),
            all: median(|turn| turn.contender + turn.store + turn.load),
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(contenders: &[&Contender], summaries: &[Summary]) {
    let columns = Workload::ALL.map(Workload::title);
    let rows: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    let of = |row: usize, column: usize| &summaries[column * contenders.len() + row];
    println!(
        "\nRequests per second, and as a share of those of {}:\n",
        contender::ALL[0].name
    );
    println!(
        "{}",
        table::render(&rows, &columns, |row, column| {
            let (mine, bare) = (of(row, column).per_second, of(0, column).per_second);
            format!("{:.2} ({mine:.0})", mine / bare)
        })
    );
    println!(
        "Microseconds of the processors per request, in the application + in the store (share of the work of bare axum, wrk's included):\n"
    );
    println!(
        "{}",
        table::render(&rows, &columns, |row, column| {
            let (mine, bare) = (of(row, column), of(0, column));
            format!("{:.1} + {:.1} ({:.2})", mine.contender, mine.store, bare.all / mine.all)
        })
    );
}

/// A contender's process.
struct Application {
    contender: &'static Contender,
    process: Child,
    /// Kept open: a process that prints into nothing is ended.
    _output: BufReader<ChildStdout>,
    port: u16,
    folder: PathBuf,
}

impl Application {
    fn start(contender: &'static Contender, stores: &mut Stores, peers: Option<&Path>) -> Result<Self, String> {
        let address = stores.address(contender);
        let mut command = match (contender.maker, peers) {
            (Maker::Peers(store), Some(program)) => {
                let mut command = Command::new(program);
                command.args([store, &address]);
                command
            }
            _ => {
                let this =
                    std::env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
                let mut command = Command::new(this);
                command.args(["serve", contender.id, &address]);
                command
            }
        };
        let started = command.stdout(Stdio::piped()).spawn();
        let mut process = started.map_err(|error| format!("{} cannot be started: {error}", contender.name))?;
        let output = process.stdout.take().expect("it was asked for");
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let port = output.read_line(&mut line).ok().and_then(|_| line.trim().parse().ok());
        let mut application = Self {
            contender,
            process,
            _output: output,
            port: port.unwrap_or(0),
            folder: stores.file(&format!("{}.load", contender.id)),
        };
        match port {
            Some(_) => application.prepare().map(|()| application),
            None => Err(format!(
                "{} ends at once: {:?}",
                contender.name,
                application.process.try_wait()
            )),
        }
    }

    /// Checks that it does what it should, and makes the sessions of all visitors.
    fn prepare(&mut self) -> Result<(), String> {
        let mut cookies = Vec::new();
        for _ in 0..VISITORS {
            cookies.push(match self.contender.id {
                "bare" => "session=TkBuvNpGTe2oc9bjJhsX_5Hq8KxW3aZyRd7LfQEm".to_owned(),
                _ => self.seed()?,
            });
        }
        if self.contender.id != "bare" {
            self.check(&cookies[0])?;
        }
        fs::create_dir(&self.folder).map_err(|error| format!("no folder can be made: {error}"))?;
        for workload in Workload::ALL {
            load::script(&self.folder, workload.title(), workload, &cookies)?;
        }
        Ok(())
    }

    fn seed(&self) -> Result<String, String> {
        let seeded = client::get(self.port, "/seed", None)?;
        seeded
            .cookie
            .ok_or_else(|| format!("{} sets no cookie (status {})", self.contender.name, seeded.status))
    }

    fn check(&self, cookie: &str) -> Result<(), String> {
        let made = client::get(self.port, Workload::Create.path(), None)?;
        for (path, cookie, expected) in [
            (Workload::Read.path(), Some(cookie), DONE.to_owned()),
            ("/value", Some(cookie), VALUE.to_string()),
            (Workload::Replace.path(), Some(cookie), DONE.to_owned()),
            ("/value", Some(cookie), (VALUE + 1).to_string()),
            ("/value", made.cookie.as_deref(), VALUE.to_string()),
        ] {
            let answer = client::get(self.port, path, cookie)?;
            if (answer.status, &answer.body) != (200, &expected) {
                let name = self.contender.name;
                return Err(format!(
                    "{name} answers {path} with {} {:?}, not {expected:?}",
                    answer.status, answer.body
                ));
            }
        }
        Ok(())
    }

    fn turn(&self, workload: Workload, seconds: u64) -> Result<Turn, String> {
        let before = Work::until_now(self.process.id());
        let load = load::run(&self.folder, workload.title(), self.port, seconds);
        let load = load.map_err(|error| format!("{}, {}: {error}", self.contender.name, workload.title()))?;
        let work = Work::until_now(self.process.id()).since(before);
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / load.requests as f64;
        Ok(Turn {
            per_second: load.per_second(),
            contender: per_request(work.contender),
            store: per_request(work.stores),
            load: per_request(work.load),
        })
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended already, which is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program with the other libraries' applications, if any of them is to be measured.
fn build_peers(contenders: &[&Contender]) -> Result<Option<PathBuf>, String> {
    if contenders.iter().all(|contender| contender.maker == Maker::Ours) {
        return Ok(None);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers");
    eprintln!("building the applications of the other libraries");
    let built = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(folder.join("target"))
        .status();
    match built {
        Ok(status) if status.success() => Ok(Some(folder.join("target/release/bench-peers"))),
        Ok(status) => Err(format!("the other libraries' applications cannot be built: {status}")),
        Err(error) => Err(format!("cargo cannot be started: {error}")),
    }
}
