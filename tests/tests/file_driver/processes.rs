//! Several processes on one directory, some of which are killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use session_schema::{Driver, Expected, StoreKey, Written};
use session_tests::counted::{count_of, counted};

use crate::directory::{Directory, HOUR};
use session_schema::Clock;

fn child(directory: &Directory, key: &StoreKey, action: &str, times: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_file-driver-child"))
        .arg(action)
        .arg(directory.path())
        .arg(key.as_str())
        .args(times)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child process is started")
}

#[tokio::test]
async fn a_process_killed_while_it_writes_leaves_the_old_record_or_the_new_one() {
    // STORE-24
    let directory = Directory::new();
    let key: StoreKey = "killed".parse().unwrap();
    let (mut last, mut rounds) = (0, fastrand::Rng::new());
    for _ in 0..40 {
        let mut writer = child(&directory, &key, "write", &[]);
        let mut counts = BufReader::new(writer.stdout.take().unwrap()).lines();
        // Somewhere behind a random number of writes, wherever the next one happens to be.
        for count in counts.by_ref().take(rounds.usize(1..20)) {
            last = count.unwrap().parse().unwrap();
        }
        for _ in 0..rounds.u32(0..200_000) {
            std::hint::spin_loop();
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        if let Some(count) = counts.map_while(Result::ok).filter_map(|line| line.parse().ok()).last() {
            last = count;
        }
        let read = directory
            .read(&key)
            .await
            .expect("a record that was reported as stored is there");
        let count = count_of(&read).unwrap();
        // What was stored may not have been reported yet.
        assert!(
            count == last || count == last + 1,
            "{count} is stored, {last} was reported"
        );
    }
    // The lock of a killed process hinders nobody, and what it left behind goes.
    let read = directory.read(&key).await.unwrap();
    let next = counted(0, directory.clock.now() + HOUR * 3);
    let written = directory
        .driver
        .write(&key, &next, Expected::Version(read.version()))
        .await
        .unwrap();
    assert!(matches!(written, Written::Done(_)));
    directory.clock.advance(HOUR * 2);
    assert_eq!(directory.driver.gc().await.unwrap(), 0);
    assert_eq!(directory.files().len(), 1, "{:?}", directory.files());
}

#[tokio::test]
async fn increments_of_several_processes_all_count() {
    let directory = Directory::new();
    let key: StoreKey = "counted".parse().unwrap();
    let children: Vec<Child> = (0..3).map(|_| child(&directory, &key, "increment", &["50"])).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(count_of(&directory.read(&key).await.unwrap()), Ok(150));
    assert_eq!(directory.files().len(), 1, "{:?}", directory.files());
}

#[tokio::test]
async fn a_reader_never_sees_half_of_what_another_process_writes() {
    // STORE-24
    let directory = Directory::new();
    let key: StoreKey = "watched".parse().unwrap();
    let mut writer = child(&directory, &key, "increment", &["300"]);
    let mut seen = 0;
    while writer.try_wait().unwrap().is_none() {
        if let Some(record) = directory.read(&key).await {
            let count = count_of(&record).unwrap();
            assert!(count >= seen, "{count} after {seen}");
            seen = count;
        }
    }
    assert_eq!(count_of(&directory.read(&key).await.unwrap()), Ok(300));
}
