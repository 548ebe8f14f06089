//! The driver: scripts over a connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use redis::cluster::ClusterClient;
use redis::sentinel::SentinelClient;
use redis::{Value, cmd};

use super::address;
use super::connection::{Link, Source};
use super::due::Due;
use super::error::{driver_error, not_known, of_another, unexpected};
use super::format::{self, index_until, millis};
use super::owners::NOTED_FOR;
use super::scripts::{Call, SCRIPTS};
use super::write::Write;
use crate::clock::{Clock, SystemClock, after, end_of_time};
use crate::driver::{Driver, Expected, OwnerIndex, RollingRead, Watcher, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::Record;

/// Sessions in Redis (7.0 or later) or Valkey: one server, a cluster, or a server that Sentinels watch.
///
/// * One command reads a session, and prolongs it when that is due, and one writes it, over one connection that all requests share. Where the owner of a session changes there are
///   one or two more.
/// * Each command is one atomic step: a script, or `GETEX` and `SET NX` where these do as well. A server that has lost the scripts, by a restart or `SCRIPT FLUSH`,
///   is given them again.
/// * A connection that is cut, or over which nothing comes back, is replaced by the next request. A command whose answer was lost is sent
///   once more, and a write that had been done already is known by its version: it counts once. If others have written since, nobody can tell, and it is an error
///   ([`DriverError::unavailable`]). [`destroy`](Driver::destroy) says then that there was a session.
/// * While the server is away every request gets an error ([`DriverError::unavailable`]), none waits for longer than some seconds, and nothing has to
///   be restarted when it is back.
/// * Every record ends by itself: its expiry is set in the same command as its content, as a moment and not as a span. One that has lost its
///   expiry gets it back by the next script that reads it. [`gc`](Driver::gc) has nothing to do.
/// * What is under a session's key but is no session of this driver reads as nothing, with a warning, and is left alone.
/// * A record says which key it belongs to. If a connection is out of step, and the server's answer is about another
///   key, the call fails ([`DriverError::backend`]) and the connection is closed: no visitor is shown another visitor's
///   session.
/// * It [reports changes](Driver::watch), so that a [cache](https://docs.rs/session-schema/latest/session_schema/struct.CachedDriver.html) in front of it shows at once what
///   another server did; see [below](RedisDriver#behind-a-cache).
/// * An [owner](OwnerIndex)'s sessions are kept in a sorted set, which forgets what has expired and ends with its last
///   session. Nothing depends on keyspace notifications. In a cluster, the set and a session may be on different
///   masters, and a failover may lose the last entries of the set while the session survives. A session that is in use
///   is added again within a minute, with its next write or prolongation.
///
/// # URLs
///
/// | URL | leads to |
/// |---|---|
/// | `redis://[user:password@]host:6379/[database]` | one server; `unix:///path` over a socket |
/// | `redis+cluster://[user:password@]host:port,host:port/` | a cluster, of which these nodes are asked first |
/// | `redis+sentinel://[user:password@]host:port,host:port/service[/database]` | the master that these Sentinels name; for theirs, `?sentinel_password=` |
///
/// `rediss` is `redis` over TLS, with the certificates that the operating system trusts. `valkey` is another name for
/// `redis`. With `redis`, everything travels as plain text, including passwords and sessions: use `rediss` over a
/// network that you share with others.
///
/// # What is promised, and what is not
///
/// Reads and writes go to masters only: a replica refuses the commands, which all count as writes. A master that dies may have answered for a write of the last moment which its replica does
/// not know; that is how Redis replicates. So `appendfsync`, `min-replicas-to-write` and the like say how much a crash can take back: with
/// `appendfsync always` a server that is killed and started again has lost nothing it had answered for.
///
/// Redis forgets by its own clock, this driver by [its own](RedisDriver::with_clock): a session ends when the first of the two says so. Let the
/// server not run out of memory with `maxmemory-policy` set to evict: it would end sessions. With `noeviction` sessions that are there
/// can be read, touched and destroyed even then; only writing them is an error.
///
/// # Behind a cache
///
/// One server, and one that Sentinels name, push a message when a session that was read here is changed, destroyed or expires, whoever did it (RESP3 and `CLIENT
/// TRACKING` in its default mode, over the connection that all requests share). The cache drops the session when the message arrives. How long it may be wrong:
///
/// * While the connection works: as long as the message is on its way.
/// * When it is cut: not at all. Nothing is read from the cache from when that is noticed, which is at once, until there is another connection, and then nothing from before.
/// * When the server's host vanishes without a word, or the server becomes a replica and cuts nobody off: four seconds. It is asked every two seconds what it is (`ROLE`), which is
///   the one command that a cache costs, and has two to answer. So sessions that are cached are not read for longer than that while Redis is away.
/// * When databases are exchanged (`SWAPDB`), which Redis reports to nobody: as long as the `max_staleness` of the cache.
/// * In a cluster, where changes are not followed, and where the server has no RESP3 or the user must not use `CLIENT TRACKING` (which is logged): as long as the
///   `max_staleness` of the cache. It bounds all the others, too.
///
/// ```no_run
/// use session_schema::{RedisDriver, SessionLayer};
///
/// # async fn example() -> Result<(), session_schema::DriverError> {
/// let driver = RedisDriver::connect("redis://127.0.0.1/").await?.with_prefix("shop:");
/// let layer = SessionLayer::new(driver);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisDriver {
    pub(super) link: Arc<Link>,
    due: Arc<Due>,
    /// In a cluster: when a session has to be added to its owner's set again.
    noted: Option<Arc<Due>>,
    prefix: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
}

