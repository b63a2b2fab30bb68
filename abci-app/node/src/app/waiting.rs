//! What waits in the engine's mempool, as far as this node admitted it: the overlay on which admission judges.
//!
//! The engine drops transactions without a word (its mempool was full, it was flushed), so nothing here is a record of
//! what it holds: an entry lasts until its transaction is in a block, fails a recheck, or is not rechecked after a block
//! although all that wait are.

use std::collections::{BTreeMap, VecDeque};

use vouchsafe_core::Signatory;
use vouchsafe_types::{AccountId, Code, Hash32, Nonce, Rejection, TimeMs, Tx, VerifiedTx, state::Params};

/// An account may have as much waiting as it can use of this many blocks.
pub(super) const BLOCKS_AHEAD: u64 = 4;

/// As many may wait as were committed within this long: an engine at its limit then commits what it acknowledged
/// within about this time.
const WINDOW_MS: u64 = 2_000;

/// At least so many may wait, so that a quiet chain takes a burst.
pub(super) const FLOOR: usize = 2_000;

/// Why a good transaction may not wait now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The transaction is refused.
    Rejected(Rejection),
    /// The node has as much to do as it can; the same bytes may be sent again.
    Busy {
        /// How many wait.
        waiting: usize,
        /// How many may.
        most: usize,
    },
}

impl From<Rejection> for NotNow {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What the machine knows a nonce by: the minute in which it lapses, the account and the nonce.
type NonceKey = (u64, AccountId, Nonce);

#[derive(Clone, Copy, Debug)]
struct Entry {
    nonce: NonceKey,
    /// How many blocks had been committed when the engine last asked about it.
    seen: u64,
}

/// The overlay.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: BTreeMap<Hash32, Entry>,
    nonces: BTreeMap<NonceKey, Hash32>,
    accounts: BTreeMap<AccountId, u64>,
    blocks: u64,
    recent: VecDeque<(TimeMs, usize)>,
}

impl Waiting {
    /// Lets a transaction wait that the committed state admits, or refuses it for what waits already.
    pub(super) fn enter(&mut self, tx: &VerifiedTx, signatory: Signatory, params: &Params) -> Result<(), NotNow> {
        let (hash, account) = (tx.hash(), signatory.account);
        if let Some(entry) = self.entries.get_mut(&hash) {
            // The engine asks again after it dropped the transaction itself.
            entry.seen = self.blocks;
            return Ok(());
        }
        let nonce = (tx.tx().expires().minute(), account, tx.tx().nonce());
        if self.nonces.contains_key(&nonce) {
            return Err(Rejection::new(Code::Replayed, format!("{account} has used the nonce {}", nonce.2)).into());
        }
        let waiting = self.accounts.get(&account).copied().unwrap_or(0);
        let most = share(signatory, params).saturating_mul(BLOCKS_AHEAD);
        if waiting >= most {
            return Err(Rejection::new(Code::Quota, format!("{account} has {waiting} transactions waiting")).into());
        }
        let most = self.most();
        if self.entries.len() >= most {
            return Err(NotNow::Busy { waiting: self.entries.len(), most });
        }
        self.entries.insert(hash, Entry { nonce, seen: self.blocks });
        self.nonces.insert(nonce, hash);
        *self.accounts.entry(account).or_insert(0) += 1;
        Ok(())
    }

    /// Notes that the engine still holds a transaction.
    pub(super) fn still_there(&mut self, hash: &Hash32) {
        let blocks = self.blocks;
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.seen = blocks;
        }
    }

    /// Takes out what does not wait any more.
    pub(super) fn leave(&mut self, hash: &Hash32) {
        let Some(entry) = self.entries.remove(hash) else { return };
        self.nonces.remove(&entry.nonce);
        let account = entry.nonce.1;
        if let Some(count) = self.accounts.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.accounts.remove(&account);
            }
        }
    }

    /// Takes out what a block holds, and what the engine did not ask about after the block before.
    pub(super) fn committed<'a>(&mut self, time: TimeMs, txs: impl Iterator<Item = &'a Hash32>) {
        let mut count = 0;
        for hash in txs {
            self.leave(hash);
            count += 1;
        }
        let blocks = self.blocks;
        let gone: Vec<_> = self.entries.iter().filter(|(_, e)| e.seen < blocks).map(|(hash, _)| *hash).collect();
        for hash in &gone {
            self.leave(hash);
        }
        self.blocks += 1;
        self.recent.push_back((time, count));
        while self.recent.front().is_some_and(|(then, _)| then.plus(WINDOW_MS) < time) {
            self.recent.pop_front();
        }
    }

    fn most(&self) -> usize {
        self.recent.iter().map(|(_, count)| count).sum::<usize>().max(FLOOR)
    }
}

/// How many transactions of a block an account may have.
pub(super) const fn share(signatory: Signatory, params: &Params) -> u64 {
    if signatory.role.is_organization() { params.organization_per_block.0 } else { params.person_per_block.0 }
}

/// What accounts have used of a proposal.
#[derive(Debug, Default)]
pub(super) struct Used(BTreeMap<AccountId, (u64, u64)>);

