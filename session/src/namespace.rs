//! What the store sees of ids and owners, so that applications that share a store cannot use each other's.

use std::sync::Arc;

use crate::id::{SessionId, StoreKey};
use crate::record::Record;

/// Stands between a namespace and an owner. Texts that people type do not contain it, unlike a colon.
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
/// A name holds no separator (`<US>`, U+001F), so no owner of one application is written like one of another. Without a name an
/// ordinary owner is written as it is: a store that was written before there were namespaces goes on working.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    Nameless,
    Named(Box<str>),
    /// The store sees ids as they are.
    Raw,
}

impl Namespace {
    /// Whether `name` can be told from what stands behind it.
    pub(crate) fn is_valid(name: &str) -> bool {
        !name.contains(SEPARATOR)
    }

    /// Where the session of an id is in the store.
    #[inline]
    pub(crate) fn key_of(&self, id: &SessionId) -> StoreKey {
        match self {
            Self::Nameless => StoreKey::from(id),
            Self::Named(name) => StoreKey::within(name, id),
            Self::Raw => StoreKey::raw(id),
        }
    }

    /// An owner as the store names it; `None`: as the application does.
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

    /// A record as the store has it; `None`: as the application has it.
    #[inline]
    pub(crate) fn record_in_store(&self, record: &Record) -> Option<Record> {
        let owner = self.owner(record.owner()?)?;
        Some(record.clone().with_owner(owner))
    }

    /// A record of the store as the application knows it.
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
