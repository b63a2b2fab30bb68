//! What is written together.

use serde::Serialize;
use zeroize::Zeroizing;

use super::Table;

/// Changes that become durable together or not at all.
#[derive(Default)]
pub struct WriteBatch {
    pub(super) changes: Vec<Change>,
}

pub(super) struct Change {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    /// None removes.
    pub(super) value: Option<Zeroizing<Vec<u8>>>,
}

impl WriteBatch {
    /// No changes yet.
    pub const fn new() -> Self {
        Self { changes: Vec::new() }
    }

    /// Sets the value of a key; it is sealed when it is written.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change { table, key: key.into(), value: Some(Zeroizing::new(value.into())) });
        self
    }

    /// Sets the value of a key to something as JSON.
    ///
    /// # Panics
    /// When the value's `Serialize` fails, which plain data does not.
    pub fn put_json<T: Serialize>(&mut self, table: Table, key: impl Into<Vec<u8>>, value: &T) -> &mut Self {
        self.put(table, key, serde_json::to_vec(value).expect("a stored value is plain data"))
    }

    /// Forgets a key.
    pub fn remove(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.changes.push(Change { table, key: key.into(), value: None });
        self
    }

    /// Adds another batch's changes after these.
    pub fn append(&mut self, mut other: Self) -> &mut Self {
        self.changes.append(&mut other.changes);
        self
    }

    /// True when nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WriteBatch({} changes)", self.changes.len())
    }
}
