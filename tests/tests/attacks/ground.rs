//! Where an attack takes place: one store, and the applications over it.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use session_tests::servers::{Postgres, Redis};
use session_tests::stepwise::{Place, Seen, Step, Time, driver, serve};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::visitor::Visitor;

/// The user whose sign-in is attacked, and the attacker's own account.
pub(crate) const VICTIM: &str = "victim";
pub(crate) const ATTACKER: &str = "attacker";
/// What the victim's session holds after the sign-in, and what the attacker writes: the names of the keys.
pub(crate) const SECRET: &str = "secret";
pub(crate) const EVIL: &str = "evil";

/// A store and the applications over it.
pub(crate) struct Ground {
    /// The application that the victim uses.
    pub(crate) near: Server,
    /// The application that the attacker uses: the same one, or one in another process.
    pub(crate) far: Server,
    /// One that no visitor uses, without a cache: it shows what is stored.
    truth: Server,
    /// An application may have a record from a cache that is out of date, and cannot know when that was so.
    pub(crate) is_stale: bool,
    _directory: Option<TempDir>,
}

/// An application that serves on this port.
#[derive(Clone)]
pub(crate) struct Server {
    port: u16,
    /// The process, if it has one of its own. It is killed with its last handle.
    _process: Option<Arc<Child>>,
}

/// An answer as it came.
pub(crate) struct Raw {
    pub(crate) status: u16,
    /// Every `Set-Cookie`.
    pub(crate) cookies: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Ground {
    /// One application, for victim and attacker.
    pub(crate) async fn shared(driver: &str) -> Self {
        Self::over(driver, false).await
    }

    /// Two processes, one for the victim and one for the attacker.
    pub(crate) async fn divided(driver: &str) -> Self {
        Self::over(driver, true).await
    }

    async fn over(name: &str, is_divided: bool) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let directory = matches!(name, "file" | "sqlite").then(|| TempDir::new().expect("a directory can be made"));
        let path = directory
            .as_ref()
            .map(|directory| directory.path().display().to_string());
        let place = Place {
            driver: name.to_owned(),
            at: match (name, path) {
                ("sqlite", Some(path)) => format!("sqlite://{path}/sessions.db"),
                (_, Some(path)) => path,
                ("postgres", _) => Postgres::shared().url(""),
                ("memory", _) => String::new(),
                _ => Redis::shared().url(),
            },
            within: format!("attack_{}", COUNT.fetch_add(1, Ordering::Relaxed)),
        };
        let now = begin();
        let (near, far) = match is_divided {
            true => (Server::start(&place, now).await, Server::start(&place, now).await),
            false => {
                let server = Server::within(&place, now).await;
                (server.clone(), server)
            }
        };
        let truth = match name {
            "memory" => near.clone(),
            _ => {
                let uncached = name.rsplit(' ').next().unwrap_or(name).to_owned();
                let place = Place {
                    driver: uncached,
                    ..place
                };
                Server::within(&place, now).await
            }
        };
        Self {
            near,
            far,
            truth,
            is_stale: name == "stale redis",
            _directory: directory,
        }
    }

    pub(crate) fn victim(&self) -> Visitor {
        Visitor::new("victim", self.near.clone())
    }

    pub(crate) fn attacker(&self) -> Visitor {
        Visitor::new("attacker", self.far.clone())
    }

    fn servers(&self) -> Vec<&Server> {
        let mut servers = vec![&self.near, &self.far, &self.truth];
        servers.dedup_by_key(|server| server.port);
        servers
    }

    /// Time goes by.
    pub(crate) async fn advance(&self, by: Duration) {
        let mut done: Vec<u16> = Vec::new();
        for server in self.servers() {
            if !done.contains(&server.port) {
                server.post(&format!("/advance/{}", by.as_secs()), None, "").await;
                done.push(server.port);
            }
        }
    }

    /// "Sign out everywhere", asked of the victim's application. Returns how many sessions have ended.
    pub(crate) async fn sign_out_everywhere(&self, owner: &str) -> u64 {
        let answer = self.near.post(&format!("/end/{owner}"), None, "").await;
        assert_eq!(answer.status, 200, "the sessions of {owner} can be ended");
        serde_json::from_slice(&answer.body).expect("the answer is a number")
    }

