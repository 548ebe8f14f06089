//! The id a visitor's cookie holds, and what the store sees of it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

const ID_LEN: usize = 40;
const RANDOM_LEN: usize = ID_LEN / 4 * 3;
const KEY_MAX: usize = 64;

/// The secret in a visitor's cookie: 30 bytes from the operating system's random generator, written as 40 characters
/// of base64url (RFC 4648 section 5). Whoever knows it *is* the visitor, so `Debug` shows none of it and there is no `Display`.
///
/// 40 characters are exactly 30 bytes: every id has one spelling only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(8))] // Copied in words, wherever it stands.
pub struct SessionId([u8; ID_LEN]);

impl SessionId {
    /// A new id, of bytes that the operating system makes for it alone.
    ///
    /// Nothing is read ahead. A process that is forked, or a virtual machine that is started twice from one snapshot, would hand out the
    /// rest of a reserve twice: two visitors would have one CSRF token, which no store compares, or one session, where the first one has
    /// ended. The kernel's generator is the same for all processes and reseeds after a snapshot. The price is a system call for each id
    /// and token, about a microsecond where a reserve costs a quarter of one. A request that makes neither pays nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Driver`] when the operating system gives no random bytes. There is no weaker substitute.
    pub(crate) fn generate() -> Result<Self> {
        Self::generate_with(getrandom::fill)
    }

    fn generate_with(fill: impl FnOnce(&mut [u8]) -> Result<(), getrandom::Error>) -> Result<Self> {
        let mut random = [0; RANDOM_LEN];
        fill(&mut random).map_err(|error| {
            Error::new(ErrorKind::Driver, "the operating system's random generator failed").with_source(error)
        })?;
        let mut id = [0; ID_LEN];
        BASE64URL_NOPAD.encode_mut(&random, &mut id);
        Ok(Self(id))
    }

    /// The id in `bytes`, or `None` when they are not 40 characters of base64url.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let id: [u8; ID_LEN] = bytes.try_into().ok()?;
        // Without a way out at the first wrong character the compiler looks at sixteen at once.
        let well_formed = id.iter().fold(true, |so_far, &byte| so_far & is_base64url(byte));
        well_formed.then_some(Self(id))
    }

    /// The 40 characters. They are a secret: do not log them.
    pub fn as_str(&self) -> &str {
        // They are ASCII, so this cannot fail.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for SessionId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        Self::parse(text.as_bytes()).ok_or(MalformedId(()))
    }
}

impl AsRef<str> for SessionId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// What a store sees of a session: the SHA-256 of its id, in 64 characters of lower-case hex, so that a copy of the store
/// opens no session ([OWASP Session Management](https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html)).
/// In a [namespace](crate::SessionLayer::with_namespace) it is the SHA-256 of the namespace, a colon and the id: [`Session::store_key`](crate::Session::store_key).
/// With [`Config::raw_ids`](crate::Config::raw_ids) it is the id itself.
///
/// It consists of 1 to 64 characters of `A-Z a-z 0-9 _ -`, whoever made it, so it is safe in a file name, an SQL literal or a Redis key.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub struct StoreKey {
    len: u8,
    bytes: [u8; KEY_MAX],
}

impl StoreKey {
    /// The key of a session whose store keeps ids in the clear.
    pub(crate) fn raw(id: &SessionId) -> Self {
        Self::parse(&id.0).expect("an id is a well-formed key")
    }

