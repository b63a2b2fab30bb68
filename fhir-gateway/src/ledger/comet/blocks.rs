//! The newest blocks, kept for those who wait for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tendermint::block::signed_header::SignedHeader;
use vouchsafe_node::comet::{Outcome, TxOutcome};
use vouchsafe_types::{Code, Hash32, Rejection};

use crate::ledger::{BlockEvents, Committed, LedgerError};

/// How many are kept: some seconds of a busy chain.
const KEPT: usize = 256;

/// A block whose header was verified, with what a node says that it did.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) height: u64,
    pub(super) header: SignedHeader,
    outcome: Outcome,
    places: HashMap<Hash32, u32>,
    /// Whether the results are those that the chain has: by the word of an own node, or by the next header.
    pub(super) sure: bool,
}

impl Block {
    pub(super) fn new(header: SignedHeader, outcome: Outcome, sure: bool) -> Self {
        let places = (0..).zip(&outcome.txs).map(|(place, tx)| (tx.hash, place)).collect();
        Self { height: header.header.height.value(), header, outcome, places, sure }
    }

    /// Whether it holds no transaction; the state after it is then the state before it.
    pub(super) fn is_empty(&self) -> bool {
        self.outcome.txs.is_empty()
    }

    /// What became of a transaction in it.
    pub(super) fn find(&self, hash: &Hash32) -> Option<Result<Committed, LedgerError>> {
        let index = *self.places.get(hash)?;
        let tx = self.outcome.txs.get(usize::try_from(index).ok()?)?;
        Some(committed(self.height, index, self.outcome.time, tx))
    }

    pub(super) fn events(&self) -> BlockEvents {
        events(self.height, &self.outcome)
    }
}

/// What a transaction's result means to who submitted it.
pub(super) fn committed(
    height: u64,
    index: u32,
    time: vouchsafe_types::TimeMs,
    tx: &TxOutcome,
) -> Result<Committed, LedgerError> {
    match tx.code {
        0 => Ok(Committed { height, index, hash: tx.hash, time, events: tx.events.clone() }),
        code => Err(refusal(code, &tx.log)),
    }
}

/// The machine's refusal by its number, with its facts.
pub(super) fn refusal(number: u32, facts: &str) -> LedgerError {
    match Code::ALL.iter().find(|code| code.number() == number) {
        Some(code) => Rejection::new(*code, facts).into(),
        None => LedgerError::Unavailable(format!("the ledger refused by the unknown number {number}: {facts}")),
    }
}

/// What a block told.
pub(super) fn events(height: u64, outcome: &Outcome) -> BlockEvents {
    let of_block = |events: &[vouchsafe_types::Event]| events.iter().cloned().map(|event| (None, event)).collect();
    let mut told: Vec<_> = of_block(&outcome.begin);
    for tx in &outcome.txs {
        told.extend(tx.events.iter().cloned().map(|event| (Some(tx.hash), event)));
    }
    let end: Vec<_> = of_block(&outcome.end);
    told.extend(end);
    BlockEvents { height, time: outcome.time, events: told }
}

/// The newest blocks, in the order of their heights and without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Arc<Block>>);

impl Recent {
    /// Takes the newest block. What the one before it did is then sure, or was untrue.
    ///
    /// # Errors
    /// The height of the block before, when the results that a node told of it are not those that this header carries.
    pub(super) fn push(&mut self, block: Block) -> Result<(), u64> {
        let mut untrue = None;
        match self.0.back() {
            Some(last) if last.height + 1 == block.height => {
                if !self.confirm(&block.header) {
                    untrue = self.0.pop_back().map(|last| last.height);
                    // Those who wait for it find it missing, and ask.
                    self.0.clear();
                }
            }
            _ => self.0.clear(),
        }
        self.0.push_back(Arc::new(block));
        if self.0.len() > KEPT {
            self.0.pop_front();
        }
        untrue.map_or(Ok(()), Err)
    }

    fn confirm(&mut self, next: &SignedHeader) -> bool {
        let Some(last) = self.0.back_mut() else { return true };
        let said = last.outcome.results_hash();
        let holds = next.header.last_results_hash.as_ref().map(tendermint::Hash::as_bytes) == Some(&said.0[..]);
        if holds && !last.sure {
            let Block { header, outcome, .. } = &**last;
            *last = Arc::new(Block::new(header.clone(), outcome.clone(), true));
        }
        holds
    }

    pub(super) fn newest(&self) -> Option<Arc<Block>> {
        self.0.back().cloned()
    }

    pub(super) fn at(&self, height: u64) -> Option<Arc<Block>> {
        let first = self.0.front()?.height;
        let place = usize::try_from(height.checked_sub(first)?).ok()?;
        self.0.get(place).cloned()
    }
}
