//! The methods of a driver, over any database.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use sqlx::Pool;

use super::attempts::{self, Ran};
use super::dialect::{Dialect, Fault, Row};
use super::error::{driver_error, fault};
use super::statements::{BATCH, Statement, Statements, Values};
use super::table::Table;
use super::time::{from_millis, to_millis};
use crate::clock::{Clock, SystemClock};
use crate::driver::{Expected, Written};
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};
use crate::turn::Turns;

/// What a statement has beside payload and owner, generously.
const OVERHEAD: usize = 4096;

/// Sessions in one table.
pub(super) struct Store<D: Dialect> {
    pub(super) pool: Pool<D>,
    pub(super) table: Table,
    pub(super) statements: Arc<Statements>,
    /// How many bytes a statement may have, known after `open`.
    pub(super) longest: Arc<OnceLock<u64>>,
    /// Whether the pool is the driver's own, or one that the application goes on using.
    own_pool: bool,
    clock: Arc<dyn Clock>,
    /// As many calls as the pool has connections.
    reading: Arc<Turns>,
    /// The same queue, unless the database has one writer at a time: the writer has its own connection.
    writing: Arc<Turns>,
}

impl<D: Dialect> Store<D> {
    pub(super) fn new(pool: Pool<D>, own_pool: bool) -> Self {
        let table = Table::default();
        let connections = pool.options().get_max_connections();
        let (reading, writing) = match D::ONE_WRITER && connections > 1 {
            true => (Arc::new(Turns::new(connections - 1)), Arc::new(Turns::new(1))),
            false => {
                let all = Arc::new(Turns::new(connections));
                (all.clone(), all)
            }
        };
        Self {
            pool,
            own_pool,
            statements: Arc::new(Statements::on::<D>(&table)),
            table,
            longest: Arc::default(),
            clock: Arc::new(SystemClock),
            reading,
            writing,
        }
    }

    pub(super) fn set_table(&mut self, table: Table) {
        self.statements = Arc::new(Statements::on::<D>(&table));
        self.table = table;
    }

    pub(super) fn set_clock(&mut self, clock: Arc<dyn Clock>) {
        self.clock = clock;
    }

    pub(super) fn error(&self, purpose: &'static str, error: &sqlx::Error) -> DriverError {
        driver_error::<D>(purpose, Some(&self.table), error)
    }

    fn now(&self) -> i64 {
        to_millis(self.clock.now())
    }

    /// Runs a statement when it is its turn. Statements of this process run in the order in which they arrived. If the
    /// database has one writer at a time, writers wait only for other writers.
    pub(super) async fn run(&self, statement: &Statement, values: &Values<'_>) -> sqlx::Result<Ran> {
        let turns = match statement.reads {
            true => &self.reading,
            false => &self.writing,
        };
        let turn = turns.take().await;
        let ran = attempts::run(&self.pool, statement, values).await;
        if !ran.as_ref().is_err_and(|error| fault::<D>(error) != Fault::Refused) {
            turn.answered();
        }
        ran
    }
}

/// What the driver's methods of the same names do.
impl<D: Dialect> Store<D> {
    pub(super) async fn close(&self) {
        if self.own_pool {
            self.pool.close().await;
        }
    }

    pub(super) async fn read(&self, key: &StoreKey) -> Result<Option<Record>, DriverError> {
        let values = Values {
            key: key.as_str(),
            now: self.now(),
            ..Values::default()
        };
        let found = self.live(&values).await;
        found.map_err(|error| self.error("read a session", &error))
    }

    pub(super) async fn write(
        &self,
        key: &StoreKey,
        record: &Record,
        expected: Expected,
    ) -> Result<Written, DriverError> {
        self.check_length(record)?;
        let mut values = Values {
            key: key.as_str(),
            payload: record.payload(),
            expires_at: to_millis(record.expires_at()),
            owner: record.owner().map(str::as_bytes),
            version: number(Version::random().map_err(DriverError::backend)?),
            now: self.now(),
            ..Values::default()
        };
        let written = match expected {
            Expected::Absent => self.create(&values).await,
            Expected::Version(seen) => {
                values.seen = number(seen);
                self.replace(&values).await
            }
        };
        written.map_err(|error| self.error("write a session", &error))
    }

    pub(super) async fn touch(&self, key: &StoreKey, expires_at: SystemTime) -> Result<bool, DriverError> {
        let values = Values {
            key: key.as_str(),
            expires_at: to_millis(expires_at),
            now: self.now(),
            ..Values::default()
        };
        let ran = self.run(&self.statements.touch, &values).await;
        let ran = ran.map_err(|error| self.error("touch a session", &error))?;
        Ok(ran.changed() > 0)
    }

    pub(super) async fn destroy(&self, key: &StoreKey) -> Result<bool, DriverError> {
        let values = Values {
            key: key.as_str(),
            now: self.now(),
            ..Values::default()
        };
        let ran = self.run(&self.statements.destroy, &values).await;
        let ran = ran.map_err(|error| self.error("destroy a session", &error))?;
        // If an attempt was lost with its connection, it was that one which has removed the record, as far as anybody can tell.
        Ok(ran.changed() > 0 || ran.again)
    }

