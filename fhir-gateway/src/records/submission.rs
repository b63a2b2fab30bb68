//! What is asked to be written: acts that happen together or not at all.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use vouchsafe_fhir_search::Query;
use vouchsafe_types::{Hash32, RecordId, SessionId, TimeMs};

use super::{Actor, RecordRow};

/// Acts that are one ledger transaction or none.
#[derive(Clone)]
pub struct Submission {
    /// What is to be done; no record comes twice.
    pub acts: Vec<Act>,
    /// What the acts rest on.
    pub conditions: Vec<Condition>,
    /// The client's name for this request, under which it is done once.
    pub idempotency: Option<Idempotency>,
    /// What is kept with the idempotency key besides, and handed back by `Records::before`.
    pub note: String,
    /// The session in which a doctor uploads.
    pub session: Option<SessionId>,
    /// Who writes.
    pub by: Actor,
}

impl Submission {
    /// Acts that rest on nothing.
    pub const fn new(acts: Vec<Act>, session: Option<SessionId>, by: Actor) -> Self {
        Self { acts, conditions: Vec::new(), idempotency: None, note: String::new(), session, by }
    }

    /// How many bytes of records it carries.
    pub(super) fn bytes(&self) -> usize {
        self.acts.iter().map(|act| act.sealed_form.len()).sum()
    }
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Submission({} acts)", self.acts.len())
    }
}

/// What kind of act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActKind {
    /// The first version of a record, under an id that was made with `Records::new_id`. A Patient whose chart is itself
    /// opens that chart.
    Create,
    /// The next version, if the latest is the one named. It brings a deleted record back.
    Update {
        /// The version that must be the latest.
        if_match: Option<u64>,
    },
    /// A version that says that the record is deleted, if the latest is the one named.
    Delete {
        /// The version that must be the latest.
        if_match: Option<u64>,
    },
}

/// One version to be written.
#[derive(Clone)]
pub struct Act {
    /// The record.
    pub id: RecordId,
    /// What becomes of it.
    pub kind: ActKind,
    /// Its FHIR type.
    pub resource_type: String,
    /// The chart that it belongs to.
    pub chart: RecordId,
    /// The exact bytes that are sealed; none of a deletion.
    pub sealed_form: Bytes,
    /// The same, parsed, for the index; null of a deletion.
    pub value: Arc<Value>,
}

impl Act {
    /// Deletes a record.
    pub fn delete(id: RecordId, resource_type: String, chart: RecordId, if_match: Option<u64>) -> Self {
        let kind = ActKind::Delete { if_match };
        Self { id, kind, resource_type, chart, sealed_form: Bytes::new(), value: Arc::new(Value::Null) }
    }
}

/// What must still be true when the acts are done: a search finds exactly these.
#[derive(Clone)]
pub struct Condition {
    /// The search, over all own records.
    pub query: Arc<Query>,
    /// The charts that it looks into; all when none.
    pub charts: Option<Vec<RecordId>>,
    /// What it found when the caller decided on the acts; in any order.
    pub expect: Vec<RecordId>,
}

/// A request that is done once, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// A blinded name of the client and its key.
    pub key: Hash32,
    /// A hash of the whole request; another request under the same key is refused.
    pub request: Hash32,
}

/// What was done under an idempotency key before.
#[derive(Clone, PartialEq)]
pub struct Repeated {
    /// The versions written, in the order of the acts.
    pub rows: Vec<RecordRow>,
    /// What was kept with them.
    pub note: String,
}

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The version written.
    pub row: RecordRow,
    /// What kind of act it was.
    pub what: Done,
    /// True when an earlier request with the same idempotency key wrote it.
    pub replayed: bool,
}

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is new.
    Created,
    /// It has a new version.
    Updated,
    /// It was deleted.
    Deleted,
}

impl Written {
    pub(super) fn of(row: RecordRow, replayed: bool) -> Self {
        let what = match (row.tombstone, row.version.0) {
            (true, _) => Done::Deleted,
            (false, 1) => Done::Created,
            _ => Done::Updated,
        };
        Self { row, what, replayed }
    }
}

/// Whose history is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of all own records.
    All,
    /// That of all of a type.
    Type(String),
    /// That of all in a chart.
    Chart(RecordId),
    /// That of one record.
    Record(RecordId),
}

/// A place in a history. It names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryCursor(pub(super) u64, pub(super) u32);

impl HistoryCursor {
    /// The place as bytes, for a link.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..8].copy_from_slice(&self.0.to_be_bytes());
        out[8..].copy_from_slice(&self.1.to_be_bytes());
        out
    }

    /// Takes the bytes that `to_bytes` gave.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let height = u64::from_be_bytes(std::array::from_fn(|at| bytes[at]));
        Self(height, u32::from_be_bytes(std::array::from_fn(|at| bytes[8 + at])))
    }
}

/// Versions, the newest first.
#[derive(Debug, Default)]
pub struct HistoryPage {
    /// The versions.
    pub rows: Vec<RecordRow>,
    /// Before what the next page begins; none when this is the last.
    pub next: Option<HistoryCursor>,
}

/// What part of a history is asked for.
#[derive(Clone, Copy, Debug)]
pub struct HistoryPart {
    /// Only what was committed at or after this time.
    pub since: Option<TimeMs>,
    /// Only what was committed before this place.
    pub before: Option<HistoryCursor>,
    /// So many at most.
    pub count: usize,
}
