//! The driver: scripts over a connection.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use redis::Value;
use redis::cluster::ClusterClient;
use redis::sentinel::SentinelClient;

use super::address;
use super::connection::{Link, Source};
use super::error::{driver_error, unexpected};
use super::format::{self, index_until, millis, version_text};
use super::scripts::{Call, SCRIPTS};
use crate::clock::{Clock, SystemClock, after, end_of_time};
use crate::driver::{Driver, Expected, OwnerIndex, RollingRead, Watcher, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};

/// Sessions in Redis (7.0 or later) or Valkey: one server, a cluster, or a server that Sentinels watch.
///
/// * One command reads a session, and prolongs it when that is due, and one writes it, over one connection that all requests share. Where the owner of a session changes there are
///   one or two more.
/// * Each command is a script, so each is one atomic step. A server that has lost the scripts, by a restart or `SCRIPT FLUSH`, is given them again.
/// * A connection that is cut, or over which nothing comes back, is replaced by the next request. A command whose answer was lost is sent
///   once more, and a write that had been done already is known by its version: it counts once.
/// * While the server is away every request gets an error ([`DriverError::unavailable`]), none waits for longer than some seconds, and nothing has to
///   be restarted when it is back.
/// * Every record ends by itself: its expiry is set in the same command as its content, as a moment and not as a span. One that has lost its
///   expiry gets it back when it is read. [`gc`](Driver::gc) has nothing to do.
/// * What is under a session's key but is no session of this driver reads as nothing, with a warning, and is left alone.
/// * It [reports changes](Driver::watch), so that a [cache](https://docs.rs/session-schema/latest/session_schema/struct.CachedDriver.html) in front of it shows at once what
///   another server did; see [below](RedisDriver#behind-a-cache).
/// * An [owner](OwnerIndex)'s sessions are kept in a sorted set, which forgets what has expired and ends with its last session. Nothing depends on
///   keyspace notifications.
///
/// # URLs
///
/// | URL | leads to |
/// |---|---|
/// | `redis://[user:password@]host:6379/[database]` | one server; `unix:///path` over a socket |
/// | `redis+cluster://[user:password@]host:port,host:port/` | a cluster, of which these nodes are asked first |
/// | `redis+sentinel://[user:password@]host:port,host:port/service[/database]` | the master that these Sentinels name; for theirs, `?sentinel_password=` |
///
/// `rediss` is `redis` over TLS, with the certificates that the operating system trusts, and `valkey` another word for `redis`.
///
/// # What is promised, and what is not
///
/// Reads and writes go to masters only: a replica refuses the scripts. A master that dies may have answered for a write of the last moment which its replica does
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
/// * When the server's host vanishes without a word: four seconds. The connection is asked every two seconds whether it is there, which is the one command that a cache
///   costs, and has two to answer. So sessions that are cached are not read for longer than that while Redis is away.
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
    link: Arc<Link>,
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
            link: Arc::new(Link::new(source)),
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

    fn session(&self, key: &StoreKey) -> String {
        format::session(&self.prefix, key)
    }

    pub(super) fn owner(&self, owner: &str) -> String {
        format::owner(&self.prefix, owner)
    }

    pub(super) async fn run(&self, purpose: &'static str, call: Call<'_>) -> Result<Answer, DriverError> {
        let answer = self
            .link
            .run(&call)
            .await
            .map_err(|error| driver_error(purpose, &error))?;
        Answer::of(answer).ok_or_else(|| unexpected(purpose))
    }

    /// The record that a call of the script for reading finds, and whether it has been prolonged.
    async fn read_by(&self, call: Call<'_>) -> Result<Option<(Record, bool)>, DriverError> {
        let mut answer = self.run("read a session", call).await?;
        let record = match answer.status {
            0 => return Ok(None),
            1 | 3 => answer.record(),
            _ => None,
        };
        if record.is_none() {
            tracing::warn!(
                target: "session_schema",
                "what Redis has under the key of a session is no session; the visitor gets an empty one, it is left alone"
            );
        }
        Ok(record.map(|record| (record, answer.status == 3)))
    }

    /// Tells the set of an owner that a session is its.
    async fn index(&self, owner: &str, key: &StoreKey, now: u64, until: u64) -> Result<(), DriverError> {
        let set = self.owner(owner);
        let call = SCRIPTS
            .index
            .call()
            .key(&set)
            .number(now)
            .number(until)
            .bytes(key.as_str());
        self.run("note whose a session is", call).await?;
        Ok(())
    }

    /// Takes a session out of the set of who owned it, if an answer names somebody. When this fails the session is not listed all the same, because
    /// its record says whose it is, and the set forgets it in time.
    async fn unindex_former(&self, key: &StoreKey, answer: &mut Answer) {
        if let (Some(owner), Some(until)) = (answer.text(), answer.text()) {
            let sessions = [(*key, until)];
            if let Err(error) = self.unindex(&owner, &sessions).await {
                tracing::debug!(
                    target: "session_schema",
                    err = &error as &dyn std::error::Error,
                    "a session that has gone stays in its owner's set for a while"
                );
            }
        }
    }

    /// Takes sessions out of the set of an owner that were noted there for so long, and not anew since.
    pub(super) async fn unindex(&self, owner: &str, sessions: &[(StoreKey, String)]) -> Result<(), DriverError> {
        let set = self.owner(owner);
        let mut call = SCRIPTS.unindex.call().key(&set).number(self.now());
        for (key, until) in sessions {
            call = call.bytes(key.as_str()).bytes(until);
        }
        self.run("forget whose a session was", call).await?;
        Ok(())
    }

    /// Destroys a session, if it is `owner`'s; anybody's if none is named. Says until when at the longest the set of its owner has it.
    pub(super) async fn destroy_of(&self, key: &StoreKey, owner: Option<&str>) -> Result<Option<Answer>, DriverError> {
        const PURPOSE: &str = "destroy a session";
        let session = self.session(key);
        let whose = owner.map_or("-".to_owned(), |owner| format!("+{owner}"));
        let call = SCRIPTS.destroy.call().key(&session).number(self.now()).bytes(&whose);
        let answer = self.run(PURPOSE, call).await?;
        match answer.status {
            0 => Ok(None),
            1 => Ok(Some(answer)),
            _ => Err(unexpected(PURPOSE)),
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
        let read = self
            .read_by(SCRIPTS.read.call().key(&session).number(self.now()))
            .await?;
        Ok(read.map(|(record, _)| record))
    }

    async fn write(&self, key: &StoreKey, record: &Record, expected: Expected) -> Result<Written, DriverError> {
        let write = Write::new(self, key, record, expected)?;
        let mut indexed = false;
        // Who is the first to write under a key knows that the set has to be told.
        if let (Expected::Absent, Some(owner), true) = (expected, record.owner(), self.link.source.is_cluster()) {
            self.index(owner, key, write.now, write.until).await?;
            indexed = true;
        }
        loop {
            let mut answer = self.run(Write::PURPOSE, write.call(indexed)).await?;
            match (answer.status, record.owner()) {
                (0, _) => return Ok(Written::Conflict(answer.record())),
                (1, _) => {
                    self.unindex_former(key, &mut answer).await;
                    return Ok(Written::Done(write.version));
                }
                (2, _) => return Ok(Written::Gone),
                (3, Some(owner)) if !indexed => self.index(owner, key, write.now, write.until).await?,
                _ => return Err(unexpected(Write::PURPOSE)),
            }
            indexed = true;
        }
    }

    async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        const PURPOSE: &str = "touch a session";
        let (session, now, expires_at) = (self.session(key), self.now(), millis(expires_at));
        let until = index_until(now, expires_at);
        let mut indexed = "-".to_owned();
        loop {
            let call = SCRIPTS.touch.call().key(&session).number(now).number(expires_at);
            let mut answer = self.run(PURPOSE, call.number(until).bytes(&indexed)).await?;
            match answer.status {
                0 => return Ok(false),
                1 => return Ok(true),
                2 => {
                    self.unindex_former(key, &mut answer).await;
                    return Ok(true);
                }
                // A session that changes hands meanwhile is asked again: each time somebody else has written it.
                3 => {
                    let owner = answer.text().ok_or_else(|| unexpected(PURPOSE))?;
                    self.index(&owner, key, now, until).await?;
                    indexed = format!("+{owner}");
                }
                _ => return Err(unexpected(PURPOSE)),
            }
        }
    }

    async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let Some(mut answer) = self.destroy_of(key, None).await? else {
            return Ok(false);
        };
        self.unindex_former(key, &mut answer).await;
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
        let (session, end) = (self.session(key), end_of_time());
        let longest = |span| millis(after(SystemTime::UNIX_EPOCH, span));
        let call = SCRIPTS.read.call().key(&session).number(self.now());
        self.read_by(
            call.number(longest(lifetime))
                .number(absolute.map_or(0, longest))
                .number(millis(end)),
        )
        .await
    }
}

