//! How a record of ours is kept inside one of tower-sessions'.
//!
//! Everything is text under a key of their map. They hand the map to whatever encoding a store has chosen, MessagePack, JSON or BSON, of
//! which some know no integer of 64 bits and none keeps a number as it was written; text comes back as it is from all of them.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, PrimitiveDateTime};
use tower_sessions_core::session::{self, Id};

use crate::error::DriverError;
use crate::id::StoreKey;
use crate::record::{Record, Version};

const PAYLOAD: &str = "payload";
/// In the place of the payload, where that is not text, or text that not every database takes.
const PAYLOAD_BASE64: &str = "payload_base64";
const OWNER: &str = "owner";
const VERSION: &str = "version";
/// In seconds since 1970, with nine decimals. Theirs is for the store to tidy up by, and rounded as it likes.
const EXPIRES_AT: &str = "expires_at";

/// Where the record of a key is kept. Their ids have 128 bits, which are taken from a hash of the whole key, however long that is.
pub(super) fn id_of(key: &StoreKey) -> Id {
    let digest: [u8; 32] = Sha256::digest(key.as_str()).into();
    let (half, _) = digest.split_first_chunk().expect("a digest is longer than an id");
    Id(i128::from_be_bytes(*half))
}

pub(super) fn wrap(id: Id, record: &Record, version: Version) -> session::Record {
    let (name, payload) = match str::from_utf8(record.payload()) {
        Ok(text) if !text.contains('\0') => (PAYLOAD, text.to_owned()),
        _ => (PAYLOAD_BASE64, BASE64.encode(record.payload())),
    };
    let expires_at = since_1970(record.expires_at());
    let mut data = data_of([
        (name, payload),
        (VERSION, u64::from(version).to_string()),
        (
            EXPIRES_AT,
            format!("{}.{:09}", expires_at.as_secs(), expires_at.subsec_nanos()),
        ),
    ]);
    if let Some(owner) = record.owner() {
        data.insert(OWNER.to_owned(), Value::from(owner));
    }
    session::Record {
        id,
        data,
        expiry_date: expiry_date(expires_at),
    }
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn moment(text: &str) -> Option<SystemTime> {
    let (seconds, nanos) = text.split_once('.')?;
    let since = Duration::from_secs(seconds.parse().ok()?).checked_add(Duration::from_nanos(nanos.parse().ok()?))?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// The next whole second, so that a store that keeps no fractions does not forget the record too early.
fn expiry_date(since_1970: Duration) -> OffsetDateTime {
    let seconds = since_1970
        .as_secs()
        .saturating_add(u64::from(since_1970.subsec_nanos() > 0));
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or_else(|| PrimitiveDateTime::MAX.assume_utc())
}

pub(super) fn unwrap(wrapped: &session::Record) -> Result<Record, DriverError> {
    let text = |name: &str| wrapped.data.get(name).and_then(Value::as_str);
    let payload = match (text(PAYLOAD), text(PAYLOAD_BASE64)) {
        (Some(payload), _) => Some(payload.as_bytes().to_vec()),
        (None, Some(encoded)) => BASE64.decode(encoded.as_bytes()).ok(),
        (None, None) => None,
    };
    let version = text(VERSION).and_then(|version| version.parse::<u64>().ok());
    let expires_at = text(EXPIRES_AT).and_then(moment);
    match (payload, version, expires_at) {
        (Some(payload), Some(version), Some(expires_at)) => Ok(Record::new(payload, expires_at)
            .with_owner(text(OWNER))
            .with_version(Version::from(version))),
        _ => Err(DriverError::backend(
            "the store holds a record that was not written by this driver",
        )),
    }
}

fn data_of<const N: usize>(texts: [(&str, String); N]) -> HashMap<String, Value> {
    texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), Value::from(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::end_of_time;

    fn there_and_back(record: &Record) -> Record {
        let wrapped = wrap(Id(7), record, Version::from(u64::MAX));
        // As most stores do: through an encoding of their own.
        let stored = serde_json::to_string(&wrapped).unwrap();
        unwrap(&serde_json::from_str(&stored).unwrap()).unwrap()
    }

    #[test]
    fn every_payload_comes_back_byte_by_byte() {
        let payloads: [&[u8]; 5] = [
            b"{\"n\":1.10,\"m\":18446744073709551616}",
            b"",
            b"\0",
            b"\xff\xfe{}",
            "\u{fffd}\u{1f600}".as_bytes(),
        ];
        for payload in payloads {
            let record = Record::new(payload.to_vec(), end_of_time()).with_owner("ann");
            let back = there_and_back(&record);
            assert_eq!(
                (back.payload(), back.owner(), u64::from(back.version())),
                (payload, Some("ann"), u64::MAX)
            );
        }
    }

    #[test]
    fn the_stores_expiry_is_never_before_ours() {
        let expiries = [0, 1, 999, 1000, 1001, 1_700_000_000_123]
            .map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        for expiry in expiries.into_iter().chain([end_of_time()]) {
            let record = Record::new(b"{}".to_vec(), expiry);
            assert!(SystemTime::from(wrap(Id(7), &record, Version::default()).expiry_date) >= expiry);
            assert_eq!(there_and_back(&record).expires_at(), expiry);
        }
    }

    #[test]
    fn what_others_wrote_is_an_error_that_does_not_show_it() {
        let data = data_of([("user", "ann@example.com".to_owned())]);
        let expiry_date = OffsetDateTime::UNIX_EPOCH;
        let error = unwrap(&session::Record {
            id: Id(7),
            data,
            expiry_date,
        })
        .unwrap_err();
        assert!(!error.is_unavailable() && !format!("{error:?}").contains("ann"));
    }
}
