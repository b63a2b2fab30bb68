//! The tables of the store and the form of their keys, all in one place.

use jmt::{KeyHash, storage::NodeKey};
use redb::{Database, TableDefinition};

use crate::NodeError;

/// A table of bytes.
pub(super) type Rows = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Node key → node, borsh.
pub(super) const NODES: Rows = TableDefinition::new("nodes");
/// Key hash, version → 1 and the value, or 0 for removed.
pub(super) const VALUES: Rows = TableDefinition::new("values");
/// Key hash → key.
pub(super) const PREIMAGES: Rows = TableDefinition::new("preimages");
/// Flat rows, not hashed.
pub(super) const FLAT: Rows = TableDefinition::new("flat");
/// A version and a number → keys of rows that are of no use to it and to newer ones, borsh.
pub(super) type StaleRows = TableDefinition<'static, (u64, u32), &'static [u8]>;

/// Stale rows of `NODES`.
pub(super) const STALE_NODES: StaleRows = TableDefinition::new("stale-node-rows");
/// Stale rows of `VALUES`.
pub(super) const STALE_VALUES: StaleRows = TableDefinition::new("stale-value-rows");
/// Height → version, where the version changed.
pub(super) const VERSIONS: TableDefinition<'static, u64, u64> = TableDefinition::new("versions");
/// Height → CometBFT `Block`, protobuf.
pub(super) const BLOCKS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("blocks");
/// Height → CometBFT `Commit` for that height, protobuf.
pub(super) const COMMITS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("commits");
/// Height → what the block's transactions did (`comet::Outcome`), JSON.
pub(super) const OUTCOMES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("outcomes");
/// Hash of an accepted transaction → height and index.
pub(super) const TXS: TableDefinition<'static, &'static [u8], (u64, u32)> = TableDefinition::new("txs");
/// `head`, `genesis`.
pub(super) const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

/// In `META`: the head, JSON.
pub(super) const META_HEAD: &str = "head";
/// In `META`: the genesis document, JSON.
pub(super) const META_GENESIS: &str = "genesis";

/// Makes every table, so that readers of a fresh store find them.
pub(super) fn create(db: &Database) -> Result<(), NodeError> {
    let tx = db.begin_write()?;
    for rows in [NODES, VALUES, PREIMAGES, FLAT] {
        tx.open_table(rows)?;
    }
    tx.open_table(STALE_NODES)?;
    tx.open_table(STALE_VALUES)?;
    tx.open_table(VERSIONS)?;
    tx.open_table(BLOCKS)?;
    tx.open_table(COMMITS)?;
    tx.open_table(OUTCOMES)?;
    tx.open_table(TXS)?;
    tx.open_table(META)?;
    tx.commit()?;
    Ok(())
}

/// A node's key: the version first and big-endian, so that the nodes of one block lie together.
pub(super) fn node_key(key: &NodeKey) -> anyhow::Result<Vec<u8>> {
    let mut out = key.version().to_be_bytes().to_vec();
    borsh::to_writer(&mut out, key.nibble_path())?;
    Ok(out)
}

/// The key of a value at a version.
pub(super) fn value_key(hash: &KeyHash, version: u64) -> Vec<u8> {
    let mut out = hash.0.to_vec();
    out.extend_from_slice(&version.to_be_bytes());
    out
}
