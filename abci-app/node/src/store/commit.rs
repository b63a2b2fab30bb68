//! Writing: what a block changes is planned against a snapshot and written in one transaction.

use jmt::{KeyHash, Sha256Jmt, storage::TreeUpdateBatch};
use redb::{ReadableTable, WriteTransaction};
use sha2::Sha256;
use vouchsafe_core::{Changes, Delta, StateRead};
use vouchsafe_types::{Hash32, TimeMs, genesis::Genesis};

use super::{Head, RETAINED, Store, View, tables};
use crate::{NodeError, comet::Outcome};

/// What a block will write; nothing of it is in the store yet.
#[derive(Debug)]
pub struct Plan {
    head: Head,
    tree: Option<TreeUpdateBatch>,
    preimages: Vec<(KeyHash, Vec<u8>)>,
    flat: Changes,
}

/// What the embedded driver writes beside the state: CometBFT keeps these itself.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// CometBFT's `Block`, protobuf.
    pub block: &'a [u8],
    /// CometBFT's `Commit` for it, protobuf.
    pub commit: &'a [u8],
    /// What its transactions did.
    pub outcome: &'a Outcome,
}

impl Plan {
    /// Plans the delta of the block at `height` on top of `view`.
    ///
    /// # Errors
    /// What the tree says.
    pub fn new(view: &View, delta: Delta, height: u64, time: TimeMs, results_hash: Hash32) -> Result<Self, NodeError> {
        let last = view.head();
        let changes = effective(view, delta.merkle);
        let version = last.map_or(0, |h| h.version + 1);
        let head = Head { height, time, version, app_hash: Hash32([0; 32]), results_hash };
        let mut plan = Self { head, tree: None, preimages: Vec::new(), flat: delta.flat };
        match last {
            // An empty write would make a new version with the same root, and CometBFT a block to prove it.
            Some(last) if changes.is_empty() => {
                plan.head.version = last.version;
                plan.head.app_hash = last.app_hash;
            }
            _ => {
                let hashed: Vec<_> = changes.into_iter().map(|(k, v)| (KeyHash::with::<Sha256>(&k), k, v)).collect();
                let (root, update) = grow(view, &hashed, version)?;
                plan.head.app_hash = Hash32(root.0);
                plan.tree = Some(update);
                plan.preimages = hashed.into_iter().map(|(hash, key, _)| (hash, key)).collect();
            }
        }
        Ok(plan)
    }

    /// The head that the store has after this is written.
    pub const fn head(&self) -> &Head {
        &self.head
    }
}

/// A key's hash, the key, and what becomes of it; none removes it.
type Change = (KeyHash, Vec<u8>, Option<Vec<u8>>);

/// Makes the tree's next version. The way in which it is made does not show in it.
fn grow(view: &View, changes: &[Change], version: u64) -> Result<(jmt::RootHash, TreeUpdateBatch), NodeError> {
    let tree = Sha256Jmt::new(view);
    let written: Option<Vec<_>> =
        changes.iter().map(|(hash, _, value)| value.as_ref().map(|value| (*hash, value.clone()))).collect();
    if let Some(written) = written.filter(|written| !written.is_empty()) {
        // Each node on the way to the changed leaves is hashed once, not once for each of them; a thousand heads in a
        // block share most of their ways.
        let (roots, update) = tree.batch_put_value_sets(vec![written], None, version)?;
        let root = roots.into_iter().next().ok_or_else(|| NodeError::Tree("a version without a root".into()))?;
        return Ok((root, update));
    }
    // jmt removes one by one only; a block removes at most some minutes' leaves.
    let set = changes.iter().map(|(hash, _, value)| (*hash, value.clone()));
    Ok(tree.put_value_set(set, version)?)
}

/// The changes that change something. jmt would make no root for a removal of what is not there.
fn effective(view: &View, changes: Changes) -> Changes {
    changes.into_iter().filter(|(key, value)| view.get(key) != *value).collect()
}

impl Store {
    /// Writes the genesis state.
    ///
    /// # Errors
    /// What the database says.
    pub fn begin(&self, plan: &Plan, genesis: &Genesis) -> Result<(), NodeError> {
        let tx = self.db.begin_write()?;
        tx.open_table(tables::META)?.insert(tables::META_GENESIS, json(genesis)?.as_slice())?;
        write_state(&tx, plan)?;
        tx.commit()?;
        Ok(())
    }

    /// Writes a block, durably: when this returns, a power loss does not undo it.
    ///
    /// # Errors
    /// What the database says; `Height` when the plan is not for the block after the stored head.
    pub fn commit(&self, plan: &Plan, logged: Option<Logged<'_>>) -> Result<(), NodeError> {
        let tx = self.db.begin_write()?;
        write_state(&tx, plan)?;
        if let Some(logged) = logged {
            write_log(&tx, plan.head.height, &logged)?;
        }
        tx.commit()?;
        Ok(())
    }
}

