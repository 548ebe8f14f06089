//! Several processes on one directory, some of which are killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use session_schema::{Clock, Driver, Expected, StoreKey, Written};
use session_tests::counted::{count_of, counted};

use crate::directory::{Directory, HOUR};

/// A process that works on the directory. It ends with the test.
struct Worker(Child);

impl Worker {
    fn start(directory: &Directory, action: &str, arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_file-driver-child"))
            .arg(action)
            .arg(directory.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("the child process is started"))
    }

    /// Waits for a line.
    fn line(&mut self) {
        let mut line = String::new();
        let output = self.0.stdout.as_mut().expect("the output is read");
        BufReader::new(output).read_line(&mut line).expect("the output is read");
        assert!(!line.is_empty(), "the process has ended");
    }

    fn succeeds(mut self) -> bool {
        self.0.wait().expect("the process ends").success()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended already is what was wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

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

/// A directory for temporary files, and one in memory where there is one: file systems differ in what they show of a folder that is changed.
fn places() -> Vec<std::path::PathBuf> {
    let in_memory = Path::new("/dev/shm").to_owned();
    let mut places = vec![std::env::temp_dir()];
    places.extend(Some(in_memory).filter(|place| place.is_dir()));
    places
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

#[tokio::test]
async fn signing_out_overlooks_no_session_that_processes_write_all_the_time() {
    for (place, round) in places()
        .iter()
        .flat_map(|place| (0..2).map(move |round| (place, round)))
    {
        let directory = Directory::within(place);
        // All in one folder, and so many of them that it is not read at once: a file that is replaced while a folder is read may be shown nowhere.
        for number in 0..1500 {
            directory.create(&format!("aa-{number}"), "nobody's").await;
        }
        let owned = directory.record("ann's").with_owner("ann");
        let mut keys: Vec<StoreKey> = Vec::new();
        for number in 0..48 {
            let key = format!("aa-ann-{number}").parse().unwrap();
            directory.driver.write(&key, &owned, Expected::Absent).await.unwrap();
            keys.push(key);
        }
        let names: Vec<&str> = keys.iter().map(StoreKey::as_str).collect();
        let arguments = [&["ann"], &names[..]].concat();
        let mut writers: Vec<_> = (0..3)
            .map(|_| Worker::start(&directory, "rewrite", &arguments))
            .collect();
        writers.iter_mut().for_each(Worker::line);

        let owners = directory.driver.owners().unwrap();
        let destroyed = owners.destroy_sessions_of("ann", None).await.unwrap();
        let mut survivors = 0;
        for key in &keys {
            survivors += u32::from(directory.read(key).await.is_some());
        }
        assert_eq!((survivors, destroyed), (0, 48), "in {}, round {round}", place.display());
        assert!(writers.into_iter().all(Worker::succeeds));
    }
}

#[tokio::test]
async fn a_session_is_not_lost_to_its_owner_by_a_sweep_while_it_is_made_or_changes_hands() {
    for place in places() {
        let directory = Directory::within(&place);
        directory.driver.open().await.unwrap();
        let sweepers = [(); 2].map(|()| Worker::start(&directory, "sweep", &[]));
        let visitors = [(); 2].map(|()| Worker::start(&directory, "create", &["ann", "bob", "300"]));
        assert!(visitors.into_iter().all(Worker::succeeds), "in {}", place.display());
        drop(sweepers);
    }
}

#[tokio::test]
async fn no_session_is_overlooked_though_processes_that_make_the_index_at_once_are_killed() {
    let directory = Directory::new();
    let record = directory.record("ann's").with_owner("ann");
    for number in 0..300 {
        let key = format!("{number:03}-ann").parse().unwrap();
        directory.driver.write(&key, &record, Expected::Absent).await.unwrap();
    }
    for _ in 0..10 {
        // As a version without an index leaves it.
        std::fs::remove_dir_all(directory.path().join("owners")).unwrap();
        let mut searchers = [(); 4].map(|()| Worker::start(&directory, "search", &["ann", "300"]));
        for _ in 0..fastrand::u32(0..500_000) {
            std::hint::spin_loop();
        }
        let (killed, others) = searchers.split_at_mut(2);
        killed.iter_mut().for_each(|searcher| searcher.0.kill().unwrap());
        for other in others {
            assert!(other.0.wait().unwrap().success());
        }
    }
}
