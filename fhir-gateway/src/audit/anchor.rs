//! The log's root on the ledger.

use vouchsafe_types::{
    Code, Count, Hash32, RecordId, Tx, b64, keys,
    merkle::{LogFrontier, log},
    state::AuditHead,
    tx::AnchorAudit,
};

use super::{ANCHOR_EVERY, Audit, AuditError, AuditProof, Inner, tables};
use crate::{
    foundation::{Foundation, ORG_KEY},
    ledger::{LedgerError, SignError, View, proved_value},
};

/// The tree over the entries that the ledger holds the root of.
pub(super) struct Anchored {
    frontier: LogFrontier,
}

fn unavailable(e: impl std::fmt::Display) -> AuditError {
    AuditError::Unavailable(e.to_string())
}

/// The tree over the entries that were there when `head` was anchored, if it has the root that the ledger holds.
fn tree_at(leaves: &[Hash32], head: Option<&AuditHead>) -> Result<LogFrontier, AuditError> {
    let mut frontier = LogFrontier::new();
    let Some(head) = head else { return Ok(frontier) };
    let count = usize::try_from(head.count.0).unwrap_or(usize::MAX);
    let Some(anchored) = leaves.get(..count) else {
        return Err(AuditError::Altered(format!("the ledger holds {count} entries, here are {}", leaves.len())));
    };
    for leaf in anchored {
        frontier.append(*leaf);
    }
    if frontier.root() != head.root {
        return Err(AuditError::Altered("the entries do not have the root that the ledger holds".into()));
    }
    Ok(frontier)
}

impl Anchored {
    /// Compares the log with the ledger.
    pub(super) async fn check(ground: &Foundation, leaves: &[Hash32]) -> Result<Self, AuditError> {
        let head = View(&*ground.ledger).audit(&ground.org).await.map_err(unavailable)?;
        Ok(Self { frontier: tree_at(leaves, head.as_ref())? })
    }
}

/// Anchors at every interval what came since.
pub(super) async fn run(audit: Audit) {
    let mut stopping = audit.inner.stopping.subscribe();
    loop {
        tokio::select! {
            () = tokio::time::sleep(ANCHOR_EVERY) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        if let Err(e) = anchor(&audit.inner).await {
            tracing::warn!("the audit log is not anchored: {e}");
        }
    }
}

/// Anchors everything that is on the disk.
pub(super) async fn anchor(inner: &Inner) -> Result<(), AuditError> {
    let ground = &inner.ground;
    let mut anchored = inner.anchoring.lock().await;
    let written = inner.progress.borrow().written;
    let leaves = inner.log().leaves();
    let head = View(&*ground.ledger).audit(&ground.org).await.map_err(unavailable)?;
    let (count, old) = head.as_ref().map_or((0, None), |head| (head.count.0, Some(head.root)));
    if count != anchored.frontier.count() {
        // An anchor whose answer was lost.
        anchored.frontier = tree_at(&leaves, head.as_ref())?;
    } else if old.is_some_and(|root| root != anchored.frontier.root()) {
        return Err(AuditError::Altered("the ledger holds another root".into()));
    }
    if written <= count {
        return Ok(());
    }
    let mut frontier = anchored.frontier.clone();
    let range = usize::try_from(count).unwrap_or(usize::MAX)..usize::try_from(written).unwrap_or(usize::MAX);
    for leaf in leaves.get(range).unwrap_or_default() {
        frontier.append(*leaf);
    }
    let (first, last, new) = (Count(count), Count(written - 1), frontier.root());
    let make = |nonce, expires| Tx::from(AnchorAudit { nonce, expires, first, last, old, new });
    match ground.signer().submit(ORG_KEY, make).await {
        Ok(_) => {
            anchored.frontier = frontier;
            Ok(())
        }
        Err(SignError::Ledger(LedgerError::Rejected(r))) if r.code == Code::StaleHead => {
            Err(AuditError::Altered(format!("another log was anchored: {r}")))
        }
        Err(e) => Err(unavailable(e)),
    }
}

pub(super) async fn proof(inner: &Inner, id: &RecordId) -> Result<Option<AuditProof>, AuditError> {
    let ground = &inner.ground;
    let Some((entry, bytes)) = tables::by_id(&ground.db, || inner.log().leaves(), id)? else { return Ok(None) };
    let mut proofs = ground.ledger.prove(&[keys::audit(&ground.org)]).await.map_err(unavailable)?;
    let ledger = proofs.pop().ok_or_else(|| unavailable("the ledger gave no proof"))?;
    let Some(head) = proved_value(&ledger).and_then(|v| AuditHead::from_bytes(&v)) else {
        return Ok(None);
    };
    // The head may be of entries that came after the hashes were taken.
    let leaves = inner.log().leaves();
    let whole = usize::try_from(head.count.0).ok().and_then(|count| leaves.get(..count));
    let whole = whole.ok_or_else(|| AuditError::Altered("the ledger holds more entries than the log".into()))?;
    let index = usize::try_from(entry.index.0).unwrap_or(usize::MAX);
    let Some(path) = log::inclusion_proof(whole, index) else { return Ok(None) };
    Ok(Some(AuditProof { entry: b64::encode(bytes), index: entry.index, head, path, ledger }))
}
