//! Load: anchors made from a seed, handed in at a rate, and acknowledged only when a block holds them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::Semaphore, task::JoinHandle};
use vouchsafe_types::{
    AccountId, Count, Handle, Hash32, Nonce, TimeMs,
    jws::{Sign, hash_of, sign_tx},
    keys,
    state::HeadMove,
    tx::{Anchor, Tx},
};

use crate::rpc::{Block, Rpc, RpcError};

/// A key that signs for an organisation.
pub type Signer = Arc<dyn Sign + Send + Sync>;

/// Requests under way at once; what is due beyond them is held back.
const UNDER_WAY: usize = 256;
/// How often due transactions are looked for.
const TICK: Duration = Duration::from_millis(5);
/// How often nodes are asked for blocks; acknowledgements are late by at most so much.
const POLL: Duration = Duration::from_millis(25);
/// A transaction that was in no block for so long is given up; it was never acknowledged.
const GIVE_UP: Duration = Duration::from_secs(120);
/// A transaction that is in no block after so long is handed in again, as any client would: the node that had taken it
/// may have been killed, and its mempool with it.
const AGAIN: Duration = Duration::from_secs(6);
/// So many are handed in again at once.
const AGAIN_AT_ONCE: usize = 50;
/// How long a transaction is valid. Less than the ledger's most, because block time stands still while blocks do.
const VALID_MS: u64 = 8 * 60_000;

/// Anchors, each of which begins a chart, so that none waits for another.
pub struct Anchors {
    chain: String,
    signers: Vec<Signer>,
    seed: u64,
    made: u64,
}

/// A transaction ready to be handed in.
pub struct Prepared {
    /// Its bytes.
    pub tx: Vec<u8>,
    /// Its hash.
    pub hash: Hash32,
    /// The key of the state under which the ledger holds what it did.
    pub key: Vec<u8>,
}

impl Anchors {
    /// Anchors by these organisations in turn, for a chain.
    pub fn new(chain: &str, signers: Vec<Signer>, seed: u64) -> Self {
        Self { chain: chain.to_owned(), signers, seed, made: 0 }
    }

    fn next(&mut self, now: TimeMs) -> Prepared {
        let number = self.made;
        self.made += 1;
        let drawn = |what: &str| Hash32::of(what, &[&self.seed.to_be_bytes(), &number.to_be_bytes()]).0;
        let half = |bytes: [u8; 32]| {
            let mut half = [0; 16];
            half.copy_from_slice(&bytes[..16]);
            half
        };
        let root = Hash32(drawn("testnet/load/root"));
        let handle = Handle(half(drawn("testnet/load/handle")));
        let anchor = Anchor {
            nonce: Nonce(half(drawn("testnet/load/nonce"))),
            expires: TimeMs(now.0 + VALID_MS),
            leaves: vec![root],
            heads: vec![HeadMove { handle, seq: Count(1), old: None, new: root }],
            session: None,
        };
        let turn = usize::try_from(number % self.signers.len() as u64).unwrap_or_default();
        let signer = &self.signers[turn];
        let tx = sign_tx(signer.as_ref(), &self.chain, &Tx::from(anchor)).into_bytes();
        let account = AccountId::of_key(signer.public().bytes());
        Prepared { hash: hash_of(&tx), key: keys::head(&account, &handle), tx }
    }
}

/// A transaction that a block holds and that the ledger accepted.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// Its hash.
    pub hash: Hash32,
    /// Where the state holds what it did.
    pub key: Vec<u8>,
    /// The block.
    pub height: u64,
    /// The block's id.
    pub block: String,
    /// From handing it in until the block was seen.
    pub after: Duration,
}

/// What became of what was handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handed in.
    pub sent: u64,
    /// In a block, accepted.
    pub acknowledged: u64,
    /// Told to come back: a full mempool or a quota.
    pub told_back: u64,
    /// In a block, rejected.
    pub rejected: u64,
    /// Reached no node.
    pub unreached: u64,
}

/// Load under way. It goes on while nodes are killed: whichever node answers takes it.
pub struct Load {
    field: Arc<Field>,
    tasks: Vec<JoinHandle<()>>,
}

struct Field {
    nodes: Vec<Rpc>,
    rate: AtomicU64,
    ended: AtomicBool,
    books: Mutex<Books>,
}

/// Who waits and who was answered.
#[derive(Default)]
struct Books {
    waiting: HashMap<Hash32, Waiting>,
    acknowledged: Vec<Acknowledged>,
    tally: Tally,
    /// The next block to look at.
    next: u64,
    /// When something waits: since when no block came.
    quiet_since: Option<Instant>,
    longest_quiet: Duration,
    /// The last refusals, in the nodes' words.
    said: Vec<String>,
}

