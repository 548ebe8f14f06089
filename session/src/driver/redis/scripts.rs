//! What the server does in one step.

use std::sync::LazyLock;

use redis::{Arg, Cmd, ToRedisArgs, cmd};

use super::format;

/// A script, by which the server knows it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        let hash = redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    /// Calls the script, with the keys it is about and the time.
    pub(super) fn call(&self, keys: &[&str], now: u64) -> Call<'_> {
        // Room for all but what a write sends.
        let mut command = Cmd::with_capacity(12, 512);
        command.arg("EVALSHA").arg(&self.hash).arg(keys.len()).arg(keys);
        Call { script: self, command }.time(now)
    }

    /// Gives the script to the server.
    pub(super) fn load(&self) -> Cmd {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(self.code);
        command
    }
}

/// A script with its keys and arguments.
pub(super) struct Call<'a> {
    script: &'a Script,
    command: Cmd,
}

impl Call<'_> {
    /// A time in milliseconds, as the scripts compare it.
    pub(super) fn time(self, millis: u64) -> Self {
        self.arg(&format::digits(millis)[..])
    }

    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// For a server that has the script.
    pub(super) fn by_hash(&self) -> &Cmd {
        &self.command
    }

    /// In full, for a server that has lost it, or never had it. It keeps it from then on.
    pub(super) fn in_full(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script.code);
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

macro_rules! script {
    ($flags:literal, $file:literal) => {
        Script::new(concat!(
            "#!lua",
            $flags,
            "\n",
            include_str!("lib.lua"),
            include_str!($file)
        ))
    };
}

/// All scripts. The first line of each makes the server refuse it when it is a replica, reads too: what a replica knows may be old. And only what
/// makes a record larger is refused when memory is full.
pub(super) struct Scripts {
    pub(super) read: Script,
    pub(super) write: Script,
    /// A write of what has expired, which makes nothing larger.
    pub(super) end: Script,
    pub(super) touch: Script,
    pub(super) destroy: Script,
    pub(super) index: Script,
    pub(super) unindex: Script,
    pub(super) noted: Script,
}

pub(super) static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    read: script!(" flags=allow-oom", "read.lua"),
    write: script!("", "write.lua"),
    end: script!(" flags=allow-oom", "write.lua"),
    touch: script!(" flags=allow-oom", "touch.lua"),
    destroy: script!(" flags=allow-oom", "destroy.lua"),
    // A touch needs it, which has to succeed when memory is full.
    index: script!(" flags=allow-oom", "index.lua"),
    unindex: script!(" flags=allow-oom", "unindex.lua"),
    noted: script!(" flags=allow-oom", "noted.lua"),
});

impl Scripts {
    pub(super) fn all(&self) -> [&Script; 8] {
        [
            &self.read,
            &self.write,
            &self.end,
            &self.touch,
            &self.destroy,
            &self.index,
            &self.unindex,
            &self.noted,
        ]
    }
}
