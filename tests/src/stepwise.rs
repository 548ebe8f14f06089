//! An application whose handlers do what the body of the request says, one step after the other, and stop where it says so.
//!
//! It serves over TCP, so that a test talks to an application in its own process and to one in another process in the same way.
//! `POST /do/<name>` is the only page with a session. The others control the application: they open gates, fetch reports, move the clock.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use session_schema::{
    CachedDriver, Config, Driver, DriverError, Expected, FileDriver, MemoryDriver, OwnerIndex, PostgresDriver, Record,
    RedisDriver, Session, SessionManager, SqliteDriver, StoreKey, Written,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long the caches keep a record, by the clock of the application, which stands still.
const STALENESS: Duration = Duration::from_secs(60);

/// One thing that a handler does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `put`
    Put(String, Value),
    /// `forget` of one key.
    Forget(String),
    /// `increment`
    Increment(String, i64),
    /// `set_owner`
    Owner(Option<String>),
    /// `set_lifetime`, in seconds.
    Lifetime(u64),
    /// `regenerate`
    Regenerate,
    /// `invalidate`
    Invalidate,
    /// `flush`
    Flush,
    /// `replace`
    Replace(Map<String, Value>),
    /// `token`
    Token,
    /// `save`
    Save,
    /// `reload`
    Reload,
    /// Reports what the session holds.
    Look,
    /// Waits at the next gate of the request.
    Wait,
    /// Leaves a task behind that does these steps with a clone of the session. Its name is that of the request and `-task`.
    Leave(Vec<Step>),
}

/// What came of a [`Step`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Done {
    /// It succeeded.
    Fine,
    /// It failed with an error of this kind.
    Failed(String),
    /// What the session holds.
    Saw(Seen),
}

/// What a session holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its data.
    pub all: Map<String, Value>,
    /// Its owner.
    pub owner: Option<String>,
    /// Its id.
    pub id: String,
    /// Its CSRF token, where a step asked for it.
    pub token: Option<String>,
}

/// Where the sessions of an application are.
#[derive(Clone, Debug)]
pub struct Place {
    /// `memory`, `file`, `sqlite`, `postgres`, `redis`, `cached redis`, or `stale redis`: behind a cache that the store reports no changes to.
    pub driver: String,
    /// A directory or a URL.
    pub at: String,
    /// The table or the prefix.
    pub within: String,
}

/// The time of an application, in milliseconds since 1970. It moves only when it is told to.
#[derive(Clone, Debug)]
pub struct Time(Arc<AtomicU64>);

impl Time {
    /// A clock that shows this time.
    pub fn at(milliseconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(milliseconds)))
    }

    fn clock(&self) -> impl Fn() -> SystemTime + Clone + Send + Sync + 'static {
        let time = self.0.clone();
        move || SystemTime::UNIX_EPOCH + Duration::from_millis(time.load(Ordering::SeqCst))
    }
}

/// The sessions of a place, by a driver of one's own with connections and a cache of its own.
///
/// # Errors
///
/// When the store is out of reach.
///
/// # Panics
///
/// When there is no such driver.
pub async fn driver(place: &Place, time: &Time) -> Result<Arc<dyn Driver>, DriverError> {
    let clock = time.clock();
    let redis = async || {
        let redis = RedisDriver::connect(&place.at).await?;
        Ok::<_, DriverError>(redis.with_prefix(&place.within).with_clock(clock.clone()))
    };
    Ok(match &*place.driver {
        "memory" => Arc::new(MemoryDriver::new().with_clock(clock)),
        "file" => Arc::new(FileDriver::new(&place.at).with_clock(clock)),
        "sqlite" => Arc::new(SqliteDriver::connect(&place.at).await?.with_clock(clock)),
        "postgres" => {
            let postgres = PostgresDriver::connect(&place.at).await?.with_table(&place.within);
            Arc::new(postgres.expect("it is a name").with_clock(clock))
        }
        "redis" => Arc::new(redis().await?),
        "cached redis" => Arc::new(CachedDriver::new(redis().await?, STALENESS).with_clock(clock.clone())),
        "stale redis" => Arc::new(CachedDriver::new(Unreported(redis().await?), STALENESS).with_clock(clock.clone())),
        other => panic!("there is no driver `{other}`"),
    })
}

