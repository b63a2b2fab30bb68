//! The thread that makes blocks.

use std::{
    sync::{Arc, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tendermint::block::{Commit, Id};
use vouchsafe_types::{Code, Rejection, TimeMs, genesis::Genesis, jws::Sign};

use super::{
    ChainHead, Committed, Shared, SubmitError,
    queue::{Reply, Waiting, Work},
};
use crate::{
    NodeError, ValidatorKey,
    comet::{self, Draft, Outcome},
    store::Head,
};

/// How soon an empty block follows one that changed the app hash, so that its header is at hand for proofs.
const PROOF_DELAY: Duration = Duration::from_millis(100);

/// The embedded chain has one validator, and it is this one.
pub(super) fn check_validator(genesis: &Genesis, key: &ValidatorKey) -> Result<(), NodeError> {
    let [validator] = genesis.body.validators.as_slice() else {
        return Err(NodeError::NotTheValidator("the document names several"));
    };
    if validator.ed25519 != key.public() {
        return Err(NodeError::NotTheValidator("the document names another key"));
    }
    Ok(())
}

/// Starts the thread.
pub(super) fn start(shared: Arc<Shared>, key: ValidatorKey) -> Result<JoinHandle<()>, NodeError> {
    let head = shared.app.head()?;
    let last = last_block(&shared, head.height)?;
    let mut driver = Driver { shared, key, last, proof_due: None };
    std::thread::Builder::new()
        .name("vouchsafe-ledger".into())
        .spawn(move || {
            // Ends the queue even when the driver panics, so that nobody waits for ever.
            let _ended = EndOnDrop(Arc::clone(&driver.shared));
            if let Err(e) = driver.run() {
                tracing::error!(error = %e, "the embedded ledger stops");
                let mut stopped = driver.shared.stopped.write().unwrap_or_else(PoisonError::into_inner);
                *stopped = Some(e.to_string());
            }
        })
        .map_err(|e| NodeError::Stopped(format!("no thread: {e}")))
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.queue.end();
        self.0.tip.send_modify(|tip| tip.ended = true);
    }
}

fn last_block(shared: &Shared, height: u64) -> Result<Option<(Id, Commit)>, NodeError> {
    if height == 0 {
        return Ok(None);
    }
    let view = shared.app.store().view()?;
    let missing = || NodeError::Damaged { height, what: "the last block is not in the log".into() };
    let block = view.block(height)?.ok_or_else(missing)?;
    let commit = view.commit(height)?.ok_or_else(missing)?;
    let unsealed = comet::unseal(&block, &commit)?;
    Ok(Some((unsealed.id, unsealed.signed.commit)))
}

struct Driver {
    shared: Arc<Shared>,
    key: ValidatorKey,
    last: Option<(Id, Commit)>,
    /// When an empty block is due because the app hash changed.
    proof_due: Option<Instant>,
}

impl Driver {
    fn run(&mut self) -> Result<(), NodeError> {
        loop {
            let heartbeat = Instant::now() + self.shared.settings.heartbeat;
            let deadline = self.proof_due.map_or(heartbeat, |due| due.min(heartbeat));
            match self.shared.queue.next(deadline) {
                Work::Stop => return Ok(()),
                Work::Block(waiting) => {
                    let chosen = self.choose(waiting);
                    self.make_block(chosen)?;
                }
            }
        }
    }

    /// As many as a block may hold, in their order; the rest waits for the next.
    fn choose(&self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        let raws = waiting.iter().map(|w| w.raw.clone()).collect();
        let mut chosen = self.shared.app.prepare_proposal(raws, u64::MAX).into_iter().peekable();
        let (mut taken, mut rest) = (Vec::new(), Vec::new());
        for w in waiting {
            if chosen.next_if_eq(&w.raw).is_some() { taken.push(w) } else { rest.push(w) }
        }
        self.shared.queue.put_back(rest);
        taken
    }

    fn make_block(&mut self, waiting: Vec<Waiting>) -> Result<(), NodeError> {
        let app = &self.shared.app;
        let before = app.head()?;
        let height = before.height + 1;
        let time = TimeMs((self.shared.settings.clock)().0.max(before.time.0 + 1));
        let (txs, replies): (Vec<_>, Vec<_>) = waiting.into_iter().map(|w| (w.raw, w.reply)).unzip();
        app.finalize_block(height, time, &txs)?;
        let draft = Draft {
            height,
            time,
            last: self.last.take(),
            app_hash: before.app_hash,
            results_hash: before.results_hash,
            txs,
        };
        let sealed = self.shared.chain.seal(&self.key, draft)?;
        let (head, outcome) = app.commit_with(Some((&sealed.block_bytes, &sealed.commit_bytes)))?;
        self.last = Some((sealed.id, sealed.commit));
        self.proof_due = (head.app_hash != before.app_hash).then(|| Instant::now() + PROOF_DELAY);
        self.tell(&head, outcome, replies);
        Ok(())
    }

    fn tell(&self, head: &Head, outcome: Outcome, replies: Vec<Reply>) {
        let (height, time) = (head.height, head.time);
        self.shared.tip.send_modify(|tip| {
            let chain = std::mem::take(&mut tip.head.chain);
            tip.head = ChainHead { chain, height, time, received: Instant::now() };
        });
        for ((index, tx), reply) in (0u32..).zip(outcome.txs).zip(replies) {
            let answer = match code_of(tx.code) {
                None => Ok(Committed { height, index, hash: tx.hash, time, events: tx.events }),
                Some(code) => Err(SubmitError::Rejected(Rejection::new(code, tx.log))),
            };
            // A submitter that went away loses its answer, not its transaction.
            let _ = reply.send(answer);
        }
    }
}

fn code_of(number: u32) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.number() == number)
}
