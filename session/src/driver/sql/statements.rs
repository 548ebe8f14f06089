//! What is asked of a database: each statement once, with names for its parameters.

use std::sync::Arc;

use super::dialect::{Dialect, Row};
use super::table::Table;

/// A live record.
const READ: &str = "
    SELECT session_key, payload, expires_at, owner, version FROM {table}
    WHERE session_key = :key AND expires_at > :now";

/// Puts a record in the place of the version that its writer has seen.
const REPLACE: &str = "
    UPDATE {table}
    SET payload = :payload, expires_at = :expires_at, owner = :owner, version = :version
    WHERE session_key = :key AND version = :seen AND expires_at > :now";

/// Moves a live record's expiry.
const TOUCH: &str = "
    UPDATE {table} SET expires_at = :expires_at
    WHERE session_key = :key AND expires_at > :now";

/// Removes a live record; an expired one is left to `gc`.
const DESTROY: &str = "
    DELETE FROM {table}
    WHERE session_key = :key AND expires_at > :now";

/// The live records of an owner.
const SESSIONS_OF: &str = "
    SELECT session_key, payload, expires_at, owner, version FROM {table}
    WHERE owner = :owner AND expires_at > :now";

/// Removes them, but for one key, or none: no session has the empty key.
const DESTROY_SESSIONS_OF: &str = "
    DELETE FROM {table}
    WHERE owner = :owner AND expires_at > :now AND session_key <> :key";

/// How many rows one statement of `gc` removes at most: few enough that nobody waits long for a lock.
pub(super) const BATCH: u64 = 500;

/// All statements on one table.
pub(super) struct Statements {
    pub(super) read: Statement,
    pub(super) create: Statement,
    pub(super) take_over: Option<Statement>,
    pub(super) replace: Statement,
    pub(super) touch: Statement,
    pub(super) destroy: Statement,
    pub(super) collect: Statement,
    pub(super) sessions_of: Statement,
    pub(super) destroy_sessions_of: Statement,
}

impl Statements {
    pub(super) fn on<D: Dialect>(table: &Table) -> Self {
        let name = table.quoted::<D>();
        let statement = |text| Statement::new::<D>(text, &name);
        Self {
            read: statement(READ),
            create: statement(D::CREATE),
            take_over: D::TAKE_OVER.map(statement),
            replace: statement(REPLACE),
            touch: statement(TOUCH),
            destroy: statement(DESTROY),
            collect: statement(D::COLLECT),
            sessions_of: statement(SESSIONS_OF),
            destroy_sessions_of: statement(DESTROY_SESSIONS_OF),
        }
    }
}

/// A statement as its database writes it.
pub(super) struct Statement {
    pub(super) sql: Arc<str>,
    /// What is bound to it, in this order.
    pub(super) parameters: Vec<Parameter>,
    /// Whether it returns records, or changes them.
    pub(super) reads: bool,
}

/// What a statement may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Key,
    Payload,
    ExpiresAt,
    Owner,
    Version,
    Seen,
    Now,
}

/// The values of one execution; a statement takes those that it names.
#[derive(Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub(super) key: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) expires_at: i64,
    pub(super) owner: Option<&'a [u8]>,
    /// The version that the record is to have.
    pub(super) version: i64,
    /// The version that its writer has seen.
    pub(super) seen: i64,
    pub(super) now: i64,
}

impl Statement {
    /// Puts the table, the size of a batch and the database's placeholders into `text`.
    fn new<D: Dialect>(text: &str, table: &str) -> Self {
        let text = text.replace("{table}", table).replace("{batch}", &BATCH.to_string());
        let mut parts = text.trim().split(':');
        let mut sql = parts.next().unwrap_or_default().to_owned();
        let mut parameters = Vec::new();
        for part in parts {
            let end = part.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
            let (name, rest) = part.split_at(end.unwrap_or(part.len()));
            parameters.push(Parameter::named(name));
            sql += &D::placeholder(parameters.len());
            sql += rest;
        }
        Self {
            reads: sql.starts_with("SELECT"),
            sql: sql.into(),
            parameters,
        }
    }
}

impl Statement {
    /// Whether a record that was found is one of those that the statement names. Otherwise the connection is out of step, and this is
    /// the answer to another statement.
    pub(super) fn asks_for(&self, values: &Values<'_>, row: &Row) -> bool {
        self.parameters.iter().all(|parameter| match parameter {
            Parameter::Key => row.key == values.key,
            Parameter::Owner => row.owner.as_deref() == values.owner,
            _ => true,
        })
    }
}

impl Parameter {
    fn named(name: &str) -> Self {
        match name {
            "key" => Self::Key,
            "payload" => Self::Payload,
            "expires_at" => Self::ExpiresAt,
            "owner" => Self::Owner,
            "version" => Self::Version,
            "seen" => Self::Seen,
            "now" => Self::Now,
            other => unreachable!("no statement of this crate names `{other}`"),
        }
    }
}
