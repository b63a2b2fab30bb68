//! The deterministic consent machine: pure functions from a state, a block's context and a verified transaction to
//! what changes and what is told.
//!
//! **Architecture invariant:** no clock, no I/O, no randomness, no floats, no hash-ordered maps in this crate.

use std::collections::BTreeMap;

use vouchsafe_types::{Event, OkpJwk, Rejection, TimeMs, VerifiedTx, genesis::Genesis, jws::Unverified, state};

/// What the machine reads. Merkle keys are those of `vouchsafe_types::keys`; flat rows (nonces, deadlines, quotas) are
/// not hashed, lie in `flat`, and are ordered by key.
pub trait StateRead {
    /// The value under a Merkle key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// The value under a flat key.
    fn get_flat(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// At most `limit` flat rows with `from <= key < to`, ascending.
    fn scan_flat(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
}

/// Rows that change; `None` removes.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What a transaction or a block's begin or end changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Merkle rows.
    pub merkle: Changes,
    /// Flat rows.
    pub flat: Changes,
}

/// The block that a transaction is applied in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// The chain's id.
    pub chain: String,
    /// The block's height.
    pub height: u64,
    /// The block's time.
    pub time: TimeMs,
    /// How many transactions the block has; an empty one never prunes.
    pub txs: usize,
}
