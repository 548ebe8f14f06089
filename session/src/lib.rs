//! Typed sessions for Axum and every other tower stack, after the model of Goravel and Laravel.
//!
//! A struct says what a session holds. Deriving [`SessionSchema`] makes typed keys and accessors of it, which the compiler checks; beneath lies the
//! [`Session`], with string keys. A [`SessionLayer`] loads it when it is asked for, saves what was changed, and keeps the cookie; a [`Driver`] keeps the data.
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use session_schema::{MemoryDriver, Result, SessionLayer, SessionSchema, TypedSession};
//!
//! #[derive(SessionSchema)]
//! struct Shop {
//!     /// The signed-in customer.
//!     #[session(owner)]
//!     user_id: Option<u64>,
//!     cart: Vec<String>,
//!     #[session(default = 20)]
//!     page_size: u32,
//!     #[session(flash)]
//!     notice: Option<String>,
//! }
//!
//! async fn sign_in(session: TypedSession<Shop>) -> Result<()> {
//!     session.put_user_id(42) // gives the session a new id: it has an owner now
//! }
//!
//! async fn add(session: TypedSession<Shop>) -> Result<()> {
//!     session.push(Shop::CART, "tea")?;
//!     session.flash_notice("Added to your cart")
//! }
//!
//! async fn cart(session: TypedSession<Shop>) -> Result<String> {
//!     let mut page = session.get_cart()?.join(", ");
//!     if let Some(notice) = session.get_notice()? {
//!         page += &format!(" ({notice})");
//!     }
//!     Ok(page)
//! }
//!
//! let app = Router::new()
//!     .route("/sign-in", post(sign_in))
//!     .route("/cart", get(cart).post(add))
//!     .layer(SessionLayer::new(MemoryDriver::new()));
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use axum::body::{Body, to_bytes};
//! use http::{Request, header};
//! use tower::ServiceExt;
//!
//! let added = app.clone().oneshot(Request::post("/cart").body(Body::empty())?).await?;
//! let cookie = added.headers()[header::SET_COOKIE].to_str()?.split(';').next().unwrap();
//!
//! let shown = Request::get("/cart").header(header::COOKIE, cookie).body(Body::empty())?;
//! let shown = app.clone().oneshot(shown).await?.into_body();
//! assert_eq!(to_bytes(shown, 1024).await?, "tea (Added to your cart)");
//!
//! let again = Request::get("/cart").header(header::COOKIE, cookie).body(Body::empty())?;
//! let again = app.oneshot(again).await?.into_body();
//! assert_eq!(to_bytes(again, 1024).await?, "tea");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What it promises
//!
//! * A wrong key, or a value of a wrong type, does not compile.
//! * Concurrent requests of one visitor lose nothing, without locks: see [`guide::concurrency`].
//! * A session that was destroyed stays destroyed; a slow request neither revives it nor sets its cookie again.
//! * A sign-in gives the session a new id. The old id neither reads nor changes the session any more. No data of one
//!   owner is left to the next.
//! * A copy of the store opens no session: it holds hashes of ids.
//! * A request that does not use its session costs a look at its headers; a visitor who stores nothing gets no cookie and no record.
//! * Ids, keys of the store and values never reach a log, an error or `Debug`.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | keys, accessors and attributes of a schema | [`guide::schema`], [`SessionSchema`](derive@SessionSchema), [`TypedSession`] |
//! | string keys, flash, regenerating, invalidating | [`Session`] |
//! | cookies, lifetimes, headers | [`SessionLayer`] |
//! | settings from a file or the environment, drivers by name, "log out everywhere else" | [`Config`], [`SessionManager`] |
//! | handlers that must run one at a time | `Exclusive` |
//! | a store of your own | [`Driver`], `testing` |
//! | which store when, what each promises and costs, how large it must be | [`guide::stores`] |
//! | what becomes of sessions when servers, disks and clocks fail | [`guide::faults`] |
//!
//! # Features
//!
//! | feature | on by default | brings |
//! |---|---|---|
//! | `axum` | yes | the extractors `Session`, `TypedSession`, `Option` of both, and `Exclusive`; errors as responses |
//! | `memory` | yes | `MemoryDriver` |
//! | `file` | yes | `FileDriver` |
//! | `sqlite`, `postgres`, `mysql` | no | `SqliteDriver`, `PostgresDriver`, `MySqlDriver` (and MariaDB): a table in a database |
//! | `redis` | no | `RedisDriver`: Redis or Valkey, one server, a cluster, or with Sentinels |
//! | `cache` | no | `CachedDriver`: a local cache in front of any driver |
//! | `tower-sessions` | no | `TowerSessionsDriver`: any store written for tower-sessions |
//! | `testing` | no | `testing`: the contract of drivers as a suite of tests, a clock to set by hand, sessions for unit tests |
//!
//! Without `axum` the layer works on any tower stack of `http` requests whose response bodies are `Default`: [`Session::of`] finds the session of a request,
//! and [`Session::start`] loads it. [`SessionLayer`] has an example.

#[cfg(test)]
extern crate self as session_schema;

mod backend;
mod changes;
mod circuit;
mod clock;
mod codec;
mod config;
mod cookie;
mod draft;
mod driver;
mod ending;
mod error;
mod expiry;
#[cfg(feature = "axum")]
mod extract;
mod flash;
#[cfg(any(doc, doctest))]
pub mod guide;
mod id;
mod lease;
mod manager;
mod middleware;
mod namespace;
mod payload;
#[doc(hidden)]
pub mod private;
mod record;
mod rolling;
mod run;
mod save;
mod schema;
mod session;
mod state;
mod store;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod turn;
mod typed;

pub use self::cookie::SameSite;
pub use clock::{Clock, SystemClock};
pub use config::{Config, LoadErrors, SaveErrors};
pub use driver::*;
pub use error::{ConfigError, DriverError, Error, ErrorKind, Result};
pub use expiry::Expiry;
#[cfg(feature = "axum")]
pub use extract::{Exclusive, LoadFailed, MissingSessionLayer, SessionRejection};
pub use id::{MalformedId, SessionId, StoreKey};
pub use manager::{SessionManager, StoredSession};
pub use middleware::{Passive, PassiveService, ResponseFuture, SessionLayer, SessionService};
pub use record::{IntoOwner, Record, Version};
pub use schema::{Data, DataKeyOf, Flash, Integer, Key, KeyInfo, KeyKind, KeyOf, Kind, List, SessionSchema, StoreAs};
pub use session::Session;
pub use session_schema_derive::SessionSchema;
pub use typed::TypedSession;