impl RedisDriver {
    /// A driver over what `url` leads to, once it has answered.
    ///
    /// # Errors
    ///
    /// [`DriverError::backend`] when the URL is not one of those [above](RedisDriver#urls), or the server refuses the password or the scripts;
    /// [`DriverError::unavailable`] when it does not answer.
    pub async fn connect(url: &str) -> Result<Self, DriverError> {
        let driver = Self::over(address::source(url)?);
        driver.open().await?;
        Ok(driver)
    }

    /// A driver over a server. It connects on first use.
    pub fn from_client(client: redis::Client) -> Self {
        Self::over(Source::Single(client))
    }

    /// A driver over a cluster. It connects on first use, and waits for answers as long as the client says.
    pub fn from_cluster_client(client: ClusterClient) -> Self {
        Self::over(Source::Cluster(client))
    }

    /// A driver over the server that Sentinels name, which must be a master. It connects on first use.
    pub fn from_sentinel_client(client: SentinelClient) -> Self {
        Self::over(Source::sentinel(client))
    }

    fn over(source: Source) -> Self {
        Self {
            noted: source.is_cluster().then(|| Arc::new(Due::new())),
            link: Arc::new(Link::new(source)),
            due: Arc::new(Due::new()),
            prefix: "session:".into(),
            clock: Arc::new(SystemClock),
        }
    }

