//! The other organisations' gateways: what is pushed to them, what they ask for, and how both know each other.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::{
    gateway::Gateway,
    http::{Fault, Reply},
};

/// The most bytes that `POST /peer` takes; http's own body limit does not hold there.
pub const MAX_BYTES: usize = 32 << 20;

/// The peers that are known, with the queues to them.
#[derive(Default)]
pub struct Peers;

impl Peers {
    /// No peer known yet.
    pub const fn new() -> Self {
        Self
    }
}

/// Starts what runs by itself; the caller aborts the tasks when the gateway stops.
pub fn spawn(_gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    Vec::new()
}

/// Takes one message of a peer, as it was posted to `/peer`.
///
/// # Errors
/// As an OperationOutcome.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn receive(_gw: &Arc<Gateway>, _body: &[u8]) -> Result<Reply, Fault> {
    Err(Fault::unavailable("not built yet"))
}
