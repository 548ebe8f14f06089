//! What is kept, and until when.

use std::time::Duration;

use session_schema::{Driver, Expected, MySqlDriver, PostgresDriver, Record, Written};
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;

use crate::place::{Kind, Place, create, new_key, on_every_database, on_every_server, told};

async fn long_payloads_and_owners_come_back_byte_by_byte(place: Place) {
    // STORE-29
    let driver = place.open().await;
    for length in [4_000_u32, 64 << 10, 1 << 20, 4 << 20] {
        let payload: Vec<u8> = (0..length).map(|place| (place % 253) as u8).collect();
        let owner = "\u{e9}".repeat(10_000 + length as usize / 100);
        let key = new_key();
        let record = Record::new(payload.clone(), place.late()).with_owner(&owner);
        let version = create(&*driver, &key, &record).await;
        let read = driver.read(&key).await.unwrap().unwrap();
        assert!(
            read.payload() == payload && read.owner() == Some(&owner),
            "{length} bytes"
        );
        let written = driver.write(&key, &record, Expected::Version(version)).await;
        assert!(matches!(written, Ok(Written::Done(_))));
        let owners = driver.owners().unwrap();
        assert_eq!(owners.sessions_of(&owner).await.unwrap().len(), 1);
        // They differ in the last letter only.
        let other = format!("{}a", &owner[..owner.len() - 2]);
        assert!(owners.sessions_of(&other).await.unwrap().is_empty());
    }
}

async fn the_time_zone_of_a_connection_does_not_matter(place: Place) {
    // GC-17
    place.open().await;
    let mut drivers = Vec::new();
    for zone in ["+00:00", "+09:00", "-11:00"] {
        drivers.push(in_time_zone(&place, zone).await);
    }
    for writer in &drivers {
        let (key, other) = (new_key(), new_key());
        let expiry = place.clock_second() + Duration::from_secs(10);
        create(&**writer, &key, &Record::new(b"short".to_vec(), expiry)).await;
        create(&**writer, &other, &place.record("long")).await;
        let left = expiry.duration_since(session_schema::Clock::now(&place.clock)).unwrap();
        place.clock.advance(left - Duration::from_millis(1));
        for reader in &drivers {
            assert_eq!(reader.gc().await.unwrap(), 0);
            assert_eq!(reader.read(&key).await.unwrap().unwrap().expires_at(), expiry);
        }
        place.clock.advance(Duration::from_millis(1));
        for reader in &drivers {
            assert!(reader.read(&key).await.unwrap().is_none());
        }
        assert_eq!(drivers[1].gc().await.unwrap(), 1);
        for reader in &drivers {
            assert!(reader.read(&other).await.unwrap().is_some());
        }
    }
}

/// A driver whose connections believe to be elsewhere.
async fn in_time_zone(place: &Place, zone: &'static str) -> Box<dyn Driver> {
    let (table, clock) = (&place.table, place.clock.clone());
    match place.kind {
        Kind::Sqlite => unreachable!("SQLite has no time zones"),
        Kind::Postgres => {
            let pool = PgPoolOptions::new()
                .max_connections(2)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        // PostgreSQL counts the other way round in this notation, as POSIX does.
                        let set = sqlx::AssertSqlSafe(format!("SET TIME ZONE '{zone}'"));
                        sqlx::query(set).execute(connection).await.map(drop)
                    })
                });
            let pool = pool.connect(&place.url()).await.unwrap();
            Box::new(
                PostgresDriver::from_pool(pool)
                    .with_table(table)
                    .unwrap()
                    .with_clock(clock),
            )
        }
        Kind::MySql => {
            let pool = MySqlPoolOptions::new()
                .max_connections(2)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        let set = sqlx::AssertSqlSafe(format!("SET time_zone = '{zone}'"));
                        sqlx::query(set).execute(connection).await.map(drop)
                    })
                });
            let pool = pool.connect(&place.url()).await.unwrap();
            Box::new(
                MySqlDriver::from_pool(pool)
                    .with_table(table)
                    .unwrap()
                    .with_clock(clock),
            )
        }
    }
}

on_every_database! {
    long_payloads_and_owners_come_back_byte_by_byte,
}

on_every_server! {
    the_time_zone_of_a_connection_does_not_matter,
}

#[tokio::test]
async fn a_session_that_is_too_large_for_mysql_is_an_error_that_says_so() {
    let place = Place::of(Kind::MySql);
    let driver = place.open().await;
    let key = new_key();
    let record = Record::new(vec![b'a'; 17 << 20], place.late());
    let error = driver.write(&key, &record, Expected::Absent).await.unwrap_err();
    let text = told(&error);
    assert!(!error.is_unavailable() && text.contains("max_allowed_packet"), "{text}");
    // Both sizes, which the server itself does not say, if it says anything before it hangs up.
    assert!(
        text.contains(&(17 << 20).to_string()) && text.contains(&(16 << 20).to_string()),
        "{text}"
    );
    // And the driver goes on.
    create(&*driver, &key, &place.record("small")).await;
}

#[tokio::test]
async fn sessions_as_large_as_mysql_is_set_to_take_are_kept() {
    let place = Place::of(Kind::MySql);
    let driver = place.open().await;
    let key = new_key();
    let record = Record::new(vec![b'a'; (16 << 20) - 8192], place.late());
    create(&*driver, &key, &record).await;
    assert_eq!(
        driver.read(&key).await.unwrap().unwrap().payload().len(),
        (16 << 20) - 8192
    );
}
