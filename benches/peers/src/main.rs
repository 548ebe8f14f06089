//! Applications with the stores of tower-sessions, each of which does what `benches/stores` measures.
//!
//! ```text
//! bench-peers redis redis://127.0.0.1:6379/
//! bench-peers postgres postgres://user@host/database
//! bench-peers sqlite /tmp/sessions.db
//! ```
//!
//! The stores are set up as their documentation shows: six connections to Redis, ten to PostgreSQL. SQLite has the settings that `SqliteDriver` gives it, because
//! without them (no write-ahead log, waiting for the disk) a comparison would say nothing.

#[path = "../../../session/benches/middleware/content.rs"]
mod content;
#[path = "../../stores/src/serving.rs"]
mod serving;

use std::error::Error;

use axum::Router;
use axum::routing::get;
use tower_sessions::cookie::time::Duration;
use tower_sessions::session::Error as SessionError;
use tower_sessions::{Expiry, Session, SessionManagerLayer, SessionStore};
use tower_sessions_redis_store::RedisStore;
use tower_sessions_redis_store::fred::prelude::{ClientLike, Config, Pool};
use tower_sessions_sqlx_store::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tower_sessions_sqlx_store::sqlx::{PgPool, SqlitePool};
use tower_sessions_sqlx_store::{PostgresStore, SqliteStore};

use content::{DONE, KEY, VALUE};
use serving::{routes, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, address] = &words[..] else {
        return Err("usage: bench-peers STORE ADDRESS".into());
    };
    let app = match store.as_str() {
        "redis" => app(redis(address).await?),
        "postgres" => app(postgres(address).await?),
        "sqlite" => app(sqlite(address).await?),
        _ => return Err("STORE is one of `redis`, `postgres`, `sqlite`".into()),
    };
    Ok(serve(app).await?)
}

async fn redis(address: &str) -> Result<RedisStore<Pool>, Box<dyn Error>> {
    let pool = Pool::new(Config::from_url(address)?, None, None, None, 6)?;
    pool.init().await?;
    Ok(RedisStore::new(pool))
}

async fn postgres(address: &str) -> Result<PostgresStore, Box<dyn Error>> {
    let store = PostgresStore::new(PgPool::connect(address).await?);
    store.migrate().await?;
    Ok(store)
}

async fn sqlite(address: &str) -> Result<SqliteStore, Box<dyn Error>> {
    let options = SqliteConnectOptions::new()
        .filename(address)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let store = SqliteStore::new(SqlitePool::connect_with(options).await?);
    store.migrate().await?;
    Ok(store)
}

fn app(store: impl SessionStore + Clone) -> Router {
    let layer = SessionManagerLayer::new(store)
        .with_name("session")
        .with_expiry(Expiry::OnInactivity(Duration::hours(2)));
    let create = get(async |session: Session| -> Result<&'static str, Failed> {
        session.insert(KEY, VALUE).await?;
        Ok(DONE)
    });
    let read = get(async |session: Session| -> Result<&'static str, Failed> {
        let value: Option<u64> = session.get(KEY).await?;
        value.map(|_| DONE).ok_or(Failed)
    });
    let replace = get(async |session: Session| -> Result<&'static str, Failed> {
        let value: Option<u64> = session.get(KEY).await?;
        session.insert(KEY, value.unwrap_or(0) + 1).await?;
        Ok(DONE)
    });
    let seed = get(async |session: Session| -> Result<(), Failed> {
        for (key, value) in content::content() {
            session.insert_value(&key, value).await?;
        }
        Ok(())
    });
    let value = get(async |session: Session| -> Result<String, Failed> {
        let value: Option<u64> = session.get(KEY).await?;
        Ok(value.unwrap_or(0).to_string())
    });
    routes(create, read, replace, seed, value).layer(layer)
}

/// A response that is not 200, so that a failure is noticed.
struct Failed;

impl From<SessionError> for Failed {
    fn from(_: SessionError) -> Self {
        Self
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
