//! The ledger as a CometBFT chain, asked over the RPC of several nodes.
//!
//! Whatever node is asked, the newest block is one whose header was verified from the genesis document on. Beyond that, an own
//! node is believed, because whoever runs it runs this gateway; of any other node only what a verified header proves is taken:
//! see ADR 0036.

mod blocks;
mod follow;
mod kept;
mod nodes;
mod rpc;
mod state;
mod stream;
mod submit;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use vouchsafe_node::verify::{LightClient, LightError, Options, Trust, VerifyError};
use vouchsafe_types::{TimeMs, genesis::Genesis};

use super::{BlockStream, Committed, Head, Ledger, LedgerError, LedgerProof};
use crate::clock::Clock;
use blocks::Recent;
use nodes::Nodes;
use rpc::Rpc;

pub use kept::{KeptError, genesis};

/// Where the chain is and what is trusted of it.
pub struct Settings {
    /// The nodes' RPC addresses, in the order in which they are preferred.
    pub nodes: Vec<String>,
    /// How many of them, from the first on, are the organisation's own.
    pub own: usize,
    /// Where the newest header is kept for the next start.
    pub home: PathBuf,
    /// The genesis document.
    pub genesis: Genesis,
    /// The own clock.
    pub clock: Clock,
    /// How trust is bounded by time.
    pub options: Options,
    /// How long is waited for a first header.
    pub patience: Duration,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The genesis document does not hold.
    #[error("the genesis document: {0}")]
    Genesis(#[from] VerifyError),
    /// What is kept in the home is not usable.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The header that is kept in the home does not hold.
    #[error("the header kept in the home does not hold: {0}")]
    Checkpoint(LightError),
    /// No HTTP client can be made.
    #[error("an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// No node gave a header that holds.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A CometBFT chain as gateways see it. Cheap to clone; when the last clone and stream is dropped, nobody follows the chain
/// any more.
#[derive(Clone)]
pub struct CometLedger(Arc<Inner>);

/// What all clones share.
struct Inner {
    chain: String,
    genesis: Genesis,
    nodes: Nodes,
    home: PathBuf,
    clock: Clock,
    light: Mutex<LightClient>,
    recent: Mutex<Recent>,
    tip: watch::Sender<Head>,
    /// One block is taken at a time.
    turn: tokio::sync::Mutex<()>,
    /// How many wait for a block, and that one more does.
    waiting: AtomicUsize,
    awaited: Notify,
}

impl CometLedger {
    /// Begins to follow the chain; returns when a first header was verified.
    ///
    /// # Errors
    /// `OpenError`.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let Settings { nodes, own, home, genesis, clock, options, patience } = settings;
        let trust = Trust::new(&genesis, genesis.body.digest())?;
        let chain = trust.chain_id().to_owned();
        let light = match kept::checkpoint(&home)? {
            Some(kept) => LightClient::resume(trust, options, kept).map_err(OpenError::Checkpoint)?,
            None => LightClient::new(trust, options),
        };
        // Until a header is received, the newest is that of the genesis, received long ago.
        let received = Instant::now().checked_sub(Duration::from_secs(3600)).unwrap_or_else(Instant::now);
        let tip = watch::Sender::new(Head { height: 0, time: TimeMs(0), received });
        let inner = Arc::new(Inner {
            chain,
            genesis,
            nodes: Nodes::new(&Rpc::client()?, &nodes, own),
            home,
            clock,
            light: Mutex::new(light),
            recent: Mutex::default(),
            tip,
            turn: tokio::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            awaited: Notify::new(),
        });
        inner.nodes.check(&inner.chain).await;
        tokio::spawn(follow::run(Arc::downgrade(&inner)));
        tokio::spawn(follow::watch(Arc::downgrade(&inner)));
        let mut tips = inner.tip.subscribe();
        let first = tokio::time::timeout(patience, tips.wait_for(|head| head.height > 0)).await.is_ok();
        if !first {
            inner.nodes.active(TimeMs(0))?;
            return Err(LedgerError::Unavailable("no node gave a header that holds".into()).into());
        }
        inner.keep().await;
        Ok(Self(inner))
    }
}

impl Inner {
    fn head(&self) -> Head {
        *self.tip.borrow()
    }

    fn light(&self) -> MutexGuard<'_, LightClient> {
        // A light client that refuses changes nothing.
        self.light.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While it is held, the next block is asked for often.
    fn awaits(&self) -> Awaits<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.awaited.notify_one();
        Awaits(self)
    }

    fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Keeps the newest header for the next start. Without it the next start begins at the genesis document, so a failure
    /// costs time and nothing else.
    async fn keep(&self) {
        let checkpoint = match self.light().checkpoint() {
            Ok(Some(checkpoint)) => checkpoint,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the newest header is not kept");
                return;
            }
        };
        let home = self.home.clone();
        let kept = tokio::task::spawn_blocking(move || kept::keep(&home, &checkpoint)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%error, "the newest header is not kept");
        }
    }
}

struct Awaits<'a>(&'a Inner);

impl Drop for Awaits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Ledger for CometLedger {
    fn chain(&self) -> &str {
        &self.0.chain
    }

    fn genesis(&self) -> &Genesis {
        &self.0.genesis
    }

    fn head(&self) -> Head {
        self.0.head()
    }

    async fn submit(&self, tx: String) -> Result<Committed, LedgerError> {
        self.0.submit(tx).await
    }

    async fn resubmit(&self, tx: String) -> Result<Committed, LedgerError> {
        self.0.resubmit(tx).await
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.0.get(key).await
    }

    async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError> {
        let unwritable = |e: serde_json::Error| LedgerError::Unavailable(e.to_string());
        self.0.prove(keys).await?.iter().map(|proof| serde_json::to_value(proof).map_err(unwritable)).collect()
    }

    async fn subscribe(&self, from: u64) -> Result<BlockStream, LedgerError> {
        Ok(stream::from(Arc::clone(&self.0), from))
    }
}
