//! The audit log: a slot is durable before anything is disclosed, entries only grow, and the ledger holds their root.
//!
//! **Architecture invariant:** audit ⊇ disclosures. Whoever opens a record reserves a slot first; a slot whose entry was lost
//! in a crash reads "possibly disclosed".

mod entry;

use std::sync::Arc;

pub use entry::{AuditEntry, AuditProof, AuditQuery, NewEntry, Recorded};
use vouchsafe_types::RecordId;

/// Why the audit log did not do it. Then nothing may be disclosed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The database or the ledger is away.
    #[error("the audit log: {0}")]
    Unavailable(String),
    /// What is stored is not what was anchored.
    #[error("the audit log was altered: {0}")]
    Altered(String),
}

/// A place in the log, durable. Dropped without an entry it becomes one that says "possibly disclosed".
#[must_use = "a slot without an entry reads as possibly disclosed"]
pub struct Slot {
    number: u64,
}

impl Slot {
    /// Gives the slot back: nothing was disclosed.
    pub fn release(self) {
        let _ = self.number;
    }
}

/// The audit log of this organisation. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {}

impl Audit {
    /// Reserves a slot; it is durable on return. Comes before the opening of a record.
    ///
    /// # Errors
    /// When the database cannot write; then nothing may be opened.
    pub async fn reserve(&self) -> Result<Slot, AuditError> {
        let _ = &self.inner;
        Err(AuditError::Unavailable("not built yet".into()))
    }

    /// Fills a slot with its entry, which becomes durable within 50 ms.
    pub fn record(&self, slot: Slot, entry: NewEntry) -> Recorded {
        slot.release();
        Recorded { id: entry.id, index: 0, leaf: vouchsafe_types::Hash32([0; 32]) }
    }

    /// Waits until the entry of this index is durable.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn durable(&self, index: u64) -> Result<(), AuditError> {
        let _ = index;
        Err(AuditError::Unavailable("not built yet".into()))
    }

    /// Makes everything recorded so far durable and anchors it.
    ///
    /// # Errors
    /// When the database or the ledger is away.
    pub async fn flush(&self) -> Result<(), AuditError> {
        Err(AuditError::Unavailable("not built yet".into()))
    }

    /// The entries that a query asks for, the newest first. Reading them is itself to be audited, by the caller.
    ///
    /// # Errors
    /// When the database cannot be read, or an entry was altered.
    pub fn search(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, AuditError> {
        let _ = query;
        Ok(Vec::new())
    }

    /// The entry with this id.
    ///
    /// # Errors
    /// When the database cannot be read, or the entry was altered.
    pub fn by_id(&self, id: &RecordId) -> Result<Option<AuditEntry>, AuditError> {
        let _ = id;
        Ok(None)
    }

    /// Shows that an entry is in the log whose root the ledger holds; none when there is no such entry, or it is not
    /// anchored yet.
    ///
    /// # Errors
    /// When the database or the ledger is away.
    pub async fn proof(&self, id: &RecordId) -> Result<Option<AuditProof>, AuditError> {
        let _ = id;
        Ok(None)
    }
}
