//! A record as one string, and the names of keys. `lib.lua` knows the same.

use std::io::Write;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::clock::end_of_time;
use crate::expiry::{Expiry, to_millis};
use crate::id::StoreKey;
use crate::payload::key;
use crate::record::{Record, Version};

/// Where the lifetime is in a record, after what has a fixed length.
const LIFETIME_AT: usize = 53;

/// How many digits of the word about when a session began say that. Those after them are the mark of its key.
const BEGUN_AT_DIGITS: usize = 15;

/// Where a session is. The braces are Redis's own mark of what counts for the slot of a cluster, so that whatever else there will be of a session
/// can be in the same one.
pub(super) fn session(prefix: &str, key: &StoreKey) -> String {
    format!("{prefix}{{{}}}", key.as_str())
}

/// The session that is there, if one can be.
pub(super) fn session_of(prefix: &str, place: &[u8]) -> Option<StoreKey> {
    let key = place.strip_prefix(prefix.as_bytes())?;
    let key = key.strip_prefix(b"{")?.strip_suffix(b"}")?;
    str::from_utf8(key).ok()?.parse().ok()
}

/// Where the set of an owner is. Hashed, because an owner is any text, and nobody's business.
pub(super) fn owner(prefix: &str, owner: &str) -> String {
    format!("{prefix}owner:{{{}}}", HEXLOWER.encode(&Sha256::digest(owner)))
}

/// Milliseconds since 1970, to the year 9999 at the latest.
pub(super) fn millis(time: SystemTime) -> u64 {
    to_millis(time.min(end_of_time()))
}

/// How a read may prolong a session: its own lifetime, 0 where it has that of all, and when it began, 0 where that is not known. `None` for what
/// ends at a moment of its own, and for what is no session, such as a mark or what is encrypted.
pub(super) fn rolling(record: &Record) -> Option<(u64, u64)> {
    let payload = record.parsed();
    let is_session = payload.check().is_ok() && payload.get(key::MOVED).is_none();
    let lifetime = match Expiry::of_json(payload.get(key::LIFETIME)) {
        Some(Expiry::Idle(lifetime)) => lifetime.as_millis().try_into().ok()?,
        Some(Expiry::At(_)) => return None,
        Some(Expiry::OnClose) | None => 0,
    };
    let begun_at = payload.get(key::CREATED).and_then(|text| text.parse().ok());
    is_session.then_some((lifetime, begun_at.unwrap_or(0)))
}

/// How long the set of an owner has a session at the longest: as long again as the session has to live, so that most touches need not
/// prolong this too.
pub(super) fn index_until(now: u64, expires_at: u64) -> u64 {
    let longest = millis(end_of_time());
    (expires_at + expires_at.saturating_sub(now)).min(longest)
}

/// A time as scripts compare it.
pub(super) fn digits(mut millis: u64) -> [u8; 15] {
    let mut digits = [b'0'; 15];
    for digit in digits.iter_mut().rev() {
        *digit += (millis % 10) as u8;
        millis /= 10;
    }
    digits
}

/// A version as scripts compare it.
pub(super) fn version(version: Version) -> [u8; 16] {
    let mut text = [0; 16];
    HEXLOWER.encode_mut(&u64::from(version).to_be_bytes(), &mut text);
    text
}

/// What is stored with a record so that it is known whose answer it is: a number of ten digits from a hash of its key.
fn mark(key: &StoreKey) -> u32 {
    let digest: [u8; 32] = Sha256::digest(key.as_str()).into();
    let (first, _) = digest.split_first_chunk().expect("a digest is longer than this");
    u32::from_be_bytes(*first)
}

/// A record as it is stored. The set of its owner, if it has one, has it until `indexed` at the longest.
pub(super) fn value(key: &StoreKey, record: &Record, version: Version, expires_at: u64, indexed: u64) -> Vec<u8> {
    let (owner, payload) = (record.owner(), record.payload());
    let mut value = Vec::with_capacity(100 + owner.map_or(0, str::len) + payload.len());
    value.extend_from_slice(b"ss1 ");
    value.extend_from_slice(&self::version(version));
    for time in [expires_at, owner.map_or(0, |_| indexed)] {
        value.push(b' ');
        value.extend_from_slice(&digits(time));
    }
    let mark = mark(key);
    // Writing to a vector does not fail.
    let _ = match rolling(record) {
        Some((lifetime, begun_at)) => write!(value, " {lifetime} {begun_at:015}{mark:010} "),
        None => write!(value, " - {:015}{mark:010} ", 0),
    };
    let _ = match owner {
        Some(owner) => write!(value, "{} {owner}", owner.len()),
        None => write!(value, "- "),
    };
    value.extend_from_slice(payload);
    value
}

/// What was to be the value of a key is that of another key.
#[derive(Debug)]
pub(super) struct OfAnotherKey;

/// The record of `key` in a value; `None` when the value is of another make.
pub(super) fn parse(value: Vec<u8>, key: &StoreKey) -> Result<Option<Record>, OfAnotherKey> {
    let Some(head) = Head::parse(&value) else {
        return Ok(None);
    };
    match head.mark {
        Some(found) if found != mark(key) => Err(OfAnotherKey),
        _ => Ok(record(value, &head)),
    }
}

