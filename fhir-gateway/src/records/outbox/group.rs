//! Writes that share one anchor.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vouchsafe_types::{Handle, RecordId, merkle::RecordMap, state::HeadMove};

use super::{ANCHORS, ITEMS};
use crate::{
    records::{DirectoryEntry, RecordRow, WriteError},
    seal::Sealed,
    store::WriteBatch,
};

/// One version as it lies in the outbox.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pending {
    pub(super) row: RecordRow,
    pub(super) entry: DirectoryEntry,
    /// The entry, signed.
    pub(super) jws: String,
}

/// The anchor of a group as it lies in the outbox.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Anchoring {
    /// The signed transaction; submitted again after a crash, it is the same act.
    pub(super) tx: String,
    /// The heads that it moves.
    pub(super) moves: Vec<HeadMove>,
}

/// A version with its blob and its caller. After a restart there is neither.
pub(super) struct Item {
    pub(super) pending: Pending,
    pub(super) blob: Option<Sealed>,
    pub(super) done: Option<oneshot::Sender<Result<RecordRow, WriteError>>>,
}

/// Versions that share one anchor.
pub(super) struct Group {
    /// A random name in the outbox.
    pub(super) id: RecordId,
    pub(super) anchoring: Anchoring,
    pub(super) items: Vec<Item>,
    /// The maps of the charts touched, as they become; none after a restart, when they are built from the entries.
    pub(super) maps: Vec<(Handle, RecordMap)>,
}

fn item_key(group: &RecordId, number: usize) -> Vec<u8> {
    [group.0.as_slice(), &(number as u64).to_be_bytes()].concat()
}

impl Group {
    pub(super) fn blobs(&self) -> Vec<Sealed> {
        self.items.iter().filter_map(|item| item.blob.clone()).collect()
    }

    /// The batch that puts the group into the outbox.
    pub(super) fn to_outbox(&self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.put_json(ANCHORS, self.id.0, &self.anchoring);
        for (number, item) in self.items.iter().enumerate() {
            batch.put_json(ITEMS, item_key(&self.id, number), &item.pending);
        }
        batch
    }

    /// Adds the group's removal from the outbox to a batch.
    pub(super) fn out_of_outbox(&self, batch: &mut WriteBatch) {
        batch.remove(ANCHORS, self.id.0);
        for number in 0..self.items.len() {
            batch.remove(ITEMS, item_key(&self.id, number));
        }
    }

    /// Tells every caller the same.
    pub(super) fn refuse(&mut self, error: &WriteError) {
        for done in self.items.iter_mut().filter_map(|item| item.done.take()) {
            // Who asked may have gone.
            let _ = done.send(Err(error.clone()));
        }
    }
}
