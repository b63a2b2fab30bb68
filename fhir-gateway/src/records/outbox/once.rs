//! Requests that are done once, however often they are sent: what was written under which key is kept for some days.
//!
//! A key is written with the records that it stands for, in one batch, and before that it lies in the outbox beside them. So
//! a request that is sent again after a crash finds what was written, or nothing was.

use std::time::Duration;

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

/// The removal of keys that were kept as long as they are to be, and whether there are more.
pub(super) fn prune(db: &Db, now: TimeMs, kept: Duration) -> Result<(WriteBatch, bool), StoreError> {
    let (mut batch, mut removed) = (WriteBatch::new(), 0);
    let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    let Some(until) = now.0.checked_sub(kept) else { return Ok((batch, false)) };
    for key in db.keys_from(BY_TIME, &[], PRUNED)? {
        let Some((time, once)) = key.split_first_chunk::<8>() else { continue };
        if u64::from_be_bytes(*time) > until {
            return Ok((batch, false));
        }
        batch.remove(ONCE, once);
        batch.remove(BY_TIME, key);
        removed += 1;
    }
    Ok((batch, removed == PRUNED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Consortium;

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_go_in_the_order_of_their_age_and_more_are_told_of() {
        let site = Consortium::new().site("a").await;
        let db = &site.ground.db;
        let mut batch = WriteBatch::new();
        for n in 0..PRUNED as u64 + 2 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            let once = Idempotency { key: Hash32(key), request: Hash32(key) };
            Kept::new(&once, TimeMs(n), Vec::new(), String::new()).write(&mut batch);
        }
        db.commit(batch).await.unwrap();
        let kept = Duration::from_secs(5);
        for (now, more, left) in [(4_999, false, PRUNED + 2), (5_300, true, 2), (5_256, false, 1), (5_300, false, 0)] {
            let (batch, told) = prune(db, TimeMs(now), kept).unwrap();
            db.commit(batch).await.unwrap();
            assert_eq!(told, more, "{now}");
            assert_eq!(db.keys(ONCE, &[]).unwrap().len(), left, "{now}");
            assert_eq!(db.keys(BY_TIME, &[]).unwrap().len(), left, "{now}");
        }
        site.stop().await;
    }
}
