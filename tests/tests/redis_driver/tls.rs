//! A server behind TLS, whose certificate the operating system trusts, or does not.
//!
//! Which certificates are trusted an environment variable says, so what has to trust ours is a process of its own: this test once more.

use std::process::Command;

use session_schema::{Driver, RedisDriver};
use session_tests::servers::{Redis, RedisCluster, free_port};

use super::{create, key, record};

const URL: &str = "SESSION_TESTS_TLS_URL";

/// A certificate for this machine, and its key, in a folder.
fn certificate() -> tempfile::TempDir {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("certificate"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key"), made.signing_key.serialize_pem()).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_tls_is_used_if_its_certificate_is_trusted() {
    if let Ok(url) = std::env::var(URL) {
        let driver = RedisDriver::connect(&url).await.unwrap();
        let key = key();
        create(&driver, &key, &record("secret")).await;
        assert!(driver.read(&key).await.unwrap().is_some());
        return;
    }
    let folder = certificate();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (port, certificate) = (free_port(), file("certificate"));
    let _server = Redis::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &file("key"),
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}/");

    let this = std::env::current_exe().unwrap();
    let test = "tls::a_server_behind_tls_is_used_if_its_certificate_is_trusted";
    let trusting = Command::new(this)
        .args([test, "--exact"])
        .env(URL, &url)
        .env("SSL_CERT_FILE", &certificate)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && said.contains("1 passed"), "{said}");

    let error = RedisDriver::connect(&url).await.unwrap_err();
    assert!(!format!("{error:?}").contains("localhost"), "{error:?}");
    let plain = format!("redis://localhost:{port}/");
    assert!(RedisDriver::connect(&plain).await.is_err());
}

#[tokio::test]
async fn a_cluster_that_speaks_no_tls_is_not_spoken_to_without() {
    let url = RedisCluster::shared().url().replacen("redis+", "rediss+", 1);
    assert!(RedisDriver::connect(&url).await.is_err());
}
