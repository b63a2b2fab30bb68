//! Requests that are done once, however often they are sent: what was written under which key is kept for seven days.
//!
//! A key is written with the records that it stands for, in one batch, and before that it lies in the outbox beside them. So
//! a request that is sent again after a crash finds what was written, or nothing was.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{Hash32, RecordId, TimeMs};

use super::judge::unavailable;
use crate::{
    records::{Idempotency, Repeated, WriteError, index::Index},
    store::{Db, StoreError, Table, WriteBatch},
};

/// key → `Kept`.
const ONCE: Table = "once";
/// time ‖ key → nothing.
const BY_TIME: Table = "once-by-time";

/// How long a key is kept.
pub(super) const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// So many keys are pruned at once, so that no write waits for many.
const PRUNED: usize = 256;

/// A key and what was written under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    key: Hash32,
    request: Hash32,
    at: TimeMs,
    /// In the order of the request's acts.
    written: Vec<(RecordId, u64)>,
    /// What its sender wants to have kept.
    note: String,
}

/// What was done under a key before.
pub(super) enum Before {
    Nothing,
    Same(Repeated),
    /// Another request had the key.
    Other,
}

impl Kept {
    pub(super) fn new(once: &Idempotency, at: TimeMs, written: Vec<(RecordId, u64)>, note: String) -> Self {
        Self { key: once.key, request: once.request, at, written, note }
    }

    pub(super) fn write(&self, batch: &mut WriteBatch) {
        batch.put_json(ONCE, self.key.0, self);
        batch.put(BY_TIME, time_key(self.at, &self.key), []);
    }
}

fn time_key(at: TimeMs, key: &Hash32) -> Vec<u8> {
    [at.0.to_be_bytes().as_slice(), &key.0].concat()
}

/// What was done under this key.
pub(super) fn before(db: &Db, index: &Index, once: &Idempotency) -> Result<Before, WriteError> {
    let Some(kept) = db.get_json::<Kept>(ONCE, &once.key.0)? else { return Ok(Before::Nothing) };
    if kept.request != once.request {
        return Ok(Before::Other);
    }
    let row = |(id, version): &(RecordId, u64)| {
        let row = index.row(id, *version).map_err(|e| unavailable(&e))?;
        let missing = || WriteError::Unavailable("a version that was written once is not there".into());
        row.ok_or_else(missing)
    };
    let rows = kept.written.iter().map(row).collect::<Result<_, WriteError>>()?;
    Ok(Before::Same(Repeated { rows, note: kept.note }))
}

/// The removal of keys that have served their time.
pub(super) fn prune(db: &Db, now: TimeMs) -> Result<WriteBatch, StoreError> {
    let mut batch = WriteBatch::new();
    let Some(until) = now.0.checked_sub(KEPT_MS) else { return Ok(batch) };
    for key in db.keys_from(BY_TIME, &[], PRUNED)? {
        let Some((time, once)) = key.split_first_chunk::<8>() else { continue };
        if u64::from_be_bytes(*time) > until {
            break;
        }
        batch.remove(ONCE, once);
        batch.remove(BY_TIME, key);
    }
    Ok(batch)
}