/// Serves an application over these sessions, for as long as the runtime runs. Returns the port.
///
/// # Panics
///
/// When there is no port, or the settings are wrong.
pub async fn serve(driver: Arc<dyn Driver>, time: Time) -> u16 {
    let mut config = Config::default();
    (config.driver, config.gc_interval) = ("stepwise".into(), 0);
    let manager = SessionManager::new(config).expect("the settings are right");
    let manager = manager.with_clock(time.clock());
    manager.extend("stepwise", move || std::future::ready(Ok(driver.clone())));
    let layer = manager.layer().await.expect("the store can be opened");
    let layer = layer.with_cookie_name("session");
    let stage = Arc::new(Stage {
        manager,
        time,
        gates: Mutex::default(),
        reports: Mutex::default(),
    });
    let router = Router::new()
        .route("/do/{name}", post(act))
        .layer(layer)
        .route("/reached/{gate}", get(reached))
        .route("/open/{gate}", post(open))
        .route("/report/{name}", get(report))
        .route("/advance/{seconds}", post(advance))
        .route("/end/{owner}", post(end))
        .with_state(stage);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

struct Stage {
    manager: SessionManager,
    time: Time,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
    reports: Mutex<HashMap<String, Vec<Done>>>,
}

/// A place where a request stops.
struct Gate {
    reached: Semaphore,
    open: Semaphore,
}

impl Stage {
    fn gate(&self, name: &str) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = gates.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Gate {
                reached: Semaphore::new(0),
                open: Semaphore::new(0),
            })
        });
        gate.clone()
    }

    async fn wait(&self, name: &str) {
        let gate = self.gate(name);
        gate.reached.add_permits(1);
        gate.open.acquire().await.expect("gates are never closed").forget();
    }

    /// Keeps the report of a task for the callers that wait for it.
    fn reported(&self, name: &str, done: Vec<Done>) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.insert(name.to_owned(), done);
        self.gate(&format!("{name}-report")).reached.add_permits(1);
    }

    fn leave(self: Arc<Self>, name: String, session: Session, steps: Vec<Step>) {
        let task: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { self.play(&name, &session, steps).await });
        tokio::spawn(task);
    }

    /// Does the steps. Errors are reported, and the next step is done all the same.
    async fn play(self: &Arc<Self>, name: &str, session: &Session, steps: Vec<Step>) {
        let (mut done, mut gates, mut token) = (Vec::new(), 0, None);
        for step in steps {
            let result = match step {
                Step::Put(key, value) => session.put(&key, value),
                Step::Forget(key) => session.forget([key]),
                Step::Increment(key, by) => session.increment(&key, by).map(drop),
                Step::Owner(owner) => session.set_owner(owner.as_deref()),
                Step::Lifetime(seconds) => session.set_lifetime(Duration::from_secs(seconds)),
                Step::Regenerate => session.regenerate(),
                Step::Invalidate => session.invalidate(),
                Step::Flush => session.flush(),
                Step::Replace(content) => session.replace(content),
                Step::Save => session.save().await,
                Step::Reload => session.reload().await,
                Step::Token => {
                    token = Some(session.token());
                    Ok(())
                }
                Step::Look => {
                    done.push(Done::Saw(Seen {
                        all: session.all(),
                        owner: session.owner(),
                        id: session.id().as_str().to_owned(),
                        token: token.clone(),
                    }));
                    continue;
                }
                Step::Wait => {
                    self.wait(&format!("{name}-{gates}")).await;
                    gates += 1;
                    Ok(())
                }
                Step::Leave(steps) => {
                    self.clone().leave(format!("{name}-task"), session.clone(), steps);
                    Ok(())
                }
            };
            done.push(result.map_or_else(|error| Done::Failed(format!("{:?}", error.kind())), |()| Done::Fine));
        }
        self.reported(name, done);
    }
}

async fn act(
    State(stage): State<Arc<Stage>>,
    Path(name): Path<String>,
    session: Session,
    Json(steps): Json<Vec<Step>>,
) -> StatusCode {
    stage.play(&name, &session, steps).await;
    StatusCode::OK
}

async fn reached(State(stage): State<Arc<Stage>>, Path(gate): Path<String>) {
    let gate = stage.gate(&gate);
    gate.reached.acquire().await.expect("gates are never closed").forget();
}

async fn open(State(stage): State<Arc<Stage>>, Path(gate): Path<String>) {
    stage.gate(&gate).open.add_permits(1);
}

async fn report(State(stage): State<Arc<Stage>>, Path(name): Path<String>) -> Json<Vec<Done>> {
    let gate = stage.gate(&format!("{name}-report"));
    gate.reached.acquire().await.expect("gates are never closed").forget();
    let mut reports = stage.reports.lock().unwrap_or_else(PoisonError::into_inner);
    Json(reports.remove(&name).expect("it has been reported"))
}

async fn advance(State(stage): State<Arc<Stage>>, Path(seconds): Path<u64>) {
    stage.time.0.fetch_add(seconds * 1000, Ordering::SeqCst);
}

/// "Sign out everywhere".
async fn end(State(stage): State<Arc<Stage>>, Path(owner): Path<String>) -> Response {
    match stage.manager.destroy_sessions_of(&owner, None).await {
        Ok(count) => Json(count).into_response(),
        Err(error) => error.into_response(),
    }
}

/// A store that reports no changes, so that a cache before it is out of date whenever it can be.
struct Unreported<D>(D);

#[async_trait]
impl<D: Driver> Driver for Unreported<D> {
    async fn open(&self) -> Result<(), DriverError> {
        self.0.open().await
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.0.read(key).await
    }

    async fn read_fresh(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        self.0.read_fresh(key).await
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        self.0.write(key, record, expected).await
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        self.0.touch(key, expires_at).await
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        self.0.destroy(key).await
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        self.0.gc().await
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        self.0.owners()
    }
}