    pub(super) async fn gc(&self) -> Result<u64, DriverError> {
        let values = Values {
            now: self.now(),
            ..Values::default()
        };
        let mut total = 0;
        loop {
            let ran = self.run(&self.statements.collect, &values).await;
            let removed = ran
                .map_err(|error| self.error("remove expired sessions", &error))?
                .changed();
            total += removed;
            if removed < BATCH {
                return Ok(total);
            }
            // Neither a connection nor a lock is held here: who waits for one goes first.
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn sessions_of(&self, owner: &str) -> Result<Vec<(StoreKey, Record)>, DriverError> {
        let found = self.run(&self.statements.sessions_of, &self.of_owner(owner)).await;
        let sessions = found.and_then(|ran| ran.found().into_iter().map(session).collect());
        sessions.map_err(|error| self.error("look for an owner's sessions", &error))
    }

    pub(super) async fn destroy_sessions_of(&self, owner: &str, except: Option<&StoreKey>) -> Result<u64, DriverError> {
        let values = Values {
            key: except.map_or("", StoreKey::as_str),
            ..self.of_owner(owner)
        };
        let ran = self.run(&self.statements.destroy_sessions_of, &values).await;
        let ran = ran.map_err(|error| self.error("destroy an owner's sessions", &error))?;
        Ok(ran.changed())
    }
}

impl<D: Dialect> Store<D> {
    fn of_owner<'a>(&self, owner: &'a str) -> Values<'a> {
        Values {
            owner: Some(owner.as_bytes()),
            now: self.now(),
            ..Values::default()
        }
    }

    /// The record of a key, if it is live.
    async fn live(&self, values: &Values<'_>) -> sqlx::Result<Option<Record>> {
        let found = self.run(&self.statements.read, values).await?.found();
        let found = found.into_iter().next().map(session).transpose()?;
        Ok(found.map(|(_, record)| record))
    }

    /// A record where there is none. An expired one counts as none, and is replaced in the same statement, or, where the database has none for that, in the next:
    /// in between nobody sees it any more.
    async fn create(&self, values: &Values<'_>) -> sqlx::Result<Written> {
        let mut again = false;
        for _ in 0..3 {
            for statement in [Some(&self.statements.create), self.statements.take_over.as_ref()]
                .into_iter()
                .flatten()
            {
                let ran = self.run(statement, values).await?;
                again |= ran.again;
                if ran.changed() > 0 {
                    return Ok(Written::Done(version(values.version)));
                }
            }
            if let Some(record) = self.live(values).await? {
                return conflict(record, values, again);
            }
            // What was in the way has gone since.
        }
        Ok(Written::Conflict(None))
    }

    /// A record in the place of the version that was seen.
    async fn replace(&self, values: &Values<'_>) -> sqlx::Result<Written> {
        let ran = self.run(&self.statements.replace, values).await?;
        if ran.changed() > 0 {
            return Ok(Written::Done(version(values.version)));
        }
        match self.live(values).await? {
            Some(record) => conflict(record, values, ran.again),
            None => Ok(Written::Gone),
        }
    }

    /// Some databases just hang up when a statement is too long: better to say so than to seem out of reach.
    fn check_length(&self, record: &Record) -> Result<(), DriverError> {
        let Some(&longest) = self.longest.get() else {
            return Ok(());
        };
        let length = record.payload().len() + record.owner().map_or(0, str::len) + OVERHEAD;
        if length as u64 <= longest {
            return Ok(());
        }
        Err(DriverError::backend(format!(
            "the session has {} bytes, more than the database takes: its `max_allowed_packet` is {longest}",
            record.payload().len()
        )))
    }
}

/// Another record than the expected one is there. It may be ours, because nobody else has its version: then an attempt of which the database said nothing,
/// or something else, has written it. If it is neither, and a connection was lost, nobody can tell whether ours was there in between. To call that a
/// conflict would have the writer make its changes a second time.
fn conflict(record: Record, values: &Values<'_>, again: bool) -> sqlx::Result<Written> {
    match again {
        _ if record.version() == version(values.version) => Ok(Written::Done(record.version())),
        false => Ok(Written::Conflict(Some(record))),
        true => Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "the connection was lost during the write, and others have written since: whether it was stored is not known",
        ))),
    }
}

/// A version as the table has it.
fn number(version: Version) -> i64 {
    u64::from(version).cast_signed()
}

fn version(number: i64) -> Version {
    Version::from(number.cast_unsigned())
}

fn session(row: Row) -> sqlx::Result<(StoreKey, Record)> {
    let damaged = |what: &'static str| sqlx::Error::Decode(what.into());
    let key = row
        .key
        .parse()
        .map_err(|_| damaged("a row has a malformed `session_key`"))?;
    let expires_at = from_millis(row.expires_at).ok_or_else(|| damaged("a row has an impossible `expires_at`"))?;
    let owner = row.owner.map(String::from_utf8).transpose();
    let owner = owner.map_err(|_| damaged("a row has an `owner` that is not UTF-8"))?;
    let record = Record::new(row.payload, expires_at).with_owner(owner);
    Ok((key, record.with_version(version(row.version))))
}

/// Derived, it would ask the database to be `Clone`.
impl<D: Dialect> Clone for Store<D> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            own_pool: self.own_pool,
            table: self.table.clone(),
            statements: Arc::clone(&self.statements),
            longest: Arc::clone(&self.longest),
            clock: Arc::clone(&self.clock),
            reading: Arc::clone(&self.reading),
            writing: Arc::clone(&self.writing),
        }
    }
}
