//! What becomes of a group: committed, refused, or unknown for now; and what a restart finds.

use std::time::Duration;

use vouchsafe_types::{Count, Rejection};

use super::{
    ANCHORS, ITEMS, Unsettled, Writer,
    group::{Anchoring, Group, Item, Pending},
};
use crate::{
    blobs::parse_cid,
    ledger::{Committed, LedgerError, View},
    records::{Directory, New, WriteError},
    store::{WriteBatch, from_json},
};

/// How often a busy ledger is asked again, and how long is waited the first time.
const BUSY_TRIES: u32 = 6;
const BUSY_WAIT: Duration = Duration::from_millis(10);

impl Writer {
    /// Step 3, for the first time.
    pub(super) async fn submit(&mut self, group: Group) {
        for (handle, map) in &group.maps {
            self.directory.set_pending(handle, Some(map.clone()));
        }
        match self.submit_patiently(&group).await {
            Ok(committed) => self.finish(group, committed.height).await,
            Err(LedgerError::Unavailable(what)) => self.keep(group, what, Unsettled::Submit),
            Err(e) => self.discard(group, e.into()).await,
        }
    }

    async fn submit_patiently(&self, group: &Group) -> Result<Committed, LedgerError> {
        let mut wait = BUSY_WAIT;
        for _ in 1..BUSY_TRIES {
            match self.ground.ledger.submit(group.anchoring.tx.clone()).await {
                Err(LedgerError::Busy) => tokio::time::sleep(wait).await,
                other => return other,
            }
            wait *= 2;
        }
        self.ground.ledger.submit(group.anchoring.tx.clone()).await
    }

    /// Step 3, of a group of which it is not known whether it came so far. The same signed act is submitted again.
    pub(super) async fn submit_again(&mut self, group: Group) {
        match self.submit_patiently(&group).await {
            Ok(committed) => self.finish(group, committed.height).await,
            Err(LedgerError::Rejected(rejection)) => self.look(group, rejection).await,
            Err(e) => self.keep(group, e.to_string(), Unsettled::Submit),
        }
    }

    /// A second submission that is refused was committed before, or never will be: the heads tell.
    async fn look(&mut self, group: Group, rejection: Rejection) {
        match self.moved(&group).await {
            // The block is one at or before the newest.
            Ok(true) => {
                let height = self.ground.ledger.head().height;
                self.finish(group, height).await;
            }
            Ok(false) => self.discard(group, WriteError::Rejected(rejection)).await,
            Err(e) => self.keep(group, e.to_string(), Unsettled::Submit),
        }
    }

    async fn moved(&self, group: &Group) -> Result<bool, LedgerError> {
        let view = View(&*self.ground.ledger);
        for m in &group.anchoring.moves {
            let head = view.head(&self.ground.org, &m.handle).await?;
            if !head.is_some_and(|head| head.seq == m.seq && head.root == m.new) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Keeps a group that cannot go on now; its callers are told that it is not known.
    fn keep(&mut self, mut group: Group, what: String, next: impl FnOnce(Group) -> Unsettled) {
        tracing::warn!("a group of writes is not settled yet: {what}");
        group.refuse(&WriteError::Unavailable(what));
        self.unsettled = Some(next(group));
    }

    /// Step 4.
    pub(super) async fn finish(&mut self, mut group: Group, height: u64) {
        let mut batch = WriteBatch::new();
        for item in &mut group.items {
            item.pending.row.height = Count(height);
            self.index.write(&mut batch, &item.pending.row);
            Directory::write_own(&mut batch, &item.pending.entry, &item.pending.jws);
        }
        group.out_of_outbox(&mut batch);
        if let Err(e) = self.ground.db.commit_lazily(batch).await {
            // The records exist; the database will have to say so when it can be written again.
            return self.keep(group, e.to_string(), |group| Unsettled::Finish(group, height));
        }
        for (handle, map) in group.maps {
            self.directory.promote(&handle, map);
        }
        for Item { pending, done, .. } in group.items {
            let Pending { row, jws, .. } = pending;
            self.directory.announce(New::Entry { handle: row.handle, record: row.id, jws });
            // Nobody may be listening, and who asked may have gone.
            let _ = self.new.send(row.clone());
            if let Some(done) = done {
                let _ = done.send(Ok(row));
            }
        }
    }

    /// Undoes steps 1 and 2. The answer comes when that is durable, so that a refused write does not come back.
    pub(super) async fn discard(&mut self, mut group: Group, error: WriteError) {
        for (handle, _) in &group.maps {
            self.directory.set_pending(handle, None);
        }
        let undone = self.remove_blobs(&group).await;
        let mut batch = WriteBatch::new();
        group.out_of_outbox(&mut batch);
        if let Err(e) = self.ground.db.commit(batch).await {
            return self.keep(group, e.to_string(), Unsettled::Discard);
        }
        if let Err(e) = undone {
            tracing::warn!("a refused write left a blob that nothing names: {e}");
        }
        group.refuse(&error);
    }

    async fn remove_blobs(&self, group: &Group) -> Result<(), crate::blobs::BlobError> {
        for item in &group.items {
            if let Ok(cid) = parse_cid(&item.pending.row.cid) {
                self.ground.blobs.remove(&cid).await?;
            }
        }
        Ok(())
    }

    /// At a start: settles what lies in the outbox, and forgets charts whose Patient was never written.
    pub(super) async fn recover(&mut self) -> Result<(), WriteError> {
        for (key, value) in self.ground.db.scan_prefix(ANCHORS, &[])? {
            let anchoring: Anchoring = from_json(ANCHORS, &value)?;
            let mut items = Vec::new();
            for (_, value) in self.ground.db.scan_prefix(ITEMS, &key)? {
                let pending: Pending = from_json(ITEMS, &value)?;
                items.push(Item { pending, blob: None, done: None });
            }
            let id = key.as_slice().try_into().map_err(|_| WriteError::Unavailable("the outbox is damaged".into()))?;
            let group = Group { id: vouchsafe_types::RecordId(id), anchoring, items, maps: Vec::new() };
            if self.has_blobs(&group).await? {
                self.submit_again(group).await;
            } else {
                // The anchor is submitted after the blobs are durable, so it was not.
                self.discard(group, WriteError::Unavailable("the write was interrupted".into())).await;
            }
            if self.unsettled.is_some() {
                return Err(WriteError::Unavailable("the ledger must be reachable to settle the outbox".into()));
            }
        }
        for chart in self.charts.patients() {
            let written = self.index.latest_version(&chart).map_err(|e| WriteError::Unavailable(e.to_string()))?;
            if written.is_none() {
                self.charts.discard(&chart).await?;
            }
        }
        Ok(())
    }

    async fn has_blobs(&self, group: &Group) -> Result<bool, WriteError> {
        for item in &group.items {
            let Ok(cid) = parse_cid(&item.pending.row.cid) else { return Ok(false) };
            if !self.ground.blobs.has(&cid).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
