//! Checks a stored chain against itself: its tail at every start, all of it when asked, be it in the embedded driver's
//! store or exported from an engine.

use std::path::Path;

use vouchsafe_types::{Hash32, genesis::Genesis};

use crate::{
    NodeError,
    app::App,
    comet::{self, Unsealed},
    store::{Store, View},
    verify::{self, Trust},
};

/// How many of the newest blocks are checked at a start.
const TAIL: u64 = 100;

/// Where a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The last block's height.
    pub height: u64,
    /// The app hash after it.
    pub app_hash: Hash32,
    /// The hash over its results.
    pub results_hash: Hash32,
}

/// A block as an engine keeps it, and the commit for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlock {
    /// CometBFT's `Block`, protobuf.
    pub block: Vec<u8>,
    /// CometBFT's `Commit` for it, protobuf.
    pub commit: Vec<u8>,
}

/// Checks that the newest blocks are whole, follow each other, are committed by the chain's validators, and carry the
/// roots and results that the store holds.
///
/// # Errors
/// `Damaged` with the height and what does not match; what the store says.
pub fn check_tail(store: &Store, genesis: &Genesis) -> Result<(), NodeError> {
    let view = store.view()?;
    let trust = trust(genesis)?;
    let Some(head) = view.head() else { return Err(damaged(0, "there is no head")) };
    if view.block(head.height + 1)?.is_some() {
        return Err(damaged(head.height + 1, "the log has a block after the head"));
    }
    if view.root_at(head.version)? != head.app_hash {
        return Err(damaged(head.height, "the tree's root is not the head's"));
    }
    let first = head.height.saturating_sub(TAIL).max(1);
    let mut before: Option<Unsealed> = None;
    for height in first..=head.height {
        let block = read(&view, &trust, height)?;
        check_follows(&view, before.as_ref(), &block, height)?;
        before = Some(block);
    }
    let time = before.and_then(|b| comet::time_ms(b.signed.header.time));
    let results = view.outcome(head.height)?.map(|o| o.results_hash());
    if head.height > 0 && (time != Some(head.time) || results != Some(head.results_hash)) {
        return Err(damaged(head.height, "the last block is not the head's"));
    }
    Ok(())
}

fn trust(genesis: &Genesis) -> Result<Trust, NodeError> {
    Trust::new(genesis, genesis.body.digest()).map_err(|e| NodeError::Comet(e.to_string()))
}

/// Reads a block and checks it by itself: hashes and commit.
fn read(view: &View, trust: &Trust, height: u64) -> Result<Unsealed, NodeError> {
    let block = view.block(height)?.ok_or_else(|| damaged(height, "the block is missing"))?;
    let commit = view.commit(height)?.ok_or_else(|| damaged(height, "the commit is missing"))?;
    unseal(&StoredBlock { block, commit }, trust, height)
}

fn unseal(stored: &StoredBlock, trust: &Trust, height: u64) -> Result<Unsealed, NodeError> {
    let block = comet::unseal(&stored.block, &stored.commit).map_err(|e| damaged(height, &e.to_string()))?;
    if block.signed.header.height.value() != height {
        return Err(damaged(height, "the block is of another height"));
    }
    verify::check_committed(&block.signed, trust).map_err(|e| damaged(height, &e.to_string()))?;
    Ok(block)
}

/// Checks a block against the one before it and against what the store holds of that one.
fn check_follows(view: &View, before: Option<&Unsealed>, block: &Unsealed, height: u64) -> Result<(), NodeError> {
    let header = &block.signed.header;
    if before.is_some_and(|b| header.last_block_id != Some(b.id)) {
        return Err(damaged(height, "the block does not follow the one before"));
    }
    // The root of a height whose version is pruned cannot be compared any more; its header still chains.
    let version = view.version_at(height - 1)?;
    if let Ok(root) = view.root_at(version)
        && header.app_hash.as_bytes() != root.0
    {
        return Err(damaged(height, "the header carries another root than the tree has"));
    }
    if height > 1 {
        let outcome = view.outcome(height - 1)?.ok_or_else(|| damaged(height - 1, "the outcome is missing"))?;
        let results = header.last_results_hash.map(|h| h.as_bytes().to_vec());
        if results.as_deref() != Some(outcome.results_hash().0.as_slice()) {
            return Err(damaged(height, "the header carries other results than the log has"));
        }
    }
    Ok(())
}

/// Replays the whole block log of `store` into a fresh store at `into`, through the same application, and checks that
/// every header carries the roots and results that come out.
///
/// # Errors
/// `Damaged` at the first height that comes out otherwise; what either store says.
pub fn replay(store: &Store, genesis: &Genesis, into: &Path) -> Result<Replayed, NodeError> {
    let view = store.view()?;
    let last = view.head().cloned().ok_or_else(|| damaged(0, "there is no head"))?;
    let blocks = (1..=last.height).map(|height| {
        let block = view.block(height)?.ok_or_else(|| damaged(height, "the block is missing"))?;
        let commit = view.commit(height)?.ok_or_else(|| damaged(height, "the commit is missing"))?;
        Ok(StoredBlock { block, commit })
    });
    let end = replay_blocks(blocks, genesis, into)?;
    if (end.app_hash, end.results_hash) != (last.app_hash, last.results_hash) {
        return Err(damaged(last.height, "the blocks give another state than is stored"));
    }
    Ok(end)
}

/// Replays blocks from the first on, whichever engine made them and however many validators committed them, into a fresh
/// store at `into`: every block's hashes and commit are checked, that it follows the one before, and that its header
/// carries the roots and results which the blocks before it give through the same application.
///
/// What the last block gives is in the answer; the header that would attest it is not among the blocks.
///
/// # Errors
/// `Damaged` at the first height that is not as it must be; what the blocks' source or the store says.
pub fn replay_blocks(
    blocks: impl Iterator<Item = Result<StoredBlock, NodeError>>,
    genesis: &Genesis,
    into: &Path,
) -> Result<Replayed, NodeError> {
    let app = App::open(Store::open(into)?, genesis)?;
    let trust = trust(genesis)?;
    let mut before: Option<Unsealed> = None;
    for (height, stored) in (1..).zip(blocks) {
        let block = unseal(&stored?, &trust, height)?;
        let header = &block.signed.header;
        let state = app.head()?;
        if before.as_ref().is_some_and(|b| header.last_block_id != Some(b.id)) {
            return Err(damaged(height, "the block does not follow the one before"));
        }
        let results = header.last_results_hash.map(|h| h.as_bytes().to_vec());
        if header.app_hash.as_bytes() != state.app_hash.0 || results.as_deref() != Some(&state.results_hash.0[..]) {
            return Err(damaged(height, "the blocks before it give another state"));
        }
        let time = comet::time_ms(header.time).ok_or_else(|| damaged(height, "a time before 1970"))?;
        app.finalize_block(height, time, &block.txs)?;
        app.commit()?;
        before = Some(block);
    }
    let end = app.head()?;
    Ok(Replayed { height: end.height, app_hash: end.app_hash, results_hash: end.results_hash })
}

fn damaged(height: u64, what: &str) -> NodeError {
    NodeError::Damaged { height, what: what.to_owned() }
}
