//! What becomes of a group that is durable: committed, refused, or unknown for now.

use std::time::Duration;

use tokio::sync::broadcast;
use vouchsafe_types::{Count, Rejection};

use super::{
    SETTLED,
    group::{Group, Pending},
};
use crate::{
    blobs::parse_cid,
    failpoint::{self, Crashed},
    foundation::Foundation,
    ledger::{Committed, LedgerError, View},
    records::{
        Charts, Directory, New, RecordRow, WriteError,
        index::{Document, Index},
    },
    store::WriteBatch,
};

/// How often a busy ledger is asked again, and how long is waited the first time.
const BUSY_TRIES: u32 = 6;
const BUSY_WAIT: Duration = Duration::from_millis(10);

/// What is still to be done with a group that a failure left between two steps. Nothing else is written before it is done.
pub(super) enum Unsettled {
    /// It is unknown whether its anchor was committed.
    Submit(Group),
    /// Its anchor was committed, in this block or before.
    Finish(Group, u64),
    /// It was refused.
    Discard(Group),
}

/// How it went on.
pub(super) enum End {
    /// The records exist.
    Written,
    /// They never will.
    Refused,
    /// It cannot be told now.
    Open(Box<Unsettled>),
}

/// Settles groups, one after the other. Cheap to clone.
#[derive(Clone)]
pub(super) struct Settler {
    pub(super) ground: Foundation,
    pub(super) charts: Charts,
    pub(super) directory: Directory,
    pub(super) index: Index,
    pub(super) new: broadcast::Sender<RecordRow>,
}

impl Settler {
    /// Step 3, for the first time.
    pub(super) async fn submit(self, mut group: Group) -> Result<End, Crashed> {
        self.ground.failpoints.hit(failpoint::DURABLE)?;
        group.submitted = true;
        for (handle, map) in &group.maps {
            self.directory.set_pending(handle, Some(map.clone()));
        }
        match self.submit_patiently(&group, false).await {
            Ok(committed) => self.finish(group, committed.height).await,
            Err(LedgerError::Unavailable(what)) => Ok(keep(group, what, Unsettled::Submit)),
            Err(e) => self.discard(group, e.into()).await,
        }
    }

    /// Goes on with what a failure left.
    pub(super) async fn go_on(&self, unsettled: Unsettled) -> Result<End, Crashed> {
        match unsettled {
            Unsettled::Submit(group) => self.submit_again(group).await,
            Unsettled::Finish(group, height) => self.finish(group, height).await,
            Unsettled::Discard(group) => self.discard(group, WriteError::Unavailable("refused before".into())).await,
        }
    }

    async fn submit_patiently(&self, group: &Group, again: bool) -> Result<Committed, LedgerError> {
        let ledger = &self.ground.ledger;
        let submit = || {
            let tx = group.lying.tx.clone();
            if again { ledger.resubmit(tx) } else { ledger.submit(tx) }
        };
        let mut wait = BUSY_WAIT;
        for _ in 1..BUSY_TRIES {
            match submit().await {
                Err(LedgerError::Busy) => tokio::time::sleep(wait).await,
                other => return other,
            }
            wait *= 2;
        }
        submit().await
    }

    /// Step 3, of a group of which it is not known whether it came so far. Where the heads are moved already, it did; else the same
    /// signed act is submitted again.
    pub(super) async fn submit_again(&self, group: Group) -> Result<End, Crashed> {
        if let Ok(true) = self.moved(&group).await {
            return self.finish_at_head(group).await;
        }
        match self.submit_patiently(&group, true).await {
            Ok(committed) => self.finish(group, committed.height).await,
            Err(LedgerError::Rejected(rejection)) => self.look(group, rejection).await,
            // It may have been committed just before it was submitted again, by who had it all the time.
            Err(e) => match self.moved(&group).await {
                Ok(true) => self.finish_at_head(group).await,
                _ => Ok(keep(group, e.to_string(), Unsettled::Submit)),
            },
        }
    }

    /// A second submission that is refused was committed before, or never will be: the heads tell.
    async fn look(&self, group: Group, rejection: Rejection) -> Result<End, Crashed> {
        match self.moved(&group).await {
            Ok(true) => self.finish_at_head(group).await,
            Ok(false) => self.discard(group, WriteError::Rejected(rejection)).await,
            Err(e) => Ok(keep(group, e.to_string(), Unsettled::Submit)),
        }
    }

    /// Its block is one at or before the newest.
    async fn finish_at_head(&self, group: Group) -> Result<End, Crashed> {
        let height = self.ground.ledger.head().height;
        self.finish(group, height).await
    }

