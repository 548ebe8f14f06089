//! Databases by `Config`.

use std::time::Duration;

use session_schema::{Config, Session, SessionManager};
use session_tests::App;
use session_tests::servers::{MariaDb, Postgres};
use tempfile::TempDir;

use crate::place::{Kind, Place, told};

fn config(driver: &str, url: Option<String>) -> Config {
    let mut config = Config::default();
    (config.driver, config.url) = (driver.into(), url);
    config
}

#[tokio::test]
async fn a_driver_that_needs_a_url_says_so_with_an_example_of_one() {
    for (driver, example) in [
        ("sqlite", "sqlite://"),
        ("postgres", "postgres://"),
        ("mysql", "mysql://"),
    ] {
        for url in [None, Some(String::new())] {
            let manager = SessionManager::new(config(driver, url)).unwrap();
            let error = manager
                .driver(None)
                .await
                .err()
                .expect("there is no database")
                .to_string();
            assert!(error.contains("`url`") && error.contains(example), "{error}");
        }
    }
}

#[tokio::test]
async fn a_url_of_another_driver_is_an_error_that_does_not_repeat_it() {
    for (driver, url) in [
        ("postgres", "mysql://me:secret@h/"),
        ("mysql", "postgres://me:secret@h/"),
        ("sqlite", "mysql://me:secret@h/"),
        ("sqlite", "mysql:secret"),
        ("sqlite", "sqlite3://secret.db"),
        ("sqlite", "file:secret.db"),
    ] {
        let manager = SessionManager::new(config(driver, Some(url.into()))).unwrap();
        let error = manager
            .driver(None)
            .await
            .err()
            .expect("it is another kind of database");
        let text = told(&error);
        assert!(text.contains("of another kind") && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn one_setting_moves_an_application_to_a_database_with_its_clock_and_its_owners() {
    let directory = TempDir::new().unwrap();
    let urls = [
        ("sqlite", directory.path().join("a.db").display().to_string()),
        ("postgres", Postgres::shared().url("")),
        ("mysql", MariaDb::shared().url("")),
    ];
    for (driver, url) in urls {
        let clock = Place::of(Kind::Postgres).clock;
        let manager = SessionManager::new(config(driver, Some(url)))
            .unwrap()
            .with_clock(clock.clone());
        let app = App::new(manager.layer().await.unwrap());
        let browser = app.browser();
        let sign_in = |session: Session| {
            session.put("user", 7).unwrap();
            session.set_owner(Some("ann")).unwrap();
        };
        browser.visit(sign_in).await.value();
        assert_eq!(
            browser
                .visit(|session| session.get::<u8>("user").unwrap())
                .await
                .value(),
            Some(7)
        );
        assert_eq!(manager.sessions_of("ann").await.unwrap().len(), 1, "{driver}");

        clock.advance(Duration::from_secs(120 * 60));
        assert!(manager.sessions_of("ann").await.unwrap().is_empty());
        assert_eq!(manager.gc().await.unwrap(), 1, "{driver}");
    }
}