/// What a write sends. Its version is made here and at random: a write that comes twice is known by it, and no key has the same one again.
struct Write<'a> {
    record: &'a Record,
    session: String,
    set: Option<String>,
    name: &'a str,
    expected: String,
    version: Version,
    version_text: String,
    now: u64,
    expires_at: u64,
    until: u64,
    owner_length: String,
    lifetime: String,
    begun_at: u64,
}

impl<'a> Write<'a> {
    const PURPOSE: &'static str = "write a session";

    fn new(
        driver: &RedisDriver,
        key: &'a StoreKey,
        record: &'a Record,
        expected: Expected,
    ) -> Result<Self, DriverError> {
        let version = Version::from(getrandom::u64().map_err(DriverError::backend)?);
        let (now, expires_at) = (driver.now(), millis(record.expires_at()));
        // Keys of several slots cannot be in one script.
        let rolling = format::rolling(record);
        let set = record.owner().filter(|_| !driver.link.source.is_cluster());
        Ok(Self {
            record,
            session: driver.session(key),
            set: set.map(|owner| driver.owner(owner)),
            name: key.as_str(),
            expected: match expected {
                Expected::Absent => String::new(),
                Expected::Version(version) => version_text(version),
            },
            version,
            version_text: version_text(version),
            now,
            expires_at,
            until: index_until(now, expires_at),
            owner_length: record.owner().map_or("-".to_owned(), |owner| owner.len().to_string()),
            lifetime: rolling.map_or("-".to_owned(), |(lifetime, _)| lifetime.to_string()),
            begun_at: rolling.map_or(0, |(_, begun_at)| begun_at),
        })
    }

