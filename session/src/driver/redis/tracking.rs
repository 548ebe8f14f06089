//! The server's word that sessions have changed: RESP3 and `CLIENT TRACKING`.
//!
//! The server remembers which keys were read over a connection, scripts' reads among them, and pushes a message over the same one when such a key changes, expires or
//! is evicted, once for each read. So all depends on one connection: what was read over it is reported over it, after the answer of the read, and with it the server's
//! memory of what was read is gone. That is why reports count as lost as soon as the connection is replaced, for whatever reason.
//!
//! The other way, broadcasting (`BCAST PREFIX`), sends each change of each session to each application server. The way chosen costs a message only where the session
//! was read. `NOLOOP` is not asked for: who shares the connection but not the cache counts as somebody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::time::{sleep, timeout};

use super::connection::{State, lock};
use super::error::is_lost;
use super::format;
use crate::driver::Watcher;

/// How often a connection that reports is asked whether it is there. A host that vanishes says no goodbye, and what is read from a cache asks nothing.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long its answer may take.
const PULSE: Duration = Duration::from_secs(2);

/// Who wants to be told of changes.
#[derive(Default)]
pub(super) struct Watchers(Vec<(Arc<str>, Arc<dyn Watcher>)>);

impl Watchers {
    /// Adds one for the sessions whose keys begin with `prefix`.
    pub(super) fn add(&mut self, prefix: Arc<str>, watcher: Arc<dyn Watcher>) {
        self.0.push((prefix, watcher));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn tell(&self, what: impl Fn(&dyn Watcher)) {
        self.0.iter().for_each(|(_, watcher)| what(&**watcher));
    }

    fn changed(&self, keys: &[Value]) {
        for key in keys {
            let Value::BulkString(key) = key else { continue };
            for (prefix, watcher) in &self.0 {
                if let Some(key) = format::session_of(prefix, key) {
                    watcher.changed(&key);
                }
            }
        }
    }

    /// Everything may have changed.
    fn flushed(&self) {
        self.lost();
        self.tell(|watcher| watcher.watching());
    }

    pub(super) fn lost(&self) {
        self.tell(|watcher| watcher.lost());
    }

    /// Says what is to be expected of a new connection.
    pub(super) fn connected(&self, reports: &Reports) {
        match reports {
            Reports::Unwanted => {}
            Reports::Coming(_) => self.tell(|watcher| watcher.watching()),
            Reports::Refused => self.tell(|watcher| watcher.unsupported()),
        }
    }
}

/// Whether a connection reports changes.
#[derive(Clone)]
pub(super) enum Reports {
    /// Nobody has asked for it.
    Unwanted,
    Coming(Arc<Wire>),
    /// The server cannot, or does not want to.
    Refused,
}

/// What is known of a connection that reports; also what it is known by.
#[derive(Default)]
pub(super) struct Wire {
    ended: AtomicBool,
}

impl Reports {
    pub(super) fn are_coming(&self) -> bool {
        matches!(self, Self::Coming(_))
    }

    /// Whether the connection ended before anybody had it.
    pub(super) fn have_ended(&self) -> bool {
        matches!(self, Self::Coming(wire) if wire.ended.load(Ordering::SeqCst))
    }

    fn are_of(&self, other: &Arc<Wire>) -> bool {
        matches!(self, Self::Coming(wire) if Arc::ptr_eq(wire, other))
    }
}

/// Connects so that changes are reported if the server can do that.
pub(super) async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
    state: &Arc<Mutex<State>>,
) -> RedisResult<(MultiplexedConnection, Reports)> {
    match connect_tracking(client, config, state).await {
        Ok((connection, wire)) => Ok((connection, Reports::Coming(wire))),
        Err(error) if is_refusal(&error) => {
            tracing::warn!(
                target: "session_schema",
                code = error.code().unwrap_or_default(),
                "Redis does not report changes of sessions (HELLO 3, CLIENT TRACKING); caches are as stale as they may be"
            );
            let connection = client.get_multiplexed_async_connection_with_config(config).await?;
            Ok((connection, Reports::Refused))
        }
        Err(error) => Err(error),
    }
}

async fn connect_tracking(
    client: &Client,
    config: &AsyncConnectionConfig,
    state: &Arc<Mutex<State>>,
) -> RedisResult<(MultiplexedConnection, Arc<Wire>)> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = Client::open(info.set_redis_settings(settings))?;
    let (wire, state) = (Arc::<Wire>::default(), Arc::downgrade(state));
    let told = wire.clone();
    // Called in the order in which the server has sent, before an answer that came later is given to who waits for it.
    let config = config.clone().set_push_sender(move |push: PushInfo| {
        pushed(&state, &told, &push);
        Ok::<_, std::convert::Infallible>(())
    });
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("CLIENT")
        .arg("TRACKING")
        .arg("ON")
        .exec_async(&mut connection)
        .await?;
    Ok((connection, wire))
}

