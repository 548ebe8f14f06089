//! Which file a record is in, and what the files and folders of the index of owners are called.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::id::StoreKey;

const SUFFIX: &str = ".session";
const ENTRY_SUFFIX: &str = ".owned";
/// The length of an owner's folder's name.
const HASH_LEN: usize = 64;
const TEMPORARY_PREFIX: &str = ".session-";
const TEMPORARY_SUFFIX: &str = ".tmp";
const TEMPORARY_RANDOM: usize = 12;

/// The name of a record's file: its key and `.session`.
///
/// A capital letter is written `=` and its small one, because some file systems hold `A` and `a` for the same name and two
/// sessions must not. Keys that are hashes have none.
pub(super) fn of_record(key: &StoreKey) -> String {
    spell(key, SUFFIX)
}

/// The name of a key's file in the folder of an owner: as [`of_record`], with another end.
pub(super) fn of_entry(key: &StoreKey) -> String {
    spell(key, ENTRY_SUFFIX)
}

fn spell(key: &StoreKey, suffix: &str) -> String {
    let mut name = String::with_capacity(key.as_str().len() + suffix.len());
    for letter in key.as_str().chars() {
        if letter.is_ascii_uppercase() {
            name.push('=');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name.push_str(suffix);
    name
}

/// The name of an owner's folder: a hash, because an owner may be called anything, at any length.
pub(super) fn of_owner(owner: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(owner))
}

/// Whether an owner's folder may be called `name`.
pub(super) fn is_owner(name: &str) -> bool {
    name.len() == HASH_LEN && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The folder of the file `name`, or of the owner's folder `name`: its first two characters, or the only one before the suffix. So no folder holds more than one in 256 of the
/// sessions, and none can be called `.` or `..`.
pub(super) fn of_folder(name: &str) -> &str {
    let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
    stem.get(..2).unwrap_or(stem)
}

/// The key whose record is in `folder/name`, or `None` when no record is ever put there.
pub(super) fn key(folder: &str, name: &str) -> Option<StoreKey> {
    read(name, SUFFIX).filter(|_| of_folder(name) == folder)
}

/// The key whose file in an owner's folder is called `name`, or `None` when none is.
pub(super) fn key_of_entry(name: &str) -> Option<StoreKey> {
    read(name, ENTRY_SUFFIX)
}

fn read(name: &str, suffix: &str) -> Option<StoreKey> {
    let mut key = String::with_capacity(name.len());
    let mut letters = name.strip_suffix(suffix)?.chars();
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '=' => letters.next()?.to_ascii_uppercase(),
            other => other,
        });
    }
    let key: StoreKey = key.parse().ok()?;
    // Spelled back, so that a key has one file only.
    (spell(&key, suffix) == name).then_some(key)
}

/// How temporary files are named: never as a record's.
pub(super) fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder
        .prefix(TEMPORARY_PREFIX)
        .suffix(TEMPORARY_SUFFIX)
        .rand_bytes(TEMPORARY_RANDOM);
    builder
}

/// Whether a file was named by [`temporary`].
pub(super) fn is_temporary(name: &str) -> bool {
    name.strip_prefix(TEMPORARY_PREFIX)
        .and_then(|rest| rest.strip_suffix(TEMPORARY_SUFFIX))
        .is_some_and(|random| random.len() == TEMPORARY_RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_has_one_file_and_a_file_one_key_whatever_the_file_system_thinks_of_capitals(
            one in "[A-Ca-c0-1_-]{1,6}",
            other in "[A-Ca-c0-1_-]{1,6}",
        ) {
            let (one, other): (StoreKey, StoreKey) = (one.parse().unwrap(), other.parse().unwrap());
            let (first, second) = (of_record(&one), of_record(&other));
            prop_assert_eq!(one == other, first.eq_ignore_ascii_case(&second));
            prop_assert_eq!(key(of_folder(&first), &first), Some(one));
            let (first, second) = (of_entry(&one), of_entry(&other));
            prop_assert_eq!(one == other, first.eq_ignore_ascii_case(&second));
            prop_assert_eq!(key_of_entry(&first), Some(one));
        }

        #[test]
        fn what_is_named_otherwise_is_nobodys(folder in ".{0,4}", name in ".{0,10}(\\.session)?") {
            if let Some(key) = key(&folder, &name) {
                prop_assert_eq!(of_record(&key), name);
            }
        }

        #[test]
        fn folders_and_files_are_plain_names(text in "[A-Za-z0-9_-]{1,64}") {
            let name = of_record(&text.parse().unwrap());
            for part in [of_folder(&name), &name] {
                prop_assert!(!part.is_empty() && !part.starts_with('.') && !part.contains(['/', '\\']));
            }
            prop_assert!(name.len() <= 255 && !is_temporary(&name));
        }
    }

    #[test]
    fn a_hash_is_its_own_name() {
        let hash = "e33cdf9c7f7120b98e8c78408953e07f2ecd183006b5606df349b4c212acf43e";
        let name = of_record(&hash.parse().unwrap());
        assert_eq!(
            (of_folder(&name), name.as_str()),
            ("e3", format!("{hash}.session").as_str())
        );
    }

    #[test]
    fn an_owner_is_not_told_by_the_name_of_its_folder() {
        let long = "o".repeat(100_000);
        for owner in ["", "ann", "..", "/", "a/b", "\0", "\u{1f600}", &long] {
            let name = of_owner(owner);
            assert!(
                is_owner(&name) && is_owner(&format!("{:0<64}", of_folder(&name))),
                "{name}"
            );
        }
        assert_ne!(of_owner("ann"), of_owner("ann "));
        for name in ["", "ann", "complete", &"0".repeat(63), &"A".repeat(64), &"g".repeat(64)] {
            assert!(!is_owner(name), "{name}");
        }
    }

    #[test]
    fn spellings_that_are_not_ours_are_no_records() {
        // STORE-22
        for (folder, name) in [
            ("ab", "abc"),
            ("ab", "abc.session.bak"),
            ("ab", ".session"),
            ("ba", "abc.session"),
            ("AB", "ABc.session"),
            ("=1", "=1.session"),
            ("==", "==.session"),
            ("ab", "ab=.session"),
            ("ab", "ab c.session"),
            ("ab", "ab\u{e9}.session"),
            ("\u{e9}", "\u{e9}.session"),
        ] {
            assert!(key(folder, name).is_none(), "{folder}/{name}");
        }
    }
}
