//! The deterministic consent machine: pure functions from a state, a block's context and a verified transaction to
//! what changes and what is told.
//!
//! docs/ledger-spec.md holds the rules in words. The way of a transaction: [`key_for`] says whether it is admitted and
//! under which key its signature is to be verified; [`apply`] judges it and returns a [`Delta`]; whoever drives the
//! machine writes the deltas of a block, between those of [`begin_block`] and [`end_block`], in one step.
//!
//! **Architecture invariant:** no clock, no I/O, no randomness, no floats, no hash-ordered maps in this crate.

use std::collections::BTreeMap;

use vouchsafe_types::{Event, Rejection, TimeMs};

mod admission;
mod apply;
mod block;
mod genesis;
mod handlers;
mod memo;
mod memory;
mod overlay;
mod queues;
mod quota;
mod read;
mod rules;
mod write;

pub use admission::{Signatory, key_for, readmit, signer_of};
pub use apply::apply;
pub use block::{begin_block, end_block};
pub use genesis::genesis;
pub use memo::Memo;
pub use memory::Memory;
pub use overlay::Overlay;
pub use rules::session_standing;

/// What the machine reads. Merkle keys are those of `vouchsafe_types::keys`; flat rows (nonces, deadlines, quotas) are
/// not hashed, lie in `flat`, and are ordered by key.
pub trait StateRead {
    /// The value under a Merkle key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// The value under a flat key.
    fn get_flat(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// At most `limit` flat rows with `from <= key < to`, ascending. `limit` may be `usize::MAX`, for a minute's nonces.
    fn scan_flat(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)>;
    /// Where what was parsed of Merkle rows is kept, by a state that knows when they change.
    fn memo(&self) -> Option<&Memo> {
        None
    }
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

impl Delta {
    /// Adds the changes of `later`, which win where both touch a row.
    pub fn extend(&mut self, later: Self) {
        self.merkle.extend(later.merkle);
        self.flat.extend(later.flat);
    }
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

/// What an accepted act changes and tells.
type Outcome = (Delta, Vec<Event>);

/// Shorthand of the machine's verdicts.
type Verdict<T> = Result<T, Rejection>;
