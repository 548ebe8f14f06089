//! What stands in a record's file: one line of JSON, then the payload as it is.
//!
//! ```text
//! {"format":1,"version":9264731083460017,"expires_at":[1767225600,0],"owner":"42","bytes":11}
//! {"views":1}
//! ```
//!
//! What is not of this form is *damaged*: cut off, overwritten, or of a later format. Its record has a payload that cannot be read,
//! so the session is empty and its request warns of it; and it expires a day after the file was last written, so it goes
//! in the end. A power cut can leave such files (see [`with_fsync`](super::FileDriver::with_fsync)), a killed process cannot.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::record::{Record, Version};

const FORMAT: u32 = 1;

/// How long a file that cannot be read is left for somebody to look at.
const DAMAGED_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Header<'a> {
    format: u32,
    version: u64,
    /// Seconds since 1970, and nanoseconds.
    expires_at: (u64, u32),
    owner: Option<Cow<'a, str>>,
    /// The length of the payload, by which a file that was cut off is known.
    bytes: u64,
}

/// The content of a record's file.
pub(super) fn encode(record: &Record) -> io::Result<Vec<u8>> {
    // Nothing expires before 1970; what says so is expired all the same.
    let expires_at = record
        .expires_at()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut text = serde_json::to_vec(&Header {
        format: FORMAT,
        version: record.version().into(),
        expires_at: (expires_at.as_secs(), expires_at.subsec_nanos()),
        owner: record.owner().map(Cow::Borrowed),
        bytes: record.payload().len() as u64,
    })?;
    text.push(b'\n');
    text.extend_from_slice(record.payload());
    Ok(text)
}

/// A file's record.
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) damaged: bool,
}

impl Stored {
    /// Reads the whole file.
    pub(super) fn read(mut file: &File) -> io::Result<Self> {
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let end = line_end(&text);
        Ok(match Head::parse(&text[..end], (text.len() - end) as u64) {
            Some(head) => {
                text.drain(..end);
                Self {
                    record: head.record(text),
                    damaged: false,
                }
            }
            None => Self {
                record: damaged(&text, modified(file)?),
                damaged: true,
            },
        })
    }
}

/// What a file says of its record before the payload.
pub(super) struct Head {
    version: Version,
    pub(super) expires_at: SystemTime,
    pub(super) owner: Option<String>,
}

impl Head {
    /// Reads the beginning of a file. A damaged one has no owner.
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let mut line = Vec::new();
        BufReader::new(file).read_until(b'\n', &mut line)?;
        let rest = file.metadata()?.len().saturating_sub(line.len() as u64);
        Ok(match Self::parse(&line, rest) {
            Some(head) => head,
            None => Self {
                version: Version::default(),
                expires_at: expiry_of_damaged(modified(file)?),
                owner: None,
            },
        })
    }

    fn parse(line: &[u8], rest: u64) -> Option<Self> {
        let header: Header<'_> = serde_json::from_slice(line.strip_suffix(b"\n")?).ok()?;
        let (seconds, nanos) = header.expires_at;
        if header.format != FORMAT || header.bytes != rest || nanos >= 1_000_000_000 {
            return None;
        }
        Some(Self {
            version: header.version.into(),
            expires_at: SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))?,
            owner: header.owner.map(Cow::into_owned),
        })
    }

    fn record(self, payload: Vec<u8>) -> Record {
        Record::new(payload, self.expires_at)
            .with_owner(self.owner)
            .with_version(self.version)
    }
}

/// Where the first line ends, its newline included.
fn line_end(text: &[u8]) -> usize {
    text.iter()
        .position(|&byte| byte == b'\n')
        .map_or(text.len(), |at| at + 1)
}

/// A record that no session can be read from: an empty text is not JSON. Its version is a hash of what stands there, so that a writer who
/// saw one damage does not replace another.
fn damaged(text: &[u8], modified: SystemTime) -> Record {
    let hash = Sha256::digest(text);
    let (version, _) = hash.split_first_chunk().expect("a SHA-256 has 32 bytes");
    Record::new(Vec::new(), expiry_of_damaged(modified)).with_version(u64::from_le_bytes(*version).into())
}

