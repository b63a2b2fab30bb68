//! A state with changes on top that nobody has written yet.

use std::collections::BTreeMap;

use crate::{Delta, Memo, StateRead};

/// Reads through the deltas pushed so far to the state below; the transactions of one block see each other through it.
#[derive(Debug)]
pub struct Overlay<'a, S: ?Sized> {
    base: &'a S,
    delta: Delta,
    memo: Memo,
}

impl<'a, S: StateRead + ?Sized> Overlay<'a, S> {
    /// An overlay without changes.
    pub fn new(base: &'a S) -> Self {
        Self { base, delta: Delta::default(), memo: Memo::default() }
    }

    /// Lays changes on top; they win over earlier ones.
    pub fn push(&mut self, delta: Delta) {
        for key in delta.merkle.keys() {
            self.memo.forget(key);
        }
        self.delta.extend(delta);
    }

    /// The changes laid so far.
    pub const fn delta(&self) -> &Delta {
        &self.delta
    }

    /// All changes together.
    pub fn into_delta(self) -> Delta {
        self.delta
    }
}

impl<S: StateRead + ?Sized> StateRead for Overlay<'_, S> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.delta.merkle.get(key).map_or_else(|| self.base.get(key), Clone::clone)
    }

    fn get_flat(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.delta.flat.get(key).map_or_else(|| self.base.get_flat(key), Clone::clone)
    }

    fn scan_flat(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        if from >= to {
            return Vec::new();
        }
        let changed: Vec<_> = self.delta.flat.range(from.to_vec()..to.to_vec()).collect();
        // Each removed row may hide one of the base's rows, so the base is asked for as many more.
        let hidden = changed.iter().filter(|(_, v)| v.is_none()).count();
        let base = self.base.scan_flat(from, to, limit.saturating_add(hidden));
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = base.into_iter().collect();
        for (key, value) in changed {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows.into_iter().take(limit).collect()
    }

    fn memo(&self) -> Option<&Memo> {
        Some(&self.memo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, read::Read};

    fn first(bytes: &[u8]) -> Option<u8> {
        bytes.first().copied()
    }

    #[test]
    fn a_row_that_changed_is_parsed_again() {
        let mut base = Memory::default();
        base.merkle.insert(b"row".to_vec(), vec![1]);
        let mut state = Overlay::new(&base);
        assert_eq!((state.value(b"row", first), state.value(b"new", first)), (Some(1), None));
        let row = |key: &[u8], value| Delta { merkle: [(key.to_vec(), value)].into(), ..Delta::default() };
        state.push(row(b"row", Some(vec![2])));
        state.push(row(b"new", Some(vec![3])));
        assert_eq!((state.value(b"row", first), state.value(b"new", first)), (Some(2), Some(3)));
        state.push(row(b"row", None));
        assert_eq!(state.value(b"row", first), None);
        assert_eq!(state.value(b"new", |bytes| Some(bytes.len())), Some(1), "another type is parsed by itself");
    }
}
