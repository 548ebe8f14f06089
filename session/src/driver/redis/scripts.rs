//! What the server does in one step.

use std::sync::LazyLock;

use redis::{Cmd, cmd};

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

    /// The call of a script that the server has.
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            script: self,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
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
    keys: Vec<&'a str>,
    arguments: Vec<Argument<'a>>,
}

enum Argument<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Call<'a> {
    pub(super) fn key(mut self, key: &'a str) -> Self {
        self.keys.push(key);
        self
    }

    pub(super) fn number(mut self, number: u64) -> Self {
        self.arguments.push(Argument::Number(number));
        self
    }

    pub(super) fn bytes(mut self, bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.arguments.push(Argument::Bytes(bytes.as_ref()));
        self
    }

    /// By its hash, for a server that has it.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// In full, for a server that has lost it, or never had it. It keeps it from then on.
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys);
        for argument in &self.arguments {
            match argument {
                Argument::Number(number) => command.arg(number),
                Argument::Bytes(bytes) => command.arg(bytes),
            };
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
    index: script!("", "index.lua"),
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
