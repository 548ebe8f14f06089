//! Histories: what is done, by whom, in which order, and what goes wrong. Drawn from a seed, and made smaller when they fail.

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::rules::{Function, Key};

/// One call of a session's method by a handler.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Get(Key),
    Put(Key, Value),
    Pull(Key),
    Forget(Vec<Key>),
    Flush,
    Replace(Vec<(Key, Value)>),
    Merge(Vec<(Key, Value)>),
    Remember(Key, Value),
    Increment(Key, i64),
    Push(Key, Value),
    Update(Key, Function),
    Flash(Key, Value),
    Now(Key, Value),
    Keep(Vec<Key>),
    Reflash,
    Token,
    RegenerateToken,
    SetLifetime(u64),
    SetOwner(Option<&'static str>),
    Regenerate,
    Invalidate,
    Save,
    Reload,
    /// The handler waits for something else.
    Pause,
}

/// Which cookie a request comes with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cookie {
    /// What the browser has when the request is sent.
    Current,
    /// The one that the browser had when the concurrent requests began.
    Initial,
    Unknown,
    None,
}

/// How a request comes to its session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum By {
    Layer,
    /// `SessionManager::build_session`, saved at the end or not.
    Hand {
        save: bool,
    },
    /// No request, but "sign out everywhere", or "everywhere else" than in the session with the script's cookie: `destroy_sessions_of`.
    Admin {
        owner: &'static str,
        elsewhere: bool,
    },
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Status(u16),
    /// The service fails, and the layer has no response to commit.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) browser: usize,
    pub(crate) cookie: Cookie,
    pub(crate) by: By,
    pub(crate) ops: Vec<Op>,
    /// What a task does with a clone of the session meanwhile, and after the response.
    pub(crate) task: Vec<Op>,
    pub(crate) end: End,
}

/// How often out of a thousand something happens at a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chances {
    pub(crate) fault: u32,
    pub(crate) hang_up: u32,
    pub(crate) tick: u32,
    /// That the request that ran last runs on.
    pub(crate) stay: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct History {
    /// What each browser's session holds at the beginning.
    pub(crate) setup: Vec<Script>,
    /// Seconds between then and the concurrent requests.
    pub(crate) jump: u64,
    pub(crate) requests: Vec<Script>,
    pub(crate) chances: Chances,
    /// Decides about the order of the steps.
    pub(crate) schedule: u64,
}

const KEYS: [Key; 5] = ["a", "b", "n", "l", "m"];
const OWNERS: [&str; 2] = ["ann", "bob"];

impl Script {
    fn in_flight(ops: Vec<Op>) -> Self {
        Self {
            browser: 0,
            cookie: Cookie::Initial,
            by: By::Layer,
            ops,
            task: Vec::new(),
            end: End::Status(200),
        }
    }
}

impl History {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let browsers = choose(&mut rng, &[1, 1, 1, 2, 3]);
        let keys = match rng.bool() {
            true => KEYS.to_vec(),
            false => (0..2).map(|_| choose(&mut rng, &KEYS)).collect(),
        };
        let draw = Draw {
            keys,
            calm: rng.u32(0..3) == 0,
        };
        let setup = (0..browsers)
            .map(|browser| Script {
                browser,
                cookie: Cookie::None,
                by: By::Layer,
                ops: (0..rng.usize(1..5)).map(|_| draw.harmless(&mut rng)).collect(),
                task: Vec::new(),
                end: End::Status(200),
            })
            .collect();
        let mut requests: Vec<_> = (0..rng.usize(2..7)).map(|_| draw.script(&mut rng, browsers)).collect();
        // Some histories are about how long an id that was given up may still be followed, and what a touch does to that.
        let is_late = rng.u32(0..8) == 0;
        if is_late {
            requests.truncate(3);
            requests.extend(
                [
                    vec![Op::Regenerate],
                    vec![Op::Pause],
                    vec![Op::Pause, Op::Increment("n", 1)],
                ]
                .map(Script::in_flight),
            );
        }
        let sometimes = |rng: &mut Rng, chance| if rng.u32(0..4) == 0 { chance } else { 0 };
        Self {
            setup,
            jump: match is_late {
                true => 800,
                false => choose(&mut rng, &[0, 0, 60, 800]),
            },
            requests,
            chances: Chances {
                fault: sometimes(&mut rng, 60),
                hang_up: sometimes(&mut rng, 40),
                tick: match is_late {
                    true => 150,
                    false => sometimes(&mut rng, 60),
                },
                stay: choose(&mut rng, &[0, 300, 700, 900]),
            },
            schedule: rng.u64(..),
        }
    }

    /// Histories that are a little smaller.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut less = |change: &dyn Fn(&mut Self)| {
            let mut smaller = self.clone();
            change(&mut smaller);
            all.push(smaller);
        };
        for at in 0..self.requests.len() {
            less(&|history| drop(history.requests.remove(at)));
        }
        for (at, script) in self.requests.iter().enumerate() {
            for op in 0..script.ops.len() {
                less(&|history| drop(history.requests[at].ops.remove(op)));
            }
            for op in 0..script.task.len() {
                less(&|history| drop(history.requests[at].task.remove(op)));
            }
        }
        for (at, script) in self.setup.iter().enumerate() {
            for op in 0..script.ops.len() {
                less(&|history| drop(history.setup[at].ops.remove(op)));
            }
        }
        let chances: [fn(&mut Chances) -> &mut u32; 3] = [
            |chances| &mut chances.fault,
            |chances| &mut chances.hang_up,
            |chances| &mut chances.tick,
        ];
        for chance in chances {
            if *chance(&mut self.chances.clone()) > 0 {
                less(&|history| *chance(&mut history.chances) = 0);
            }
        }
        if self.jump > 0 {
            less(&|history| history.jump = 0);
        }
        all
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for script in self.setup.iter().chain(&self.requests) {
            writeln!(f, "  {script:?}")?;
        }
        write!(
            f,
            "  {} s later; {:?}; schedule {}",
            self.jump, self.chances, self.schedule
        )
    }
}