    /// What the names of all keys begin with; `session:` unless said. Applications that share a server need different ones.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into().into();
        self
    }

    /// Takes the time from `clock`. It should agree with the server's, which forgets sessions by its own.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(super) fn now(&self) -> u64 {
        millis(self.clock.now())
    }

    pub(super) fn session(&self, key: &StoreKey) -> String {
        format::session(&self.prefix, key)
    }

    pub(super) fn owner(&self, owner: &str) -> String {
        format::owner(&self.prefix, owner)
    }

    /// Runs a script, which says in its file what it answers.
    pub(super) async fn run(&self, purpose: &'static str, call: &Call<'_>) -> Result<Value, DriverError> {
        self.run_noting(purpose, call, &mut false).await
    }

    /// The same, and notes in `lost` whether an answer was lost: then the script may have been run before.
    async fn run_noting(&self, purpose: &'static str, call: &Call<'_>, lost: &mut bool) -> Result<Value, DriverError> {
        let answer = self.link.run(call, lost).await;
        answer.map_err(|error| driver_error(purpose, &error))
    }

    /// The record of `key` in a value, `None` when it is of another make.
    fn parse(&self, purpose: &'static str, key: &StoreKey, value: Vec<u8>) -> Result<Option<Record>, DriverError> {
        format::parse(value, key).map_err(|_| self.out_of_step(purpose))
    }

    /// The error for an answer to another command. The next answer over this connection would belong to another
    /// command, too.
    pub(super) fn out_of_step(&self, purpose: &'static str) -> DriverError {
        self.link.close();
        of_another(purpose)
    }

    /// Whether a session has to be added to its owner's set again: in a cluster, if this process has not done so
    /// lately.
    fn is_to_be_noted(&self, key: &StoreKey, now: u64) -> bool {
        self.noted.as_ref().is_some_and(|noted| !noted.is_later(key, now))
    }

    fn remember_noted(&self, key: &StoreKey, now: u64) {
        if let Some(noted) = &self.noted {
            noted.note(key, now + longest_millis(NOTED_FOR));
        }
    }

    /// What the script for reading finds.
    async fn read_by(&self, key: &StoreKey, call: &Call<'_>) -> Result<Option<Read>, DriverError> {
        let (value, prolonged) = match self.run(READ, call).await? {
            Value::Nil => return Ok(None),
            Value::BulkString(value) => (Some(value), false),
            Value::Array(mut values) => (values.pop().and_then(bytes), true),
            _ => (None, false),
        };
        let read = match value {
            Some(value) => {
                let has_lifetime_of_all = format::has_lifetime_of_all(&value);
                self.parse(READ, key, value)?.map(|record| Read {
                    record,
                    prolonged,
                    has_lifetime_of_all,
                })
            }
            None => None,
        };
        if read.is_none() {
            tracing::warn!(
                target: "session_schema",
                "what Redis has under the key of a session is no session; the visitor gets an empty one, it is left alone"
            );
        }
        Ok(read)
    }

    /// What is there; `None` when a script has to look at it. `GETEX` without an option is a `GET` that counts as a write: a server that has become a replica refuses it
    /// as it refuses scripts, and no client sends it to one.
    async fn glance(&self, key: &StoreKey, session: &str) -> Result<Option<Option<Record>>, DriverError> {
        let mut command = cmd("GETEX");
        match self.link.send(command.arg(session), &mut false).await {
            Ok(Value::Nil) => Ok(Some(None)),
            Ok(Value::BulkString(value)) => Ok(self.parse(READ, key, value)?.map(Some)),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(driver_error(READ, &error)),
            Ok(_) => Ok(None),
        }
    }

    /// Tells the set of an owner that a session is its, and says until when it has noted that.
    async fn index(&self, owner: &str, key: &StoreKey, now: u64, until: u64) -> Result<u64, DriverError> {
        const PURPOSE: &str = "note whose a session is";
        let set = self.owner(owner);
        let call = SCRIPTS.index.call(&[&set], now).time(until).arg(key.as_str());
        let noted = text(self.run(PURPOSE, &call).await?);
        noted
            .and_then(|noted| noted.parse().ok())
            .ok_or_else(|| unexpected(PURPOSE))
    }

    /// Takes a session out of the set of who owned it. When this fails the session is not listed all the same, because its record says whose it is, and the
    /// set forgets it in time.
    async fn unindex_former(&self, key: &StoreKey, former: Former) {
        if let Err(error) = self.unindex(&former.owner, &[(*key, former.until)]).await {
            tracing::debug!(
                target: "session_schema",
                err = &error as &dyn std::error::Error,
                "a session that has gone stays in its owner's set for a while"
            );
        }
    }

    /// Takes sessions out of the set of an owner that were noted there for so long, and not anew since.
    pub(super) async fn unindex(&self, owner: &str, sessions: &[(StoreKey, String)]) -> Result<(), DriverError> {
        let set = self.owner(owner);
        let mut call = SCRIPTS.unindex.call(&[&set], self.now());
        for (key, until) in sessions {
            call = call.arg(key.as_str()).arg(until);
        }
        self.run("forget whose a session was", &call).await?;
        Ok(())
    }

    /// Destroys a session, if it is `owner`'s; anybody's if none is named. Says in whose set it still is.
    pub(super) async fn destroy_of(
        &self,
        key: &StoreKey,
        owner: Option<&str>,
    ) -> Result<Option<Option<Former>>, DriverError> {
        const PURPOSE: &str = "destroy a session";
        let session = self.session(key);
        let whose = owner.map_or("-".to_owned(), |owner| format!("+{owner}"));
        let call = SCRIPTS.destroy.call(&[&session], self.now()).arg(&whose);
        let mut lost = false;
        match self.run_noting(PURPOSE, &call, &mut lost).await? {
            // If an answer was lost, it was that one which said that there was a session, as far as anybody can tell.
            Value::Nil => Ok(lost.then_some(None)),
            Value::Int(1) => Ok(Some(None)),
            answer => Former::of(answer)
                .map(|former| Some(Some(former)))
                .ok_or_else(|| unexpected(PURPOSE)),
        }
    }
}

