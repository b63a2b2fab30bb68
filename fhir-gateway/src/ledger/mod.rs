//! The gateway's view of the ledger: what is submitted, read, proved and listened to, whichever engine makes the blocks.
//!
//! **Architecture invariant:** nothing here knows FHIR, HTTP or the gateway's disk. A rule of consent that is judged here
//! (`session_live`) only reads what the machine wrote, by the machine's own rules.

mod comet;
mod embedded;
mod live;
mod signer;
mod stream;
mod time;
mod view;

use std::time::Instant;

use async_trait::async_trait;
use vouchsafe_types::{Event, Hash32, Rejection, TimeMs, genesis::Genesis};

pub use comet::{CometLedger, KeptError, OpenError, Settings as CometSettings, genesis as kept_genesis};
pub use embedded::EmbeddedLedger;
pub use live::{NotLive, session_live};
pub use signer::{SignError, Signer, random_nonce, stamp};
pub use stream::{BlockEvents, BlockStream};
pub use time::{FRESH_MS, Stale, fresh, now};
pub use view::View;

/// The newest block, as this gateway knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time: TimeMs,
    /// When this process received it, by the clock that never goes back.
    pub received: Instant,
}

/// A transaction that is in a block, durably.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The block.
    pub height: u64,
    /// Its place in the block.
    pub index: u32,
    /// The transaction's hash.
    pub hash: Hash32,
    /// The block's time.
    pub time: TimeMs,
    /// What it told.
    pub events: Vec<Event>,
}

/// What the ledger says of one key, provable to whoever trusts the genesis digest: a `vouchsafe_node::LedgerProof` as JSON,
/// which is handed on as it is and read by whoever verifies it.
pub type LedgerProof = serde_json::Value;

/// The value that a proof shows; none when it shows that there is none.
pub fn proved_value(proof: &LedgerProof) -> Option<Vec<u8>> {
    proof["value"].as_str().and_then(vouchsafe_types::b64::decode)
}

/// A ledger.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The chain's id.
    fn chain(&self) -> &str;

    /// The document that the chain began with; proofs carry it for those who trust only its digest.
    fn genesis(&self) -> &Genesis;

    /// The newest block.
    fn head(&self) -> Head;

    /// Brings a transaction into a block and returns when that block is durable.
    ///
    /// # Errors
    /// `Rejected` when the machine refuses it; `Busy` when it was not even queued; `Unavailable` when it is unknown
    /// whether it was or will be committed.
    async fn submit(&self, tx: String) -> Result<Committed, LedgerError>;

    /// Submits a transaction that may have been submitted before, perhaps by a process that is no more. When it is refused, it
    /// was committed before or never will be, and the state tells which.
    ///
    /// # Errors
    /// As `submit`; `Unavailable` also while it may still be committed although a node refuses it.
    async fn resubmit(&self, tx: String) -> Result<Committed, LedgerError> {
        self.submit(tx).await
    }

    /// The newest committed value under a key.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError>;

    /// Proofs of what the ledger holds, or does not hold, under keys; all at one height.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError>;

    /// Blocks from a height on: those that are, then each as it comes, empty ones too.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    async fn subscribe(&self, from: u64) -> Result<BlockStream, LedgerError>;

    /// Waits until the ledger will never answer again in this process, and says why; none when it was told to stop. One that
    /// is away and may come back does not end.
    async fn ended(&self) -> Option<String> {
        std::future::pending().await
    }
}

/// Why the ledger did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The machine refused the transaction.
    #[error("the ledger refused: {0}")]
    Rejected(#[from] Rejection),
    /// Too many transactions wait; nothing was queued.
    #[error("the ledger is busy")]
    Busy,
    /// The ledger is away; whether a submitted transaction will be committed is not known.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
}
