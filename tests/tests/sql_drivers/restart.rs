//! A server that restarts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use session_schema::{Driver, Expected};
use session_tests::servers::{MariaDb, Postgres};

use crate::place::{Kind, Place, create, done, new_key};

/// All that a driver does works again, by itself and without one failure, with sessions as they were.
async fn assert_goes_on(place: &Place, driver: Arc<dyn Driver>, restart: impl FnOnce()) {
    let key = new_key();
    let version = create(&*driver, &key, &place.record("before").with_owner("ann")).await;
    // Fill the pool.
    let reads: Vec<_> = (0..20)
        .map(|_| {
            let driver = driver.clone();
            tokio::spawn(async move { driver.read(&key).await.unwrap() })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    restart();
    let read = driver.read(&key).await.unwrap().unwrap();
    assert_eq!((read.payload(), read.version()), (&b"before"[..], version));
    done(
        driver
            .write(&key, &place.record("after"), Expected::Version(version))
            .await
            .unwrap(),
    );
    assert!(driver.touch(&key, place.late()).await.unwrap());
    assert_eq!(driver.gc().await.unwrap(), 0);
    assert!(driver.destroy(&key).await.unwrap());
}

/// While the server is away, calls end in time, as unavailable.
async fn assert_unavailable(driver: &dyn Driver) {
    let began = Instant::now();
    let error = driver.read(&new_key()).await.unwrap_err();
    assert!(
        error.is_unavailable() && began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_by_itself_when_postgres_restarts() {
    let mut server = Postgres::start();
    let mut place = Place::of(Kind::Postgres);
    place.url = Some(server.url(""));
    let driver = place.open().await;
    assert_goes_on(&place, driver.clone(), || server.restart()).await;
    drop(server);
    assert_unavailable(&*driver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_resumes_by_itself_when_mariadb_restarts() {
    let mut server = MariaDb::start();
    let mut place = Place::of(Kind::MySql);
    place.url = Some(server.url(""));
    let driver = place.open().await;
    assert_goes_on(&place, driver.clone(), || server.restart()).await;
    drop(server);
    assert_unavailable(&*driver).await;
}
