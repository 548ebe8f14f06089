//! One connection for all requests, made anew when it is lost.
//!
//! The `ConnectionManager` of the client does less: it keeps a connection over which nothing comes back any more (a host that vanished says no
//! goodbye), it stops trying after an answer such as a wrong password, and it knows no Sentinels.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::{Instant, timeout};

use super::error::{is_lost, is_unanswered, is_worth_another_try};
use super::node::{self, Node};
use super::scripts::{Call, SCRIPTS};
use super::tracking::{self, Reports, Watchers};
use crate::driver::Watcher;

/// How long connecting may take, and one node of a cluster.
pub(super) const TRY: Duration = Duration::from_secs(2);
/// How long an answer may take for who has set no limit. The layer has one, of 5 s unless said otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// A connection is suspect when nobody has waited longer than this for an answer, and then in vain.
const SUSPECT: Duration = Duration::from_secs(1);

/// Where connections come from.
pub(super) enum Source {
    Single(Client),
    Cluster(ClusterClient),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
}

impl Source {
    pub(super) fn sentinel(client: SentinelClient) -> Self {
        Self::Sentinel(tokio::sync::Mutex::new(client))
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Connects; if changes are to be reported, to where `state` has its watchers.
    async fn connect(&self, state: Option<&Arc<Mutex<State>>>) -> RedisResult<Open> {
        let client = match self {
            Self::Single(client) => client.clone(),
            Self::Sentinel(client) => client.lock().await.async_get_client().await?,
            Self::Cluster(client) => {
                return Ok(Open::new(Connection::Cluster(
                    client.get_async_generic_connection().await?,
                )));
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TRY))
            .set_response_timeout(Some(PATIENCE));
        let Some(state) = state else {
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            return Ok(Open::new(Connection::Single(connection)));
        };
        let (connection, reports) = tracking::connect(&client, &config, state).await?;
        let connection = Connection::Single(connection);
        Ok(Open { connection, reports })
    }
}

impl fmt::Debug for Source {
    /// No address: it may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Single",
            Self::Cluster(_) => "Cluster",
            Self::Sentinel(_) => "Sentinel",
        })
    }
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection<Node>),
}

impl Connection {
    /// Sends a command, and notes in `lost` whether an answer to it was.
    async fn send(&mut self, command: &Cmd, lost: &mut bool) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => {
                let answer = command.query_async(connection).await;
                *lost |= answer.as_ref().is_err_and(is_unanswered);
                answer
            }
            Self::Cluster(connection) => {
                let before = node::unanswered();
                let answer = command.query_async(connection).await;
                *lost |= node::unanswered() != before;
                answer
            }
        }
    }

    /// Whether an error means that this is of no more use. The connection to a cluster mends those to its nodes by itself, unless they
    /// keep silent.
    fn is_lost(&self, error: &RedisError) -> bool {
        match self {
            Self::Single(_) => is_lost(error),
            Self::Cluster(_) => {
                error.is_timeout()
                    || error.is_connection_dropped()
                    || error.kind() == ErrorKind::ClusterConnectionNotFound
            }
        }
    }
}

/// A connection, and whether changes are reported over it.
#[derive(Clone)]
struct Open {
    connection: Connection,
    reports: Reports,
}

impl Open {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            reports: Reports::Unwanted,
        }
    }
}

/// The connection that all requests share.
pub(super) struct Link {
    pub(super) source: Source,
    state: Arc<Mutex<State>>,
    /// One connects; the others wait for it and share what comes of it.
    connecting: tokio::sync::Mutex<()>,
    prepared: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    open: Option<Open>,
    /// How often connecting has come to an end, and how it last failed.
    attempts: u64,
    failure: Option<RedisError>,
    /// Told what they are told while this is locked, so that it comes to them in the order in which it happens.
    pub(super) watchers: Watchers,
}

impl Link {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            state: Arc::default(),
            connecting: tokio::sync::Mutex::default(),
            prepared: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Gives the server the scripts, once, so that no request has to.
    pub(super) async fn prepare(&self) -> RedisResult<()> {
        if !self.prepared.load(Ordering::Relaxed) {
            for script in SCRIPTS.all() {
                self.send(&script.load(), &mut false).await?;
            }
            self.prepared.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Forgets the connection; the next command makes another.
    pub(super) fn close(&self) {
        self.state().disconnect();
    }

    /// Has `watcher` told of changes of the sessions whose keys begin with `prefix`, from the next connection on; `false` where that is not possible.
    pub(super) fn watch(&self, prefix: Arc<str>, watcher: Arc<dyn Watcher>) -> bool {
        // A cluster has one connection to each node, and the client does not say over which of them something was read, or when one was replaced.
        if self.source.is_cluster() {
            return false;
        }
        let mut state = self.state();
        state.watchers.add(prefix, watcher);
        state.disconnect();
        true
    }

    /// Runs a script: one command, unless the server has lost it, by a restart or `SCRIPT FLUSH`. Notes in `lost` what [`send`](Self::send) does.
    pub(super) async fn run(&self, call: &Call<'_>, lost: &mut bool) -> RedisResult<Value> {
        match self.send(call.by_hash(), lost).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(&call.in_full(), lost).await
            }
            answer => answer,
        }
    }