    fn call(&self, indexed: bool) -> Call<'_> {
        // What ends a session must not be refused because memory is full.
        let script = match self.expires_at <= self.now {
            true => &SCRIPTS.end,
            false => &SCRIPTS.write,
        };
        let mut call = script.call().key(&self.session);
        if let Some(set) = &self.set {
            call = call.key(set);
        }
        call.number(self.now)
            .bytes(&self.expected)
            .bytes(&self.version_text)
            .number(self.expires_at)
            .number(self.until)
            .bytes(&self.owner_length)
            .bytes(self.record.owner().unwrap_or(""))
            .bytes(self.record.payload())
            .bytes(self.name)
            .bytes(if indexed { "1" } else { "0" })
            .bytes(&self.lifetime)
            .number(self.begun_at)
    }
}

/// What a script answers: a number that says what has become of it, and what belongs to that.
pub(super) struct Answer {
    pub(super) status: i64,
    rest: std::vec::IntoIter<Value>,
}

impl Answer {
    fn of(value: Value) -> Option<Self> {
        let Value::Array(values) = value else { return None };
        let mut rest = values.into_iter();
        match rest.next()? {
            Value::Int(status) => Some(Self { status, rest }),
            _ => None,
        }
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.rest.next()? {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Option<String> {
        self.bytes().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    fn record(&mut self) -> Option<Record> {
        self.bytes().and_then(format::parse)
    }

    /// Store keys, to the end.
    pub(super) fn keys(self) -> Vec<StoreKey> {
        let texts = self.rest.filter_map(|value| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
            _ => None,
        });
        texts.filter_map(|text| text.parse().ok()).collect()
    }
}
