//! Two schemas in one session must not claim one key; the compiler checks it.

use super::info::KeyInfo;

/// Fails to compile when two of the schemas claim one key, or both have an `owner` field, and says which. A session has one owner.
///
/// A library that keeps something in its users' sessions has a schema of its own. Give it a
/// [prefix](derive@crate::SessionSchema#on-the-struct), and check it against the application's:
///
/// ```
/// use session_schema::{SessionSchema, assert_disjoint};
///
/// #[derive(SessionSchema)]
/// struct Shop {
///     user_id: Option<u64>,
/// }
///
/// #[derive(SessionSchema)]
/// #[session(prefix = "auth.")]
/// struct Auth {
///     user_id: Option<u64>,
/// }
///
/// assert_disjoint!(Shop, Auth);
/// ```
///
/// Without the prefix:
///
/// ```compile_fail
/// # use session_schema::{SessionSchema, assert_disjoint};
/// # #[derive(SessionSchema)]
/// # struct Shop { user_id: Option<u64> }
/// # #[derive(SessionSchema)]
/// # struct Auth { user_id: Option<u64> }
/// assert_disjoint!(Shop, Auth); // the session schemas `Shop` and `Auth` both claim the key `user_id`: ...
/// ```
#[macro_export]
macro_rules! assert_disjoint {
    ($($schema:ty),+ $(,)?) => {
        const _: () = $crate::private::assert_disjoint(&[
            $((<$schema as $crate::SessionSchema>::NAME, <$schema as $crate::SessionSchema>::KEYS)),+
        ]);
    };
}

/// What [`assert_disjoint!`](crate::assert_disjoint) calls. `for` and `==` on strings are not for constants yet.
#[doc(hidden)]
pub const fn assert_disjoint(schemas: &[(&str, &[KeyInfo])]) {
    let mut second = 1;
    while second < schemas.len() {
        let mut first = 0;
        while first < second {
            compare(schemas[first], schemas[second]);
            compare_owners(schemas[first], schemas[second]);
            first += 1;
        }
        second += 1;
    }
}

const fn compare(one: (&str, &[KeyInfo]), other: (&str, &[KeyInfo])) {
    let mut key = 0;
    while key < one.1.len() {
        let mut name = 0;
        while let Some(text) = nth_name(&one.1[key], name) {
            if claims(other.1, text) {
                fail(claimed_twice(one.0, other.0, text));
            }
            name += 1;
        }
        key += 1;
    }
}

const fn compare_owners(one: (&str, &[KeyInfo]), other: (&str, &[KeyInfo])) {
    if has_owner(one.1) && has_owner(other.1) {
        fail(
            Text::new("the session schemas `")
                .push(one.0)
                .push("` and `")
                .push(other.0)
                .push("` both have an `owner` field, and a session has one owner: keep `#[session(owner)]` in one of them"),
        )
    }
}

const fn has_owner(keys: &[KeyInfo]) -> bool {
    let mut key = 0;
    while key < keys.len() {
        if keys[key].is_owner() {
            return true;
        }
        key += 1;
    }
    false
}

const fn claims(keys: &[KeyInfo], name: &str) -> bool {
    let mut key = 0;
    while key < keys.len() {
        let mut nth = 0;
        while let Some(text) = nth_name(&keys[key], nth) {
            if equal(text.as_bytes(), name.as_bytes()) {
                return true;
            }
            nth += 1;
        }
        key += 1;
    }
    false
}

/// The key's name, then its aliases.
const fn nth_name(key: &KeyInfo, nth: usize) -> Option<&'static str> {
    match nth {
        0 => Some(key.name()),
        _ if nth <= key.aliases().len() => Some(key.aliases()[nth - 1]),
        _ => None,
    }
}

const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// What is said of a key that both claim. Constants panic with one text and no formatting, so it is put together by hand.
const fn claimed_twice(one: &str, other: &str, key: &str) -> Text {
    Text::new("the session schemas `")
        .push(one)
        .push("` and `")
        .push(other)
        .push("` both claim the key `")
        .push(key)
        .push("`: write `#[session(prefix = \"..\")]` above one of them, or `#[session(key = \"..\")]` above the field")
}

const fn fail(text: Text) -> ! {
    match str::from_utf8(text.bytes.split_at(text.len).0) {
        Ok(text) => panic!("{}", text),
        Err(_) => panic!("two session schemas contradict each other"),
    }
}

/// A text of at most 1024 bytes; a longer one is cut between characters.
struct Text {
    bytes: [u8; 1024],
    len: usize,
}

impl Text {
    const fn new(text: &str) -> Self {
        let empty = Self {
            bytes: [0; 1024],
            len: 0,
        };
        empty.push(text)
    }

    const fn push(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        if self.len + text.len() > self.bytes.len() {
            return self;
        }
        let mut at = 0;
        while at < text.len() {
            self.bytes[self.len] = text[at];
            self.len += 1;
            at += 1;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_both_schemas_and_the_key() {
        let panic = std::panic::catch_unwind(|| fail(claimed_twice("Shop", "Auth", "naïve"))).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("the session schemas `Shop` and `Auth` both claim the key `naïve`: write"));
    }

    #[test]
    fn a_part_that_is_too_long_is_left_out() {
        let text = Text::new("a").push(&"b".repeat(1024)).push("c");
        assert_eq!(&text.bytes[..text.len], b"ac");
    }
}
