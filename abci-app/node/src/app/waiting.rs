//! What waits in the engine's mempool, as far as this node admitted it: the overlay on which admission judges.
//!
//! The engine drops transactions without a word (its mempool was full, it was flushed), so nothing here is a record of
//! what it holds: an entry lasts until its transaction is in a block, fails a recheck, or is not rechecked after a block
//! although all that wait are.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use vouchsafe_core::Signatory;
use vouchsafe_types::{AccountId, Code, Hash32, Nonce, Rejection, TimeMs, Tx, VerifiedTx, state::Params};

/// An account may have as much waiting as it can use of this many blocks.
pub(super) const BLOCKS_AHEAD: u64 = 4;

/// As many may wait as were committed within this long: an engine at its limit then commits what it acknowledged
/// within about this time.
const WINDOW_MS: u64 = 2_000;

/// At least so many may wait, whichever they are, while what waits is committed soon, so that a quiet chain takes a burst.
pub const FLOOR: usize = 2_000;

/// When a block's transactions waited longer than this on average, fewer may wait. The last of them then waited about twice
/// as long, which leaves room within the three seconds that an accepted transaction may take.
const TOO_LONG: Duration = Duration::from_millis(1_200);

/// When they waited less than this, more may wait again.
const SOON: Duration = Duration::from_millis(800);

/// So many may wait however slow the chain is: it must not stand because nothing may enter.
const LEAST: usize = 256;

/// More never wait: the engine's mempool holds no more.
const MOST: usize = 20_000;

/// For so long of the chain's time a transaction keeps its place in the order in which they are told to come back.
const TURN_MS: u64 = 8_000;

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
    since: Instant,
}

