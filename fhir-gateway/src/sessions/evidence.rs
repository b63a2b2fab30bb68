//! What the ledger says of the records of a session: which version of each is the latest, and whether it is deleted.
//!
//! The ledger holds the root of each chart's map. Everything below the root may come from anybody, so the custodian is
//! asked for it, and no signature of its own is needed: a leaf under the ledger's root was anchored by the custodian, and
//! what contradicts the root is not believed. One exchange shows a whole chart.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use vouchsafe_types::{
    AccountId, Handle, Hash32, RecordId,
    merkle::{MapLeaf, MapProof, RecordMap},
};

use super::foreign::NotShown;
use crate::{
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::View,
    peers::{self, Message},
};

/// How many records one exchange asks about at most.
const BATCH: usize = 4_096;

/// How often it is asked again while the chart moves on, and how long is waited in between: the custodian's map follows
/// its anchors by some milliseconds.
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_millis(20);

/// What a chart's map says, for somebody who knows its root.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Evidence {
    /// All leaves of the map: the root is computed from them.
    Leaves(Vec<MapLeaf>),
    /// A proof for each record that was asked about, in their order: a few records of a large chart.
    Proofs(Vec<MapProof>),
}

/// A chart as the ledger's head shows it.
pub(super) struct Shown {
    /// The root that all of it was checked against.
    pub(super) root: Hash32,
    /// The latest version of each record that was asked about; one that is missing is not in the chart.
    pub(super) leaves: BTreeMap<RecordId, MapLeaf>,
}

/// The root that the ledger holds of a chart now.
pub(super) async fn root(gw: &Gateway, custodian: &AccountId, handle: &Handle) -> Result<Hash32, NotShown> {
    let head = View(&*gw.ledger).head(custodian, handle).await.map_err(|e| NotShown::Later(e.to_string()))?;
    head.map(|head| head.root).ok_or_else(|| NotShown::Integrity("the ledger holds no head of the chart".to_owned()))
}

