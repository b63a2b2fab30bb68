//! A snapshot of the store: what the machine, the tree and the provers read.

use std::sync::{Arc, OnceLock};

use jmt::{
    KeyHash, OwnedValue, Sha256Jmt,
    storage::{HasPreimage, LeafNode, Node, NodeKey, TreeReader},
};
use prost_ics23::Message as _;
use redb::{Database, ReadOnlyTable, ReadableDatabase};
use sha2::Sha256;
use vouchsafe_core::StateRead;
use vouchsafe_types::{Hash32, genesis::Genesis};

use super::{Head, tables};
use crate::{NodeError, comet::Outcome};

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;
/// A flat row: its key and its value.
type Pair = (Vec<u8>, Vec<u8>);
type ByHeight = ReadOnlyTable<u64, &'static [u8]>;

/// A snapshot of what was committed when it was taken.
///
/// `StateRead` has no errors, because the machine has none. A read that fails is remembered here, and whoever acts on
/// what was read asks `failure` first.
pub struct View {
    tables: Arc<Snapshot>,
    failure: OnceLock<NodeError>,
}

/// The tables as one block left them, opened once and shared by all views of it: opening them costs as much as some
/// tens of reads.
pub(super) struct Snapshot {
    nodes: Rows,
    values: Rows,
    preimages: Rows,
    flat: Rows,
    versions: ReadOnlyTable<u64, u64>,
    blocks: ByHeight,
    commits: ByHeight,
    outcomes: ByHeight,
    txs: ReadOnlyTable<&'static [u8], (u64, u32)>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    head: Option<Head>,
    // Last, hence dropped last: a table whose database is gone reads nothing.
    _db: Arc<Database>,
}

impl Snapshot {
    pub(super) fn open(db: Arc<Database>) -> Result<Self, NodeError> {
        let tx = db.begin_read()?;
        let meta = tx.open_table(tables::META)?;
        let head = match meta.get(tables::META_HEAD)? {
            None => None,
            Some(bytes) => Some(parse(0, "the head", bytes.value())?),
        };
        Ok(Self {
            nodes: tx.open_table(tables::NODES)?,
            values: tx.open_table(tables::VALUES)?,
            preimages: tx.open_table(tables::PREIMAGES)?,
            flat: tx.open_table(tables::FLAT)?,
            versions: tx.open_table(tables::VERSIONS)?,
            blocks: tx.open_table(tables::BLOCKS)?,
            commits: tx.open_table(tables::COMMITS)?,
            outcomes: tx.open_table(tables::OUTCOMES)?,
            txs: tx.open_table(tables::TXS)?,
            meta,
            head,
            _db: db,
        })
    }
}

impl View {
    pub(super) const fn new(tables: Arc<Snapshot>) -> Self {
        Self { tables, failure: OnceLock::new() }
    }

    /// The last block; `None` in a store without genesis.
    pub fn head(&self) -> Option<&Head> {
        self.tables.head.as_ref()
    }

