//! A store to fill, and how large it says it is.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use session_schema::testing::ManualClock;
use session_schema::{
    Driver, DriverError, FileDriver, MemoryDriver, MySqlDriver, PostgresDriver, RedisDriver, SqliteDriver,
};

use crate::stores::Stores;

pub(crate) struct Filled {
    driver: Arc<dyn Driver>,
    stores: Stores,
    kind: Kind,
}

enum Kind {
    Memory,
    Folder(PathBuf),
    File(PathBuf),
    Postgres(sqlx::PgPool),
    MariaDb(sqlx::MySqlPool),
    Redis,
}

impl Filled {
    /// An empty store of that name.
    pub(crate) async fn start(name: &str, clock: &ManualClock) -> Result<Self, String> {
        let told = |error: DriverError| format!("{name} fails: {error}");
        let mut stores = Stores::new()?;
        let (driver, kind): (Arc<dyn Driver>, Kind) = match name {
            "memory" => (Arc::new(MemoryDriver::new().with_clock(clock.clone())), Kind::Memory),
            "file" => {
                let folder = stores.file("sessions");
                let driver = FileDriver::new(&folder).with_clock(clock.clone());
                (Arc::new(driver), Kind::Folder(folder))
            }
            "sqlite" => {
                let file = stores.file("sessions.db");
                let driver = SqliteDriver::connect(&file.display().to_string()).await.map_err(told)?;
                (Arc::new(driver.with_clock(clock.clone())), Kind::File(file))
            }
            "postgres" => {
                let url = stores.postgres().url("");
                let driver = PostgresDriver::connect(&url).await.map_err(told)?;
                let pool = sqlx::PgPool::connect(&url).await.map_err(|error| error.to_string())?;
                (Arc::new(driver.with_clock(clock.clone())), Kind::Postgres(pool))
            }
            "mysql" => {
                let url = stores.mariadb().url("");
                let driver = MySqlDriver::connect(&url).await.map_err(told)?;
                let pool = sqlx::MySqlPool::connect(&url)
                    .await
                    .map_err(|error| error.to_string())?;
                (Arc::new(driver.with_clock(clock.clone())), Kind::MariaDb(pool))
            }
            "redis" => {
                let driver = RedisDriver::connect(&stores.redis().url()).await.map_err(told)?;
                (Arc::new(driver), Kind::Redis)
            }
            _ => return Err("STORE is one of memory, file, sqlite, postgres, mysql, redis".to_owned()),
        };
        driver.open().await.map_err(told)?;
        Ok(Self { driver, stores, kind })
    }

    pub(crate) fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    pub(crate) fn forgets_by_itself(&self) -> bool {
        matches!(self.kind, Kind::Redis)
    }

    /// How many sessions Redis has.
    pub(crate) fn count(&self) -> Result<usize, String> {
        let redis = self.stores.started_redis().ok_or("only Redis is asked")?;
        Ok(redis.ask(&["DBSIZE"]))
    }

    /// How many bytes it occupies, in memory or on the disk.
    pub(crate) async fn bytes(&self) -> Result<u64, String> {
        match &self.kind {
            Kind::Memory => resident(),
            Kind::Folder(folder) => disk_usage(folder),
            Kind::File(file) => {
                let log = file.with_extension("db-wal");
                let size = |file| fs::metadata(file).map_or(0, |data: fs::Metadata| data.len());
                Ok(size(file.clone()) + size(log))
            }
            Kind::Postgres(pool) => {
                let size = sqlx::query_scalar::<_, i64>("SELECT pg_total_relation_size('sessions')");
                let size = size.fetch_one(pool).await.map_err(|error| error.to_string())?;
                Ok(size.unsigned_abs())
            }
            Kind::MariaDb(pool) => {
                let size = sqlx::query_scalar::<_, i64>(
                    "SELECT CAST(file_size AS SIGNED) FROM information_schema.innodb_sys_tablespaces WHERE name = 'test/sessions'",
                );
                let size = size.fetch_one(pool).await.map_err(|error| error.to_string())?;
                Ok(size.unsigned_abs())
            }
            Kind::Redis => {
                let info: String = self
                    .stores
                    .started_redis()
                    .ok_or("Redis runs")?
                    .ask(&["INFO", "memory"]);
                let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
                let used = used.and_then(|used| used.trim().parse().ok());
                used.ok_or_else(|| "Redis does not say how much memory it uses".to_owned())
            }
        }
    }
}

/// What this process has of the memory, by [`/proc/self/status`](https://man7.org/linux/man-pages/man5/proc_pid_status.5.html).
fn resident() -> Result<u64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc cannot be read: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or("/proc does not say how much memory this process has")? * 1024)
}

/// What files occupy of the disk, which is more than they are long.
fn disk_usage(folder: &PathBuf) -> Result<u64, String> {
    let du = Command::new("du")
        .args(["--summarize", "--block-size=1"])
        .arg(folder)
        .output();
    let du = du.map_err(|error| format!("du cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&du.stdout);
    let bytes = text.split_whitespace().next().and_then(|bytes| bytes.parse().ok());
    bytes.ok_or_else(|| "du does not say how large the folder is".to_owned())
}