/// What the ledger's head says of these records of a chart.
pub(super) async fn shown(
    gw: &Gateway,
    custodian: AccountId,
    handle: Handle,
    records: &[RecordId],
) -> Result<Shown, NotShown> {
    for _ in 0..TRIES {
        let root = root(gw, &custodian, &handle).await?;
        if let Some(leaves) = leaves_under(gw, custodian, handle, records, &root).await? {
            return Ok(Shown { root, leaves });
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(NotShown::Later("what the custodian shows of the chart is not what the ledger holds".to_owned()))
}

/// None when what the custodian shows has another root, because the chart moved on or the custodian lies.
async fn leaves_under(
    gw: &Gateway,
    custodian: AccountId,
    handle: Handle,
    records: &[RecordId],
    root: &Hash32,
) -> Result<Option<BTreeMap<RecordId, MapLeaf>>, NotShown> {
    let mut found = BTreeMap::new();
    for asked in records.chunks(BATCH) {
        let message = Message::Leaves { handle, records: asked.to_vec() };
        let answer = peers::ask(gw, custodian, message).await.map_err(|e| NotShown::Later(e.to_string()))?;
        let evidence = serde_json::from_slice(&answer)
            .map_err(|_| NotShown::Later("the custodian's answer is not of its form".to_owned()))?;
        match evidence {
            Evidence::Leaves(leaves) => return Ok(of_whole(leaves, records, root)),
            Evidence::Proofs(proofs) => match of_proofs(proofs, asked, root) {
                Some(some) => found.extend(some),
                None => return Ok(None),
            },
        }
    }
    Ok(Some(found))
}

/// The leaves of these records in a map that is shown whole, if it is the map of this root.
fn of_whole(leaves: Vec<MapLeaf>, records: &[RecordId], root: &Hash32) -> Option<BTreeMap<RecordId, MapLeaf>> {
    let map: RecordMap = leaves.into_iter().collect();
    if map.root() != *root {
        return None;
    }
    Some(records.iter().filter_map(|record| Some((*record, map.get(record)?.clone()))).collect())
}

/// The leaves that proofs show under this root, if all of them do show something.
fn of_proofs(proofs: Vec<MapProof>, records: &[RecordId], root: &Hash32) -> Option<BTreeMap<RecordId, MapLeaf>> {
    if proofs.len() != records.len() {
        return None;
    }
    let mut found = BTreeMap::new();
    for (record, proof) in records.iter().zip(proofs) {
        if let Some(leaf) = proof.verify(root, record)? {
            found.insert(*record, leaf);
        }
    }
    Some(found)
}

/// Answers a peer that asks about records of a chart of this organisation. It tells ids, versions and commitments, which
/// every gateway has from the directory.
///
/// # Errors
/// 404 for a chart that is not here, 422 for too many records.
pub fn answer(gw: &Gateway, handle: Handle, records: &[RecordId]) -> Result<Reply, Fault> {
    if records.len() > BATCH {
        return Err(Fault::invalid(format!("at most {BATCH} records are shown at once")).code("too-many"));
    }
    let map = gw.directory.own_map(&handle).map_err(|_| Fault::internal("the directory is not readable"))?;
    if map.is_empty() {
        return Err(Fault::not_found());
    }
    let body = serde_json::to_vec(&evidence(&map, records)).map_err(|_| Fault::internal("evidence is plain data"))?;
    Ok(Reply::bytes(200, body).header("content-type", "application/json"))
}

/// Whatever is shorter: a leaf is as long as about four hashes.
fn evidence(map: &RecordMap, records: &[RecordId]) -> Evidence {
    let deep = usize::try_from(map.len().max(1).ilog2()).unwrap_or(usize::MAX);
    if map.len().saturating_mul(4) <= records.len().saturating_mul(deep + 4) {
        Evidence::Leaves(map.iter().cloned().collect())
    } else {
        Evidence::Proofs(records.iter().map(|record| map.prove(record)).collect())
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::Count;

    use super::*;

    fn leaf(n: u16, version: u64) -> MapLeaf {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let commitment = Hash32([u8::try_from(version).unwrap(); 32]);
        MapLeaf { record: RecordId(id), version: Count(version), commitment, tombstone: n.is_multiple_of(7) }
    }

    fn record(n: u16) -> RecordId {
        leaf(n, 1).record
    }

    fn read(evidence: Evidence, records: &[RecordId], root: &Hash32) -> Option<BTreeMap<RecordId, MapLeaf>> {
        match evidence {
            Evidence::Leaves(leaves) => of_whole(leaves, records, root),
            Evidence::Proofs(proofs) => of_proofs(proofs, records, root),
        }
    }

    #[test]
    fn a_whole_chart_is_shown_by_its_leaves_and_a_few_records_by_proofs() {
        let map: RecordMap = (0..500).map(|n| leaf(n, 1)).collect();
        let all: Vec<_> = (0..500).map(record).collect();
        let some = [record(3), record(7), record(900)];
        assert!(matches!(evidence(&map, &all), Evidence::Leaves(_)));
        assert!(matches!(evidence(&map, &some), Evidence::Proofs(_)));
        assert_eq!(read(evidence(&map, &all), &all, &map.root()).unwrap().len(), 500);
        let found = read(evidence(&map, &some), &some, &map.root()).unwrap();
        assert_eq!(found.into_values().collect::<Vec<_>>(), [leaf(3, 1), leaf(7, 1)]);
    }

    #[test]
    fn what_is_not_under_the_ledgers_root_is_not_believed() {
        let map: RecordMap = (0..500).map(|n| leaf(n, 2)).collect();
        let old: RecordMap = (0..500).map(|n| leaf(n, if n == 3 { 1 } else { 2 })).collect();
        for records in [(0..500).map(record).collect::<Vec<_>>(), vec![record(3)]] {
            assert!(read(evidence(&map, &records), &records, &map.root()).is_some());
            assert!(read(evidence(&old, &records), &records, &map.root()).is_none(), "an old version");
            let Evidence::Proofs(mut proofs) = evidence(&map, &[record(3), record(4)]) else { unreachable!() };
            proofs.swap(0, 1);
            assert!(of_proofs(proofs, &[record(3), record(4)], &map.root()).is_none(), "another record's proof");
        }
        assert!(of_proofs(Vec::new(), &[record(3)], &map.root()).is_none(), "no proof at all");
        assert!(of_whole(Vec::new(), &[record(3)], &map.root()).is_none(), "no leaf at all");
    }
}