/// The overlay.
#[derive(Debug)]
pub(super) struct Waiting {
    entries: BTreeMap<Hash32, Entry>,
    nonces: BTreeMap<NonceKey, Hash32>,
    accounts: BTreeMap<AccountId, u64>,
    blocks: u64,
    recent: VecDeque<(TimeMs, usize)>,
    /// How many may wait by the time that the last blocks' transactions waited.
    endured: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            nonces: BTreeMap::new(),
            accounts: BTreeMap::new(),
            blocks: 0,
            recent: VecDeque::new(),
            endured: MOST,
        }
    }
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
        self.room(&hash)?;
        self.entries.insert(hash, Entry { nonce, seen: self.blocks, since: Instant::now() });
        self.nonces.insert(nonce, hash);
        *self.accounts.entry(account).or_insert(0) += 1;
        Ok(())
    }

    /// Whether there is room for a transaction, or it waits already: what costs nothing to find out before its signature is
    /// looked at.
    ///
    /// # Errors
    /// `Busy`.
    pub(super) fn room(&self, hash: &Hash32) -> Result<(), NotNow> {
        let (waiting, most) = (self.entries.len(), self.most_for(hash));
        if waiting >= most && !self.entries.contains_key(hash) {
            return Err(NotNow::Busy { waiting, most });
        }
        Ok(())
    }

    /// How many may wait for this one to be let in as well: all that may, or fewer, down to half of that, when room runs short.
    ///
    /// The engine passes on what one validator admitted to the others once, and does not say from where a transaction
    /// comes. If each let in whatever came while it had room, each would be full of others' leavings, and what only one of
    /// them holds waits until it is that one's turn to propose. So when room runs short all of them prefer the same
    /// transactions: by hash, and anew every few seconds, so that what was told to come back is not told so for ever. It does
    /// not run short before a burst has come, unless what waits is committed late.
    fn most_for(&self, hash: &Hash32) -> usize {
        let turn = self.recent.back().map_or(0, |(time, _)| time.0 / TURN_MS);
        // The multiplier of Fibonacci hashing: the turns that follow one another have places far from each other.
        let [first, second, ..] = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let place = u16::from_be_bytes([hash.0[0] ^ first, hash.0[1] ^ second]);
        let most = self.most();
        let anybodys = if most < FLOOR { most / 2 } else { FLOOR.max(most / 2) };
        most - usize::from(place) * (most - anybodys) / (1 << 16)
    }

    /// Notes that the engine still holds a transaction.
    pub(super) fn still_there(&mut self, hash: &Hash32) {
        let blocks = self.blocks;
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.seen = blocks;
        }
    }

    /// Takes out what does not wait any more; since when it waited.
    pub(super) fn leave(&mut self, hash: &Hash32) -> Option<Instant> {
        let entry = self.entries.remove(hash)?;
        self.nonces.remove(&entry.nonce);
        let account = entry.nonce.1;
        if let Some(count) = self.accounts.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.accounts.remove(&account);
            }
        }
        Some(entry.since)
    }

    /// Takes out what a block holds, and what the engine did not ask about after the block before.
    pub(super) fn committed<'a>(&mut self, time: TimeMs, txs: impl Iterator<Item = &'a Hash32>) {
        let (mut count, mut known, mut waited) = (0, 0, Duration::ZERO);
        for hash in txs {
            if let Some(since) = self.leave(hash) {
                (known, waited) = (known + 1, waited + since.elapsed());
            }
            count += 1;
        }
        if let Some(mean) = waited.checked_div(known) {
            self.endure(mean);
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

    /// Sets how many may wait by how long a block's transactions waited on average. The mean, because one account that has
    /// more waiting than its share of a block must not close the door for all.
    fn endure(&mut self, mean: Duration) {
        if mean > TOO_LONG {
            self.endured = (self.most() / 4 * 3).max(LEAST);
        } else if mean < SOON {
            self.endured = (self.endured + self.endured / 4).min(MOST);
        }
    }

    fn most(&self) -> usize {
        self.recent.iter().map(|(_, count)| count).sum::<usize>().max(FLOOR).min(self.endured)
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
        assert_eq!(enter_all(&mut waiting, 0..FLOOR as u64).len(), FLOOR);
        let one_more = waiting.enter(&tx(1 << 40, 1), person(1), &params());
        assert_eq!(one_more, Err(NotNow::Busy { waiting: FLOOR, most: FLOOR }));
    }

    /// Lets a hospital's transactions wait, as far as there is room; which of them do.
    fn enter_all(waiting: &mut Waiting, nonces: impl Iterator<Item = u64>) -> Vec<u64> {
        let hospital = Signatory { account: AccountId([0; 16]), role: Role::Hospital };
        let params = Params { organization_per_block: Count(u64::MAX), ..Params::default() };
        nonces.filter(|n| waiting.enter(&tx(*n, 1), hospital, &params).is_ok()).collect()
    }

    #[test]
    fn when_room_runs_short_all_validators_prefer_the_same() {
        let (mut here, mut there) = (late(), late());
        let most = here.most();
        let half = most as u64 / 2;
        assert_eq!(enter_all(&mut here, 0..half).len(), most / 2, "half of the room is anybody's");
        enter_all(&mut there, half..2 * half);
        let offered = 1 << 32..(1 << 32) + 2 * half;
        let (one, other) = (enter_all(&mut here, offered.clone()), enter_all(&mut there, offered));
        assert!(one.len() > most / 4 && one.len() < most / 2, "{} of as many as there is room for", one.len());
        assert_eq!(one, other);
        let left = one.iter().max().unwrap() + 1..1 << 33;
        let refused: Vec<u64> = left.take(100).filter(|n| here.room(&tx(*n, 1).hash()).is_err()).collect();
        assert!(refused.len() > 20);
        assert!(here.room(&tx(one[0], 1).hash()).is_ok(), "what waits already may come again");
        here.committed(TimeMs(TURN_MS), [].iter());
        assert!(refused.iter().any(|n| here.room(&tx(*n, 1).hash()).is_ok()), "another turn prefers others");
    }

    /// Where what waits is committed late.
    fn late() -> Waiting {
        let mut waiting = Waiting::default();
        waiting.endure(TOO_LONG * 2);
        assert!(waiting.most() < FLOOR);
        waiting
    }

    #[test]
    fn a_burst_is_anybodys_and_half_of_what_is_more_than_two() {
        let mut waiting = Waiting::default();
        let hashes: Vec<_> = (0..3 * FLOOR as u64).map(|n| Hash32::of("test", &[&n.to_be_bytes()])).collect();
        let least = |waiting: &Waiting| hashes.iter().map(|hash| waiting.most_for(hash)).min().unwrap();
        assert_eq!(least(&waiting), FLOOR);
        waiting.committed(TimeMs(1), hashes[FLOOR..].iter());
        assert_eq!((waiting.most(), least(&waiting)), (2 * FLOOR, FLOOR + 1));
        waiting.committed(TimeMs(2), hashes.iter());
        assert_eq!((waiting.most(), least(&waiting)), (5 * FLOOR, 5 * FLOOR / 2 + 1));
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut waiting = late();
        let most = waiting.most();
        let entered = enter_all(&mut waiting, 0..8 * FLOOR as u64);
        assert!(entered.len() > most * 9 / 10 && entered.len() <= most, "{}", entered.len());
        let one_more = waiting.enter(&tx(1 << 40, 1), person(1), &params());
        assert!(matches!(one_more, Err(NotNow::Busy { waiting, .. }) if waiting == entered.len()), "{one_more:?}");
    }

    #[test]
    fn fewer_may_wait_when_what_waits_is_committed_late() {
        let mut waiting = Waiting::default();
        waiting.endure(TOO_LONG);
        assert_eq!(waiting.most(), FLOOR, "just in time");
        waiting.endure(TOO_LONG * 2);
        assert_eq!(waiting.most(), FLOOR / 4 * 3);
        for _ in 0..20 {
            waiting.endure(TOO_LONG * 2);
        }
        assert_eq!(waiting.most(), LEAST);
        waiting.endure(SOON);
        assert_eq!(waiting.most(), LEAST, "neither late nor soon");
        for _ in 0..20 {
            waiting.endure(SOON / 2);
        }
        assert_eq!(waiting.most(), FLOOR);
    }

    #[test]
    fn a_block_tells_how_long_its_transactions_waited() {
        let mut waiting = Waiting::default();
        waiting.enter(&tx(1, 1), person(1), &params()).unwrap();
        let since = Instant::now().checked_sub(TOO_LONG * 2).unwrap();
        waiting.entries.get_mut(&tx(1, 1).hash()).unwrap().since = since;
        waiting.committed(TimeMs(1), [tx(2, 1).hash()].iter());
        assert_eq!(waiting.most(), FLOOR, "what never waited here tells nothing");
        waiting.committed(TimeMs(2), [tx(1, 1).hash(), tx(2, 1).hash()].iter());
        assert_eq!(waiting.most(), FLOOR / 4 * 3);
    }

    #[test]
    fn a_proposal_takes_no_more_of_an_account_than_a_block_allows() {
        let mut used = Used::default();
        assert!(used.charge(&tx(1, 1), person(1), &params()) && used.charge(&tx(2, 1), person(1), &params()));
        assert!(!used.charge(&tx(3, 1), person(1), &params()));
        assert!(used.charge(&tx(4, 1), person(2), &params()));
    }
}
