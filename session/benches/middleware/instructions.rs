//! Instructions and allocations, counted by valgrind's callgrind.
//!
//! The bench starts itself under valgrind twice, for some requests and for twice as many: the difference is what the requests
//! cost, without the start of the process. The same build counts the same wherever it runs, so a change of one per cent can be seen.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, id};

use crate::contender::{self, Contender};
use crate::workload::Workload;

/// What allocates, by its symbol.
const ALLOCATORS: [&str; 4] = ["malloc", "calloc", "realloc", "aligned_alloc"];

#[derive(Clone, Copy)]
struct Count {
    instructions: u64,
    allocations: u64,
}

/// Counts of so many requests.
pub(crate) struct Counts {
    requests: usize,
    list: Vec<(&'static str, Workload, Count)>,
}

impl Counts {
    fn of(&self, contender: &Contender, workload: Workload) -> (f64, f64) {
        let is_it = |&&(by, what, _): &&(&str, Workload, Count)| by == contender.id && what == workload;
        let per_request = |total: u64| total as f64 / self.requests as f64;
        match self.list.iter().find(is_it) {
            Some((_, _, count)) => (per_request(count.instructions), per_request(count.allocations)),
            None => (f64::NAN, f64::NAN),
        }
    }

    pub(crate) fn show(&self, contender: &Contender, workload: Workload) -> String {
        let (instructions, allocations) = self.of(contender, workload);
        let (bare, _) = self.of(&contender::ALL[0], workload.baseline());
        format!(
            "{:.2}x {instructions:>6.0}, {allocations:>3.0} allocs",
            instructions / bare
        )
    }
}

/// # Errors
///
/// When valgrind is missing, with what to install, or when it fails, with what it said.
pub(crate) fn measure(requests: usize) -> Result<Counts, String> {
    let mut list = Vec::new();
    for (contender, workload) in contender::pairs() {
        eprintln!("counting {}, {}", contender.name, workload.title());
        let once = count(contender, workload, requests)?;
        let twice = count(contender, workload, requests * 2)?;
        let difference = Count {
            instructions: twice.instructions.saturating_sub(once.instructions),
            allocations: twice.allocations.saturating_sub(once.allocations),
        };
        list.push((contender.id, workload, difference));
    }
    Ok(Counts { requests, list })
}

fn count(contender: &Contender, workload: Workload, requests: usize) -> Result<Count, String> {
    let bench = env::current_exe().map_err(|error| format!("this program cannot find itself: {error}"))?;
    let output = env::temp_dir().join(format!("session-schema-{}.callgrind", id()));
    let run = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(bench)
        .args(["run", contender.id, workload.id(), &requests.to_string()])
        .output();
    let run = run.map_err(|error| match error.kind() {
        ErrorKind::NotFound => "instructions are counted by valgrind, which is not installed: \
            `apt-get install valgrind`, `dnf install valgrind`, `pacman -S valgrind` (Linux only)"
            .to_owned(),
        _ => format!("valgrind cannot be started: {error}"),
    })?;
    if !run.status.success() {
        return Err(format!("valgrind failed: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let count = read(&output)?;
    fs::remove_file(&output).map_err(|error| format!("`{}` cannot be removed: {error}", output.display()))?;
    Ok(count)
}

fn read(output: &Path) -> Result<Count, String> {
    let text = fs::read_to_string(output).map_err(|error| format!("`{}` cannot be read: {error}", output.display()))?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let instructions = totals.and_then(|total| total.trim().parse().ok());
    Ok(Count {
        instructions: instructions.ok_or_else(|| format!("`{}` has no totals", output.display()))?,
        allocations: allocations(&text),
    })
}

/// How often the allocators are called, by the [lines] `cfn=(number) name` (the name only the first time) and `calls=count ...` after it.
///
/// [lines]: https://valgrind.org/docs/manual/cl-format.html
fn allocations(text: &str) -> u64 {
    let mut allocators = Vec::new();
    let (mut is_allocator, mut total) = (false, 0);
    for line in text.lines() {
        let function = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn="));
        if let Some(function) = function {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if ALLOCATORS.contains(&name) {
                allocators.push(number);
            }
            is_allocator = line.starts_with("cfn=") && allocators.contains(&number);
        } else if let (true, Some(calls)) = (is_allocator, line.strip_prefix("calls=")) {
            let count = calls.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            total += count.unwrap_or(0);
        }
    }
    total
}
