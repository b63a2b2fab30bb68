//! The embedded ledger: one node, one validator key, no fault tolerance; the same machine, blocks and proofs.

use async_trait::async_trait;
use futures::stream;
use vouchsafe_core::StateRead;
use vouchsafe_node::embedded::{Embedded, SubmitError};
use vouchsafe_types::genesis::Genesis;

use super::{BlockEvents, BlockStream, Committed, Head, Ledger, LedgerError, LedgerProof};

/// The embedded ledger as gateways see it. Several gateways of one process share one.
#[derive(Clone, Debug)]
pub struct EmbeddedLedger {
    node: Embedded,
    chain: String,
}

impl EmbeddedLedger {
    /// Takes a running node.
    pub fn new(node: Embedded) -> Self {
        let chain = node.head().chain;
        Self { node, chain }
    }

    /// The node, to stop it.
    pub const fn node(&self) -> &Embedded {
        &self.node
    }
}

fn unavailable(e: impl std::fmt::Display) -> LedgerError {
    LedgerError::Unavailable(e.to_string())
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    fn chain(&self) -> &str {
        &self.chain
    }

    fn genesis(&self) -> &Genesis {
        self.node.genesis()
    }

    fn head(&self) -> Head {
        let head = self.node.head();
        Head { height: head.height, time: head.time, received: head.received }
    }

    async fn submit(&self, tx: String) -> Result<Committed, LedgerError> {
        match self.node.submit(tx).await {
            Ok(c) => Ok(Committed { height: c.height, index: c.index, hash: c.hash, time: c.time, events: c.events }),
            Err(SubmitError::Rejected(rejection)) => Err(LedgerError::Rejected(rejection)),
            Err(SubmitError::Busy) => Err(LedgerError::Busy),
            Err(e @ SubmitError::Stopped(_)) => Err(unavailable(e)),
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        // `Embedded::get` cannot tell a key that is not there from a store that cannot be read; a snapshot can.
        Ok(self.node.view().map_err(unavailable)?.get(key))
    }

    async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError> {
        let proofs = self.node.prove(keys).await.map_err(unavailable)?;
        proofs.iter().map(|proof| serde_json::to_value(proof).map_err(unavailable)).collect()
    }

    async fn subscribe(&self, from: u64) -> Result<BlockStream, LedgerError> {
        let blocks = stream::unfold(self.node.subscribe(from), |mut blocks| async {
            let block = blocks.next().await?;
            Some((BlockEvents { height: block.height, time: block.time, events: block.events }, blocks))
        });
        Ok(BlockStream::new(Box::pin(blocks)))
    }
    async fn ended(&self) -> Option<String> {
        self.node.ended().await
    }
}
