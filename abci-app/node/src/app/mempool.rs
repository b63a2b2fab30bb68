//! Admission to a mempool, and the proposals made of it.
//!
//! A node's own clock decides nothing here alone: a validator whose clock is wrong by an hour admits and proposes what
//! the others do.

use std::{sync::Arc, time::Instant};

use vouchsafe_core::{BlockContext, Overlay};
use vouchsafe_types::{Code, Hash32, Rejection, TimeMs, jws, tx::Unverified};

use super::{
    App, Read, head_of, lock,
    signatures::{self, Admitted},
    waiting::{NotNow, Used},
};
use crate::{NodeError, store::Head};

/// When the newest block of this process was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastCommit {
    pub(super) time: TimeMs,
    pub(super) at: Instant,
}

impl App {
    /// Admits a new transaction to the mempool, if there is room: what `check_tx` judges, then against what waits already.
    ///
    /// # Errors
    /// *We failed*; the inner error says why the transaction may not wait.
    pub fn enter_mempool(&self, raw: &[u8], clock: TimeMs) -> Result<Result<(), NotNow>, NodeError> {
        let hash = jws::hash_of(raw);
        // Before anything is refused: what was found a moment ago does not hold when it comes back.
        let known = self.signatures().take_admitted(&hash);
        if let Err(busy) = lock(&self.waiting).room(&hash) {
            return Ok(Err(busy));
        }
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        let judged = match known {
            Some((tx, Some(admitted))) if admitted.height == head.height => Ok((tx, admitted.signatory)),
            Some((tx, _)) => self
                .at_either_time(&head, clock, |ctx| vouchsafe_core::readmit(&view, ctx, &tx))
                .map(|signatory| (tx, signatory)),
            None => self
                .at_either_time(&head, clock, |ctx| self.admit(&view, ctx, raw))
                .map(|(tx, signatory)| (Arc::new(tx), signatory)),
        };
        view.failure()?;
        Ok(judged.map_err(NotNow::from).and_then(|(tx, signatory)| {
            lock(&self.waiting).enter(&tx, signatory, &self.params)?;
            self.signatures().keep(tx, raw.len());
            Ok(())
        }))
    }

    /// Checks the signatures of transactions that are about to enter the mempool, as batches. Whatever is wrong with
    /// one is found, and said, when it enters; what would be refused without its signature costs none.
    pub fn verify_ahead<T: AsRef<[u8]>>(&self, raws: &[T], clock: TimeMs) {
        let Ok(mut view) = self.store.view() else { return };
        let Ok(head) = head_of(&view) else { return };
        // Nothing is laid over it: what is parsed of an organisation's rows once serves all that it signed.
        let state = Overlay::new(&view);
        let readable = |raw: &[u8]| {
            self.check_size(raw)?;
            let tx = Unverified::parse(raw, &self.chain)?;
            let (key, signatory) =
                self.at_either_time(&head, clock, |ctx| vouchsafe_core::signer_of(&state, ctx, &tx))?;
            Ok::<_, Rejection>(((tx, key), Admitted { height: head.height, signatory }))
        };
        let mut signed = Vec::new();
        let mut admitted = vec![None; raws.len()];
        for (number, raw) in raws.iter().map(AsRef::as_ref).enumerate() {
            let hash = jws::hash_of(raw);
            // What is told to come back is not to cost those that are let in.
            let wanted = lock(&self.waiting).room(&hash).is_ok() && self.signatures().get(&hash).is_none();
            if let (true, Ok((read, found))) = (wanted, readable(raw)) {
                signed.push((number, read));
                admitted[number] = Some(found);
            }
        }
        if view.failure().is_err() {
            return;
        }
        for (number, verified) in signatures::check(signed) {
            if let Ok(tx) = verified {
                self.signatures().keep_admitted(Arc::new(tx), raws[number].as_ref().len(), admitted[number]);
            }
        }
    }

    /// Looks again at a transaction that waits, after a block: its expiry, its nonce, its signer.
    ///
    /// # Errors
    /// *We failed*; the inner error is the rejection.
    pub fn stay_in_mempool(&self, raw: &[u8], clock: TimeMs) -> Result<Result<(), Rejection>, NodeError> {
        let hash = jws::hash_of(raw);
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        let known = self.signatures().get(&hash);
        let judged = self.at_either_time(&head, clock, |ctx| match &known {
            Some(tx) => vouchsafe_core::readmit(&view, ctx, tx).map(drop),
            None => vouchsafe_core::key_for(&view, ctx, &Unverified::parse(raw, &self.chain)?).map(drop),
        });
        view.failure()?;
        let mut waiting = lock(&self.waiting);
        match &judged {
            Ok(()) => waiting.still_there(&hash),
            Err(_) => drop(waiting.leave(&hash)),
        }
        Ok(judged)
    }

    /// Judges as of the time that the last block and the time since then tell. This node's clock is asked where they
    /// tell nothing yet, and where a chain that stood still is behind it: it may then hold what expires later than ten
    /// minutes after the last block.
    fn at_either_time<T>(
        &self,
        head: &Head,
        clock: TimeMs,
        judge: impl Fn(&BlockContext) -> Result<T, Rejection>,
    ) -> Result<T, Rejection> {
        let least = head.time.plus(1);
        let passed = |last: LastCommit| {
            last.time.plus(u64::try_from(last.at.elapsed().as_millis()).unwrap_or(u64::MAX)).max(least)
        };
        let time = lock(&self.last_commit).map_or_else(|| clock.max(least), passed);
        let ctx = |time| BlockContext { chain: self.chain.clone(), height: head.height + 1, time, txs: 1 };
        match judge(&ctx(time)) {
            Err(Rejection { code: Code::TooFarAhead, .. }) if clock > time => judge(&ctx(clock)),
            judged => judged,
        }
    }

    /// Makes a proposal of what waits: in the order of arrival, each once, nothing that the other validators would
    /// refuse the proposal for, no more of an account than a block allows, nothing that is not of the block's time, up
    /// to the smaller of `max_bytes` and the chain's own limit. What is left out waits on, or is rechecked away.
    ///
    /// # Errors
    /// *We failed*.
    pub fn propose(&self, time: TimeMs, txs: Vec<Vec<u8>>, max_bytes: u64) -> Result<Vec<Vec<u8>>, NodeError> {
        let mut view = self.store.view()?;
        let head = head_of(&view)?;
        let ctx = BlockContext { chain: self.chain.clone(), height: head.height + 1, time, txs: txs.len() };
        let state = Overlay::new(&view);
        let mut used = Used::default();
        let reads = self.read(&view, &txs);
        let mut fit = Vec::with_capacity(txs.len());
        for (raw, read) in txs.into_iter().zip(reads) {
            let Ok(Read::Verified(tx)) = read else { continue };
            // A chain that stood still begins again with an old time, for which a fresh transaction is too far ahead.
            let Ok(signatory) = vouchsafe_core::readmit(&state, &ctx, &tx) else { continue };
            if used.charge(&tx, signatory, &self.params) {
                fit.push(raw);
            }
        }
        view.failure()?;
        Ok(self.prepare_proposal(fit, max_bytes))
    }

    /// Notes a committed block for admission.
    pub(super) fn note_commit<'a>(&self, time: TimeMs, txs: impl Iterator<Item = &'a Hash32>) {
        lock(&self.waiting).committed(time, txs);
        *lock(&self.last_commit) = Some(LastCommit { time, at: Instant::now() });
    }
}