fn modified(file: &File) -> io::Result<SystemTime> {
    file.metadata()?.modified()
}

fn expiry_of_damaged(modified: SystemTime) -> SystemTime {
    crate::clock::after(modified, DAMAGED_LIFETIME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Seek, Write};

    fn file(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file.rewind().unwrap();
        file
    }

    fn stored(text: &[u8]) -> Stored {
        Stored::read(&file(text)).unwrap()
    }

    fn arbitrary_record() -> impl Strategy<Value = Record> {
        let (payload, owner) = (any::<Vec<u8>>(), any::<Option<String>>());
        (
            payload,
            owner,
            0..253_402_300_799_u64,
            0..1_000_000_000_u32,
            any::<u64>(),
        )
            .prop_map(|(payload, owner, seconds, nanos, version)| {
                Record::new(payload, SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
                    .with_owner(owner)
                    .with_version(version.into())
            })
    }

    fn same(one: &Record, other: &Record) -> bool {
        one.payload() == other.payload()
            && (one.expires_at(), one.owner(), one.version()) == (other.expires_at(), other.owner(), other.version())
    }

    proptest! {
        #[test]
        fn every_record_reads_back_to_the_nanosecond(record in arbitrary_record()) {
            let text = encode(&record).unwrap();
            let read = stored(&text);
            prop_assert!(same(&read.record, &record) && !read.damaged);
            let head = Head::read(&file(&text)).unwrap();
            prop_assert_eq!((head.expires_at, head.owner.as_deref()), (record.expires_at(), record.owner()));
        }

        #[test]
        fn a_file_that_was_cut_off_anywhere_is_damaged(record in arbitrary_record(), at: prop::sample::Index) {
            let text = encode(&record).unwrap();
            let cut = &text[..at.index(text.len())];
            let read = stored(cut);
            prop_assert!(read.damaged && read.record.parsed().check().is_err());
            prop_assert_eq!(Head::read(&file(cut)).unwrap().owner, None);
        }

        #[test]
        fn arbitrary_bytes_are_damage_and_no_panic(text: Vec<u8>) {
            let mut file = file(&text);
            let read = Stored::read(&file).unwrap();
            prop_assert!(read.damaged && read.record.parsed().check().is_err());
            file.rewind().unwrap();
            prop_assert_eq!(read.record.expires_at(), Head::read(&file).unwrap().expires_at);
        }
    }

    #[test]
    fn what_a_later_format_or_a_strange_hand_wrote_is_damaged() {
        for text in [
            r#"{"format":2,"version":1,"expires_at":[9999999999,0],"owner":null,"bytes":2}"#,
            r#"{"format":1,"version":1,"expires_at":[9999999999,1000000000],"owner":null,"bytes":2}"#,
            r#"{"format":1,"version":1,"expires_at":[18446744073709551615,0],"owner":null,"bytes":2}"#,
            r#"{"format":1,"version":-1,"expires_at":[9999999999,0],"owner":null,"bytes":2}"#,
            r#"{"format":1,"version":1,"expires_at":[9999999999,0],"owner":null,"bytes":3}"#,
            r#"{"format":1}"#,
            "{}",
        ] {
            assert!(stored(format!("{text}\n{{}}").as_bytes()).damaged, "{text}");
        }
        let right = r#"{"format":1,"version":1,"expires_at":[9999999999,0],"owner":null,"bytes":2}"#;
        assert!(!stored(format!("{right}\n{{}}").as_bytes()).damaged);
    }

    #[test]
    fn two_damages_have_two_versions() {
        assert_ne!(stored(b"one").record.version(), stored(b"other").record.version());
        assert_eq!(stored(b"one").record.version(), stored(b"one").record.version());
    }

    #[test]
    fn an_expiry_before_1970_is_past_and_no_panic() {
        let record = Record::new(Vec::new(), SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        let read = stored(&encode(&record).unwrap()).record;
        assert!(read.is_expired(SystemTime::UNIX_EPOCH));
    }
}