struct Waiting {
    tx: Vec<u8>,
    key: Vec<u8>,
    since: Instant,
    /// When it was handed in last.
    sent: Instant,
    /// A node said that it waits in its mempool.
    taken: bool,
}

impl Load {
    /// Begins to hand in so many transactions a second.
    pub fn begin(nodes: Vec<Rpc>, anchors: Anchors, rate: u64) -> Self {
        let books = Mutex::new(Books { next: 1, ..Books::default() });
        let field = Arc::new(Field { nodes, rate: rate.into(), ended: false.into(), books });
        let tasks = vec![
            tokio::spawn(hand_in(field.clone(), anchors)),
            tokio::spawn(hand_in_again(field.clone())),
            tokio::spawn(watch(field.clone())),
        ];
        Self { field, tasks }
    }

    /// Changes the rate; 0 pauses.
    pub fn rate(&self, rate: u64) {
        self.field.rate.store(rate, Ordering::SeqCst);
    }

    /// What became of it so far.
    pub fn tally(&self) -> Tally {
        self.field.books().tally
    }

    /// The last block that was looked at.
    pub fn height(&self) -> u64 {
        self.field.books().next - 1
    }

    /// How many transactions wait in a mempool.
    pub fn waiting(&self) -> usize {
        self.field.books().waiting.values().filter(|w| w.taken).count()
    }

