//! A process that works on a session directory while others do, and may be killed at any moment.
//!
//! * `write <directory> <key>` replaces the record again and again by one that counts on, and prints each count that is stored.
//! * `increment <directory> <key> <times>` adds one to the record as often as said.
//! * `rewrite <directory> <owner> <key>...` replaces the owner's records again and again until none is left, and prints a line when each
//!   has been replaced once.
//! * `create <directory> <owner> <other> <times>` makes a session of the owner, which becomes the other's, and the owner's again, and ends. It fails
//!   when the session is not listed as whose it is.
//! * `search <directory> <owner> <sessions>` opens the directory, and fails unless the owner has so many sessions.
//! * `sweep <directory>` removes what has expired, again and again.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use session_schema::{Driver, Expected, FileDriver, OwnerIndex, Record, StoreKey, Written};
use session_tests::counted::{count_of, counted};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", directory, key] => write(&FileDriver::new(directory), &key.parse()?).await,
        ["increment", directory, key, times] => {
            increment(&FileDriver::new(directory), &key.parse()?, times.parse()?).await
        }
        ["rewrite", directory, owner, ref keys @ ..] => rewrite(&FileDriver::new(directory), owner, keys).await,
        ["create", directory, owner, other, times] => {
            create(&FileDriver::new(directory), [owner, other, owner], times.parse()?).await
        }
        ["search", directory, owner, sessions] => search(&FileDriver::new(directory), owner, sessions.parse()?).await,
        ["sweep", directory] => sweep(&FileDriver::new(directory)).await,
        _ => Err("usage: see the documentation of this program".into()),
    }
}

async fn write(driver: &FileDriver, key: &StoreKey) -> Result<(), Box<dyn std::error::Error>> {
    let (mut expected, mut count) = match driver.read(key).await? {
        Some(record) => (Expected::Version(record.version()), count_of(&record)?),
        None => (Expected::Absent, 0),
    };
    loop {
        count += 1;
        match driver.write(key, &counted(count, in_an_hour()), expected).await? {
            Written::Done(version) => expected = Expected::Version(version),
            other => return Err(format!("nobody else writes, but: {other:?}").into()),
        }
        writeln!(io::stdout(), "{count}")?;
    }
}

async fn increment(driver: &FileDriver, key: &StoreKey, times: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut done = 0;
    while done < times {
        let (count, expected) = match driver.read(key).await? {
            Some(record) => (count_of(&record)?, Expected::Version(record.version())),
            None => (0, Expected::Absent),
        };
        let written = driver.write(key, &counted(count + 1, in_an_hour()), expected).await?;
        done += u64::from(matches!(written, Written::Done(_)));
    }
    Ok(())
}

async fn rewrite(driver: &FileDriver, owner: &str, keys: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let mut keys: Vec<StoreKey> = keys.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    let record = Record::new(b"{}".to_vec(), in_an_hour()).with_owner(owner);
    let mut is_first = true;
    while !keys.is_empty() {
        let mut left = Vec::new();
        for key in keys {
            let Some(read) = driver.read(&key).await? else { continue };
            match driver.write(&key, &record, Expected::Version(read.version())).await? {
                Written::Gone => {}
                Written::Done(_) | Written::Conflict(_) => left.push(key),
            }
        }
        keys = left;
        if std::mem::take(&mut is_first) {
            writeln!(io::stdout(), "all")?;
        }
    }
    Ok(())
}

async fn create(driver: &FileDriver, owners: [&str; 3], times: u64) -> Result<(), Box<dyn std::error::Error>> {
    // The same key again and again: each time a sweep may be about to remove what it finds of the session before.
    let key: StoreKey = format!("session-{}", std::process::id()).parse()?;
    for _ in 0..times {
        let mut expected = Expected::Absent;
        for owner in owners {
            let record = Record::new(b"{}".to_vec(), in_an_hour()).with_owner(owner);
            let Written::Done(version) = driver.write(&key, &record, expected).await? else {
                return Err("nobody else writes this session".into());
            };
            let sessions = driver.sessions_of(owner).await?;
            if !sessions.iter().any(|(listed, _)| *listed == key) {
                return Err("a session is not listed as its owner's".into());
            }
            expected = Expected::Version(version);
        }
        driver.destroy(&key).await?;
    }
    Ok(())
}

async fn search(driver: &FileDriver, owner: &str, sessions: usize) -> Result<(), Box<dyn std::error::Error>> {
    driver.open().await?;
    match driver.sessions_of(owner).await?.len() {
        found if found == sessions => Ok(()),
        found => Err(format!("{found} sessions are found").into()),
    }
}

async fn sweep(driver: &FileDriver) -> Result<(), Box<dyn std::error::Error>> {
    loop {
        driver.gc().await?;
    }
}

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60 * 60)
}
