//! The way to a server: URLs, passwords, settings, clients of the application.

use session_schema::{CachedDriver, Config, Driver, RedisDriver, SessionManager};
use session_tests::Log;
use session_tests::servers::{Redis, RedisCluster, RedisSentinel, free_port};
use tracing::Level;

use super::{HOUR, create, key, record};

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error:?} {error}\n{source}")
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    // ERR-18
    let server = Redis::start(&[]);
    server.ask::<redis::Value>(&["CONFIG", "SET", "requirepass", "open-sesame"]);
    let with = |password: &str| format!("redis://:{password}@127.0.0.1:{}/", server.port());
    let driver = RedisDriver::connect(&with("open-sesame")).await.unwrap();
    assert!(driver.read(&key()).await.unwrap().is_none());
    assert!(!format!("{driver:?}").contains("sesame"));
    for url in [with("close-sesame"), server.url()] {
        let error = RedisDriver::connect(&url).await.unwrap_err();
        assert!(!error.is_unavailable(), "{error:?}");
        assert!(!chain(&error).contains("sesame"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn a_password_that_is_changed_locks_out_until_it_is_changed_back_and_no_longer() {
    let server = Redis::start(&[]);
    let driver = RedisDriver::connect(&server.url()).await.unwrap();
    let key = key();
    create(&driver, &key, &record("one")).await;
    server.ask::<redis::Value>(&["CONFIG", "SET", "requirepass", "open-sesame"]);
    let mut admin = redis::Client::open(format!("redis://:open-sesame@127.0.0.1:{}/", server.port()))
        .and_then(|client| client.get_connection())
        .unwrap();
    redis::cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .exec(&mut admin)
        .unwrap();
    assert!(!driver.read(&key).await.unwrap_err().is_unavailable());
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("")
        .exec(&mut admin)
        .unwrap();
    assert!(driver.read(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn nobody_there_is_out_of_reach() {
    let error = RedisDriver::connect(&format!("redis://127.0.0.1:{}/", free_port()))
        .await
        .unwrap_err();
    assert!(error.is_unavailable() && chain(&error).contains("refused"), "{error:?}");
}

#[tokio::test]
async fn a_server_with_no_room_for_a_connection_reports_changes_when_it_has_room_again() {
    let server = Redis::start(&[]);
    let driver = CachedDriver::new(RedisDriver::connect(&server.url()).await.unwrap(), HOUR);
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_connection().unwrap();
    let mut tell = |command: &str| -> String {
        let words: Vec<_> = command.split(' ').collect();
        redis::cmd(words[0]).arg(&words[1..]).query(&mut admin).unwrap()
    };
    let log = Log::capture();
    tell("CONFIG SET maxclients 1");
    // From now on it connects so that changes are reported.
    driver.open().await.unwrap();
    driver.read(&key()).await.unwrap_err();
    tell("CONFIG SET maxclients 100");
    assert!(driver.read(&key()).await.unwrap().is_none());
    assert!(log.at(Level::WARN).is_empty(), "{:?}", log.at(Level::WARN));
    let clients = tell("CLIENT LIST");
    assert!(clients.contains(" flags=t "), "{clients}");
}

#[tokio::test]
async fn a_server_that_knows_no_reports_is_asked_for_none() {
    for unknown in ["CLIENT", "HELLO"] {
        let server = Redis::start(&["--rename-command", unknown, ""]);
        let driver = CachedDriver::new(RedisDriver::connect(&server.url()).await.unwrap(), HOUR);
        let log = Log::capture();
        driver.open().await.unwrap();
        assert!(driver.read(&key()).await.unwrap().is_none());
        let warnings = log.at(Level::WARN);
        assert!(warnings[0].message.contains("does not report changes"), "{warnings:?}");
    }
}

#[tokio::test]
async fn a_client_of_the_application_serves_too() {
    let server = Redis::shared();
    let cluster = RedisCluster::shared();
    let sentinel = RedisSentinel::shared();
    let clients = [
        RedisDriver::from_client(redis::Client::open(server.url()).unwrap()),
        RedisDriver::from_cluster_client(redis::cluster::ClusterClient::new(vec![cluster.nodes[1].url()]).unwrap()),
        RedisDriver::from_sentinel_client(
            redis::sentinel::SentinelClient::build(
                vec![format!("redis://127.0.0.1:{}/", sentinel.port())],
                RedisSentinel::SERVICE,
                None,
                redis::sentinel::SentinelServerType::Master,
            )
            .unwrap(),
        ),
    ];
    for driver in clients {
        let driver = driver.with_prefix("of the application:");
        driver.open().await.unwrap();
        let key = key();
        create(&driver, &key, &record("one")).await;
        assert!(driver.read(&key).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn two_prefixes_are_two_stores() {
    let url = Redis::shared().url();
    let one = RedisDriver::connect(&url).await.unwrap().with_prefix("one:");
    let other = RedisDriver::connect(&url).await.unwrap().with_prefix("other:");
    let key = key();
    create(&one, &key, &record("one")).await;
    assert!(other.read(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn settings_lead_to_redis() {
    let mut config = Config::default();
    config.driver = "redis".into();
    for missing in [None, Some(String::new())] {
        config.url = missing;
        let error = SessionManager::new(config.clone())
            .unwrap()
            .driver(None)
            .await
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(text.contains("`url`") && text.contains("`redis://"), "{text}");
    }
    config.url = Some(Redis::shared().url());
    let manager = SessionManager::new(config).unwrap();
    let driver = manager.driver(None).await.unwrap();
    let session = manager.build_session(driver.clone(), None);
    session.start().await.unwrap();
    session.put("a", 1).unwrap();
    session.save().await.unwrap();
    let again = manager.build_session(driver, Some(session.id().as_str()));
    again.start().await.unwrap();
    assert_eq!(again.get::<u32>("a").unwrap(), Some(1));
}
