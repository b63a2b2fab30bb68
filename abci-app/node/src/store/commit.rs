//! Writing: what a block changes is planned against a snapshot and written in one transaction.

use std::collections::BTreeSet;

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
        self.finish(tx)
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
        self.finish(tx)
    }

    /// Makes it durable; who asks for a view from now on sees it.
    fn finish(&self, tx: WriteTransaction) -> Result<(), NodeError> {
        let done = tx.commit();
        // Even after a failure, of which nobody can say how far it came.
        *self.newest() = None;
        Ok(done?)
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

/// How many stale rows are noted as one: a row of its own for each would cost as much as what is written.
const STALE_CHUNK: usize = 64;

/// Writes nodes, values and preimages and notes which rows they make stale; returns how many chunks of these.
fn write_tree(tx: &WriteTransaction, plan: &Plan, update: &TreeUpdateBatch) -> Result<usize, NodeError> {
    let mut nodes = tx.open_table(tables::NODES)?;
    for (key, node) in update.node_batch.nodes() {
        let node = borsh::to_vec(node).map_err(|e| NodeError::Tree(e.to_string()))?;
        nodes.insert(tables::node_key(key)?.as_slice(), node.as_slice())?;
    }
    let version = plan.head.version;
    let stale = update.stale_node_index_batch.iter().map(|stale| tables::node_key(&stale.node_key));
    let stale = stale.collect::<Result<Vec<_>, _>>()?;
    let mut staled = note_stale(tx, tables::STALE_NODES, version, &stale)?;
    let mut values = tx.open_table(tables::VALUES)?;
    let mut stale = Vec::new();
    let mut found = BTreeSet::new();
    for ((version, hash), value) in update.node_batch.values() {
        let row = tables::value_key(hash, *version);
        let before = values
            .range(tables::value_key(hash, 0).as_slice()..row.as_slice())?
            .next_back()
            .transpose()?
            .map(|(key, _)| key.value().to_vec());
        if let Some(before) = before {
            found.insert(*hash);
            stale.push(before);
        }
        let written = value.as_ref().map_or_else(|| vec![0], |value| [&[1], value.as_slice()].concat());
        values.insert(row.as_slice(), written.as_slice())?;
        if value.is_none() {
            // The mark of a removal is itself of no use once the versions before it are gone.
            stale.push(row);
        }
    }
    staled += note_stale(tx, tables::STALE_VALUES, version, &stale)?;
    let mut preimages = tx.open_table(tables::PREIMAGES)?;
    // A key that has a row of values has its preimage.
    for (hash, key) in plan.preimages.iter().filter(|(hash, _)| !found.contains(hash)) {
        preimages.insert(hash.0.as_slice(), key.as_slice())?;
    }
    Ok(staled)
}

/// Notes rows that a version made stale; returns in how many chunks.
fn note_stale(
    tx: &WriteTransaction,
    table: tables::StaleRows,
    version: u64,
    rows: &[Vec<u8>],
) -> Result<usize, NodeError> {
    let mut table = tx.open_table(table)?;
    let chunks = rows.chunks(STALE_CHUNK);
    let count = chunks.len();
    for (number, chunk) in (0u32..).zip(chunks) {
        let chunk = borsh::to_vec(chunk).map_err(|e| NodeError::Tree(e.to_string()))?;
        table.insert((version, number), chunk.as_slice())?;
    }
    Ok(count)
}

/// Removes rows that only versions before the retained ones need: as many chunks as this block made stale and one more,
/// so that the rest shrinks and no block pays for many.
fn prune(tx: &WriteTransaction, version: u64, staled: usize) -> Result<(), NodeError> {
    let Some(oldest) = (version + 1).checked_sub(RETAINED) else { return Ok(()) };
    let mut nodes = tx.open_table(tables::NODES)?;
    for row in take_stale(tx, tables::STALE_NODES, oldest, staled + 1)? {
        nodes.remove(row.as_slice())?;
    }
    let mut values = tx.open_table(tables::VALUES)?;
    let mut preimages = tx.open_table(tables::PREIMAGES)?;
    for row in take_stale(tx, tables::STALE_VALUES, oldest, staled + 1)? {
        values.remove(row.as_slice())?;
        let hash = &row[..32];
        let mut to = hash.to_vec();
        to.extend_from_slice(&u64::MAX.to_be_bytes());
        if values.range(hash..=to.as_slice())?.next().is_none() {
            preimages.remove(hash)?;
        }
    }
    Ok(())
}

/// Takes out the first chunks of what is of no use to `oldest`, the first version kept.
fn take_stale(
    tx: &WriteTransaction,
    table: tables::StaleRows,
    oldest: u64,
    chunks: usize,
) -> Result<Vec<Vec<u8>>, NodeError> {
    let mut table = tx.open_table(table)?;
    // A row stale since version s serves s-1 and older.
    let taken: Vec<_> = table
        .range(..(oldest + 1, 0))?
        .take(chunks)
        .map(|chunk| chunk.map(|(key, rows)| (key.value(), rows.value().to_vec())))
        .collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for (key, chunk) in taken {
        table.remove(key)?;
        let chunk: Vec<Vec<u8>> = borsh::from_slice(&chunk).map_err(|e| NodeError::Tree(e.to_string()))?;
        rows.extend(chunk);
    }
    Ok(rows)
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
