//! The table's name.

use session_schema::{ConfigError, Driver, MySqlDriver, PostgresDriver, SqliteDriver};
use session_tests::servers::{MariaDb, Postgres};

use crate::place::{Kind, Place, create, new_key, on_every_database};

/// What `with_table` says to a name, without a connection to anything.
fn named(kind: Kind, table: &str) -> Result<(), ConfigError> {
    match kind {
        Kind::Sqlite => SqliteDriver::from_pool(sqlx::SqlitePool::connect_lazy("sqlite::memory:").unwrap())
            .with_table(table)
            .map(drop),
        Kind::Postgres => PostgresDriver::from_pool(sqlx::PgPool::connect_lazy("postgres://h/").unwrap())
            .with_table(table)
            .map(drop),
        Kind::MySql => MySqlDriver::from_pool(sqlx::MySqlPool::connect_lazy("mysql://h/").unwrap())
            .with_table(table)
            .map(drop),
    }
}

async fn a_name_that_is_none_is_refused_before_it_reaches_a_statement(place: Place) {
    let long = "a".repeat(51);
    for name in [
        "",
        " ",
        "a b",
        "1a",
        "a-b",
        "a;b",
        "a\"",
        "a`",
        "a'",
        "a\\",
        "a\0",
        "\u{e4}",
        "a.",
        ".a",
        "a.b.c",
        "a.1",
        &long,
        "sessions; DROP TABLE users",
        "sessions\" (a INT); --",
    ] {
        let error = named(place.kind, name).unwrap_err().to_string();
        assert!(error.contains("write 1 to 50 letters"), "{error}");
    }
    for name in ["a", "_", "A1_", "select", &long[1..]] {
        named(place.kind, name).unwrap();
    }
}

async fn no_two_tables_have_one_name(place: Place) {
    for name in [
        "sessions_schema",
        "A_Schema",
        "sessions_expires_idx",
        "sessions_owner_idx",
        "_schema",
    ] {
        let error = named(place.kind, name).unwrap_err().to_string();
        assert!(error.contains("made beside a table"), "{error}");
    }
    for name in ["schema", "sessions_schema_1", "schema_sessions"] {
        named(place.kind, name).unwrap();
    }
}

async fn a_reserved_word_in_any_case_can_be_a_table(mut place: Place) {
    place.table = "Select".into();
    let driver = place.open().await;
    let key = new_key();
    create(&*driver, &key, &place.record("one")).await;
    assert_eq!(driver.read(&key).await.unwrap().unwrap().payload(), b"one");
    assert_eq!(driver.gc().await.unwrap(), 0);
    assert!(driver.destroy(&key).await.unwrap());
}

async fn two_tables_of_one_database_know_nothing_of_each_other(place: Place) {
    let one = place.open().await;
    let other = Place {
        table: format!("{}_other", place.table),
        url: Some(place.url()),
        ..Place::of(place.kind)
    };
    let other = other.open().await;
    let key = new_key();
    create(&*one, &key, &place.record("one").with_owner("ann")).await;
    assert!(other.read(&key).await.unwrap().is_none());
    assert!(other.owners().unwrap().sessions_of("ann").await.unwrap().is_empty());
    create(&*other, &key, &place.record("other")).await;
    assert_eq!(one.read(&key).await.unwrap().unwrap().payload(), b"one");
}

on_every_database! {
    a_name_that_is_none_is_refused_before_it_reaches_a_statement,
    no_two_tables_have_one_name,
    a_reserved_word_in_any_case_can_be_a_table,
    two_tables_of_one_database_know_nothing_of_each_other,
}

#[tokio::test]
async fn a_table_has_its_indexes_whatever_the_tables_beside_it_are_called() {
    for kind in [Kind::Postgres, Kind::Sqlite] {
        let mut place = Place::of(kind);
        place.url = Some(place.url());
        let own = place.table.clone();
        for table in [format!("{own}_owner"), format!("{own}_expires_at"), own.clone()] {
            place.table = table;
            place.open().await;
        }
        for index in ["owner_idx", "expires_idx"] {
            place.execute(&format!("DROP INDEX \"{own}_{index}\"")).await;
        }
    }
}

#[tokio::test]
async fn a_table_can_be_in_a_schema_of_postgres() {
    let mut place = Place::of(Kind::Postgres);
    place.url = Some(Postgres::shared().url(""));
    place.execute("CREATE SCHEMA \"Web\"").await;
    place.table = "Web.sessions".into();
    let driver = place.open().await;
    driver.open().await.unwrap();
    let key = new_key();
    create(&*driver, &key, &place.record("one")).await;
    place
        .execute("SELECT payload FROM \"Web\".sessions WHERE expires_at > 0")
        .await;
    place
        .execute("DROP INDEX \"Web\".sessions_owner_idx, \"Web\".sessions_expires_idx")
        .await;
}

#[tokio::test]
async fn a_schema_may_have_the_name_that_a_table_has_in_the_migrations() {
    let mut place = Place::of(Kind::Postgres);
    place.url = Some(Postgres::shared().url(""));
    for schema in ["sessions", "sessions_schema"] {
        place.execute(&format!("CREATE SCHEMA \"{schema}\"")).await;
        place.table = format!("{schema}.visitors");
        let (driver, key) = (place.open().await, new_key());
        create(&*driver, &key, &place.record("one")).await;
        let tables = format!("SELECT 1 FROM {schema}.visitors, {schema}.visitors_schema");
        place.execute(&tables).await;
    }
}

#[tokio::test]
async fn a_table_can_be_in_another_database_of_mysql() {
    let mut place = Place::of(Kind::MySql);
    place.url = Some(MariaDb::shared().url(""));
    place.execute("CREATE DATABASE Web").await;
    place.table = "Web.sessions".into();
    let driver = place.open().await;
    let key = new_key();
    create(&*driver, &key, &place.record("one")).await;
    place.execute("SELECT payload FROM `Web`.sessions").await;
}

#[tokio::test]
async fn sqlite_has_no_schemas() {
    named(Kind::Sqlite, "web.sessions").unwrap_err();
    named(Kind::Postgres, "web.sessions").unwrap();
    named(Kind::MySql, "web.sessions").unwrap();
}