    /// Whether the heads are where the group moves them, or further. Only this outbox moves them, and a group that lies in it
    /// is gone from it before another one takes its place in a head's sequence; so what is further was built upon it.
    async fn moved(&self, group: &Group) -> Result<bool, LedgerError> {
        let view = View(&*self.ground.ledger);
        for m in &group.lying.moves {
            let head = view.head(&self.ground.org, &m.handle).await?;
            if !head.is_some_and(|head| head.seq > m.seq || (head.seq == m.seq && head.root == m.new)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Step 4.
    pub(super) async fn finish(&self, mut group: Group, height: u64) -> Result<End, Crashed> {
        let points = &self.ground.failpoints;
        points.hit(failpoint::ANCHORED)?;
        let mut batch = WriteBatch::new();
        for item in &mut group.lying.items {
            item.row.height = Count(height);
            Directory::write_own(&mut batch, &item.row, self.ground.org, &item.jws);
        }
        let documents = group.lying.items.iter();
        let documents: Vec<Document<'_>> =
            documents.map(|item| Document { row: &item.row, facts: item.facts.as_ref() }).collect();
        let filing = match self.index.write(&mut batch, &documents, &group.lying.moves) {
            Ok(filing) => filing,
            Err(e) => return Ok(keep(group, e.to_string(), |group| Unsettled::Finish(group, height))),
        };
        group.lying.opened.iter().for_each(|opening| opening.write(&mut batch));
        group.lying.once.iter().for_each(|kept| kept.write(&mut batch));
        if let Some(mark) = group.mark {
            batch.put(SETTLED, [], mark.to_be_bytes());
        }
        group.out_of_outbox(&mut batch);
        if let Err(e) = self.ground.db.commit_lazily(batch).await {
            // The records exist; the database will have to say so when it can be written again.
            return Ok(keep(group, e.to_string(), |group| Unsettled::Finish(group, height)));
        }
        self.index.filed(filing);
        points.hit(failpoint::FINISHED)?;
        for opening in std::mem::take(&mut group.lying.opened) {
            self.charts.opened(opening);
        }
        for (handle, map) in std::mem::take(&mut group.maps) {
            self.directory.promote(&handle, map);
        }
        points.hit(failpoint::VISIBLE)?;
        let mut rows = Vec::with_capacity(group.lying.items.len());
        for Pending { row, jws, .. } in std::mem::take(&mut group.lying.items) {
            self.directory.announce(New::Entry { handle: row.handle, record: row.id, jws });
            // Nobody may be listening.
            let _ = self.new.send(row.clone());
            rows.push(row);
        }
        points.hit(failpoint::ANNOUNCED)?;
        group.answer(&rows);
        points.hit(failpoint::ANSWERED)?;
        Ok(End::Written)
    }

    /// Undoes steps 1 and 2. The answer comes when that is durable, so that a refused write does not come back.
    pub(super) async fn discard(&self, group: Group, error: WriteError) -> Result<End, Crashed> {
        Ok(match self.withdraw(group).await? {
            Ok(mut group) => {
                group.refuse(&error);
                End::Refused
            }
            Err(unsettled) => End::Open(unsettled),
        })
    }

    /// Undoes steps 1 and 2, and hands the group back with those who wait.
    pub(super) async fn withdraw(&self, group: Group) -> Result<Result<Group, Box<Unsettled>>, Crashed> {
        let points = &self.ground.failpoints;
        points.hit(failpoint::REFUSED)?;
        // Of a group that was not submitted, others may be named: those of the group before, whose fate is not known.
        for (handle, _) in group.maps.iter().filter(|_| group.submitted) {
            self.directory.set_pending(handle, None);
        }
        let undone = self.remove_blobs(&group).await;
        points.hit(failpoint::WITHOUT_BLOBS)?;
        let mut batch = WriteBatch::new();
        group.out_of_outbox(&mut batch);
        if let Err(e) = self.ground.db.commit(batch).await {
            return Ok(Err(Box::new(kept(group, e.to_string(), Unsettled::Discard))));
        }
        points.hit(failpoint::DISCARDED)?;
        if let Err(e) = undone {
            tracing::warn!("a refused write left a blob that nothing names: {e}");
        }
        Ok(Ok(group))
    }

    async fn remove_blobs(&self, group: &Group) -> Result<(), crate::blobs::BlobError> {
        for item in &group.lying.items {
            if let Ok(cid) = parse_cid(&item.row.cid) {
                self.ground.blobs.remove(&cid).await?;
            }
        }
        Ok(())
    }
}

/// Keeps a group that cannot go on now; its callers are told that it is not known.
fn kept(mut group: Group, what: String, next: impl FnOnce(Group) -> Unsettled) -> Unsettled {
    tracing::warn!("a group of writes is not settled yet: {what}");
    group.refuse(&WriteError::Unavailable(what));
    next(group)
}

fn keep(group: Group, what: String, next: impl FnOnce(Group) -> Unsettled) -> End {
    End::Open(Box::new(kept(group, what, next)))
}
