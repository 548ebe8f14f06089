//! Making the table.

use session_schema::{Expected, Written};
use session_tests::servers::{MariaDb, Postgres};
use tokio::task::JoinSet;

use crate::place::{Kind, Place, create, new_key, on_every_database, on_every_server, told};

async fn of_64_processes_that_open_at_once_each_finds_the_table(place: Place) {
    // STORE-17
    let mut drivers = Vec::new();
    for _ in 0..64 {
        drivers.push(place.connect().await);
    }
    let mut opening = JoinSet::new();
    for driver in drivers {
        opening.spawn(async move {
            driver.open().await.unwrap();
            driver.read(&new_key()).await.unwrap();
            driver.close().await.unwrap();
        });
    }
    opening.join_all().await;
}

async fn opening_again_keeps_the_sessions(place: Place) {
    let driver = place.open().await;
    let key = new_key();
    create(&*driver, &key, &place.record("kept")).await;
    for _ in 0..3 {
        let again = place.open().await;
        assert_eq!(again.read(&key).await.unwrap().unwrap().payload(), b"kept");
    }
}

async fn a_table_of_a_later_release_is_refused(place: Place) {
    place.open().await;
    place
        .execute(&format!("INSERT INTO {}_schema (version) VALUES (2)", place.table))
        .await;
    let error = place.connect().await.open().await.unwrap_err();
    let told = told(&error);
    assert!(!error.is_unavailable());
    assert!(told.contains("later release") && told.contains(&place.table), "{told}");
    place
        .execute(&format!("DELETE FROM {}_schema WHERE version = 2", place.table))
        .await;
    place.open().await;
}

async fn a_table_with_other_columns_is_refused_and_left_alone(place: Place) {
    place
        .execute(&format!("CREATE TABLE {} (id INT, last_activity INT)", place.table))
        .await;
    let error = place.connect().await.open().await.unwrap_err();
    let told = told(&error);
    assert!(told.contains(&place.table), "{told}");
    place
        .execute(&format!(
            "INSERT INTO {} (id, last_activity) VALUES (1, 2)",
            place.table
        ))
        .await;
}

async fn a_table_that_was_begun_and_not_finished_is_finished(place: Place) {
    place.open().await;
    place.execute(&format!("DROP TABLE {}_schema", place.table)).await;
    let driver = place.open().await;
    create(&*driver, &new_key(), &place.record("one")).await;
}

on_every_database! {
    of_64_processes_that_open_at_once_each_finds_the_table,
    opening_again_keeps_the_sessions,
    a_table_of_a_later_release_is_refused,
    a_table_with_other_columns_is_refused_and_left_alone,
    a_table_that_was_begun_and_not_finished_is_finished,
}

/// What the files of `migrations/` say, for another table.
fn migration(place: &Place) -> String {
    let file = match place.kind {
        Kind::Sqlite => include_str!("../../../session/migrations/sqlite/0001_sessions.sql"),
        Kind::Postgres => include_str!("../../../session/migrations/postgres/0001_sessions.sql"),
        Kind::MySql => include_str!("../../../session/migrations/mysql/0001_sessions.sql"),
    };
    file.replace("sessions", &place.table)
}

async fn who_may_not_make_tables_opens_one_that_was_made_from_the_file(place: Place) {
    let (table, user) = (&place.table, format!("user_of_{}", place.table));
    let mut restricted = Place::of(place.kind);
    restricted.table = table.clone();
    let (rights, url) = match place.kind {
        Kind::MySql => (
            format!(
                "CREATE USER {user}@'%'; GRANT SELECT, INSERT, UPDATE, DELETE ON test.{table} TO {user}@'%'; \
                 GRANT SELECT ON test.{table}_schema TO {user}@'%'"
            ),
            MariaDb::shared().url_of(&user, MariaDb::shared().port()),
        ),
        _ => (
            format!(
                "CREATE ROLE {user} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {user}; GRANT SELECT ON {table}_schema TO {user}"
            ),
            Postgres::shared().url_of(&user, Postgres::shared().port()),
        ),
    };
    place.execute(&migration(&place)).await;
    place.execute(&migration(&place)).await;
    place.execute(&rights).await;
    restricted.url = Some(url);

    let driver = restricted.open().await;
    let key = new_key();
    let version = create(&*driver, &key, &place.record("one").with_owner("ann")).await;
    let written = driver
        .write(&key, &place.record("two").with_owner("ann"), Expected::Version(version))
        .await;
    assert!(matches!(written, Ok(Written::Done(_))), "{written:?}");
    assert!(driver.touch(&key, place.late()).await.unwrap());
    assert_eq!(driver.gc().await.unwrap(), 0);
    let owners = driver.owners().unwrap();
    assert_eq!(owners.sessions_of("ann").await.unwrap().len(), 1);
    assert_eq!(owners.destroy_sessions_of("ann", None).await.unwrap(), 1);

    restricted.table = format!("{table}_missing");
    let error = restricted.connect().await.open().await.unwrap_err();
    assert!(told(&error).contains("denied"), "{}", told(&error));
}

on_every_server! {
    who_may_not_make_tables_opens_one_that_was_made_from_the_file,
}