impl fmt::Debug for RedisDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDriver")
            .field("server", &self.link)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Driver for RedisDriver {
    async fn open(&self) -> Result<(), DriverError> {
        let prepared = self.link.prepare().await;
        prepared.map_err(|error| driver_error("prepare for sessions", &error))
    }

    async fn close(&self) -> Result<(), DriverError> {
        self.link.close();
        Ok(())
    }

    async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let session = self.session(key);
        // Always by the script, though nothing is to be prolonged: it gives a record that has lost its expiry another one.
        let read = self.read_by(key, &SCRIPTS.read.call(&[&session], self.now())).await?;
        Ok(read.map(|read| read.record))
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        const PURPOSE: &str = "write a session";
        let write = Write::new(self, key, record, expected)?;
        let mut lost = false;
        if let Some(command) = write.creation() {
            let created = self.link.send(&command, &mut lost).await;
            let created = created.map_err(|error| driver_error(PURPOSE, &error))?;
            if matches!(created, Value::Okay) {
                return Ok(Written::Done(write.version));
            }
            // Something is there. What it is, and whether this write has put it there before, the script knows.
        }
        // In a cluster, the first write under a key knows that the session has to be added to the set.
        let first = expected == Expected::Absent && self.link.source.is_cluster();
        let mut indexed = match record.owner() {
            Some(owner) if first || self.is_to_be_noted(key, write.now) => {
                Some(self.index(owner, key, write.now, write.until).await?)
            }
            _ => None,
        };
        let done = |indexed: Option<u64>| {
            if indexed.is_some() {
                self.remember_noted(key, write.now);
            }
            Ok(Written::Done(write.version))
        };
        loop {
            let answer = self.run_noting(PURPOSE, &write.call(indexed), &mut lost).await?;
            match (answer, record.owner()) {
                (Value::Int(1), _) => return done(indexed),
                (Value::Nil, _) => return Ok(Written::Gone),
                (Value::BulkString(_) | Value::Int(0), _) if lost => return Err(not_known(PURPOSE)),
                (Value::BulkString(other), _) => return Ok(Written::Conflict(self.parse(PURPOSE, key, other)?)),
                (Value::Int(0), _) => return Ok(Written::Conflict(None)),
                (Value::Int(3), Some(owner)) if indexed.is_none() => {
                    indexed = Some(self.index(owner, key, write.now, write.until).await?);
                }
                (answer, _) => {
                    let former = Former::of(answer).ok_or_else(|| unexpected(PURPOSE))?;
                    self.unindex_former(key, former).await;
                    return done(indexed);
                }
            }
        }
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        const PURPOSE: &str = "touch a session";
        let (session, now, expires_at) = (self.session(key), self.now(), millis(expires_at));
        let mut until = index_until(now, expires_at);
        let mut indexed = if self.is_to_be_noted(key, now) { "?" } else { "-" }.to_owned();
        loop {
            let call = SCRIPTS.touch.call(&[&session], now).time(expires_at).time(until);
            let mut values = match self.run(PURPOSE, &call.arg(&indexed)).await? {
                Value::Nil => return Ok(false),
                Value::Int(1) => {
                    if indexed.starts_with('+') {
                        self.remember_noted(key, now);
                    }
                    return Ok(true);
                }
                Value::Array(values) => values,
                _ => return Err(unexpected(PURPOSE)),
            };
            if values.len() == 2 {
                let former = Former::of(Value::Array(values)).ok_or_else(|| unexpected(PURPOSE))?;
                self.unindex_former(key, former).await;
                return Ok(true);
            }
            // A session that changes hands meanwhile is asked again: each time somebody else has written it.
            let owner = values.pop().and_then(text).ok_or_else(|| unexpected(PURPOSE))?;
            until = self.index(&owner, key, now, until).await?;
            indexed = format!("+{owner}");
        }
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let Some(former) = self.destroy_of(key, None).await? else {
            return Ok(false);
        };
        if let Some(former) = former {
            self.unindex_former(key, former).await;
        }
        Ok(true)
    }

    async fn gc(&self) -> Result<u64, DriverError> {
        Ok(0)
    }

    fn owners(&self) -> Option<&dyn OwnerIndex> {
        Some(self)
    }

    fn rolling(&self) -> Option<&dyn RollingRead> {
        Some(self)
    }

    fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.link.watch(self.prefix.clone(), watcher)
    }
}