    /// What is stored under an id.
    pub(crate) async fn stored(&self, id: &str) -> Seen {
        Visitor::of("truth", self.truth.clone(), id).sees().await
    }

    /// What an attacker must never have, whatever was done and in whatever order:
    ///
    /// * the victim's data, or the victim as the owner, under any id that the attacker knows;
    /// * so neither under that of the attacker's own session;
    /// * the victim in the attacker's account, or the attacker's writes in the victim's session.
    pub(crate) async fn assert_safe(&self, attacker: &Visitor, victim: &Visitor) {
        for server in self.servers() {
            for id in attacker.known() {
                let seen = Visitor::of("probe", server.clone(), &id).sees().await;
                assert_ne!(
                    seen.owner.as_deref(),
                    Some(VICTIM),
                    "the attacker knows an id of the victim: {seen:?}"
                );
                assert!(
                    !seen.all.contains_key(SECRET),
                    "the attacker reads the victim's data: {seen:?}"
                );
            }
            if let Some(id) = victim.cookie() {
                let seen = Visitor::of("probe", server.clone(), &id).sees().await;
                assert_ne!(
                    seen.owner.as_deref(),
                    Some(ATTACKER),
                    "the victim is in the attacker's account: {seen:?}"
                );
                assert!(
                    !seen.all.contains_key(EVIL),
                    "the attacker has written into the victim's session: {seen:?}"
                );
            }
        }
    }

    /// The same for two who know the same session: nobody is signed in under any id that this visitor has ever had.
    pub(crate) async fn assert_signed_out(&self, visitor: &Visitor) {
        for id in visitor.known() {
            let seen = self.stored(&id).await;
            assert_eq!(
                seen.owner, None,
                "a session lives on that has been signed out: {seen:?}"
            );
            assert!(!seen.all.contains_key(SECRET), "its data lives on: {seen:?}");
        }
    }
}

impl Server {
    /// An application in this process.
    async fn within(place: &Place, now: u64) -> Self {
        let time = Time::at(now);
        let driver = driver(place, &time).await.expect("the store is there");
        Self {
            port: serve(driver, time).await,
            _process: None,
        }
    }

    /// An application in a process of its own.
    async fn start(place: &Place, now: u64) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stepwise-server"))
            .args([&place.driver, &place.at, &place.within, &now.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the process can be started");
        let output = process.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .await
            .expect("it prints a line");
        Self {
            port: line.trim().parse().expect("it prints its port"),
            _process: Some(Arc::new(process)),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Raw {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    pub(crate) async fn post(&self, path: &str, cookies: Option<&str>, body: &str) -> Raw {
        let cookies = cookies.map_or_else(String::new, |cookies| format!("cookie: {cookies}\r\n"));
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{cookies}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// Fails, after a while, where no answer comes.
    async fn send(&self, request: &str) -> Raw {
        let answer = tokio::time::timeout(Duration::from_secs(120), self.exchange(request));
        answer.await.expect("a request is answered in time")
    }

    async fn exchange(&self, request: &str) -> Raw {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .expect("the application serves");
        stream.write_all(request.as_bytes()).await.expect("it takes a request");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("an answer has a head");
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .expect("an answer has a status");
        let cookies = lines.filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("set-cookie").then(|| value.to_owned())
        });
        Raw {
            status: status.parse().expect("a status is a number"),
            cookies: cookies.collect(),
            body: answer[end + 4..].to_vec(),
        }
    }
}

/// Later than a store with a clock of its own may think it is, so that it forgets nothing before an application does.
fn begin() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let hours = now.expect("it is later than 1970").as_secs() / 3600 + 2;
    hours * 3_600_000
}

/// Steps, without the noise.
pub(crate) fn put(key: &str, value: impl Into<serde_json::Value>) -> Step {
    Step::Put(key.into(), value.into())
}

pub(crate) fn owner(owner: &str) -> Step {
    Step::Owner(Some(owner.into()))
}
