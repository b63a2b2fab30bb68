//! The embedded driver: one node makes the blocks of a chain with one validator, durably, with headers that are
//! committed as CometBFT's are. It says wherever it shows itself that it is one node without fault tolerance.

mod driver;
mod queue;
mod stream;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use queue::Queue;
use tokio::sync::{oneshot, watch};
use vouchsafe_core::StateRead;
use vouchsafe_types::{Event, Hash32, Rejection, TimeMs, b64, genesis::Genesis};

pub use stream::{BlockEvents, BlockStream};

use crate::{
    NodeError, ValidatorKey,
    app::App,
    comet::{self, Chain},
    proof::LedgerProof,
    store::{Store, View},
};

/// Tells the time in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// How the driver runs.
#[derive(Clone)]
pub struct Settings {
    /// How long an idle chain waits before an empty block: the grain of time on it.
    pub heartbeat: Duration,
    /// How many transactions may wait; more are refused as `Busy`.
    pub max_queue: usize,
    /// The clock that block times follow.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(3), max_queue: 10_000, clock: Arc::new(system_time) }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("heartbeat", &self.heartbeat)
            .field("max_queue", &self.max_queue)
            .finish_non_exhaustive()
    }
}

fn system_time() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The newest block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The chain's id.
    pub chain: String,
    /// The height; 0 before the first block.
    pub height: u64,
    /// The block's time.
    pub time: TimeMs,
    /// When this process got it, by a clock that nobody sets.
    pub received: Instant,
}

/// A transaction that is in a block, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The block's height.
    pub height: u64,
    /// The transaction's place in it.
    pub index: u32,
    /// The transaction's hash.
    pub hash: Hash32,
    /// The block's time.
    pub time: TimeMs,
    /// What it told.
    pub events: Vec<Event>,
}

/// Why a transaction is not in the chain as accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The chain refuses it; the same bytes will not be accepted later.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too many wait; it was not taken and may be sent again.
    #[error("the ledger's queue is full")]
    Busy,
    /// The driver has stopped. Whether the transaction is in the chain, `find` says after the next start.
    #[error("the ledger has stopped: {0}")]
    Stopped(String),
}

/// The embedded ledger; cheap to clone. When the last clone is dropped, the driver stops.
#[derive(Clone, Debug)]
pub struct Embedded {
    handle: Arc<Handle>,
}

/// What all clones share; dropping it stops the driver.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.stop();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The driver catches what it can; its panic was told to everybody who waited.
            let _ = thread.join();
        }
    }
}

/// What those who wait for blocks watch.
#[derive(Clone, Debug)]
struct Tip {
    head: ChainHead,
    /// True when no block will follow.
    ended: bool,
}

/// What the handle and the driver's thread share.
#[derive(Debug)]
struct Shared {
    app: App,
    chain: Chain,
    genesis: Genesis,
    queue: Queue,
    settings: Settings,
    tip: watch::Sender<Tip>,
    /// Why the driver stopped; none while it runs.
    stopped: RwLock<Option<String>>,
}

impl Shared {
    fn why_stopped(&self) -> String {
        let stopped = self.stopped.read().unwrap_or_else(PoisonError::into_inner);
        stopped.clone().unwrap_or_else(|| "it was asked to".into())
    }
}

