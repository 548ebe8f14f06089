//! A process that works on a session directory while others do, and may be killed at any moment.
//!
//! * `write <directory> <key>` replaces the record again and again by one that counts on, and prints each count that is stored.
//! * `increment <directory> <key> <times>` adds one to the record as often as said.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use session_schema::{Driver, Expected, FileDriver, StoreKey, Written};
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
        _ => Err("usage: file-driver-child write <directory> <key> | increment <directory> <key> <times>".into()),
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

fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(60 * 60)
}
