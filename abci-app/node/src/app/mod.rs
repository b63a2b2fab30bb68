//! The application between consensus and the machine: CheckTx, PrepareProposal, ProcessProposal, FinalizeBlock and
//! Commit, the same for CometBFT and for the embedded driver.
//!
//! # Invariants
//! - Invalid input is a result with a code, never an error and never a panic; an error means that *this node* failed.
//! - Nothing is written before `commit`; finalizing twice from one state gives the same.
//! - `process_proposal` is a function of the committed state and the request alone.

mod mempool;
mod misbehaviour;
mod signatures;
mod waiting;

pub use misbehaviour::Misbehaviour;
pub use waiting::{FLOOR, NotNow};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signatures::Signatures;
use vouchsafe_core::{BlockContext, Delta, Overlay, Signatory, StateRead};
use vouchsafe_types::{
    Code, Event, Hash32, Rejection, TimeMs, VerifiedTx, genesis::Genesis, jws::hash_of, state::Params, tx::Unverified,
};

use crate::{
    NodeError,
    comet::{Outcome, TxOutcome},
    store::{Head, Logged, Plan, Store, View},
};

/// The application. One at a time works on a store.
#[derive(Debug)]
pub struct App {
    store: Store,
    chain: String,
    params: Params,
    signatures: Mutex<Signatures>,
    finalized: Mutex<Option<Finalized>>,
    waiting: Mutex<waiting::Waiting>,
    last_commit: Mutex<Option<mempool::LastCommit>>,
}

/// A block that was computed and waits for `commit`.
#[derive(Debug)]
struct Finalized {
    plan: Plan,
    outcome: Outcome,
}

/// One transaction's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxResult {
    /// 0 when accepted, else the rejection's number.
    pub code: u32,
    /// Deterministic data; hashed into the next header.
    pub data: Vec<u8>,
    /// The rejection's facts; for people, not hashed.
    pub log: String,
    /// What it told; empty when rejected.
    pub events: Vec<Event>,
}

/// What a block did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockResult {
    /// The transactions' results, in their order.
    pub results: Vec<TxResult>,
    /// What the block's begin and end told.
    pub events: Vec<Event>,
    /// The root of the state after it, which the next header carries.
    pub app_hash: Hash32,
}

/// What a node says of another's proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// It may be voted for.
    Accept,
    /// It may not; the index of the transaction, where it is one's fault, and why.
    Refuse(Option<usize>, Rejection),
}

impl App {
    /// Opens the application over a store, writing the genesis state into a fresh one.
    ///
    /// # Errors
    /// `Genesis` for a document that does not hold, `OtherGenesis` for a store of another chain, else what the store
    /// says.
    pub fn open(store: Store, genesis: &Genesis) -> Result<Self, NodeError> {
        let view = store.view()?;
        match view.genesis()? {
            Some(stored) if stored.body.digest() != genesis.body.digest() => {
                return Err(NodeError::OtherGenesis { stored: stored.body.digest(), given: genesis.body.digest() });
            }
            Some(_) => {}
            None => {
                let delta = vouchsafe_core::genesis(genesis).map_err(NodeError::Genesis)?;
                let nothing = Outcome { time: genesis.body.time, begin: vec![], txs: vec![], end: vec![] };
                let plan = Plan::new(&view, delta, 0, genesis.body.time, nothing.results_hash())?;
                store.begin(&plan, genesis)?;
            }
        }
        Ok(Self {
            store,
            chain: genesis.body.chain_id(),
            params: genesis.body.params.clone(),
            signatures: Mutex::default(),
            finalized: Mutex::default(),
            waiting: Mutex::default(),
            last_commit: Mutex::default(),
        })
    }

    /// The store beneath.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The last committed block.
    ///
    /// # Errors
    /// What the store says.
    pub fn head(&self) -> Result<Head, NodeError> {
        head_of(&self.store.view()?)
    }

    /// Admission: size, form, expiry, nonce, signer and signature, against the committed state. `now` is the clock of
    /// this node; only blocks have one that all agree on.
    ///
    /// # Errors
    /// *We failed*; the inner error is the rejection.
    pub fn check_tx(&self, raw: &[u8], now: TimeMs) -> Result<Result<Hash32, Rejection>, NodeError> {
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        let time = TimeMs(now.0.max(head.time.0 + 1));
        let ctx = BlockContext { chain: self.chain.clone(), height: head.height + 1, time, txs: 1 };
        let checked = self.admit(&view, &ctx, raw);
        view.failure()?;
        Ok(checked.map(|(tx, _)| {
            let hash = tx.hash();
            self.signatures().keep(Arc::new(tx), raw.len());
            hash
        }))
    }