impl Embedded {
    /// Opens the ledger in `home`, making it when it is not there, and starts the driver. The tail of the block log is
    /// checked against the state first: see `replay::check_tail`.
    ///
    /// # Errors
    /// `OtherGenesis`, `NotTheValidator`, `Damaged`, or what the system says.
    pub fn open(
        home: &Path,
        genesis: &Genesis,
        validator: ValidatorKey,
        settings: Settings,
    ) -> Result<Self, NodeError> {
        driver::check_validator(genesis, &validator)?;
        std::fs::create_dir_all(home).map_err(|source| NodeError::File { path: home.to_owned(), source })?;
        let app = App::open(Store::open(&home.join("ledger.redb"))?, genesis)?;
        let chain = Chain::new(genesis)?;
        crate::replay::check_tail(app.store(), genesis)?;
        let last = app.head()?;
        let received = Instant::now();
        let head = ChainHead { chain: chain.id().to_string(), height: last.height, time: last.time, received };
        let shared = Arc::new(Shared {
            queue: Queue::new(settings.max_queue),
            app,
            chain,
            genesis: genesis.clone(),
            settings,
            tip: watch::Sender::new(Tip { head, ended: false }),
            stopped: RwLock::default(),
        });
        let thread = driver::start(Arc::clone(&shared), validator)?;
        Ok(Self { handle: Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// The document that the chain began with.
    pub fn genesis(&self) -> &Genesis {
        &self.shared().genesis
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Submits a transaction and waits until its block is durable.
    ///
    /// # Errors
    /// `Rejected` with the chain's reason, `Busy`, `Stopped`.
    pub async fn submit(&self, tx: String) -> Result<Committed, SubmitError> {
        let shared = self.shared();
        let raw = tx.into_bytes();
        let now = (shared.settings.clock)();
        let admitted = shared.app.check_tx(&raw, now).map_err(|e| SubmitError::Stopped(e.to_string()))?;
        admitted?;
        let (reply, answer) = oneshot::channel();
        shared.queue.push(raw, reply).map_err(|refused| match refused {
            queue::Refused::Full => SubmitError::Busy,
            queue::Refused::Stopped => SubmitError::Stopped(shared.why_stopped()),
        })?;
        answer.await.unwrap_or_else(|_| Err(SubmitError::Stopped(shared.why_stopped())))
    }

    /// The newest committed value under a Merkle key.
    ///
    /// A store that cannot be read has nothing to say: `None`, and the driver stops at its next block.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.view().ok()?.get(key)
    }

    /// A snapshot of the newest state, for reads that must agree with each other.
    ///
    /// # Errors
    /// What the store says.
    pub fn view(&self) -> Result<View, NodeError> {
        self.shared().app.store().view()
    }

    /// The newest block.
    pub fn head(&self) -> ChainHead {
        self.shared().tip.borrow().head.clone()
    }

    /// Where a transaction was accepted, by its hash; for a submitter that lost the answer.
    ///
    /// # Errors
    /// What the store says.
    pub fn find(&self, hash: &Hash32) -> Result<Option<Committed>, NodeError> {
        let view = self.view()?;
        let Some((height, index)) = view.find_tx(hash)? else { return Ok(None) };
        let damaged = || NodeError::Damaged { height, what: "a transaction that the index names is not there".into() };
        let outcome = view.outcome(height)?.ok_or_else(damaged)?;
        let tx = usize::try_from(index).ok().and_then(|i| outcome.txs.into_iter().nth(i)).ok_or_else(damaged)?;
        Ok(Some(Committed { height, index, hash: *hash, time: outcome.time, events: tx.events }))
    }

    /// Proves what is, and what is not, under keys in one state at least as new as the newest when asked; waits for the
    /// block whose header carries its root, or has it made.
    ///
    /// # Errors
    /// `Stopped`, or what the store says.
    pub async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, NodeError> {
        let shared = self.shared();
        let view = self.view()?;
        let head = view.head().ok_or_else(|| NodeError::Damaged { height: 0, what: "no head".into() })?;
        // The newest header already carries the newest root when its own block changed nothing.
        if head.height > 0 && view.version_at(head.height - 1)? == head.version {
            return self.prove_at(&view, head.height - 1, keys);
        }
        let height = head.height;
        drop(view);
        let mut tips = shared.tip.subscribe();
        shared.queue.want_block();
        // An error means that the sender is gone, which `shared` keeps.
        let _ = tips.wait_for(|tip| tip.ended || tip.head.height > height).await;
        if self.head().height <= height {
            return Err(NodeError::Stopped(shared.why_stopped()));
        }
        self.prove_at(&self.view()?, height, keys)
    }

    fn prove_at(&self, view: &View, height: u64, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, NodeError> {
        let missing = || NodeError::Damaged { height: height + 1, what: "the block is not in the log".into() };
        let block = view.block(height + 1)?.ok_or_else(missing)?;
        let commit = view.commit(height + 1)?.ok_or_else(missing)?;
        let signed = comet::unseal(&block, &commit)?.signed;
        let signed_header = serde_json::to_value(signed).map_err(|e| NodeError::Comet(e.to_string()))?;
        let validators = crate::verify::write_validators(self.shared().chain.validators())?;
        let version = view.version_at(height)?;
        let proofs = keys.iter().map(|key| {
            let text = std::str::from_utf8(key).map_err(|_| NodeError::Tree("keys of the state are text".into()))?;
            let (value, ics23) = view.prove(key, version)?;
            Ok(LedgerProof {
                key: text.to_owned(),
                value: value.map(b64::encode),
                ics23: b64::encode(ics23),
                height,
                signed_header: signed_header.clone(),
                validators: validators.clone(),
                changes: Vec::new(),
            })
        });
        proofs.collect()
    }

    /// The blocks from a height on: first out of the log, then as they are made, the empty ones too.
    pub fn subscribe(&self, from_height: u64) -> BlockStream {
        BlockStream::new(self.shared().app.store().clone(), self.shared().tip.subscribe(), from_height.max(1))
    }

    /// Waits until no block will follow, and says why when that is for a failure: the disk is full, the store is damaged.
    pub async fn ended(&self) -> Option<String> {
        let shared = self.shared();
        // An error means that the sender is gone, and with it the driver.
        let _ = shared.tip.subscribe().wait_for(|tip| tip.ended).await;
        shared.stopped.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops the driver after the block at hand; what still waits is answered `Stopped`. The file is free for another
    /// process when the last clone and stream is dropped.
    pub async fn stop(self) {
        let shared = Arc::clone(&self.handle.shared);
        shared.queue.stop();
        // An error means that the sender is gone, and with it the driver.
        let _ = shared.tip.subscribe().wait_for(|tip| tip.ended).await;
    }
}