fn record(mut value: Vec<u8>, head: &Head) -> Option<Record> {
    let owner = match head.owner {
        Some(length) => Some(
            str::from_utf8(value.get(head.end..head.end.checked_add(length)?)?)
                .ok()?
                .to_owned(),
        ),
        None => None,
    };
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_millis(head.expires_at);
    value.drain(..head.end + head.owner.unwrap_or(0));
    Some(
        Record::new(value, expires_at)
            .with_version(head.version)
            .with_owner(owner),
    )
}

/// Whether a read may prolong a record that was parsed by the lifetime that all sessions have.
pub(super) fn has_lifetime_of_all(value: &[u8]) -> bool {
    value.get(LIFETIME_AT..).is_some_and(|rest| rest.starts_with(b"0 "))
}

struct Head {
    version: Version,
    expires_at: u64,
    /// `None` where an earlier release wrote it.
    mark: Option<u32>,
    owner: Option<usize>,
    /// Where the owner begins.
    end: usize,
}

impl Head {
    fn parse(value: &[u8]) -> Option<Self> {
        let mut words = value.splitn(8, |&byte| byte == b' ');
        let mut word = || str::from_utf8(words.next()?).ok();
        if word()? != "ss1" {
            return None;
        }
        let version = u64::from_str_radix(word()?, 16).ok()?.into();
        let expires_at = word()?
            .parse()
            .ok()
            .filter(|&millis| millis <= self::millis(end_of_time()))?;
        let _indexed_until: u64 = word()?.parse().ok()?;
        let _lifetime = word()?;
        let mark = match word()?.get(BEGUN_AT_DIGITS..) {
            None | Some("") => None,
            Some(mark) => Some(mark.parse().ok()?),
        };
        let owner = match word()? {
            "-" => None,
            length => Some(length.parse().ok()?),
        };
        let rest = words.next()?;
        Some(Self {
            version,
            expires_at,
            mark,
            owner,
            end: value.len() - rest.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(owner: Option<&str>, payload: &[u8]) -> Vec<u8> {
        let length = owner.map_or("-".to_owned(), |owner| owner.len().to_string());
        let head = format!(
            "ss1 00000000000000ff 001767225600000 001767229200000 0 0 {length} {}",
            owner.unwrap_or("")
        );
        [head.as_bytes(), payload].concat()
    }

    /// What an earlier release has written under some key.
    fn parsed(value: Vec<u8>) -> Option<Record> {
        parse(value, &"some-key".parse().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn owner_and_payload_are_told_apart(owner: Option<String>, payload: Vec<u8>) {
            let record = parsed(text(owner.as_deref(), &payload)).unwrap();
            prop_assert_eq!((record.owner(), record.payload()), (owner.as_deref(), &*payload));
            prop_assert_eq!(record.version(), Version::from(255));
            prop_assert_eq!(to_millis(record.expires_at()), 1_767_225_600_000);
        }

        #[test]
        fn arbitrary_bytes_are_no_record_and_no_panic(value: Vec<u8>, begins_well: bool) {
            let value = if begins_well { [b"ss1 ", &*value].concat() } else { value };
            prop_assert!(parsed(value).is_none());
        }
    }

    #[test]
    fn what_another_hand_or_a_later_format_wrote_is_no_record() {
        let right = "ss1 00000000000000ff 001767225600000 001767229200000 - 0 2 42{}";
        assert!(parsed(right.into()).is_some());
        for (from, to) in [
            ("ss1", "ss2"),
            (" 2 ", " 9 "),
            (" 2 ", " -1 "),
            ("0ff", "0fg"),
            ("00176", "99999"),
        ] {
            assert!(parsed(right.replacen(from, to, 1).into()).is_none(), "{from} for {to}");
        }
        assert!(parsed(Vec::new()).is_none());
        let no_text = [right.replace("42{}", "").as_bytes(), b"\xff\xfe{}"].concat();
        assert!(parsed(no_text).is_none());
    }

    #[test]
    fn a_record_is_known_to_be_that_of_its_key_and_one_of_an_earlier_release_is_believed() {
        let [key, other] = ["one", "other"].map(|key| key.parse::<StoreKey>().unwrap());
        let record = Record::new(b"{}".to_vec(), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        for record in [
            record.clone(),
            record.with_owner("ann"),
            Record::new(Vec::new(), end_of_time()),
        ] {
            let value = value(&key, &record, Version::from(255), millis(record.expires_at()), 0);
            let read = parse(value.clone(), &key).unwrap().unwrap();
            assert_eq!((read.payload(), read.owner()), (record.payload(), record.owner()));
            parse(value, &other).unwrap_err();
        }
        // printf one | sha256sum
        let of_one = "ss1 00000000000000ff 001767225600000 001767229200000 - 0017672200000001989329837 - {}";
        assert!(parse(of_one.into(), &key).is_ok());
    }

    #[test]
    fn a_session_and_an_owner_never_share_a_key() {
        let key: StoreKey = "owner".parse().unwrap();
        assert_eq!(session("p:", &key), "p:{owner}");
        assert_eq!(session_of("p:", b"p:{owner}"), Some(key));
        for other in [
            "p:owner:{73475cb4}",
            "q:{owner}",
            "p:p:{owner}",
            "p:{owner",
            "p:{}",
            "p:",
            "",
        ] {
            assert_eq!(session_of("p:", other.as_bytes()), None, "{other}");
        }
        // printf 42 | sha256sum
        let hash = "73475cb40a568e8da8a045ced110137e159f890ac4da883b6b17dc651b3a8049";
        assert_eq!(owner("p:", "42"), format!("p:owner:{{{hash}}}"));
    }
}
