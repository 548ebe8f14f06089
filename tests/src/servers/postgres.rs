//! A PostgreSQL server for tests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

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
        let process = run(folder.path(), port);
        let mut server = Self { process, folder, port };
        server.wait(1);
        server
    }

    /// Ends it as a power cut does, and starts it again on the same port.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = run(self.folder.path(), self.port);
        self.wait(2);
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

    fn wait(&mut self, starts: usize) {
        let log = self.folder.path().join("log");
        let ready = || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .matches("ready to accept connections")
                .count()
        };
        self.process.wait_until(|| ready() >= starts);
    }
}

fn run(folder: &Path, port: u16) -> Process {
    let server: PathBuf = program("postgres", "postgresql", &PLACES);
    Process::start(&server, folder, Some("postgres"), |command| {
        command.arg("-D").arg(folder.join("data")).current_dir(folder);
        command.args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=300",
            "log_line_prefix=[%a] ",
            "log_parameter_max_length=0",
        ] {
            command.args(["-c", setting]);
        }
    })
}
