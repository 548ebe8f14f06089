//! Redis: one server, clusters, and a server with a replica that a Sentinel watches.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Process, free_port, program};

/// How long a server or a cluster may take until it is ready for what a test wants.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of its own, with nothing in it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    options: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts one with these options of `redis-server`. What it is told is kept in memory only, unless they say otherwise.
    pub fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let port = free_port();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let process = launch(port, &options, &folder);
        let mut server = Self {
            process,
            port,
            options,
            folder,
        };
        server.wait();
        server
    }

    /// The one that all tests of a process share, who keep apart by prefixes.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Redis> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[]))
    }

    /// Where it is, for a driver.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port of the loopback interface that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, to be stopped and continued.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The file with this name in its folder.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it anew, on the same port, with what it has on its disk.
    pub fn start_again(&mut self) {
        self.process.kill();
        self.process = launch(self.port, &self.options, &self.folder);
        self.wait();
    }

    fn wait(&mut self) {
        let client = self.client();
        self.process.wait_until(|| {
            let connected = client.get_connection_with_timeout(Duration::from_secs(1));
            connected.is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok())
        });
    }

    fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("the URL is one")
    }

    /// What it answers to a command, over a connection of its own.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let answer = self.try_ask(command);
        answer.unwrap_or_else(|error| panic!("Redis is asked {command:?}: {error}"))
    }

    /// The same, for one that may be out of order.
    ///
    /// # Errors
    ///
    /// When it does not answer, or with an error.
    pub fn try_ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.client().get_connection_with_timeout(Duration::from_secs(2))?;
        let mut asked = redis::cmd(command[0]);
        asked.arg(&command[1..]).query(&mut connection)
    }
}

fn launch(port: u16, options: &[String], folder: &TempDir) -> Process {
    let server = program("redis-server", "redis-server", &[]);
    Process::start(&server, folder.path(), None, |command| {
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(folder.path()).args(options);
    })
}

/// A cluster of three masters, with a replica each if wanted.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes; which of them are masters may change.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts a cluster. A master that is silent for a second is replaced by its replica, if it has one.
    pub fn start(replicas: usize) -> Self {
        let node = |_| {
            // The port of the cluster's own talk must be free too, which the port + 10000 need not be.
            let bus = free_port().to_string();
            let options = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
            ];
            Redis::start(&[&options[..], &["--appendonly", "no"]].concat())
        };
        let cluster = Self {
            nodes: (0..3 * (1 + replicas)).map(node).collect(),
        };
        let mut create = Command::new(program("redis-cli", "redis-server", &[]));
        create.args(["--cluster", "create"]).args(cluster.addresses());
        create.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
        let created = create.output().expect("redis-cli can be run");
        assert!(
            created.status.success(),
            "a cluster is made:\n{}",
            String::from_utf8_lossy(&created.stdout)
        );
        cluster.wait();
        cluster
    }

    /// The one that all tests of a process share, who keep apart by prefixes. It has no replicas.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(0))
    }

    /// Where it is, for a driver.
    pub fn url(&self) -> String {
        format!("redis+cluster://{}/", self.addresses().join(","))
    }

    fn addresses(&self) -> Vec<String> {
        let address = |node: &Redis| format!("127.0.0.1:{}", node.port());
        self.nodes.iter().map(address).collect()
    }

    /// Waits until all nodes agree that all is well, and the replicas follow.
    fn wait(&self) {
        let since = Instant::now();
        let well = |node: &Redis| {
            let info: String = node.ask(&["CLUSTER", "INFO"]);
            let replication: String = node.ask(&["INFO", "replication"]);
            let follows = !replication.contains("role:slave") || replication.contains("master_link_status:up");
            info.contains("cluster_state:ok") && follows
        };
        while !self.nodes.iter().all(well) {
            assert!(since.elapsed() < PATIENCE, "a cluster does not get ready");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A master, its replica, and a Sentinel that makes the replica the master when the master is silent for a second.
#[derive(Debug)]
pub struct RedisSentinel {
    /// Both servers; the first begins as the master.
    pub servers: [Redis; 2],
    sentinel: Redis,
}

impl RedisSentinel {
    /// What the Sentinel calls the service.
    pub const SERVICE: &str = "sessions";

    /// Starts all three.
    pub fn start() -> Self {
        let master = Redis::start(&[]);
        let replica = Redis::start(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (port, service) = (free_port(), Self::SERVICE);
        let settings = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {service} 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds {service} 1000\nsentinel failover-timeout {service} 2000\n",
            master.port()
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("the settings can be written");
        let server = program("redis-server", "redis-server", &[]);
        let process = Process::start(&server, folder.path(), None, |command| {
            command.arg(&file).arg("--sentinel");
        });
        let mut sentinel = Redis {
            process,
            port,
            options: Vec::new(),
            folder,
        };
        sentinel.wait();
        let started = Self {
            servers: [master, replica],
            sentinel,
        };
        started.wait();
        started
    }

    /// The one that all tests of a process share, who keep apart by prefixes.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisSentinel> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Where it is, for a driver.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/{}", self.sentinel.port(), Self::SERVICE)
    }

    /// The port of the Sentinel.
    pub fn port(&self) -> u16 {
        self.sentinel.port()
    }

    /// Has the Sentinel change the roles of the two.
    pub fn failover(&self) {
        let _: redis::Value = self.sentinel.ask(&["SENTINEL", "FAILOVER", Self::SERVICE]);
    }

    /// Waits until the replica follows and the Sentinel knows it: before, it could not take over.
    fn wait(&self) {
        let since = Instant::now();
        loop {
            let replication: String = self.servers[1].ask(&["INFO", "replication"]);
            let replicas: Vec<redis::Value> = self.sentinel.ask(&["SENTINEL", "REPLICAS", Self::SERVICE]);
            if replication.contains("master_link_status:up") && !replicas.is_empty() {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "the Sentinel does not find the replica");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a server is asked from now on.
#[derive(Debug)]
pub struct Monitor {
    lines: BufReader<TcpStream>,
    port: u16,
}

impl Monitor {
    /// Listens to a server.
    pub fn of(server: &Redis) -> Self {
        let port = server.port();
        let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        socket.write_all(b"MONITOR\r\n").expect("the server reads");
        let mut lines = BufReader::new(socket);
        let mut answer = String::new();
        lines.read_line(&mut answer).expect("the server answers");
        assert_eq!(answer.trim(), "+OK");
        Self { lines, port }
    }

    /// The commands that have arrived since this was last asked, and what the scripts did of which they were: two lists.
    pub fn take(&mut self) -> (Vec<String>, Vec<String>) {
        let mut mark = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        mark.write_all(b"ECHO that-is-all\r\n").expect("the server reads");
        let (mut arrived, mut inside) = (Vec::new(), Vec::new());
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("the server tells");
            assert!(!line.is_empty(), "the server has gone");
            // +1700000000.000000 [0 127.0.0.1:50000] "GET" "key"
            let (origin, command) = line.trim().split_once("] ").expect("a line of MONITOR");
            if command.contains("that-is-all") {
                return (arrived, inside);
            }
            match origin.ends_with("lua") {
                true => inside.push(command.to_owned()),
                false => arrived.push(command.to_owned()),
            }
        }
    }
}