fn write_state(tx: &WriteTransaction, plan: &Plan) -> Result<(), NodeError> {
    let height = plan.head.height;
    {
        let mut meta = tx.open_table(tables::META)?;
        let stored = meta.get(tables::META_HEAD)?.and_then(|b| serde_json::from_slice::<Head>(b.value()).ok());
        let follows = stored.as_ref().map_or(height == 0, |s| height == s.height + 1);
        if !follows {
            return Err(NodeError::Height { head: stored.map_or(0, |s| s.height), got: height });
        }
        meta.insert(tables::META_HEAD, json(&plan.head)?.as_slice())?;
    }
    {
        let mut flat = tx.open_table(tables::FLAT)?;
        for (key, value) in &plan.flat {
            match value {
                Some(value) => flat.insert(key.as_slice(), value.as_slice())?,
                None => flat.remove(key.as_slice())?,
            };
        }
    }
    if let Some(update) = &plan.tree {
        tx.open_table(tables::VERSIONS)?.insert(height, plan.head.version)?;
        let staled = write_tree(tx, plan, update)?;
        prune(tx, plan.head.version, staled)?;
    }
    Ok(())
}

/// Writes nodes, values and preimages and notes which rows they make stale; returns how many.
fn write_tree(tx: &WriteTransaction, plan: &Plan, update: &TreeUpdateBatch) -> Result<usize, NodeError> {
    let mut nodes = tx.open_table(tables::NODES)?;
    for (key, node) in update.node_batch.nodes() {
        let node = borsh::to_vec(node).map_err(|e| NodeError::Tree(e.to_string()))?;
        nodes.insert(tables::node_key(key)?.as_slice(), node.as_slice())?;
    }
    let mut preimages = tx.open_table(tables::PREIMAGES)?;
    for (hash, key) in &plan.preimages {
        preimages.insert(hash.0.as_slice(), key.as_slice())?;
    }
    let mut staled = 0;
    let mut stale_nodes = tx.open_table(tables::STALE_NODES)?;
    for stale in &update.stale_node_index_batch {
        let row = tables::node_key(&stale.node_key)?;
        stale_nodes.insert(tables::stale_key(stale.stale_since_version, &row).as_slice(), ())?;
        staled += 1;
    }
    let mut values = tx.open_table(tables::VALUES)?;
    let mut stale_values = tx.open_table(tables::STALE_VALUES)?;
    for ((version, hash), value) in update.node_batch.values() {
        let row = tables::value_key(hash, *version);
        let before = values
            .range(tables::value_key(hash, 0).as_slice()..row.as_slice())?
            .next_back()
            .transpose()?
            .map(|(key, _)| key.value().to_vec());
        if let Some(before) = before {
            stale_values.insert(tables::stale_key(*version, &before).as_slice(), ())?;
            staled += 1;
        }
        match value {
            Some(value) => values.insert(row.as_slice(), [&[1], value.as_slice()].concat().as_slice())?,
            None => {
                // The mark of a removal is itself of no use once the versions before it are gone.
                stale_values.insert(tables::stale_key(*version, &row).as_slice(), ())?;
                values.insert(row.as_slice(), [0].as_slice())?
            }
        };
    }
    Ok(staled)
}

/// Removes rows that only versions before the retained ones need: as many as this block made stale and some more, so
/// that the rest shrinks and no block pays for many.
fn prune(tx: &WriteTransaction, version: u64, staled: usize) -> Result<(), NodeError> {
    let Some(oldest) = (version + 1).checked_sub(RETAINED) else { return Ok(()) };
    // A row stale since version s serves s-1 and older; `oldest` is the first version kept.
    let end = (oldest + 1).to_be_bytes();
    let limit = staled + 64;
    let mut stale_nodes = tx.open_table(tables::STALE_NODES)?;
    let mut nodes = tx.open_table(tables::NODES)?;
    for key in first(&stale_nodes, &end, limit)? {
        nodes.remove(&key[8..])?;
        stale_nodes.remove(key.as_slice())?;
    }
    let mut stale_values = tx.open_table(tables::STALE_VALUES)?;
    let mut values = tx.open_table(tables::VALUES)?;
    let mut preimages = tx.open_table(tables::PREIMAGES)?;
    for key in first(&stale_values, &end, limit)? {
        let row = &key[8..];
        values.remove(row)?;
        stale_values.remove(key.as_slice())?;
        let hash = &row[..32];
        let mut to = hash.to_vec();
        to.extend_from_slice(&u64::MAX.to_be_bytes());
        if values.range(hash..=to.as_slice())?.next().is_none() {
            preimages.remove(hash)?;
        }
    }
    Ok(())
}

fn first(
    table: &impl ReadableTable<&'static [u8], ()>,
    end: &[u8],
    limit: usize,
) -> Result<Vec<Vec<u8>>, redb::StorageError> {
    table.range(..end)?.take(limit).map(|row| row.map(|(key, _)| key.value().to_vec())).collect()
}

fn write_log(tx: &WriteTransaction, height: u64, logged: &Logged<'_>) -> Result<(), NodeError> {
    tx.open_table(tables::BLOCKS)?.insert(height, logged.block)?;
    tx.open_table(tables::COMMITS)?.insert(height, logged.commit)?;
    tx.open_table(tables::OUTCOMES)?.insert(height, json(logged.outcome)?.as_slice())?;
    let mut txs = tx.open_table(tables::TXS)?;
    for (index, result) in (0u32..).zip(&logged.outcome.txs) {
        if result.code == 0 {
            txs.insert(result.hash.0.as_slice(), (height, index))?;
        }
    }
    Ok(())
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, NodeError> {
    serde_json::to_vec(value).map_err(|e| NodeError::Tree(format!("not writable as JSON: {e}")))
}