    /// The SHA-256 of a namespace, a colon and the id.
    pub(crate) fn within(namespace: &str, id: &SessionId) -> Self {
        let digest = Sha256::new()
            .chain_update(namespace)
            .chain_update(":")
            .chain_update(id.0)
            .finalize();
        Self {
            len: KEY_MAX as u8,
            bytes: hex(&digest.into()),
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() > KEY_MAX || !text.iter().all(|&byte| is_base64url(byte)) {
            return None;
        }
        let mut bytes = [0; KEY_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self {
            len: text.len() as u8,
            bytes,
        })
    }

    /// The key's characters.
    pub fn as_str(&self) -> &str {
        // They are ASCII, so this cannot fail.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The SHA-256 of the id's 40 characters, as they stand: the key of a session that is in no namespace.
impl From<&SessionId> for StoreKey {
    #[inline]
    fn from(id: &SessionId) -> Self {
        Self {
            len: KEY_MAX as u8,
            bytes: hex(&sha256(&id.0)),
        }
    }
}

/// An id fits into one block together with what SHA-256 puts behind every text (FIPS 180-4 section 5.1.1): a set bit, zeros, and the length in bits. Done here,
/// this spares each request the buffer for texts that come in parts.
fn sha256(id: &[u8; ID_LEN]) -> [u8; 32] {
    // The beginnings of the fractions of the square roots of the first eight primes (section 5.3.3).
    const START: [u32; 8] = [
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    ];
    let (mut state, mut block) = (START, [0; 64]);
    block[..ID_LEN].copy_from_slice(id);
    block[ID_LEN] = 0x80;
    block[56..].copy_from_slice(&(ID_LEN as u64 * 8).to_be_bytes());
    sha2::block_api::compress256(&mut state, &[block]);
    let mut hash = [0; 32];
    for (bytes, word) in hash.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

/// Lower-case hex, by arithmetic on all bytes alike: the compiler does sixteen at once, where a table is asked for one after the other.
fn hex(bytes: &[u8; KEY_MAX / 2]) -> [u8; KEY_MAX] {
    let digit = |value: u8| value + if value < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [0; KEY_MAX];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    digits
}

impl FromStr for StoreKey {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        Self::parse(text.as_bytes()).ok_or(MalformedId(()))
    }
}

impl AsRef<str> for StoreKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for StoreKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for StoreKey {}

impl PartialOrd for StoreKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StoreKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// The first 16 characters are 64 random bits already: no map needs more.
impl Hash for StoreKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.bytes[..16]);
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey(..)")
    }
}

/// The text is not a session id or store key. What it was is not repeated: it may have been a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedId(());

impl fmt::Display for MalformedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed: a session id is 40, a store key 1 to 64 characters of `A-Z a-z 0-9 _ -`")
    }
}

impl std::error::Error for MalformedId {}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_forty_characters_and_never_twice_the_same() {
        let (one, two) = (SessionId::generate().unwrap(), SessionId::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), 40);
        assert_eq!(one.as_str().parse(), Ok(one));
    }

    #[test]
    fn ids_of_many_threads_all_differ() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..100).map(|_| SessionId::generate().unwrap()).collect::<Vec<_>>()))
            .collect();
        let ids: std::collections::HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 400);
    }

    #[test]
    fn no_id_is_made_of_random_bytes_that_were_read_ahead() {
        // A4: a fork or a snapshot of a virtual machine would make an id of them once more.
        let mut asked = Vec::new();
        for number in 1..=100 {
            let fill = |bytes: &mut [u8]| {
                asked.push(bytes.len());
                bytes.fill(number);
                Ok(())
            };
            let id = SessionId::generate_with(fill).unwrap();
            assert_eq!(id.0, *BASE64URL_NOPAD.encode(&[number; RANDOM_LEN]).as_bytes());
        }
        assert_eq!(asked, [RANDOM_LEN; 100]);
    }

    #[test]
    fn without_random_bytes_there_is_no_id() {
        // ID-02, D15
        let half_filled = |bytes: &mut [u8]| {
            let half = bytes.len() / 2;
            bytes[..half].fill(1);
            Err(getrandom::Error::UNSUPPORTED)
        };
        let error = SessionId::generate_with(half_filled).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Driver);
    }

    #[test]
    fn a_store_key_is_the_sha_256_of_the_forty_characters() {
        // printf 'a%.0s' {1..40} | sha256sum
        let id: SessionId = "a".repeat(40).parse().unwrap();
        let expected = "e33cdf9c7f7120b98e8c78408953e07f2ecd183006b5606df349b4c212acf43e";
        assert_eq!(StoreKey::from(&id).as_str(), expected);
        assert_eq!(StoreKey::raw(&id).as_str(), id.as_str());
    }

    #[test]
    fn the_hash_of_every_id_is_that_of_the_library() {
        for _ in 0..1000 {
            let id = SessionId::generate().unwrap();
            assert_eq!(sha256(&id.0), *Sha256::digest(id.0));
        }
    }

    #[test]
    fn debug_shows_neither_ids_nor_keys() {
        let id = SessionId::generate().unwrap();
        let shown = format!("{id:?} {:?} {:?}", StoreKey::from(&id), "x".parse::<SessionId>());
        assert!(!shown.contains(id.as_str()) && !shown.contains(StoreKey::from(&id).as_str()));
    }
}
