//! Signatures are checked once: at admission, or as a batch when a block brings transactions that were not admitted
//! here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use rand_core::{
    CryptoRng, OsRng, RngCore,
    block::{BlockRng, BlockRngCore},
};
use vouchsafe_core::{Signatory, StateRead};
use vouchsafe_types::{Hash32, Kid, OkpJwk, Rejection, VerifiedTx, jws, keys, state, tx::Unverified};

use super::{Read, lock};

/// How many bytes of transactions are kept: some blocks' worth.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How many transactions are kept, because small ones weigh more in memory than on the wire.
const MAX_TXS: usize = 20_000;
/// How many signatures are checked as one; more gain little, and one bad one spoils the batch.
const BATCH: usize = 128;

/// Transactions whose signatures were found good, the oldest dropped first.
///
/// The key is the hash of the whole transaction and the `kid`. The signature is a fact about these bytes and the key
/// that `kid` names by thumbprint, so it holds in any state; whether the key may still act is judged when it is
/// applied.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    verified: BTreeMap<Hash32, Kept>,
    order: VecDeque<Hash32>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    tx: Arc<VerifiedTx>,
    size: usize,
    admitted: Option<Admitted>,
}

/// That the state after the block at `height` admits a transaction, a moment ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    pub(super) height: u64,
    pub(super) signatory: Signatory,
}

impl Signatures {
    /// Keeps a transaction of `size` bytes.
    pub(super) fn keep(&mut self, tx: Arc<VerifiedTx>, size: usize) {
        self.keep_admitted(tx, size, None);
    }

    /// Keeps it with what admission found, which its `CheckTx` need not look for again.
    pub(super) fn keep_admitted(&mut self, tx: Arc<VerifiedTx>, size: usize, admitted: Option<Admitted>) {
        let hash = tx.hash();
        if self.verified.insert(hash, Kept { tx, size, admitted }).is_none() {
            self.bytes += size;
            self.order.push_back(hash);
        }
        while self.bytes > MAX_BYTES || self.order.len() > MAX_TXS {
            let Some(oldest) = self.order.pop_front() else { break };
            self.drop_one(&oldest);
        }
    }

    /// Drops what is in a block now.
    pub(super) fn forget<'a>(&mut self, hashes: impl Iterator<Item = &'a Hash32>) {
        // Their places in `order` stay until they are the oldest; dropping them twice does nothing.
        for hash in hashes {
            self.drop_one(hash);
        }
    }

    fn drop_one(&mut self, hash: &Hash32) {
        if let Some(kept) = self.verified.remove(hash) {
            self.bytes -= kept.size;
        }
    }

    pub(super) fn get(&self, hash: &Hash32) -> Option<Arc<VerifiedTx>> {
        self.verified.get(hash).map(|kept| Arc::clone(&kept.tx))
    }

    /// The transaction, and what admission found, once: what admitted it a moment ago may not admit it later.
    pub(super) fn take_admitted(&mut self, hash: &Hash32) -> Option<(Arc<VerifiedTx>, Option<Admitted>)> {
        self.verified.get_mut(hash).map(|kept| (Arc::clone(&kept.tx), kept.admitted.take()))
    }
}

/// The key that the state holds under a `kid`, whatever it may still do.
pub(super) fn key_of(state: &impl StateRead, kid: &Kid) -> Option<OkpJwk> {
    state::Key::from_bytes(&state.get(&keys::key(kid))?).map(|key| key.ed25519)
}

/// Reads transactions with `parse`, and checks the signatures of those that are not in the cache and whose key `parse`
/// found.
pub(super) fn read(
    txs: &[Vec<u8>],
    cache: &Mutex<Signatures>,
    parse: impl Fn(&[u8]) -> Result<(Unverified, Option<OkpJwk>), Rejection>,
) -> Vec<Result<Read, Rejection>> {
    let mut reads: Vec<Option<Result<Read, Rejection>>> = Vec::with_capacity(txs.len());
    let mut waiting = Vec::new();
    for (index, raw) in txs.iter().enumerate() {
        let known = lock(cache).get(&jws::hash_of(raw));
        reads.push(match known {
            Some(tx) => Some(Ok(Read::Verified(tx))),
            None => match parse(raw) {
                Err(rejection) => Some(Err(rejection)),
                Ok((tx, None)) => Some(Ok(Read::KeyUnknown(Box::new(tx)))),
                Ok((tx, Some(key))) => {
                    waiting.push((index, (tx, key)));
                    None
                }
            },
        });
    }
    for (index, verified) in check(waiting) {
        let verified = verified.map(Arc::new);
        if let Ok(tx) = &verified {
            lock(cache).keep(Arc::clone(tx), txs[index].len());
        }
        reads[index] = Some(verified.map(Read::Verified));
    }
    reads.into_iter().flatten().collect()
}

/// The system's random numbers, asked for several signatures at once: a batch takes sixteen bytes for each, and a call of
/// the system for each costs more than the numbers.
struct System;

impl BlockRngCore for System {
    type Item = u32;
    type Results = [u32; 32];

    fn generate(&mut self, numbers: &mut Self::Results) {
        let mut bytes = [0; 128];
        OsRng.fill_bytes(&mut bytes);
        for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks().0) {
            *number = u32::from_le_bytes(*bytes);
        }
    }
}

impl CryptoRng for System {}

/// Checks signatures as batches; each answer has the number that came with the transaction.
pub(super) fn check(mut waiting: Vec<(usize, (Unverified, OkpJwk))>) -> Vec<(usize, Result<VerifiedTx, Rejection>)> {
    let mut checked = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
        let (indices, signed): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        checked.extend(indices.into_iter().zip(jws::verify_batch(signed, BlockRng::new(System))));
    }
    checked
}

#[cfg(test)]
mod tests {
    use ed25519_consensus::SigningKey;
    use vouchsafe_types::{
        Nonce, SessionId, TimeMs,
        jws::{Sign, sign_tx},
        tx::End,
    };

    use super::*;

    struct Key(SigningKey);

    impl Sign for Key {
        fn public(&self) -> OkpJwk {
            OkpJwk::new(self.0.verification_key().to_bytes())
        }

        fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).to_bytes()
        }
    }

    fn verified(n: u64) -> Arc<VerifiedTx> {
        let key = Key(SigningKey::from([7; 32]));
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&n.to_be_bytes());
        let tx = End { nonce: Nonce(nonce), expires: TimeMs(1), session: SessionId([1; 16]) };
        let text = sign_tx(&key, "test", &tx.into());
        Arc::new(Unverified::parse(text.as_bytes(), "test").unwrap().verify(&key.public()).unwrap())
    }

    /// The size is what the cache is told, so that a few transactions stand for many large ones.
    #[test]
    fn the_cache_is_bounded_in_bytes() {
        let mut cache = Signatures::default();
        let txs: Vec<_> = (0..10).map(verified).collect();
        for tx in &txs {
            cache.keep(tx.clone(), MAX_BYTES / 4);
            assert!(cache.bytes <= MAX_BYTES && cache.verified.len() <= 4);
        }
        assert!(cache.get(&txs[0].hash()).is_none(), "the oldest goes first");
        assert!(cache.get(&txs[9].hash()).is_some());
    }

    #[test]
    fn the_cache_is_bounded_in_number_and_forgets_what_is_in_a_block() {
        let mut cache = Signatures::default();
        let tx = verified(1);
        for _ in 0..3 * MAX_TXS {
            cache.keep(tx.clone(), 1);
            cache.forget([tx.hash()].iter());
        }
        assert!(cache.order.len() <= MAX_TXS && cache.verified.is_empty() && cache.bytes == 0);
    }
}
