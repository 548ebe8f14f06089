//! Two processes serve one session, over one directory, and lose nothing.

use std::process::Command;

use serde_json::{Value, json};
use session_schema::{Config, Driver, FileDriver, SessionManager, StoreKey};
use tempfile::TempDir;

const TIMES: u64 = 50;

#[tokio::test]
async fn every_change_of_two_processes_counts() {
    let directory = TempDir::new().unwrap();
    let driver = FileDriver::new(directory.path());
    let manager = SessionManager::new(Config::default()).unwrap();
    let session = manager.build_session(std::sync::Arc::new(driver.clone()), None);
    session.put("begun", true).unwrap();
    session.save().await.unwrap();
    let start = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_session-child"))
            .arg(directory.path())
            .arg(session.id().as_str())
            .args([name, &TIMES.to_string()])
            .spawn()
            .expect("the child process is started")
    };
    let children = ["one", "other"].map(start);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let record = driver.read(&StoreKey::from(&session.id())).await.unwrap().unwrap();
    let payload: Value = serde_json::from_slice(record.payload()).unwrap();
    assert_eq!((&payload["one"], &payload["other"]), (&json!(TIMES), &json!(TIMES)));
    assert_eq!(
        (&payload["all"], &payload["sum"]),
        (&json!(2 * TIMES), &json!(TIMES * (TIMES - 1)))
    );
    let mut list: Vec<String> = serde_json::from_value(payload["list"].clone()).unwrap();
    let mut wanted: Vec<String> = (0..TIMES)
        .flat_map(|number| [format!("one {number}"), format!("other {number}")])
        .collect();
    list.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(list, wanted);
}
