//! A state in memory: for tests, and for tools that replay blocks without a store.

use std::collections::BTreeMap;

use crate::{Changes, Delta, StateRead};

/// All rows in two ordered maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Merkle rows.
    pub merkle: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Flat rows.
    pub flat: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Memory {
    /// Writes a delta.
    pub fn write(&mut self, delta: Delta) {
        write(&mut self.merkle, delta.merkle);
        write(&mut self.flat, delta.flat);
    }
}

fn write(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

impl StateRead for Memory {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.merkle.get(key).cloned()
    }

    fn get_flat(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.flat.get(key).cloned()
    }

    fn scan_flat(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        if from >= to {
            return Vec::new();
        }
        self.flat.range(from.to_vec()..to.to_vec()).take(limit).map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}