impl Used {
    /// Charges a transaction as the machine will; false when its signer's share is used up, and then it can wait.
    pub(super) fn charge(&mut self, tx: &VerifiedTx, signatory: Signatory, params: &Params) -> bool {
        let (transactions, sponsored) = self.0.get(&signatory.account).copied().unwrap_or_default();
        let used = (transactions + 1, sponsored + u64::from(matches!(tx.tx(), Tx::Register(_))));
        if used.0 > share(signatory, params) || used.1 > params.sponsored_per_block.0 {
            return false;
        }
        self.0.insert(signatory.account, used);
        true
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::{
        OkpJwk, SessionId,
        jws::{Sign, sign_tx},
        time::Count,
        tx::{End, Role, Unverified},
    };

    use super::*;

    struct Key(ed25519_consensus::SigningKey);

    impl Sign for Key {
        fn public(&self) -> OkpJwk {
            OkpJwk::new(self.0.verification_key().to_bytes())
        }

        fn sign(&self, message: &[u8]) -> [u8; 64] {
            self.0.sign(message).to_bytes()
        }
    }

    fn tx(nonce: u64, session: u8) -> VerifiedTx {
        let key = Key([7; 32].into());
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&nonce.to_be_bytes());
        let end = End { nonce: Nonce(bytes), expires: TimeMs(60_000), session: SessionId([session; 16]) };
        let text = sign_tx(&key, "test", &end.into());
        Unverified::parse(text.as_bytes(), "test").unwrap().verify(&key.public()).unwrap()
    }

    const fn person(n: u8) -> Signatory {
        Signatory { account: AccountId([n; 16]), role: Role::Patient }
    }

    fn params() -> Params {
        Params { person_per_block: Count(2), ..Params::default() }
    }

    fn code(result: Result<(), NotNow>) -> Option<Code> {
        match result {
            Ok(()) => None,
            Err(NotNow::Rejected(rejection)) => Some(rejection.code),
            Err(NotNow::Busy { .. }) => panic!("busy"),
        }
    }

    #[test]
    fn a_nonce_waits_once_and_the_same_transaction_may_come_again() {
        let mut waiting = Waiting::default();
        assert_eq!(code(waiting.enter(&tx(1, 1), person(1), &params())), None);
        assert_eq!(code(waiting.enter(&tx(1, 1), person(1), &params())), None, "the engine had dropped it");
        assert_eq!(code(waiting.enter(&tx(1, 2), person(1), &params())), Some(Code::Replayed));
        assert_eq!(code(waiting.enter(&tx(1, 2), person(2), &params())), None, "another account's nonce");
        waiting.leave(&tx(1, 1).hash());
        assert_eq!(code(waiting.enter(&tx(1, 3), person(1), &params())), None);
    }

    #[test]
    fn an_account_has_only_some_blocks_worth_waiting() {
        let mut waiting = Waiting::default();
        for n in 0..2 * BLOCKS_AHEAD {
            assert_eq!(code(waiting.enter(&tx(n, 1), person(1), &params())), None);
        }
        assert_eq!(code(waiting.enter(&tx(100, 1), person(1), &params())), Some(Code::Quota));
        assert_eq!(code(waiting.enter(&tx(100, 1), person(2), &params())), None);
        waiting.committed(TimeMs(1), [tx(0, 1).hash()].iter());
        assert_eq!(code(waiting.enter(&tx(101, 1), person(1), &params())), None, "what is in a block waits no more");
    }

    #[test]
    fn what_the_engine_dropped_is_forgotten_after_a_block() {
        let mut waiting = Waiting::default();
        let (kept, dropped) = (tx(1, 1), tx(2, 1));
        for tx in [&kept, &dropped] {
            waiting.enter(tx, person(1), &params()).unwrap();
        }
        waiting.committed(TimeMs(1), [].iter());
        assert_eq!(waiting.entries.len(), 2, "it may be rechecked still");
        waiting.still_there(&kept.hash());
        waiting.committed(TimeMs(2), [].iter());
        assert_eq!(waiting.entries.keys().collect::<Vec<_>>(), [&kept.hash()]);
        assert_eq!((waiting.nonces.len(), waiting.accounts.values().sum::<u64>()), (1, 1));
    }

    #[test]
    fn as_many_wait_as_were_committed_lately() {
        let mut waiting = Waiting::default();
        let hashes: Vec<_> = (0..3 * FLOOR as u64).map(|n| Hash32::of("test", &[&n.to_be_bytes()])).collect();
        assert_eq!(waiting.most(), FLOOR);
        waiting.committed(TimeMs(10_000), hashes[..FLOOR].iter());
        waiting.committed(TimeMs(11_000), hashes[FLOOR..].iter());
        assert_eq!(waiting.most(), 3 * FLOOR);
        waiting.committed(TimeMs(12_500), [].iter());
        assert_eq!(waiting.most(), 2 * FLOOR, "what is older than the window does not count");
        waiting.committed(TimeMs(60_000), [].iter());
        assert_eq!(waiting.most(), FLOOR);
        for n in 0..FLOOR as u64 {
            waiting
                .enter(
                    &tx(n, 1),
                    Signatory { account: AccountId([0; 16]), role: Role::Hospital },
                    &Params { organization_per_block: Count(u64::MAX), ..Params::default() },
                )
                .unwrap();
        }
        let one_more = waiting.enter(&tx(1 << 40, 1), person(1), &params());
        assert_eq!(one_more, Err(NotNow::Busy { waiting: FLOOR, most: FLOOR }));
    }

    #[test]
    fn a_proposal_takes_no_more_of_an_account_than_a_block_allows() {
        let mut used = Used::default();
        assert!(used.charge(&tx(1, 1), person(1), &params()) && used.charge(&tx(2, 1), person(1), &params()));
        assert!(!used.charge(&tx(3, 1), person(1), &params()));
        assert!(used.charge(&tx(4, 1), person(2), &params()));
    }
}
