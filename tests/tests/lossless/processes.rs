//! Two processes serve one session at the same time, over every store that processes can share, and lose nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use session_tests::processes::sharing;
use session_tests::servers::{MariaDb, Postgres, Redis, RedisCluster};
use tempfile::TempDir;

/// Every change of two processes counts, in each of which so many requests at a time are served, so often.
async fn every_change_counts(driver: &str, place: &str, writers: u64, times: u64) {
    let manager = sharing(driver, place).unwrap();
    let opened = manager.driver(None).await.unwrap();
    let session = manager.build_session(opened.clone(), None);
    session.put("begun", true).unwrap();
    session.save().await.unwrap();
    let id = session.id().as_str().to_owned();
    let mut children = ["one", "other"].map(|name| start(&[driver, place, &id, name], writers, times));
    for child in &mut children {
        ready(child);
    }
    for child in &mut children {
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // By a process that has not seen any of it.
    let manager = sharing(driver, place).unwrap();
    let session = manager.build_session(manager.driver(None).await.unwrap(), Some(&id));
    session.start().await.unwrap();
    let (each, payload) = (writers * times, session.all());
    assert_eq!((&payload["one"], &payload["other"]), (&json!(each), &json!(each)));
    assert_eq!(
        (&payload["all"], &payload["sum"]),
        (&json!(2 * each), &json!(each * (each - 1)))
    );
    let mut list: Vec<String> = serde_json::from_value(payload["list"].clone()).unwrap();
    let mut wanted: Vec<String> = (0..each)
        .flat_map(|number| [format!("one {number}"), format!("other {number}")])
        .collect();
    list.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(list, wanted);
}

fn start(what: &[&str], writers: u64, times: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_session-child"))
        .args(what)
        .args([writers.to_string(), times.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child process is started")
}

/// Waits until a process has reached the store.
fn ready(child: &mut Child) {
    let mut line = String::new();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

/// The tests over one store: the name of its driver, and where it is.
macro_rules! over {
    ($($module:ident: $driver:literal, $place:expr;)*) => {$(
        mod $module {
            use super::*;

            #[tokio::test]
            async fn every_change_of_64_requests_at_once_in_two_processes_counts() {
                let place = $place;
                every_change_counts($driver, place.as_ref(), 32, 2).await;
            }

            #[tokio::test]
            async fn every_change_of_256_requests_at_once_in_two_processes_counts() {
                let place = $place;
                every_change_counts($driver, place.as_ref(), 128, 1).await;
            }

            #[tokio::test]
            async fn every_change_of_two_processes_with_one_request_at_a_time_counts() {
                let place = $place;
                every_change_counts($driver, place.as_ref(), 1, 50).await;
            }
        }
    )*};
}

/// A directory as text, for as long as it is needed.
struct Place(TempDir, String);

impl Place {
    fn new(begin: &str, end: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let text = format!("{begin}{}{end}", directory.path().display());
        Self(directory, text)
    }
}

impl AsRef<str> for Place {
    fn as_ref(&self) -> &str {
        assert!(self.0.path().exists());
        &self.1
    }
}

over! {
    file: "file", Place::new("", "");
    sqlite: "sqlite", Place::new("sqlite://", "/sessions.db");
    postgres: "postgres", Postgres::shared().url("");
    mysql: "mysql", MariaDb::shared().url("");
    redis: "redis", Redis::shared().url();
    redis_cluster: "redis", RedisCluster::shared().url();
    each_with_a_cache: "cached redis", Redis::shared().url();
}
