//! The other organisations' gateways: what is pushed to them, what they ask for, and how both know each other.
//!
//! Every verified organisation with an endpoint on the ledger is a peer. Messages are pushed over queues of bounded
//! length, with retries; what is lost all the same is pulled when it is needed.

pub mod message;

mod blocks;
mod car;
mod receive;
mod send;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use cid::Cid;
use tokio::task::JoinHandle;
use vouchsafe_types::AccountId;

use crate::gateway::Gateway;

pub use blocks::{FetchFault, fetch, fetch_all, fetch_some, serve_raw};
pub use message::{MAX_BYTES, Message};
pub use receive::receive;
pub use send::{PeerError, ask, broadcast, deliver, pull, send};

/// How long one exchange with a peer may take.
const EXCHANGE: Duration = Duration::from_secs(10);

/// The peers that are known, with the queues to them.
pub struct Peers {
    client: reqwest::Client,
    known: Mutex<BTreeSet<AccountId>>,
    lanes: Mutex<BTreeMap<(AccountId, bool), send::Lane>>,
    blobs: Mutex<BlobCache>,
}

/// Ciphertext that came from other gateways, the oldest forgotten first.
#[derive(Default)]
struct BlobCache {
    order: VecDeque<Cid>,
    blobs: BTreeMap<Cid, Bytes>,
    bytes: usize,
}

/// How many bytes of others' ciphertext are kept in memory.
const CACHE_BYTES: usize = 16 << 20;

impl Default for Peers {
    fn default() -> Self {
        Self::new()
    }
}

impl Peers {
    /// No peer known yet; the ledger's events tell of them.
    pub fn new() -> Self {
        let client = reqwest::Client::builder()
            .timeout(EXCHANGE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without TLS settings can be built");
        Self { client, known: Mutex::default(), lanes: Mutex::default(), blobs: Mutex::default() }
    }

    /// An organisation said where its gateway is.
    pub fn learn(&self, organization: AccountId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(organization);
    }

    /// All organisations that ever had an endpoint.
    pub fn known(&self) -> Vec<AccountId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Forgets the ciphertext that came from others.
    pub fn forget_blobs(&self) {
        *self.blobs.lock().unwrap_or_else(PoisonError::into_inner) = BlobCache::default();
    }

    fn cached(&self, cid: &Cid) -> Option<Bytes> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).blobs.get(cid).cloned()
    }

    fn cache(&self, cid: Cid, blob: &Bytes) {
        let mut cache = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.blobs.insert(cid, blob.clone()).is_none() {
            cache.order.push_back(cid);
            cache.bytes += blob.len();
        }
        while cache.bytes > CACHE_BYTES {
            let Some(oldest) = cache.order.pop_front() else { break };
            if let Some(gone) = cache.blobs.remove(&oldest) {
                cache.bytes -= gone.len();
            }
        }
    }
}

/// Starts what runs by itself: replication of own directory entries, and the hook by which the directory asks a
/// custodian for what it misses.
pub fn spawn(gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    vec![send::spawn_replication(gw)]
}
