//! What a failing database tells, and what it does not.

use std::time::{Duration, Instant};

use session_schema::{DriverError, Expected, MySqlDriver, PostgresDriver, SqliteDriver};
use session_tests::Log;
use session_tests::servers::free_port;

use crate::place::{Kind, Place, create, new_key, on_every_database, on_every_server, told};

async fn connect(kind: Kind, url: &str) -> Result<(), DriverError> {
    match kind {
        Kind::Sqlite => SqliteDriver::connect(url).await.map(drop),
        Kind::Postgres => PostgresDriver::connect(url).await.map(drop),
        Kind::MySql => MySqlDriver::connect(url).await.map(drop),
    }
}

fn scheme(kind: Kind) -> &'static str {
    match kind {
        Kind::MySql => "mysql",
        _ => "postgres",
    }
}

async fn an_error_names_the_table_and_neither_key_nor_data(place: Place) {
    let driver = place.open().await;
    place.execute(&format!("DROP TABLE {}", place.table)).await;
    let (key, record) = (new_key(), place.record("the payload").with_owner("the owner"));
    let owners = driver.owners().unwrap();
    let errors = [
        driver.read(&key).await.unwrap_err(),
        driver.write(&key, &record, Expected::Absent).await.unwrap_err(),
        driver
            .write(&key, &record, Expected::Version(1.into()))
            .await
            .unwrap_err(),
        driver.touch(&key, place.late()).await.unwrap_err(),
        driver.destroy(&key).await.unwrap_err(),
        driver.gc().await.unwrap_err(),
        owners.sessions_of("the owner").await.unwrap_err(),
        owners.destroy_sessions_of("the owner", Some(&key)).await.unwrap_err(),
    ];
    for error in errors {
        let text = told(&error);
        assert!(!error.is_unavailable() && text.contains(&place.table), "{text}");
        assert!(
            !text.contains(key.as_str()) && !text.contains("the payload") && !text.contains("the owner"),
            "{text}"
        );
    }
}

async fn what_a_trigger_says_of_a_row_is_not_passed_on(place: Place) {
    let driver = place.open().await;
    let table = &place.table;
    let trigger = match place.kind {
        Kind::Sqlite => format!(
            "CREATE TRIGGER chatty BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'secret of the row'); END"
        ),
        Kind::Postgres => format!(
            "CREATE FUNCTION {table}_chatty() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'secret %', OLD.session_key; END $$; \
             CREATE TRIGGER chatty BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_chatty()"
        ),
        Kind::MySql => format!(
            "CREATE TRIGGER {table}_chatty BEFORE UPDATE ON {table} FOR EACH ROW \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret of the row'"
        ),
    };
    let key = new_key();
    create(&*driver, &key, &place.record("one")).await;
    place.execute(&trigger).await;
    let error = driver.touch(&key, place.late()).await.unwrap_err();
    let text = told(&error);
    assert!(!text.contains("secret") && text.contains("left out"), "{text}");
}

async fn debug_shows_the_table_and_no_password(place: Place) {
    let shown = match place.kind {
        Kind::Sqlite => format!("{:?}", SqliteDriver::connect("sqlite::memory:").await.unwrap()),
        Kind::Postgres => {
            let pool = sqlx::PgPool::connect_lazy("postgres://u:secret@h/").unwrap();
            format!("{:?}", PostgresDriver::from_pool(pool))
        }
        Kind::MySql => {
            let pool = sqlx::MySqlPool::connect_lazy("mysql://u:secret@h/").unwrap();
            format!("{:?}", MySqlDriver::from_pool(pool))
        }
    };
    assert!(shown.contains("Driver { table: \"sessions\", .. }"), "{shown}");
}

on_every_database! {
    an_error_names_the_table_and_neither_key_nor_data,
    what_a_trigger_says_of_a_row_is_not_passed_on,
    debug_shows_the_table_and_no_password,
}

async fn a_server_that_is_not_there_is_unavailable_within_the_patience_of_a_request(place: Place) {
    let url = format!("{}://me:secret@127.0.0.1:{}/db", scheme(place.kind), free_port());
    let began = Instant::now();
    let error = connect(place.kind, &url).await.unwrap_err();
    assert!(error.is_unavailable() && began.elapsed() < Duration::from_secs(5));
    assert!(!told(&error).contains("secret"), "{}", told(&error));
}

async fn who_is_not_let_in_is_told_so_without_the_password(place: Place) {
    let (user, right) = (format!("locked_{}", place.table), place.url());
    let setup = match place.kind {
        Kind::MySql => format!("CREATE USER {user}@'%' IDENTIFIED BY 'right'"),
        // The server trusts everybody, so it is the database that does not exist.
        _ => format!("CREATE ROLE {user} LOGIN"),
    };
    place.execute(&setup).await;
    let url = match place.kind {
        Kind::MySql => right.replace("root@", &format!("{user}:secret@")),
        _ => right
            .replace("postgres@", &format!("{user}:secret@"))
            .replace("/postgres?", "/no_such_database?"),
    };
    let error = connect(place.kind, &url).await.unwrap_err();
    let text = told(&error);
    assert!(!error.is_unavailable() && !text.contains("secret"), "{text}");
    assert!(text.contains("denied") || text.contains("no_such_database"), "{text}");
}

async fn an_address_of_another_kind_is_refused_without_being_repeated(place: Place) {
    for url in ["", "secret", "redis://:secret@h/", "sqlite://secret", "http://secret"] {
        let error = connect(place.kind, url).await.unwrap_err();
        let text = told(&error);
        assert!(!error.is_unavailable() && !text.contains("secret"), "{text}");
        assert!(
            text.contains("`url`") && text.contains(&format!("{}://", scheme(place.kind))),
            "{text}"
        );
    }
    let error = connect(place.kind, &format!("{}://me:secret@host:port/", scheme(place.kind)))
        .await
        .unwrap_err();
    assert!(
        !error.is_unavailable() && !told(&error).contains("secret"),
        "{}",
        told(&error)
    );
}

async fn a_driver_that_was_closed_says_so(place: Place) {
    let driver = place.open().await;
    driver.close().await.unwrap();
    let error = driver.read(&new_key()).await.unwrap_err();
    assert!(
        error.is_unavailable() && told(&error).contains("closed"),
        "{}",
        told(&error)
    );
}

async fn a_parameter_that_is_not_known_is_not_logged(place: Place) {
    let log = Log::capture();
    // The driver answers, or refuses it: nothing of it is written anywhere.
    let url = format!("{}&passwd=secret", place.url());
    let connected = connect(place.kind, &url).await;
    assert!(!format!("{} {connected:?}", log.text()).contains("secret"));
}

on_every_server! {
    a_parameter_that_is_not_known_is_not_logged,
    a_server_that_is_not_there_is_unavailable_within_the_patience_of_a_request,
    who_is_not_let_in_is_told_so_without_the_password,
    an_address_of_another_kind_is_refused_without_being_repeated,
    a_driver_that_was_closed_says_so,
}