    fn admit(
        &self,
        state: &impl StateRead,
        ctx: &BlockContext,
        raw: &[u8],
    ) -> Result<(VerifiedTx, Signatory), Rejection> {
        self.check_size(raw)?;
        let tx = Unverified::parse(raw, &self.chain)?;
        let (key, signatory) = vouchsafe_core::signer_of(state, ctx, &tx)?;
        Ok((tx.verify(&key)?, signatory))
    }

    fn check_size(&self, raw: &[u8]) -> Result<(), Rejection> {
        // What no block has room for would wait for ever.
        let (got, max) = (raw.len() as u64, self.params.max_tx_bytes.0.min(self.params.max_block_bytes.0));
        if got > max {
            return Code::TooLarge.refuse(format!("{got} bytes, a transaction may have {max}"));
        }
        Ok(())
    }

    /// Caps what waits to a proposal: in the order of arrival, each once, up to the smaller of `max_bytes` and the
    /// chain's own limit. What does not fit is left for the next block.
    pub fn prepare_proposal(&self, txs: Vec<Vec<u8>>, max_bytes: u64) -> Vec<Vec<u8>> {
        let mut room = max_bytes.min(self.params.max_block_bytes.0);
        let mut seen = std::collections::BTreeSet::new();
        let mut chosen = Vec::new();
        for tx in txs {
            let size = tx.len() as u64;
            if size > self.params.max_tx_bytes.0 || !seen.insert(hash_of(&tx)) {
                continue;
            }
            let Some(left) = room.checked_sub(size) else { break };
            room = left;
            chosen.push(tx);
        }
        chosen
    }

    /// Judges a proposal: refuses what is malformed, too large, or badly signed by a key that the committed state
    /// holds. What the state alone rejects may be in a block, with its code.
    ///
    /// # Errors
    /// *We failed*.
    pub fn process_proposal(&self, height: u64, time: TimeMs, txs: &[Vec<u8>]) -> Result<Proposal, NodeError> {
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        if height != head.height + 1 {
            return Err(NodeError::Height { head: head.height, got: height });
        }
        let judged = self.judge(&view, time, &head, txs);
        view.failure()?;
        Ok(judged)
    }

    fn judge(&self, view: &View, time: TimeMs, head: &Head, txs: &[Vec<u8>]) -> Proposal {
        if time < head.time {
            let facts = format!("block time {time} is before the last block's {}", head.time);
            return Proposal::Refuse(None, Rejection::new(Code::BadTimes, facts));
        }
        let total: u64 = txs.iter().map(|tx| tx.len() as u64).sum();
        if total > self.params.max_block_bytes.0 {
            let facts = format!("{total} bytes, a block may have {}", self.params.max_block_bytes);
            return Proposal::Refuse(None, Rejection::new(Code::TooLarge, facts));
        }
        for (index, read) in self.read(view, txs).into_iter().enumerate() {
            if let Err(rejection) = read {
                return Proposal::Refuse(Some(index), rejection);
            }
        }
        Proposal::Accept
    }

    /// Reads a block's transactions, checking the signatures of all whose key the committed state holds, those that
    /// were not checked before as a batch.
    fn read(&self, view: &View, txs: &[Vec<u8>]) -> Vec<Result<Read, Rejection>> {
        signatures::read(txs, &self.signatures, |raw| {
            self.check_size(raw)?;
            let tx = Unverified::parse(raw, &self.chain)?;
            let key = signatures::key_of(view, &tx.kid());
            Ok((tx, key))
        })
    }

    /// Computes a block, writing nothing.
    ///
    /// # Errors
    /// *We failed*; `Height` when it does not follow the last block.
    pub fn finalize_block(&self, height: u64, time: TimeMs, txs: &[Vec<u8>]) -> Result<BlockResult, NodeError> {
        self.finalize_block_with(height, time, txs, &[])
    }