/// Whether the server has said that it does not do this, as older ones and some proxies do, and others if the user must not.
fn is_refusal(error: &redis::RedisError) -> bool {
    match error.code() {
        Some("NOPROTO" | "NOPERM") => true,
        // All sorts of things have this code, such as that there is no room for a connection at the moment.
        Some("ERR") => {
            let detail = error.detail().unwrap_or_default().to_ascii_lowercase();
            detail.starts_with("unknown command") || detail.starts_with("unknown subcommand")
        }
        _ => error.kind() == ErrorKind::RESP3NotSupported,
    }
}

/// What the server, or the client about the connection, says unasked.
fn pushed(state: &Weak<Mutex<State>>, wire: &Arc<Wire>, push: &PushInfo) {
    let Some(state) = state.upgrade() else { return };
    match (&push.kind, &*push.data) {
        (PushKind::Invalidate, [Value::Array(keys)]) => lock(&state).watchers.changed(keys),
        (PushKind::Invalidate, _) => {
            let state = lock(&state);
            if state.reports().is_some_and(|reports| reports.are_of(wire)) {
                state.watchers.flushed();
            }
        }
        (PushKind::Disconnection, _) => {
            // Before the lock: who is about to use the connection looks at this while holding it.
            wire.ended.store(true, Ordering::SeqCst);
            end(&state, wire);
        }
        _ => {}
    }
}

/// Makes nobody rely on the reports of a connection any more.
fn end(state: &Mutex<State>, wire: &Arc<Wire>) {
    let mut state = lock(state);
    if state.reports().is_some_and(|reports| reports.are_of(wire)) {
        state.disconnect();
    }
}

/// Has the connection asked whether it is there from now on, if it reports.
pub(super) fn keep_asking(state: &Arc<Mutex<State>>, reports: &Reports) {
    if let Reports::Coming(wire) = reports {
        tokio::spawn(beat(Arc::downgrade(state), wire.clone()));
    }
}

/// Whether a server says that it follows another one. Then what changes there is not reported here in time, and nobody else may notice: what is read from a cache asks
/// no server.
fn is_replica(role: &Value) -> bool {
    let Value::Array(role) = role else { return false };
    let follower = |word: &Value| matches!(word, Value::BulkString(word) if word == b"slave");
    role.first().is_some_and(follower)
}

/// Asks again and again whether the connection is there and leads to a master, as long as it is the one in use.
async fn beat(state: Weak<Mutex<State>>, wire: Arc<Wire>) {
    loop {
        sleep(HEARTBEAT).await;
        let Some(mut connection) = current(&state, &wire) else {
            return;
        };
        let answer = timeout(PULSE, cmd("ROLE").query_async::<Value>(&mut connection)).await;
        drop(connection);
        let is_there = match answer {
            Ok(Ok(role)) => !is_replica(&role),
            // An answer is an answer.
            Ok(Err(error)) => !is_lost(&error),
            Err(_elapsed) => false,
        };
        if !is_there {
            if let Some(state) = state.upgrade() {
                end(&state, &wire);
            }
            return;
        }
    }
}

fn current(state: &Weak<Mutex<State>>, wire: &Arc<Wire>) -> Option<MultiplexedConnection> {
    let state = state.upgrade()?;
    let state = lock(&state);
    state
        .reports()
        .filter(|reports| reports.are_of(wire))
        .and_then(|_| state.single())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_that_it_does_not_do_this_refuses() {
        let is_refusal = |text: &str| {
            let answer = redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap();
            is_refusal(&answer.extract_error().unwrap_err())
        };
        for text in [
            "ERR unknown command 'HELLO', with args beginning with: '3' ",
            "ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.",
            "ERR Unknown subcommand or wrong number of arguments for 'TRACKING'. Try CLIENT HELP",
            "NOPROTO unsupported protocol version",
            "NOPERM User limited has no permissions to run the 'client|tracking' command",
        ] {
            assert!(is_refusal(text), "{text}");
        }
        for text in [
            "ERR max number of clients reached",
            "ERR max number of clients + cluster connections reached",
            "LOADING Redis is loading the dataset in memory",
            "NOAUTH Authentication required.",
        ] {
            assert!(!is_refusal(text), "{text}");
        }
    }
}