    /// What was acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.field.books().acknowledged.clone()
    }

    /// What nodes said when they refused or rejected, a few of them.
    pub fn refusals(&self) -> Vec<String> {
        self.field.books().said.clone()
    }

    /// The longest that no block came while transactions waited, since this was asked last.
    pub fn longest_quiet(&self) -> Duration {
        std::mem::take(&mut self.field.books().longest_quiet)
    }

    /// Stops handing in and waits until nothing waits any more, or the time is over; the number that still waits.
    pub async fn drain(&self, limit: Duration) -> usize {
        self.rate(0);
        let until = Instant::now() + limit;
        while self.waiting() > 0 && Instant::now() < until {
            tokio::time::sleep(POLL).await;
        }
        self.waiting()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.field.ended.store(true, Ordering::SeqCst);
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Field {
    fn books(&self) -> MutexGuard<'_, Books> {
        // What a panicking task left is still true: each entry is written whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Hands in what is due, again and again.
async fn hand_in(field: Arc<Field>, mut anchors: Anchors) {
    let permits = Arc::new(Semaphore::new(UNDER_WAY));
    let (mut last, mut owed) = (Instant::now(), 0.0_f64);
    while !field.ended() {
        tokio::time::sleep(TICK).await;
        let rate = field.rate.load(Ordering::SeqCst);
        // What could not be handed in for a second is not caught up with.
        owed = (owed + last.elapsed().as_secs_f64() * precise(rate)).min(precise(rate.max(1)));
        last = Instant::now();
        while owed >= 1.0 {
            let Ok(permit) = permits.clone().try_acquire_owned() else { break };
            owed -= 1.0;
            let prepared = anchors.next(now());
            let (field, first) = (field.clone(), anchors.made);
            tokio::spawn(async move {
                one(&field, prepared, first).await;
                drop(permit);
            });
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
const fn precise(rate: u64) -> f64 {
    rate as f64
}

/// Hands one transaction to the first node that answers, beginning with another one each time.
async fn one(field: &Field, prepared: Prepared, first: u64) {
    let Prepared { tx, hash, key } = prepared;
    {
        let mut books = field.books();
        books.tally.sent += 1;
        let now = Instant::now();
        books.waiting.insert(hash, Waiting { tx: tx.clone(), key, since: now, sent: now, taken: false });
    }
    let size = field.nodes.len();
    for turn in 0..size {
        let node = usize::try_from(first % size as u64).unwrap_or_default();
        let said = field.nodes[(node + turn) % size].broadcast(&tx).await;
        let mut books = field.books();
        match said {
            Ok(checked) if checked.code == 0 => {
                if let Some(waiting) = books.waiting.get_mut(&hash) {
                    waiting.taken = true;
                }
                return;
            }
            // The node that did not answer before had passed it on.
            Err(RpcError::Refused(why)) if why.contains("already exists in cache") => {
                if let Some(waiting) = books.waiting.get_mut(&hash) {
                    waiting.taken = true;
                }
                return;
            }
            Ok(checked) => return books.told_back(hash, format!("code {}: {}", checked.code, checked.log)),
            Err(RpcError::Refused(why)) => return books.told_back(hash, why),
            Err(_) => {}
        }
    }
    // A node may have taken it all the same; if so, a block will show it.
    field.books().tally.unreached += 1;
}

/// Hands in again what was in no block for long. What nodes say to that tells nothing: one that has it in a block that
/// was not looked at yet refuses it as well.
async fn hand_in_again(field: Arc<Field>) {
    let mut turn = 0;
    while !field.ended() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let late = field.books().long_ago();
        for tx in late {
            turn += 1;
            let _ = field.nodes[turn % field.nodes.len()].broadcast(&tx).await;
        }
    }
}

/// Looks at every block, at whichever node has it.
async fn watch(field: Arc<Field>) {
    let mut turn = 0;
    while !field.ended() {
        let node = &field.nodes[turn % field.nodes.len()];
        let next = field.books().next;
        let newest = node.status().await.map_or(0, |status| status.height);
        let mut height = next;
        while height <= newest && follow(&field, node, height).await.is_ok() {
            height += 1;
        }
        field.books().heartbeat(height > next);
        if height == next {
            // Another node may be further, or be there at all.
            turn += 1;
            tokio::time::sleep(POLL).await;
        }
    }
}

async fn follow(field: &Field, node: &Rpc, height: u64) -> Result<(), RpcError> {
    let block = node.block(height).await?;
    let codes = if block.txs.is_empty() { Vec::new() } else { node.results(height).await? };
    field.books().settle(height, &block, &codes);
    Ok(())
}

impl Books {
    fn settle(&mut self, height: u64, block: &Block, codes: &[u32]) {
        for (tx, code) in block.txs.iter().zip(codes) {
            let hash = hash_of(tx);
            let Some(waiting) = self.waiting.remove(&hash) else { continue };
            if *code != 0 {
                self.tally.rejected += 1;
                self.say(format!("block {height}: code {code}"));
                continue;
            }
            self.tally.acknowledged += 1;
            let (after, block) = (waiting.since.elapsed(), block.id.clone());
            self.acknowledged.push(Acknowledged { hash, key: waiting.key, height, block, after });
        }
        self.next = height + 1;
    }

    /// Keeps count of how long nothing moves while something waits.
    fn heartbeat(&mut self, moved: bool) {
        self.waiting.retain(|_, w| w.since.elapsed() < GIVE_UP);
        let waits = self.waiting.values().any(|w| w.taken);
        self.quiet_since = match self.quiet_since {
            _ if moved || !waits => None,
            None => Some(Instant::now()),
            since => since,
        };
        let quiet = self.quiet_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.longest_quiet = self.longest_quiet.max(quiet);
    }

    /// What is to be handed in again.
    fn long_ago(&mut self) -> Vec<Vec<u8>> {
        let now = Instant::now();
        let late = self.waiting.values_mut().filter(|w| w.taken && now.duration_since(w.sent) >= AGAIN);
        late.take(AGAIN_AT_ONCE)
            .map(|waiting| {
                waiting.sent = now;
                waiting.tx.clone()
            })
            .collect()
    }

    fn told_back(&mut self, hash: Hash32, why: String) {
        self.waiting.remove(&hash);
        self.tally.told_back += 1;
        self.say(why);
    }

    fn say(&mut self, what: String) {
        const KEPT: usize = 8;
        if self.said.len() < KEPT && !self.said.contains(&what) {
            self.said.push(what);
        }
    }
}

fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(txs: &[&[u8]]) -> Block {
        let txs = txs.iter().map(|tx| tx.to_vec()).collect();
        Block { id: "B".into(), app_hash: String::new(), time: String::new(), txs, evidence: 0 }
    }

    fn waiting(books: &mut Books, tx: &[u8], taken: bool) {
        let (now, key) = (Instant::now(), tx.to_vec());
        books.waiting.insert(hash_of(tx), Waiting { tx: tx.to_vec(), key, since: now, sent: now, taken });
    }

    #[test]
    fn only_what_a_block_holds_and_the_ledger_accepted_is_acknowledged() {
        let mut books = Books { next: 7, ..Books::default() };
        for tx in [b"accepted".as_slice(), b"rejected", b"waits"] {
            waiting(&mut books, tx, true);
        }
        books.settle(7, &block(&[b"rejected", b"somebody else's", b"accepted"]), &[4, 0, 0]);
        assert_eq!(books.acknowledged.len(), 1);
        assert_eq!((books.acknowledged[0].hash, books.acknowledged[0].height), (hash_of(b"accepted"), 7));
        assert_eq!((books.tally.acknowledged, books.tally.rejected, books.next), (1, 1, 8));
        assert!(books.waiting.contains_key(&hash_of(b"waits")));
    }

    #[test]
    fn quiet_counts_only_while_something_waits() {
        let mut books = Books::default();
        waiting(&mut books, b"not taken by any node", false);
        books.heartbeat(false);
        assert!(books.quiet_since.is_none());
        waiting(&mut books, b"taken", true);
        books.heartbeat(false);
        assert!(books.quiet_since.is_some());
        std::thread::sleep(Duration::from_millis(2));
        books.heartbeat(false);
        assert!(books.longest_quiet >= Duration::from_millis(2));
        books.heartbeat(true);
        assert!(books.quiet_since.is_none());
    }
}
