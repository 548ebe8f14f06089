//! A PostgreSQL server for tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use super::{Folder, Process, as_user, free_port, program};

const PLACES: [&str; 4] = [
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/postgresql/16/bin",
    "/usr/lib/postgresql/17/bin",
    "/usr/lib/postgresql/18/bin",
];

/// A server with an empty database `postgres`, whose superuser `postgres` needs no password.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    folder: Folder,
    port: u16,
    fsync: bool,
}

impl Postgres {
    /// The server that the tests of this process share; each has tables of its own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(Postgres::start);
        &SHARED
    }

    /// A server of one's own, to restart.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::start_with(false)
    }

    /// One that has written what it answers for to its disk, as servers do that are not for tests.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start_durable() -> Self {
        Self::start_with(true)
    }

    fn start_with(fsync: bool) -> Self {
        let folder = Folder::new("postgres", Some("postgres"));
        let initialized = as_user(&program("initdb", "postgresql", &PLACES), Some("postgres"))
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-locale",
                "--encoding=UTF8",
                "--no-sync",
                "-D",
            ])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .output()
            .expect("initdb can be started");
        assert!(initialized.status.success(), "initdb fails: {initialized:?}");
        let port = free_port();
        let process = run(folder.path(), port, fsync);
        let mut server = Self {
            process,
            folder,
            port,
            fsync,
        };
        server.wait(1);
        server
    }

    /// Ends it as a power cut does, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it on the same port, with what it has on its disk.
    ///
    /// # Panics
    ///
    /// When it does not get ready within a minute.
    pub fn start_again(&mut self) {
        let starts = self.starts();
        let since = Instant::now();
        // While a process that served a connection is still about to notice that it is alone, a new server refuses to start.
        while self.starts() == starts {
            if self.process.ended().is_some() {
                self.process = run(self.folder.path(), self.port, self.fsync);
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "it does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its main process, to be stopped and continued with [those that serve connections](Process::signal_family).
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it is, with these parameters: `application_name=me`.
    pub fn url(&self, parameters: &str) -> String {
        format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable&{parameters}",
            self.port
        )
    }

    /// The same for another user, through another port.
    pub fn url_of(&self, user: &str, port: u16) -> String {
        format!("postgres://{user}@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged: each line begins with the `application_name` of a connection.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How often it has been ready.
    fn starts(&self) -> usize {
        starts(&self.log())
    }

    fn wait(&mut self, wanted: usize) {
        let log = self.folder.path().join("log");
        let ready = || starts(&std::fs::read_to_string(&log).unwrap_or_default());
        self.process.wait_until(|| ready() >= wanted);
    }
}

fn starts(log: &str) -> usize {
    log.matches("ready to accept connections").count()
}

fn run(folder: &Path, port: u16, fsync: bool) -> Process {
    let server: PathBuf = program("postgres", "postgresql", &PLACES);
    Process::start(&server, folder, Some("postgres"), |command| {
        command.arg("-D").arg(folder.join("data")).current_dir(folder);
        command.args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            if fsync { "fsync=on" } else { "fsync=off" },
            "max_connections=300",
            "log_line_prefix=[%a] ",
            "log_parameter_max_length=0",
        ] {
            command.args(["-c", setting]);
        }
    })
}