    /// Sends a command, a second time if the connection was cut: every command here may be run twice. Notes in `lost` whether an answer was lost, so that
    /// the one that is given may be that to a second run.
    pub(super) async fn send(&self, command: &Cmd, lost: &mut bool) -> RedisResult<Value> {
        match self.send_once(command, lost).await {
            Err(Failed::Sent(error)) if is_worth_another_try(&error) => self.send_once(command, lost).await,
            answer => answer,
        }
        .map_err(Failed::into_error)
    }

    async fn send_once(&self, command: &Cmd, lost: &mut bool) -> Result<Value, Failed> {
        let (mut connection, number) = self.connection().await.map_err(Failed::Connecting)?;
        let mut waiting = Waiting {
            link: self,
            number,
            since: Some(Instant::now()),
        };
        let answer = connection.send(command, lost).await;
        waiting.since = None;
        answer.map_err(|error| {
            if connection.is_lost(&error) {
                self.give_up(number);
            }
            Failed::Sent(error)
        })
    }

    /// The connection, and the number it is known by.
    async fn connection(&self) -> RedisResult<(Connection, u64)> {
        let before = match self.state().open() {
            Ok(open) => return Ok(open),
            Err(attempts) => attempts,
        };
        let _turn = self.connecting.lock().await;
        {
            let state = self.state();
            match (state.open(), &state.failure) {
                (Ok(open), _) => return Ok(open),
                (Err(attempts), Some(failure)) if attempts != before => return Err(failure.clone()),
                _ => {}
            }
        }
        let watched = !self.state().watchers.is_empty();
        // Asking Sentinels takes some connections more.
        let connecting = self.source.connect(watched.then_some(&self.state));
        let connected = match timeout(TRY * 2, connecting).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(RedisError::from(std::io::Error::from(elapsed))),
        };
        let mut state = self.state();
        state.attempts += 1;
        state.failure = connected.as_ref().err().cloned();
        let open = connected?;
        // One that has ended already, or cannot report to who has asked for that meanwhile, serves this command only.
        if !open.reports.have_ended() && watched != state.watchers.is_empty() {
            state.watchers.connected(&open.reports);
            tracking::keep_asking(&self.state, &open.reports);
            state.open = Some(open.clone());
        }
        Ok((open.connection, state.attempts))
    }

    /// Makes others not use a connection that is of no more use.
    fn give_up(&self, number: u64) {
        let mut state = self.state();
        if state.attempts == number {
            state.disconnect();
        }
    }
}

impl State {
    /// The open connection, or how many attempts there have been.
    fn open(&self) -> Result<(Connection, u64), u64> {
        match &self.open {
            Some(open) => Ok((open.connection.clone(), self.attempts)),
            None => Err(self.attempts),
        }
    }

    /// Whether the open connection reports changes.
    pub(super) fn reports(&self) -> Option<&Reports> {
        self.open.as_ref().map(|open| &open.reports)
    }

    /// The open connection, if it is one to a single server.
    pub(super) fn single(&self) -> Option<MultiplexedConnection> {
        match &self.open.as_ref()?.connection {
            Connection::Single(connection) => Some(connection.clone()),
            Connection::Cluster(_) => None,
        }
    }

    /// Makes the next command connect anew.
    pub(super) fn disconnect(&mut self) {
        if self.open.take().is_some_and(|open| open.reports.are_coming()) {
            self.watchers.lost();
        }
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

enum Failed {
    Connecting(RedisError),
    Sent(RedisError),
}

impl Failed {
    fn into_error(self) -> RedisError {
        match self {
            Self::Connecting(error) | Self::Sent(error) => error,
        }
    }
}

/// A command whose answer has not come. When the layer has lost its patience and drops it, the connection is perhaps one over which
/// nothing comes back.
struct Waiting<'a> {
    link: &'a Link,
    number: u64,
    since: Option<Instant>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.is_some_and(|since| since.elapsed() >= SUSPECT) {
            self.link.give_up(self.number);
        }
    }
}