    /// The genesis document that the store was begun with.
    ///
    /// # Errors
    /// What the database says; `Damaged` when it is no genesis document.
    pub fn genesis(&self) -> Result<Option<Genesis>, NodeError> {
        match self.tables.meta.get(tables::META_GENESIS)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(parse(0, "the genesis document", bytes.value())?)),
        }
    }

    /// The first failure of a read through `StateRead`, after which nothing that was read counts.
    ///
    /// # Errors
    /// That failure.
    pub fn failure(&mut self) -> Result<(), NodeError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The version of the tree after the block at `height`.
    ///
    /// # Errors
    /// What the database says; `Damaged` when no version is that old.
    pub fn version_at(&self, height: u64) -> Result<u64, NodeError> {
        let row = self.tables.versions.range(..=height)?.next_back().transpose()?;
        row.map(|(_, version)| version.value()).ok_or_else(|| damaged(height, "no version of the tree is that old"))
    }

    /// The tree's root at a version.
    ///
    /// # Errors
    /// What the database says; `Tree` for a version that is pruned.
    pub fn root_at(&self, version: u64) -> Result<Hash32, NodeError> {
        Ok(Hash32(Sha256Jmt::new(self).get_root_hash(version)?.0))
    }

    /// The value under a Merkle key at a version, with the ICS-23 proof (protobuf) of its presence or absence.
    ///
    /// # Errors
    /// What the database says; `Tree` for a version that is pruned and for an empty key.
    pub fn prove(&self, key: &[u8], version: u64) -> Result<(Option<Vec<u8>>, Vec<u8>), NodeError> {
        if key.is_empty() {
            // ICS-23 knows no empty key, and jmt warns of one.
            return Err(NodeError::Tree("an empty key cannot be proved".into()));
        }
        let (value, proof) = Sha256Jmt::new(self).get_with_ics23_proof(key.to_vec(), version)?;
        Ok((value, proof.encode_to_vec()))
    }

    /// CometBFT's `Block` at a height, protobuf.
    ///
    /// # Errors
    /// What the database says.
    pub fn block(&self, height: u64) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(self.tables.blocks.get(height)?.map(|b| b.value().to_vec()))
    }

    /// CometBFT's `Commit` for the block at a height, protobuf.
    ///
    /// # Errors
    /// What the database says.
    pub fn commit(&self, height: u64) -> Result<Option<Vec<u8>>, NodeError> {
        Ok(self.tables.commits.get(height)?.map(|b| b.value().to_vec()))
    }

    /// What the block at a height did.
    ///
    /// # Errors
    /// What the database says; `Damaged` when the row is not readable.
    pub fn outcome(&self, height: u64) -> Result<Option<Outcome>, NodeError> {
        match self.tables.outcomes.get(height)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(parse(height, "the outcome", bytes.value())?)),
        }
    }

    /// Where an accepted transaction is: height and index.
    ///
    /// # Errors
    /// What the database says.
    pub fn find_tx(&self, hash: &Hash32) -> Result<Option<(u64, u32)>, NodeError> {
        Ok(self.tables.txs.get(hash.0.as_slice())?.map(|row| row.value()))
    }

    /// How many rows the tables of the tree have: nodes, values, preimages. For tests and for `status`.
    ///
    /// # Errors
    /// What the database says.
    pub fn tree_rows(&self) -> Result<[u64; 3], NodeError> {
        use redb::ReadableTableMetadata;
        Ok([self.tables.nodes.len()?, self.tables.values.len()?, self.tables.preimages.len()?])
    }

    fn value_at(&self, hash: &KeyHash, version: u64) -> Result<Option<OwnedValue>, redb::StorageError> {
        let (from, to) = (tables::value_key(hash, 0), tables::value_key(hash, version));
        let row = self.tables.values.range(from.as_slice()..=to.as_slice())?.next_back().transpose()?;
        Ok(row.and_then(|(_, value)| match value.value().split_first() {
            Some((1, value)) => Some(value.to_vec()),
            _ => None,
        }))
    }

    /// Reads for `StateRead`; a failure is remembered and reads as absence.
    fn or_remember<T>(&self, read: Result<Option<T>, redb::StorageError>) -> Option<T> {
        read.unwrap_or_else(|e| {
            // Only the first failure is kept; the later ones follow from it.
            let _ = self.failure.set(e.into());
            None
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, redb::StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.tables.flat.range(from..to)?.take(limit);
        rows.map(|row| row.map(|(k, v)| (k.value().to_vec(), v.value().to_vec()))).collect()
    }
}

impl StateRead for View {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let hash = KeyHash::with::<Sha256>(key);
        self.or_remember(self.value_at(&hash, u64::MAX))
    }

    fn get_flat(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.or_remember(self.tables.flat.get(key).map(|row| row.map(|v| v.value().to_vec())))
    }

    fn scan_flat(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Pair> {
        self.or_remember(self.scan(from, to, limit).map(Some)).unwrap_or_default()
    }
}

impl TreeReader for View {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        match self.tables.nodes.get(tables::node_key(key)?.as_slice())? {
            None => Ok(None),
            Some(bytes) => Ok(Some(borsh::from_slice(bytes.value())?)),
        }
    }

    fn get_value_option(&self, max_version: u64, hash: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self.value_at(&hash, max_version)?)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        // Asked only while a tree is restored from a snapshot, which this store does not do.
        Err(anyhow::anyhow!("this tree is not being restored"))
    }
}

impl HasPreimage for View {
    fn preimage(&self, hash: KeyHash) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.tables.preimages.get(hash.0.as_slice())?.map(|key| key.value().to_vec()))
    }
}

fn damaged(height: u64, what: impl Into<String>) -> NodeError {
    NodeError::Damaged { height, what: what.into() }
}

fn parse<T: serde::de::DeserializeOwned>(height: u64, what: &str, bytes: &[u8]) -> Result<T, NodeError> {
    serde_json::from_slice(bytes).map_err(|e| damaged(height, format!("{what} is not readable: {e}")))
}