#[async_trait]
impl RollingRead for RedisDriver {
    async fn read_rolling(
        &self,
        key: &StoreKey,
        lifetime: Duration,
        absolute: Option<Duration>,
    ) -> Result<Option<(Record, bool)>, DriverError> {
        let (session, now) = (self.session(key), self.now());
        if self.due.is_later(key, now)
            && let Some(found) = self.glance(key, &session).await?
        {
            let live = found.filter(|record| millis(record.expires_at()) > now);
            return Ok(live.map(|record| (record, false)));
        }
        let [lifetime, absolute] = [Some(lifetime), absolute].map(|span| span.map_or(0, longest_millis));
        let call = SCRIPTS.read.call(&[&session], now).arg(lifetime).arg(absolute);
        let mut call = call.arg(millis(end_of_time()));
        if self.is_to_be_noted(key, now) {
            call = call.arg("1");
        }
        let read = self.read_by(key, &call).await?;
        if let Some(read) = read.as_ref().filter(|read| read.has_lifetime_of_all) {
            let expires_at = millis(read.record.expires_at());
            self.due
                .note(key, (expires_at + lifetime / 10).saturating_sub(lifetime));
        }
        Ok(read.map(|read| (read.record, read.prolonged)))
    }
}

const READ: &str = "read a session";

/// What was read by the script.
struct Read {
    record: Record,
    prolonged: bool,
    has_lifetime_of_all: bool,
}

/// A span in milliseconds, of which none is longer than time.
fn longest_millis(span: Duration) -> u64 {
    millis(after(SystemTime::UNIX_EPOCH, span))
}

/// Who owned a session, and until when at the longest the set of the owner has it.
pub(super) struct Former {
    owner: String,
    pub(super) until: String,
}

impl Former {
    /// From the answer of a script.
    fn of(answer: Value) -> Option<Self> {
        let Value::Array(values) = answer else { return None };
        let [owner, until] = values.try_into().ok()?;
        let (owner, until) = (text(owner)?, text(until)?);
        Some(Self { owner, until })
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    bytes(value).and_then(|bytes| String::from_utf8(bytes).ok())
}
