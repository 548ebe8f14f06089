//! How much of the processors' time processes have had, by `/proc`: what else the machine does hardly changes it, as it changes everything that
//! is measured by a clock.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The kernel counts in hundredths of a second, on every platform that has `/proc` (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What processes have had so far: the contender, the load, and all others that this one has started, which are the stores.
#[derive(Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) contender: Duration,
    pub(crate) stores: Duration,
    pub(crate) load: Duration,
}

struct Process {
    parent: u32,
    ticks: u64,
    ticks_of_ended_children: u64,
}

impl Work {
    /// Of the processes that this one has started. The load is what has ended: it is the only one that does.
    pub(crate) fn until_now(contender: u32) -> Self {
        let me = std::process::id();
        let processes = processes();
        let is_below = |mut process: u32| {
            while let Some(found) = processes.get(&process) {
                if found.parent == me {
                    return true;
                }
                process = found.parent;
            }
            false
        };
        let mut work = Self::default();
        for (&id, process) in &processes {
            let own = TICK * u32::try_from(process.ticks).unwrap_or(u32::MAX);
            let ended = TICK * u32::try_from(process.ticks_of_ended_children).unwrap_or(u32::MAX);
            if id == me {
                work.load = ended;
            } else if id == contender {
                work.contender = own;
            } else if is_below(id) {
                work.stores += own + ended;
            }
        }
        work
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            contender: self.contender.saturating_sub(before.contender),
            stores: self.stores.saturating_sub(before.stores),
            load: self.load.saturating_sub(before.load),
        }
    }
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|id| Some((id, read(id)?))).collect()
}

/// [`/proc/PID/stat`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html): after the name, which is in brackets, the fields from the third on.
fn read(id: u32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)?,
        ticks_of_ended_children: number(16)? + number(17)?,
    })
}
