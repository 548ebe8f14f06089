//! Stores that several processes share, each as a process comes to it.

use std::time::Duration;

use session_schema::{CachedDriver, Config, ConfigError, RedisDriver, SessionManager};

/// How long the caches keep what they know: longer than a test takes, so that what they say is out of date whenever it can be.
const STALENESS: Duration = Duration::from_secs(60);

/// What a process has to know to serve the sessions of a store: the name of its driver, and where it is (a directory or a URL).
///
/// The name is one of [`Config::driver`](Config), or `cached redis`: each process with a cache of its own, which knows nothing of the other's.
///
/// # Errors
///
/// When the settings are wrong.
pub fn sharing(driver: &str, place: &str) -> Result<SessionManager, ConfigError> {
    let mut config = Config::default();
    config.driver = driver.into();
    match driver {
        "file" => config.files = place.into(),
        _ => config.url = Some(place.into()),
    }
    if driver != "cached redis" {
        return SessionManager::new(config);
    }
    config.url = None;
    let (manager, url) = (SessionManager::new(config)?, place.to_owned());
    manager.extend("cached redis", move || {
        let url = url.clone();
        async move {
            let redis = RedisDriver::connect(&url).await?.with_prefix("behind a cache:");
            Ok(CachedDriver::new(redis, STALENESS))
        }
    });
    Ok(manager)
}
