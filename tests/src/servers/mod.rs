//! Servers that tests start: each on a free port of this machine, in a folder of its own, ended with the test's process
//! at the latest, even if that is killed.

mod disk;
mod mariadb;
mod postgres;
mod redis;
mod relay;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub use disk::SmallDisk;
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use redis::{Monitor, Redis, RedisCluster, RedisSentinel};
pub use relay::{Cut, Relay};

/// A program of this machine. `places` are looked in when it is not in the search path, as Debian's PostgreSQL is not.
///
/// # Panics
///
/// When it is not installed, saying how to install it.
pub fn program(name: &str, package: &str, places: &[&str]) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(places.iter().map(PathBuf::from));
    let found = directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("the tests need `{name}`, which is not installed: run `./test`, which installs it, or `apt-get install {package}`")
    })
}

/// A port of the loopback interface that nothing listens on.
///
/// It lies below those that the operating system gives to outgoing connections (from 32768 on, on Linux): a connection of another test must not take it
/// before the server does. Each process begins elsewhere, and gives no port out twice.
///
/// # Panics
///
/// When none is free.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 22_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(2_654_435_761) % COUNT;
    let mut ports = (0..COUNT).map(|_| {
        let offset = GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        (FIRST + (begin + offset) % COUNT) as u16
    });
    ports
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a port is free")
}

/// A running process, killed when this is dropped or the test's process ends, however that comes about.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with what `arguments` adds, as `user` if the tests run as root and one is named (PostgreSQL does not run
    /// as root). What it prints goes to a file `log` in `folder`.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    pub fn start(program: &Path, folder: &Path, user: Option<&str>, arguments: impl FnOnce(&mut Command)) -> Self {
        let log = folder.join("log");
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("the log can be written");
        let mut command = as_user(program, user);
        command.stdin(Stdio::null());
        command
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file);
        arguments(&mut command);
        Self {
            child: spawn(command),
            log,
        }
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name: `STOP`, `CONT`, `TERM`.
    ///
    /// # Panics
    ///
    /// When there is no such signal.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.child.id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the signal {signal} can be sent"
        );
    }

    /// The same to the process and to those that it has started.
    ///
    /// # Panics
    ///
    /// When there is no such signal.
    pub fn signal_family(&self, signal: &str) {
        // First of all the one that could start others.
        self.signal(signal);
        let id = self.child.id().to_string();
        let found = Command::new("ps").args(["-o", "pid=", "--ppid", &id]).output();
        let found = found.expect("`ps` is there").stdout;
        let children = String::from_utf8_lossy(&found);
        for child in children.split_whitespace() {
            // Some end by themselves meanwhile.
            let _ = Command::new("kill")
                .args(["-s", signal, child])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    ///
    /// When the process ends before, or takes a minute; with what it has printed.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) {
        let since = Instant::now();
        while !ready() {
            let ended = self.ended();
            assert!(ended.is_none(), "a server ended at once, {ended:?}:\n{}", self.log());
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "a server does not get ready:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `program`, run as `user` if the tests run as root and one is named; killed when the thread ends that starts it.
pub fn as_user(program: &Path, user: Option<&str>) -> Command {
    let mut command = Command::new(self::program("setpriv", "util-linux", &[]));
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| is_root()) {
        command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
    }
    command.arg("--").arg(program);
    command
}

/// A server's folder, removed with this. A server that a whole process shares is never dropped: its folder is removed by the next process
/// that makes one of this name.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new folder, belonging to `user` if the tests run as root.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn new(name: &str, user: Option<&str>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (all, begin) = (std::env::temp_dir(), format!("session-tests-{name}-"));
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let left = entry
                .file_name()
                .to_string_lossy()
                .strip_prefix(&begin)
                .map(str::to_owned);
            let process = left.as_deref().and_then(|rest| rest.split('-').next());
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = Self(all.join(format!("{begin}{}-{number}", std::process::id())));
        std::fs::create_dir(&folder.0).expect("a folder can be made");
        if let Some(user) = user.filter(|_| is_root()) {
            let given = Command::new("chown").arg(user).arg(&folder.0).status();
            assert!(
                given.is_ok_and(|status| status.success()),
                "the folder can be given to {user}"
            );
        }
        folder
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether this process may become another user.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A process gets its signal when the *thread* that started it ends: all are started by one that does not.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<Child>);
    static STARTER: std::sync::LazyLock<mpsc::Sender<Order>> = std::sync::LazyLock::new(|| {
        let (orders, received) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in received {
                let child = command.spawn().expect("a server can be started");
                let _ = answer.send(child);
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    STARTER
        .send((command, answer))
        .expect("the thread that starts servers runs");
    child.recv().expect("a server was started")
}
