//! A database behind TLS, whose certificate is trusted, or not.

use std::time::{Duration, Instant};

use session_schema::{Driver, PostgresDriver};
use session_tests::servers::Postgres;
use sqlx::{AssertSqlSafe, PgPool};

use crate::place::{Kind, Place, create, new_key};

/// Gives a running server a certificate, written by the server itself, because the key has to be its own.
async fn turn_on_tls(pool: &PgPool, certificate: &str, key: &str) {
    for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
        let lines: Vec<_> = pem.lines().map(|line| format!("'{line}'")).collect();
        let copy = format!(
            "COPY (SELECT unnest(ARRAY[{}])) TO PROGRAM 'umask 077 && cat > {name}'",
            lines.join(",")
        );
        sqlx::raw_sql(AssertSqlSafe(copy)).execute(pool).await.unwrap();
    }
    sqlx::raw_sql("ALTER SYSTEM SET ssl = on").execute(pool).await.unwrap();
    sqlx::raw_sql("SELECT pg_reload_conf()").execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_behind_tls_is_used_if_its_certificate_is_trusted() {
    let server = Postgres::start();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pool = PgPool::connect(&server.url("")).await.unwrap();
    turn_on_tls(&pool, &made.cert.pem(), &made.signing_key.serialize_pem()).await;
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), made.cert.pem()).unwrap();
    let address = format!(
        "postgres://postgres@localhost:{}/postgres?sslmode=verify-full",
        server.port()
    );
    let trusting = format!("{address}&sslrootcert={}", root.path().display());

    // The server reads its settings anew when it has time.
    let since = Instant::now();
    let driver = loop {
        match PostgresDriver::connect(&trusting).await {
            Ok(driver) => break driver,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    driver.open().await.unwrap();
    let (place, key) = (Place::of(Kind::Postgres), new_key());
    create(&driver, &key, &place.record("secret")).await;
    assert_eq!(driver.read(&key).await.unwrap().unwrap().payload(), b"secret");
    let encrypted =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND query LIKE '%sessions%'";
    let encrypted: i64 = sqlx::query_scalar(encrypted).fetch_one(&pool).await.unwrap();
    assert!(encrypted > 0, "the driver's connections are encrypted");

    let error = PostgresDriver::connect(&address).await.unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(!said.contains("localhost"), "{said}");
}
