//! What a write sends.

use redis::{Cmd, cmd};

use super::driver::RedisDriver;
use super::format::{self, index_until, millis};
use super::scripts::{Call, SCRIPTS};
use crate::driver::Expected;
use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};

/// A write. Its version is made here and at random: one that comes twice is known by it, and no key has the same one again.
pub(super) struct Write<'a> {
    record: &'a Record,
    session: String,
    /// The owner's set, unless it is in another slot.
    set: Option<String>,
    name: &'a str,
    expected: Option<Version>,
    pub(super) version: Version,
    pub(super) now: u64,
    expires_at: u64,
    /// Until when at the longest the owner's set has the session.
    pub(super) until: u64,
    value: Vec<u8>,
}

impl<'a> Write<'a> {
    pub(super) fn new(
        driver: &RedisDriver,
        key: &'a StoreKey,
        record: &'a Record,
        expected: Expected,
    ) -> Result<Self, DriverError> {
        let version = Version::random().map_err(DriverError::backend)?;
        let (now, expires_at) = (driver.now(), millis(record.expires_at()));
        let until = index_until(now, expires_at);
        // Keys of several slots cannot be in one script.
        let set = record.owner().filter(|_| !driver.link.source.is_cluster());
        Ok(Self {
            record,
            session: driver.session(key),
            set: set.map(|owner| driver.owner(owner)),
            name: key.as_str(),
            expected: match expected {
                Expected::Absent => None,
                Expected::Version(version) => Some(version),
            },
            version,
            now,
            expires_at,
            until,
            value: format::value(key, record, version, expires_at, until),
        })
    }

    fn has_expired(&self) -> bool {
        self.expires_at <= self.now
    }

    /// The command that does it where nothing is expected to be there, and no set has to be told: no script, because a third of the work of a script is to call it.
    pub(super) fn creation(&self) -> Option<Cmd> {
        if self.expected.is_some() || self.record.owner().is_some() || self.has_expired() {
            return None;
        }
        let mut command = cmd("SET");
        command
            .arg(&self.session)
            .arg(&self.value)
            .arg("PXAT")
            .arg(self.expires_at)
            .arg("NX");
        Some(command)
    }

    /// The script, for a session that the owner's set has, if it was told, so long.
    pub(super) fn call(&self, indexed: Option<u64>) -> Call<'_> {
        // What ends a session must not be refused because memory is full.
        let script = match self.has_expired() {
            true => &SCRIPTS.end,
            false => &SCRIPTS.write,
        };
        let call = match &self.set {
            Some(set) => script.call(&[&self.session, set], self.now),
            None => script.call(&[&self.session], self.now),
        };
        let call = call
            .arg(
                self.expected
                    .map(format::version)
                    .as_ref()
                    .map_or(&[][..], |text| &text[..]),
            )
            .arg(&self.value)
            .arg(self.expires_at);
        match self.record.owner() {
            Some(owner) => call
                .time(indexed.unwrap_or(self.until))
                .arg(owner)
                .arg(self.name)
                .arg(u8::from(indexed.is_some())),
            None => call,
        }
    }
}
