//! What a start finds of what a crash left, and how it is settled before anything is written.

use std::collections::HashSet;

use super::{
    GROUPS, SETTLED,
    group::Group,
    settle::{End, Settler},
};
use crate::{blobs::parse_cid, failpoint, records::WriteError, store::StoreError};

impl Settler {
    /// Settles what lies in the outbox, in the order in which the groups build on each other, and removes blobs that nothing
    /// names.
    pub(super) async fn recover(&self) -> Result<(), WriteError> {
        let crashed = |failpoint::Crashed| WriteError::Unavailable("a crash was played".into());
        self.ground.failpoints.hit(failpoint::RECOVERING).map_err(crashed)?;
        let settled = self.settled()?;
        let mut named = HashSet::new();
        for (key, value) in self.ground.db.scan_prefix(GROUPS, &[])? {
            let number = key.as_slice().try_into().map_err(|_| damaged())?;
            let group = Group::left(u64::from_be_bytes(number), &value)?;
            named.extend(group.lying.items.iter().map(|item| item.row.cid.clone()));
            let end = if self.has_blobs(&group).await? {
                self.submit_again(group).await
            } else {
                // The anchor is submitted after the blobs are durable, so it was not.
                self.discard(group, WriteError::Unavailable("the write was interrupted".into())).await
            };
            if matches!(end.map_err(crashed)?, End::Open(_)) {
                return Err(WriteError::Unavailable("what a crash left in the outbox cannot be settled".into()));
            }
            self.ground.failpoints.hit(failpoint::RECOVERED).map_err(crashed)?;
        }
        self.ground.failpoints.hit(failpoint::SWEEPING).map_err(crashed)?;
        self.sweep(settled, &named).await
    }

    /// Blobs and outbox become durable side by side, so a crash may leave blobs of which the outbox knows nothing. They are
    /// among those that were put after what was settled last.
    async fn sweep(&self, settled: u64, named: &HashSet<String>) -> Result<(), WriteError> {
        let mut newest = settled;
        for (mark, cid) in self.ground.blobs.after(settled).await? {
            newest = newest.max(mark);
            if !named.contains(&cid.to_string()) {
                tracing::info!("a crash left a blob that nothing names: it is removed");
                self.ground.blobs.remove(&cid).await?;
            }
        }
        if newest > settled {
            self.ground.db.put(SETTLED, &[], &newest.to_be_bytes()).await?;
        }
        Ok(())
    }

    /// The mark in the block store up to which everything belongs to a record.
    fn settled(&self) -> Result<u64, StoreError> {
        let Some(value) = self.ground.db.get(SETTLED, &[])? else { return Ok(0) };
        Ok(value.as_slice().try_into().map_or(0, u64::from_be_bytes))
    }

    async fn has_blobs(&self, group: &Group) -> Result<bool, WriteError> {
        for item in &group.lying.items {
            let Ok(cid) = parse_cid(&item.row.cid) else { return Ok(false) };
            if !self.ground.blobs.has(&cid).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn damaged() -> WriteError {
    WriteError::Unavailable("the outbox is damaged".into())
}
