//! Which file a record is in.

use crate::id::StoreKey;

const SUFFIX: &str = ".session";
const TEMPORARY_PREFIX: &str = ".session-";
const TEMPORARY_SUFFIX: &str = ".tmp";
const TEMPORARY_RANDOM: usize = 12;

/// The name of a record's file: its key and `.session`.
///
/// A capital letter is written `=` and its small one, because some file systems hold `A` and `a` for the same name and two
/// sessions must not. Keys that are hashes have none.
pub(super) fn of_record(key: &StoreKey) -> String {
    let mut name = String::with_capacity(key.as_str().len() + SUFFIX.len());
    for letter in key.as_str().chars() {
        if letter.is_ascii_uppercase() {
            name.push('=');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name.push_str(SUFFIX);
    name
}

/// The folder of the file `name`: its first two characters, or the only one before the suffix. So no folder holds more than one in 256 of the
/// sessions, and none can be called `.` or `..`.
pub(super) fn of_folder(name: &str) -> &str {
    let stem = name.strip_suffix(SUFFIX).unwrap_or(name);
    stem.get(..2).unwrap_or(stem)
}

/// The key whose record is in `folder/name`, or `None` when no record is ever put there.
pub(super) fn key(folder: &str, name: &str) -> Option<StoreKey> {
    let mut key = String::with_capacity(name.len());
    let mut letters = name.strip_suffix(SUFFIX)?.chars();
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '=' => letters.next()?.to_ascii_uppercase(),
            other => other,
        });
    }
    let key: StoreKey = key.parse().ok()?;
    // Spelled back, so that a key has one file only.
    (of_record(&key) == name && of_folder(name) == folder).then_some(key)
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