    /// Computes a block that carries evidence of validators' misbehaviour.
    ///
    /// # Errors
    /// As `finalize_block`.
    pub fn finalize_block_with(
        &self,
        height: u64,
        time: TimeMs,
        txs: &[Vec<u8>],
        misbehaviour: &[Misbehaviour],
    ) -> Result<BlockResult, NodeError> {
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        if height != head.height + 1 {
            return Err(NodeError::Height { head: head.height, got: height });
        }
        let ctx = BlockContext { chain: self.chain.clone(), height, time, txs: txs.len() };
        let (mut delta, outcome) = self.execute(&view, &ctx, txs);
        delta.flat.extend(misbehaviour.iter().map(Misbehaviour::row));
        view.failure()?;
        let plan = Plan::new(&view, delta, height, time, outcome.results_hash())?;
        view.failure()?;
        let result = BlockResult {
            results: outcome.txs.iter().map(TxResult::from).collect(),
            events: outcome.begin.iter().chain(&outcome.end).cloned().collect(),
            app_hash: plan.head().app_hash,
        };
        *lock(&self.finalized) = Some(Finalized { plan, outcome });
        Ok(result)
    }

    fn execute(&self, view: &View, ctx: &BlockContext, txs: &[Vec<u8>]) -> (Delta, Outcome) {
        let reads = self.read(view, txs);
        let mut state = Overlay::new(view);
        let (delta, begin) = vouchsafe_core::begin_block(&state, ctx);
        state.push(delta);
        let mut outcomes = Vec::with_capacity(txs.len());
        for (raw, read) in txs.iter().zip(reads) {
            let applied = read.and_then(|read| {
                let tx = match read {
                    Read::Verified(tx) => tx,
                    // A key that this very block may have registered.
                    Read::KeyUnknown(tx) => {
                        let key = vouchsafe_core::key_for(&state, ctx, &tx)?;
                        Arc::new(tx.verify(&key)?)
                    }
                };
                vouchsafe_core::apply(&state, ctx, &tx)
            });
            outcomes.push(match applied {
                Ok((delta, events)) => {
                    state.push(delta);
                    TxOutcome { hash: hash_of(raw), code: 0, data: Vec::new(), log: String::new(), events }
                }
                Err(Rejection { code, facts }) => {
                    let code = code.number();
                    TxOutcome { hash: hash_of(raw), code, data: Vec::new(), log: facts, events: Vec::new() }
                }
            });
        }
        let (delta, end) = vouchsafe_core::end_block(&state, ctx);
        state.push(delta);
        (state.into_delta(), Outcome { time: ctx.time, begin, txs: outcomes, end })
    }

    /// Writes the finalized block durably. CometBFT keeps the block itself.
    ///
    /// # Errors
    /// `NothingFinalized`, or what the store says.
    pub fn commit(&self) -> Result<Head, NodeError> {
        self.commit_with(None).map(|(head, _)| head)
    }

    /// Writes the finalized block and, with it, its block and commit into the log.
    ///
    /// # Errors
    /// `NothingFinalized`, or what the store says.
    pub(crate) fn commit_with(&self, log: Option<(&[u8], &[u8])>) -> Result<(Head, Outcome), NodeError> {
        let Finalized { plan, outcome } = lock(&self.finalized).take().ok_or(NodeError::NothingFinalized)?;
        let logged = log.map(|(block, commit)| Logged { block, commit, outcome: &outcome });
        self.store.commit(&plan, logged)?;
        self.signatures().forget(outcome.txs.iter().map(|tx| &tx.hash));
        self.note_commit(outcome.time, outcome.txs.iter().map(|tx| &tx.hash));
        Ok((plan.head().clone(), outcome))
    }

    fn signatures(&self) -> MutexGuard<'_, Signatures> {
        lock(&self.signatures)
    }
}

/// A transaction of a block, read.
enum Read {
    /// Its signature holds.
    Verified(Arc<VerifiedTx>),
    /// The committed state does not know its key.
    KeyUnknown(Box<Unverified>),
}

impl From<&TxOutcome> for TxResult {
    fn from(tx: &TxOutcome) -> Self {
        Self { code: tx.code, data: tx.data.clone(), log: tx.log.clone(), events: tx.events.clone() }
    }
}

fn head_of(view: &View) -> Result<Head, NodeError> {
    view.head().cloned().ok_or_else(|| NodeError::Damaged { height: 0, what: "no head".into() })
}

/// What these locks guard is replaced whole or is a cache, so a holder that panicked left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
