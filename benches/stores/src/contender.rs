//! Who is measured.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use session_schema::{
    CachedDriver, FileDriver, MemoryDriver, MySqlDriver, PostgresDriver, RedisDriver, Result, Session, SessionLayer,
    SqliteDriver,
};

use crate::content::{DONE, KEY, VALUE, content};
use crate::serving::routes;

/// An application whose sessions are in a store.
pub(crate) struct Contender {
    /// Its name on the command line.
    pub(crate) id: &'static str,
    /// And in tables.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) maker: Maker,
}

/// Where the sessions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Nowhere,
    Process,
    Folder,
    File,
    Redis,
    Postgres,
    MariaDb,
}

/// Whose application it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    Ours,
    /// One of `benches/peers`, which knows it by this name.
    Peers(&'static str),
}

/// The first one is what the others are compared with.
pub(crate) const ALL: [Contender; 11] = [
    ours("bare", "bare axum, no sessions", Place::Nowhere),
    ours("memory", "`MemoryDriver`", Place::Process),
    ours("file", "`FileDriver`", Place::Folder),
    ours("redis", "`RedisDriver`", Place::Redis),
    ours("redis-cached", "`RedisDriver` in a `CachedDriver`, 5 s", Place::Redis),
    ours("sqlite", "`SqliteDriver`", Place::File),
    ours("postgres", "`PostgresDriver`", Place::Postgres),
    ours("mysql", "`MySqlDriver`, MariaDB", Place::MariaDb),
    theirs("tower-redis", "tower-sessions, Redis", Place::Redis, "redis"),
    theirs("tower-sqlite", "tower-sessions, SQLite", Place::File, "sqlite"),
    theirs(
        "tower-postgres",
        "tower-sessions, PostgreSQL",
        Place::Postgres,
        "postgres",
    ),
];

const fn ours(id: &'static str, name: &'static str, place: Place) -> Contender {
    Contender {
        id,
        name,
        place,
        maker: Maker::Ours,
    }
}

const fn theirs(id: &'static str, name: &'static str, place: Place, store: &'static str) -> Contender {
    Contender {
        id,
        name,
        place,
        maker: Maker::Peers(store),
    }
}

impl Contender {
    pub(crate) fn named(id: &str) -> std::result::Result<&'static Self, String> {
        let found = const { &ALL }.iter().find(|contender| contender.id == id);
        found.ok_or_else(|| {
            let known: Vec<_> = ALL.iter().map(|contender| contender.id).collect();
            format!("`{id}` is not known: write one of {}", known.join(", "))
        })
    }
}

/// The application of one of ours, whose store is at `address`.
pub(crate) async fn app(id: &str, address: &str) -> std::result::Result<Router, Box<dyn std::error::Error>> {
    Ok(match id {
        "bare" => bare(),
        "memory" => with_sessions(SessionLayer::new(MemoryDriver::new())),
        "file" => with_sessions(SessionLayer::new(FileDriver::new(address))),
        "redis" => with_sessions(SessionLayer::new(RedisDriver::connect(address).await?)),
        "redis-cached" => {
            let driver = RedisDriver::connect(address).await?;
            with_sessions(SessionLayer::new(CachedDriver::new(driver, Duration::from_secs(5))))
        }
        "sqlite" => with_sessions(SessionLayer::new(SqliteDriver::connect(address).await?)),
        "postgres" => with_sessions(SessionLayer::new(PostgresDriver::connect(address).await?)),
        "mysql" => with_sessions(SessionLayer::new(MySqlDriver::connect(address).await?)),
        other => return Err(format!("`{other}` is not an application of ours").into()),
    })
}

fn bare() -> Router {
    let done = || get(async || DONE);
    routes(done(), done(), done(), done(), done())
}

fn with_sessions(layer: SessionLayer) -> Router {
    let create = get(async |session: Session| -> Result<_> {
        session.put(KEY, VALUE)?;
        Ok(DONE)
    });
    let read = get(async |session: Session| -> Result<_> {
        let value: Option<u64> = session.get(KEY)?;
        Ok(if value.is_some() { DONE } else { "nothing is there" })
    });
    let replace = get(async |session: Session| -> Result<_> {
        let value: u64 = session.get_or(KEY, 0)?;
        session.put(KEY, value + 1)?;
        Ok(DONE)
    });
    let seed = get(async |session: Session| session.replace(content()));
    let value = get(async |session: Session| -> Result<String> { Ok(session.get_or(KEY, 0)?.to_string()) });
    routes(create, read, replace, seed, value).layer(layer)
}
