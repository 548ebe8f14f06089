//! A MariaDB server for tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::{Folder, Process, as_user, free_port, program};

const PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Half of the default; much less would refuse the largest payloads of the tests.
const SMALL_LOG: &str = "--innodb-log-file-size=48M";

/// A server with an empty database `test`, whose user `root` needs no password.
#[derive(Debug)]
pub struct MariaDb {
    process: Process,
    folder: Folder,
    port: u16,
    durable: bool,
}

impl MariaDb {
    /// The server that the tests of this process share; each has tables of its own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<MariaDb> = LazyLock::new(MariaDb::start);
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

    fn start_with(durable: bool) -> Self {
        let folder = Folder::new("mariadb", Some("mysql"));
        let data = folder.path().join("data");
        if !copied(&template(), &data) {
            initialize(&folder, &data);
        }
        std::fs::write(folder.path().join("first.sql"), "CREATE DATABASE IF NOT EXISTS test;\n")
            .expect("a file can be written");
        let port = free_port();
        let process = run(folder.path(), port, durable);
        let mut server = Self {
            process,
            folder,
            port,
            durable,
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
    pub fn start_again(&mut self) {
        let starts = self.starts();
        self.process = run(self.folder.path(), self.port, self.durable);
        self.wait(starts + 1);
    }

    /// Its process, to be stopped and continued.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where it is, with these parameters: `timezone=%2B05:00`.
    pub fn url(&self, parameters: &str) -> String {
        format!(
            "mysql://root@127.0.0.1:{}/test?ssl-mode=disabled&{parameters}",
            self.port
        )
    }

    /// The same for another user, through another port.
    pub fn url_of(&self, user: &str, port: u16) -> String {
        format!("mysql://{user}@127.0.0.1:{port}/test?ssl-mode=disabled")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The statements that it has logged, if it was told to.
    pub fn general_log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("statements.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// How often it has been ready.
    fn starts(&self) -> usize {
        starts(&self.process.log())
    }

    fn wait(&mut self, wanted: usize) {
        let log = self.folder.path().join("log");
        let ready = || starts(&std::fs::read_to_string(&log).unwrap_or_default());
        self.process.wait_until(|| ready() >= wanted);
    }
}

fn starts(log: &str) -> usize {
    log.matches("ready for connections").count()
}

/// Where the first test program of a build leaves an empty server for the others: making one takes seconds.
fn template() -> PathBuf {
    let program = std::env::current_exe().expect("the test has a file");
    program.with_file_name("mariadb-template")
}

fn initialize(folder: &Folder, data: &Path) {
    let initialized = as_user(&program("mariadb-install-db", "mariadb-server", &PLACES), Some("mysql"))
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            SMALL_LOG,
        ])
        .arg(format!("--datadir={}", data.display()))
        .current_dir(folder.path())
        .output()
        .expect("mariadb-install-db can be started");
    assert!(
        initialized.status.success(),
        "mariadb-install-db fails: {initialized:?}"
    );
    // Whole or not at all, whoever else does the same.
    let unfinished = template().with_extension(std::process::id().to_string());
    if copied(data, &unfinished) && std::fs::rename(&unfinished, template()).is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
}

/// Copies a directory with its owners; false if it cannot be.
fn copied(from: &Path, to: &Path) -> bool {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .stderr(Stdio::null())
        .status();
    copied.is_ok_and(|status| status.success())
}

fn run(folder: &Path, port: u16, durable: bool) -> Process {
    let server = program("mariadbd", "mariadb-server", &PLACES);
    Process::start(&server, folder, Some("mysql"), |command| {
        command.arg("--no-defaults").current_dir(folder);
        for (setting, file) in [
            ("datadir", "data"),
            ("socket", "socket"),
            ("pid-file", "pid"),
            ("init-file", "first.sql"),
            ("general-log-file", "statements.log"),
        ] {
            command.arg(format!("--{setting}={}", folder.join(file).display()));
        }
        command.arg(format!("--port={port}"));
        command.args([
            "--bind-address=127.0.0.1",
            // 2: what is committed is with the operating system, and the end of the process takes none of it. 1: it is on the disk.
            match durable {
                true => "--innodb-flush-log-at-trx-commit=1",
                false => "--innodb-flush-log-at-trx-commit=2",
            },
            "--innodb-buffer-pool-size=64M",
            SMALL_LOG,
            "--max-connections=300",
        ]);
    })
}
