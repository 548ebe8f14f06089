//! Disks that are full under load: what was stored stays, errors say why, and service resumes when there is room.

use session_schema::{Driver, FileDriver, SessionLayer, SqliteDriver};
use session_tests::servers::SmallDisk;
use session_tests::{App, Log};
use tracing::Level;

use crate::load::{Load, assert_logged};

/// Two megabytes: some hundred small files, or a database with its log.
const BYTES: u64 = 2 << 20;

/// Everybody is told so, everything can still be read, and nothing is lost. The log says `reason`.
async fn loses_nothing(name: &str, disk: SmallDisk, driver: impl Driver, reason: &str) {
    let log = Log::capture();
    let app = App::new(SessionLayer::new(driver));
    let reader = app.browser();
    reader
        .visit(|session| session.put("text", "before").unwrap())
        .await
        .value();
    let load = Load::begin(&app, 8, &[500]).await;
    load.served().await;
    for round in 1..=2 {
        disk.fill();
        load.refused().await;
        let refused = reader.visit(|session| session.put("text", "x".repeat(10_000)).unwrap());
        let refused = refused.await;
        assert_eq!((refused.status.as_u16(), refused.cookies().len()), (500, 0));
        assert!(!String::from_utf8_lossy(&refused.body).contains("space"), "no detail");
        let newcomer = app.browser();
        assert_eq!(newcomer.visit(|session| session.put("a", 1).unwrap()).await.status, 500);
        assert!(newcomer.maybe_id().is_none(), "nothing is promised that was not stored");
        let read = reader.visit(|session| session.get::<String>("text").unwrap()).await;
        assert_eq!(read.value().as_deref(), Some("before"));
        disk.make_room();
        let recovered = load.served().await;
        println!("disk full under {name}, round {round}: all served {recovered:.1?} after there was room");
    }
    reader
        .visit(|session| session.put("text", "after").unwrap())
        .await
        .value();
    println!("{name}: {:?}", load.end().await);
    assert_logged(&log, Level::ERROR, "a session could not be saved", reason);
}

#[tokio::test]
async fn a_disk_that_is_full_under_files_loses_nothing_and_service_resumes_when_there_is_room() {
    let disk = SmallDisk::new(BYTES);
    let driver = FileDriver::new(disk.path().join("sessions"));
    loses_nothing("FileDriver", disk, driver, "no storage space").await;
}

#[tokio::test]
async fn a_disk_that_is_full_under_sqlite_loses_nothing_and_service_resumes_when_there_is_room() {
    let disk = SmallDisk::new(BYTES);
    let url = format!("sqlite://{}", disk.path().join("sessions.db").display());
    let driver = SqliteDriver::connect(&url).await.unwrap();
    loses_nothing("SqliteDriver", disk, driver, "database or disk is full").await;
}

#[tokio::test]
async fn signing_out_works_and_makes_room_when_the_disk_is_full_of_sessions() {
    let disk = SmallDisk::new(BYTES);
    let app = App::new(SessionLayer::new(FileDriver::new(disk.path().join("sessions"))));
    let mut visitors = Vec::new();
    let refused = loop {
        let visitor = app.browser();
        let visit = visitor.visit(|session| session.put("text", "x".repeat(50_000)).unwrap());
        match visit.await.status.as_u16() {
            200 => visitors.push(visitor),
            status => break status,
        }
        assert!(visitors.len() < 1000, "the disk gets full");
    };
    assert_eq!(refused, 500);
    let leaves = visitors.pop().expect("some were served");
    leaves.visit(session_tests::invalidate).await.value();
    let newcomer = app.browser();
    newcomer
        .visit(|session| session.put("text", "x".repeat(20_000)).unwrap())
        .await
        .value();
    for visitor in &visitors {
        let length = visitor.visit(|session| session.get::<String>("text").unwrap().map(|text| text.len()));
        assert_eq!(length.await.value(), Some(50_000));
    }
}

#[tokio::test]
async fn signing_out_does_not_fail_on_a_disk_without_a_byte_left() {
    // Audit A10
    let disk = SmallDisk::new(BYTES);
    let app = App::new(SessionLayer::new(FileDriver::new(disk.path().join("sessions"))));
    let leaves = app.browser();
    leaves.visit(|session| session.put("user", 7).unwrap()).await.value();
    let thief = leaves.copy();
    disk.fill();
    leaves.visit(session_tests::invalidate).await.value();
    disk.make_room();
    let user = thief.visit(|session| session.get::<u8>("user").unwrap()).await;
    assert_eq!(user.value(), None);
}
