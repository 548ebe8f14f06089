//! A map by key that is cheap while it is small, as it is in most sessions.

use std::collections::{BTreeMap, btree_map};
use std::iter::FusedIterator;
use std::slice;
use std::sync::Arc;

/// Up to this many entries, a list is as fast to insert into as a tree.
const FEW: usize = 32;

/// Entries in the order of their keys: in a list, or, once there are many, in a tree.
#[derive(Clone)]
pub(crate) enum Table<V> {
    Few(Vec<(Arc<str>, V)>),
    Many(BTreeMap<Arc<str>, V>),
}

impl<V> Table<V> {
    pub(crate) const fn new() -> Self {
        Self::Few(Vec::new())
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Few(list) => list.is_empty(),
            Self::Many(tree) => tree.is_empty(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        match self {
            Self::Few(list) => place(list, key).ok().map(|at| &list[at].1),
            Self::Many(tree) => tree.get(key),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        match self {
            Self::Few(list) => place(list, key).ok().map(|at| &mut list[at].1),
            Self::Many(tree) => tree.get_mut(key),
        }
    }

    #[inline]
    pub(crate) fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn insert(&mut self, key: Arc<str>, value: V) {
        match self {
            Self::Few(list) => match place(list, &key) {
                Ok(at) => list[at].1 = value,
                Err(at) if list.len() < FEW => list.insert(at, (key, value)),
                Err(_) => {
                    let mut tree: BTreeMap<_, _> = std::mem::take(list).into_iter().collect();
                    tree.insert(key, value);
                    *self = Self::Many(tree);
                }
            },
            Self::Many(tree) => drop(tree.insert(key, value)),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &str) -> Option<(Arc<str>, V)> {
        match self {
            Self::Few(list) => place(list, key).ok().map(|at| list.remove(at)),
            Self::Many(tree) => tree.remove_entry(key),
        }
    }

    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&Arc<str>, &V) -> bool) {
        match self {
            Self::Few(list) => list.retain(|(key, value)| stays(key, value)),
            Self::Many(tree) => tree.retain(|key, value| stays(key, value)),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    #[inline]
    pub(crate) fn iter(&self) -> Iter<'_, V> {
        match self {
            Self::Few(list) => Iter::Few(list.iter()),
            Self::Many(tree) => Iter::Many(tree.iter()),
        }
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.iter().map(|(key, _)| key)
    }
}

fn place<V>(list: &[(Arc<str>, V)], key: &str) -> Result<usize, usize> {
    list.binary_search_by(|(other, _)| (**other).cmp(key))
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> FromIterator<(Arc<str>, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        entries.into_iter().for_each(|(key, value)| table.insert(key, value));
        table
    }
}

/// The entries of a [`Table`].
pub(crate) enum Iter<'a, V> {
    Few(slice::Iter<'a, (Arc<str>, V)>),
    Many(btree_map::Iter<'a, Arc<str>, V>),
}

impl<'a, V> Iterator for Iter<'a, V> {
    type Item = (&'a Arc<str>, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(list) => list.next().map(|(key, value)| (key, value)),
            Self::Many(tree) => tree.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(list) => list.size_hint(),
            Self::Many(tree) => tree.size_hint(),
        }
    }
}

impl<V> ExactSizeIterator for Iter<'_, V> {}

impl<V> FusedIterator for Iter<'_, V> {}

// By hand, because an iterator is cloned whatever it iterates over.
impl<V> Clone for Iter<'_, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Few(list) => Self::Few(list.clone()),
            Self::Many(tree) => Self::Many(tree.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_table_of_any_size_is_a_map(steps in prop::collection::vec((0..50_u8, any::<Option<u8>>()), 0..200)) {
            let (mut table, mut map) = (Table::new(), BTreeMap::<Arc<str>, u8>::new());
            for (key, value) in steps {
                let key: Arc<str> = key.to_string().into();
                match value {
                    Some(value) => {
                        table.insert(key.clone(), value);
                        map.insert(key.clone(), value);
                    }
                    None => prop_assert_eq!(table.remove(&key), map.remove_entry(&key)),
                }
                prop_assert_eq!(table.get(&key), map.get(&key));
                prop_assert_eq!(table.iter().len(), map.len());
            }
            prop_assert!(table.iter().eq(map.iter()));
            prop_assert_eq!(table.is_empty(), map.is_empty());
            table.retain(|_, value| value % 2 == 0);
            map.retain(|_, value| *value % 2 == 0);
            prop_assert!(table.keys().eq(map.keys()));
        }
    }
}