fn choose<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// What scripts are drawn from.
struct Draw {
    /// The fewer, the more often requests meet.
    keys: Vec<Key>,
    /// No request ends the session or gives it a new id.
    calm: bool,
}

impl Draw {
    fn script(&self, rng: &mut Rng, browsers: usize) -> Script {
        let by = match rng.u32(0..20) {
            0 if !self.calm => By::Admin {
                owner: choose(rng, &OWNERS),
                elsewhere: rng.bool(),
            },
            1..4 => By::Hand {
                save: rng.u32(0..4) > 0,
            },
            _ => By::Layer,
        };
        let cookie = match rng.u32(0..20) {
            0 => Cookie::None,
            1 => Cookie::Unknown,
            2..8 => Cookie::Current,
            _ => Cookie::Initial,
        };
        Script {
            browser: rng.usize(0..browsers),
            cookie,
            by,
            ops: (0..rng.usize(0..6)).map(|_| self.op(rng)).collect(),
            task: match rng.u32(0..8) {
                0 => (0..rng.usize(1..7)).map(|_| self.op(rng)).collect(),
                _ => Vec::new(),
            },
            end: match rng.u32(0..12) {
                0 => End::Broken,
                1 => End::Status(404),
                _ => End::Status(200),
            },
        }
    }

    fn key(&self, rng: &mut Rng) -> Key {
        choose(rng, &self.keys)
    }

    fn keys(&self, rng: &mut Rng) -> Vec<Key> {
        (0..rng.usize(1..3)).map(|_| self.key(rng)).collect()
    }

    /// A value that mostly is of the type that others expect under the key.
    fn value(&self, rng: &mut Rng, key: Key) -> Value {
        match (key, rng.u32(0..12)) {
            (_, 0) => Value::Null,
            ("l", 1) | (_, 2) => json!(rng.i64(0..4)),
            ("l", _) | (_, 1) => json!(vec![rng.i64(0..4); rng.usize(0..3)]),
            _ => json!(rng.i64(0..4)),
        }
    }

    fn content(&self, rng: &mut Rng) -> Vec<(Key, Value)> {
        let mut keys = self.keys(rng);
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|key| (key, self.value(rng, key))).collect()
    }

    /// What a session can begin with.
    fn harmless(&self, rng: &mut Rng) -> Op {
        let key = self.key(rng);
        match rng.u32(0..10) {
            0..4 => Op::Put(key, self.value(rng, key)),
            4..7 => Op::Flash(key, self.value(rng, key)),
            7 => Op::Token,
            8 => Op::SetOwner(Some(choose(rng, &OWNERS))),
            _ => Op::SetLifetime(choose(rng, &[20, 3600, 86_400])),
        }
    }

    fn op(&self, rng: &mut Rng) -> Op {
        let key = self.key(rng);
        match rng.u32(0..84) {
            0..4 => Op::Get(key),
            4..12 => Op::Put(key, self.value(rng, key)),
            12..14 => Op::Pull(key),
            14..17 => Op::Forget(self.keys(rng)),
            17 => Op::Flush,
            18..20 => Op::Replace(self.content(rng)),
            20..22 => Op::Merge(self.content(rng)),
            22..24 => Op::Remember(key, self.value(rng, key)),
            24..31 => Op::Increment(key, rng.i64(-2..4)),
            31..36 => Op::Push(if rng.bool() { "l" } else { key }, json!(rng.i64(0..4))),
            36..42 => match rng.u32(0..3) {
                0 => Op::Update(key, Function::Double),
                1 => Op::Update(key, Function::Cap),
                _ => Op::Update("l", Function::Count),
            },
            42..46 => Op::Flash(key, self.value(rng, key)),
            46..48 => Op::Now(key, self.value(rng, key)),
            48..51 => Op::Keep(self.keys(rng)),
            51..53 => Op::Reflash,
            53..55 => Op::Token,
            55 => Op::RegenerateToken,
            56 => Op::SetLifetime(choose(rng, &[20, 3600, 86_400])),
            57 | 80..84 if !self.calm => Op::SetOwner((rng.u32(0..4) > 0).then(|| choose(rng, &OWNERS))),
            58..63 if !self.calm => Op::Regenerate,
            63..66 if !self.calm => Op::Invalidate,
            66..70 => Op::Save,
            70..73 => Op::Reload,
            _ => Op::Pause,
        }
    }
}
