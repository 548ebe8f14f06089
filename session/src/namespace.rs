//! How the store sees ids and owners. Applications that share a store cannot use each other's.

use std::sync::Arc;

use crate::id::{SessionId, StoreKey};
use crate::record::Record;

/// Separates a namespace from an owner. Unlike a colon, it does not occur in text that people type.
const SEPARATOR: char = '\u{1f}';

/// How ids and owners are written in the store.
///
/// ```text
///                  id                       owner 42         owner "a<US>b"
/// without a name   SHA-256 of id            42               <US>a<US>b
/// named shop       SHA-256 of shop:id       shop<US>42       shop<US>a<US>b
/// raw              id                       42               <US>a<US>b
/// ```
///
/// A name contains no separator (`<US>`, U+001F), so owners of different applications are never written the same way.
/// Without a name, an owner that contains no separator is written unchanged, so a store from before there were
/// namespaces still works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    Nameless,
    Named(Box<str>),
    /// The store sees ids as they are.
    Raw,
}

impl Namespace {
    /// Whether `name` can be told apart from the text that follows it.
    pub(crate) fn is_valid(name: &str) -> bool {
        !name.contains(SEPARATOR)
    }

    /// Returns the store key for an id.
    #[inline]
    pub(crate) fn key_of(&self, id: &SessionId) -> StoreKey {
        match self {
            Self::Nameless => StoreKey::from(id),
            Self::Named(name) => StoreKey::within(name, id),
            Self::Raw => StoreKey::raw(id),
        }
    }

    /// An owner as the store names it. `None` if that is the application's name for it.
    fn owner(&self, owner: &str) -> Option<Arc<str>> {
        let name = match self {
            Self::Named(name) => name,
            Self::Nameless | Self::Raw if owner.contains(SEPARATOR) => "",
            Self::Nameless | Self::Raw => return None,
        };
        Some(format!("{name}{SEPARATOR}{owner}").into())
    }

    /// An owner as the store names it.
    pub(crate) fn owner_in_store(&self, owner: &str) -> Arc<str> {
        self.owner(owner).unwrap_or_else(|| owner.into())
    }

    /// A record as the store has it. `None` if it is the same as the application's.
    #[inline]
    pub(crate) fn record_in_store(&self, record: &Record) -> Option<Record> {
        let owner = self.owner(record.owner()?)?;
        Some(record.clone().with_owner(owner))
    }

    /// A record from the store, as the application knows it.
    #[inline]
    pub(crate) fn record_of_store(&self, record: Record) -> Record {
        let name = match self {
            Self::Named(name) => name,
            Self::Nameless | Self::Raw => "",
        };
        let owner = record
            .owner()
            .and_then(|owner| owner.strip_prefix(name)?.strip_prefix(SEPARATOR));
        match owner.map(str::to_owned) {
            Some(owner) => record.with_owner(owner),
            None => record,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    #[test]
    fn no_owner_of_one_namespace_is_written_like_one_of_another() {
        let namespaces = [
            Namespace::Nameless,
            Namespace::Named("shop".into()),
            Namespace::Named("shop:42".into()),
            Namespace::Named(":".into()),
        ];
        let owners = [
            "42",
            "shop:42",
            "shop\u{1f}42",
            "\u{1f}shop\u{1f}42",
            "\u{1f}",
            "",
            ":",
            "é",
        ];
        let mut written = BTreeSet::new();
        for namespace in &namespaces {
            for owner in owners {
                let record = Record::new(b"{}".to_vec(), SystemTime::now()).with_owner(owner);
                let stored = namespace.record_in_store(&record).unwrap_or_else(|| record.clone());
                assert_eq!(stored.owner(), Some(&*namespace.owner_in_store(owner)));
                assert!(
                    written.insert(stored.owner().unwrap().to_owned()),
                    "{namespace:?} {owner:?}"
                );
                assert_eq!(namespace.record_of_store(stored).owner(), Some(owner), "{namespace:?}");
            }
        }
    }

    #[test]
    fn without_a_namespace_ids_and_owners_are_written_as_they_always_were() {
        let id = SessionId::generate().unwrap();
        assert_eq!(Namespace::Nameless.key_of(&id), StoreKey::from(&id));
        assert_eq!(&*Namespace::Nameless.owner_in_store("shop:42"), "shop:42");
    }

    #[test]
    fn a_key_in_a_namespace_is_the_sha_256_of_its_name_a_colon_and_the_id() {
        // printf 'shop:%s' $(printf 'a%.0s' {1..40}) | sha256sum
        let id: SessionId = "a".repeat(40).parse().unwrap();
        let key = Namespace::Named("shop".into()).key_of(&id);
        assert_eq!(
            key.as_str(),
            "bd87289b010c84663b7d3539fab7d2f947378761520ea38371967a00dee0fda7"
        );
    }
}
