//! SQLite's file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use session_schema::{Driver, SqliteDriver};
use tempfile::TempDir;

use crate::place::{Kind, Place, create, new_key, told};

async fn opened(url: &str) -> SqliteDriver {
    let driver = SqliteDriver::connect(url).await.unwrap();
    driver.open().await.unwrap();
    driver
}

#[tokio::test]
async fn the_file_is_made_for_this_user_alone_with_all_that_lies_beside_it() {
    let place = Place::of(Kind::Sqlite);
    let driver = place.open().await;
    create(&*driver, &new_key(), &place.record("one")).await;
    let folder = Path::new(place.url().trim_start_matches("sqlite://"))
        .parent()
        .unwrap()
        .to_owned();
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and the log's index");
}

#[tokio::test]
async fn a_file_that_is_there_keeps_its_rights() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a.db");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    opened(file.to_str().unwrap()).await;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn an_address_is_a_path_or_a_url() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().display();
    let place = Place::of(Kind::Sqlite);
    let key = new_key();
    let one = opened(&format!("{path}/with space, 100% and #.db")).await;
    create(&one, &key, &place.record("one")).await;
    for url in [
        format!("{path}/with space, 100% and #.db"),
        format!("sqlite://{path}/with space, 100%25 and #.db"),
        format!("sqlite:{path}/with space, 100%25 and #.db"),
        format!("sqlite://{path}/with space, 100%25 and #.db?mode=rwc"),
    ] {
        assert!(opened(&url).await.read(&key).await.unwrap().is_some(), "{url}");
    }
}

#[tokio::test]
async fn a_database_in_memory_is_shared_by_clones_and_nobody_else() {
    let place = Place::of(Kind::Sqlite);
    let key = new_key();
    for url in ["sqlite::memory:", "sqlite://?mode=memory", ":memory:"] {
        let (driver, other) = (opened(url).await, opened(url).await);
        create(&driver, &key, &place.record("one")).await;
        let mut reads = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let clone = driver.clone();
            reads.spawn(async move { clone.read(&key).await.unwrap().is_some() });
        }
        assert!(reads.join_all().await.into_iter().all(|found| found));
        assert!(other.read(&key).await.unwrap().is_none(), "{url}");
    }
}

#[tokio::test]
async fn readers_do_not_wait_for_a_writer() {
    let place = Place::of(Kind::Sqlite);
    let driver = place.open().await;
    let key = new_key();
    create(&*driver, &key, &place.record("one")).await;
    let pool = sqlx::SqlitePool::connect(&place.url()).await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
    let mut writer = pool.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *writer).await.unwrap();
    assert!(driver.read(&key).await.unwrap().is_some());

    // A writer waits, and goes on as soon as it may.
    let (waiting, record) = (driver.clone(), place.record("two"));
    let write = tokio::spawn(async move {
        waiting
            .write(&new_key(), &record, session_schema::Expected::Absent)
            .await
    });
    tokio::task::yield_now().await;
    sqlx::raw_sql("COMMIT").execute(&mut *writer).await.unwrap();
    write.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_database_that_another_keeps_for_itself_is_unavailable_in_time() {
    let place = Place::of(Kind::Sqlite);
    let driver = place.open().await;
    let pool = sqlx::SqlitePool::connect(&place.url()).await.unwrap();
    let mut writer = pool.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *writer).await.unwrap();
    let began = std::time::Instant::now();
    let error = driver.touch(&new_key(), place.late()).await.unwrap_err();
    assert!(error.is_unavailable(), "{}", told(&error));
    assert!(
        began.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_is_no_database_or_cannot_be_made_is_an_error_that_says_why() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("no/such/folder/a.db");
    let error = SqliteDriver::connect(missing.to_str().unwrap()).await.unwrap_err();
    assert!(
        !error.is_unavailable() && told(&error).contains("the directory of the session database is not there"),
        "{}",
        told(&error)
    );

    let text = directory.path().join("text");
    std::fs::write(&text, "no database, and longer than the header of one. ".repeat(20)).unwrap();
    let error = SqliteDriver::connect(text.to_str().unwrap()).await.unwrap_err();
    assert!(
        !error.is_unavailable() && told(&error).contains("not a database"),
        "{}",
        told(&error)
    );
}
