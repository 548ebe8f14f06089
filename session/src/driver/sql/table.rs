//! The table's name, checked before it becomes part of a statement.

use std::fmt;

use super::dialect::Dialect;
use crate::error::ConfigError;

/// What the migration files call it.
const DEFAULT: &str = "sessions";

/// PostgreSQL cuts names off after 63 bytes, and that of an index is up to 12 longer.
const LONGEST: usize = 50;

/// What the names of the other table and of the indexes end with, so no table's name may: it could be that of another table's.
const SUFFIXES: [&str; 3] = [SCHEMA_SUFFIX, "_expires_idx", "_owner_idx"];

const SCHEMA_SUFFIX: &str = "_schema";

/// A table, perhaps in a schema (which MySQL calls a database). It consists of letters, digits and `_`, and is quoted wherever it is used.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Table {
    schema: Option<Box<str>>,
    name: Box<str>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            schema: None,
            name: DEFAULT.into(),
        }
    }
}

impl Table {
    /// Checks `text`: `sessions`, or `web.sessions` where the database knows schemas.
    pub(super) fn parse<D: Dialect>(text: &str) -> Result<Self, ConfigError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) if D::SCHEMAS => (Some(schema), name),
            _ => (None, text),
        };
        if ![Some(name), schema].into_iter().flatten().all(is_name) {
            let qualified = match D::SCHEMAS {
                true => ", such as `sessions` or `web.sessions`",
                false => ", such as `sessions`",
            };
            return Err(ConfigError::new(format!(
                "`{}` is no name for the table of sessions: write 1 to {LONGEST} letters without accents, digits and `_`, no digit first{qualified}",
                text.escape_debug()
            )));
        }
        // Some databases do not tell upper from lower case.
        let lower = name.to_ascii_lowercase();
        if let Some(suffix) = SUFFIXES.into_iter().find(|suffix| lower.ends_with(suffix)) {
            return Err(ConfigError::new(format!(
                "`{text}` is no name for the table of sessions: names that end with `{suffix}` are for what is made beside a table, so choose another"
            )));
        }
        Ok(Self {
            schema: schema.map(Into::into),
            name: name.into(),
        })
    }

    /// The table, for a statement.
    pub(super) fn quoted<D: Dialect>(&self) -> String {
        self.quoted_with::<D>("")
    }

    /// The table beside it that says which migrations have been run.
    pub(super) fn quoted_schema<D: Dialect>(&self) -> String {
        self.quoted_with::<D>(SCHEMA_SUFFIX)
    }

    fn quoted_with<D: Dialect>(&self, suffix: &str) -> String {
        let (quote, name) = (D::QUOTE, &self.name);
        match &self.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{quote}{name}{suffix}{quote}"),
            None => format!("{quote}{name}{suffix}{quote}"),
        }
    }

    /// A migration file with this table in place of the default one. An index is named without the schema, for it is in that of its table.
    pub(super) fn applied_to<D: Dialect>(&self, script: &str) -> String {
        // Every second part is a name.
        let mut parts = script.split(D::QUOTE);
        let mut applied = parts.next().unwrap_or_default().to_owned();
        while let (Some(name), Some(rest)) = (parts.next(), parts.next()) {
            applied += &match name.strip_prefix(DEFAULT) {
                Some("") => self.quoted::<D>(),
                Some(SCHEMA_SUFFIX) => self.quoted_schema::<D>(),
                Some(suffix) => format!("{quote}{}{suffix}{quote}", self.name, quote = D::QUOTE),
                None => format!("{quote}{name}{quote}", quote = D::QUOTE),
            };
            applied += rest;
        }
        applied
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

fn is_name(text: &str) -> bool {
    let word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    word && (1..=LONGEST).contains(&text.len()) && !text.as_bytes()[0].is_ascii_digit()
}
