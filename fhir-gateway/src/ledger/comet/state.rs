//! Reads of the newest committed state, and proofs of it.

use std::time::{Duration, Instant};

use serde_json::json;
use tendermint::block::signed_header::SignedHeader;
use vouchsafe_node::{
    LedgerProof,
    verify::{verify_proof, write_validators},
};
use vouchsafe_types::b64;

use super::{
    Inner,
    nodes::{Fault, Node},
    rpc::TOGETHER,
    wire::{self, Said},
};
use crate::ledger::LedgerError;

/// How long a node may take to execute the newest block, or to make the one whose header proves it.
const WAIT: Duration = Duration::from_secs(5);
/// How soon it is asked again.
const SOON: Duration = Duration::from_millis(5);

impl Inner {
    /// The newest committed value: of a state at least as new as the head that is known when it is asked.
    pub(super) async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        for _ in self.nodes.all() {
            let node = self.nodes.active(self.head().time)?;
            let got = if node.own {
                self.told(&node, key).await
            } else {
                self.proofs(&node, &[key.to_vec()]).await.map(|proofs| value_of(proofs.first()))
            };
            match got {
                Ok(value) => return Ok(value),
                Err(fault) => node.failed(&fault),
            }
        }
        Err(LedgerError::Unavailable("no node tells the state".into()))
    }

    /// Proofs at one height, verified here before anybody gets them.
    pub(super) async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError> {
        for _ in self.nodes.all() {
            let node = self.nodes.active(self.head().time)?;
            match self.proofs(&node, keys).await {
                Ok(proofs) => return Ok(proofs),
                Err(fault) => node.failed(&fault),
            }
        }
        Err(LedgerError::Unavailable("no node proves the state".into()))
    }

    /// What an own node says. It has the newest block before it has executed it, so its word is asked for until it is new.
    async fn told(&self, node: &Node, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        let (least, begun) = (self.head().height, Instant::now());
        loop {
            let answer = node.rpc.call("abci_query", query(key, 0, false)).await?;
            let Said { height, value, .. } = wire::said(&answer)?.map_err(Fault::Away)?;
            if height >= least {
                return Ok(value);
            }
            if begun.elapsed() > WAIT {
                return Err(Fault::Away(format!("its application is at {height}, the chain at {least}")));
            }
            tokio::time::sleep(SOON).await;
        }
    }

    async fn proofs(&self, node: &Node, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, Fault> {
        let signed = self.provable().await?;
        let height = signed.header.height.value() - 1;
        let (trust, changes, validators) = {
            let light = self.light();
            // The set that committed this header: the newest header's, or, when that one changed it, the one before.
            (light.trust().clone(), light.changes().to_vec(), light.committers(&signed))
        };
        let unreadable = |what: String| Fault::Away(what);
        let (changes, set) = validators
            .map(|(count, set)| (changes[..count].to_vec(), set))
            .ok_or_else(|| unreadable("the validators changed meanwhile".into()))?;
        let validators = write_validators(&set).map_err(|e| unreadable(e.to_string()))?;
        let signed_header = serde_json::to_value(&signed).map_err(|e| unreadable(e.to_string()))?;
        let mut proofs = Vec::with_capacity(keys.len());
        for some in keys.chunks(TOGETHER) {
            let calls = some.iter().map(|key| ("abci_query", query(key, height, true))).collect();
            for (key, answer) in some.iter().zip(node.rpc.batch(calls).await?) {
                let said = wire::said(&answer?)?.map_err(Fault::Away)?;
                let ics23 = said.proof.ok_or_else(|| Fault::Away("it gives no proof".into()))?;
                let key =
                    String::from_utf8(key.clone()).map_err(|_| Fault::Away("keys of the state are text".into()))?;
                let proof = LedgerProof {
                    key,
                    value: said.value.map(b64::encode),
                    ics23: b64::encode(ics23),
                    height,
                    signed_header: signed_header.clone(),
                    validators: validators.clone(),
                    changes: changes.clone(),
                };
                verify_proof(&proof, &trust).map_err(|e| Fault::Untrue(e.to_string()))?;
                proofs.push(proof);
            }
        }
        Ok(proofs)
    }

    /// The newest header, when its root is of a state at least as new as the head that is known when it is asked: the next
    /// one after that head, or that head's own when its block is empty, because empty blocks change nothing.
    async fn provable(&self) -> Result<SignedHeader, Fault> {
        let _awaits = self.awaits();
        let mut tips = self.tip.subscribe();
        let (wanted, begun) = (self.head().height, Instant::now());
        loop {
            tips.borrow_and_update();
            if let Some(block) = self.recent().newest()
                && block.height > 1
                && (block.height > wanted || block.is_empty())
            {
                return Ok(block.header.clone());
            }
            if begun.elapsed() > WAIT {
                return Err(Fault::Away("no header proves the newest state yet".into()));
            }
            // An error is the second having passed; the sender lives as long as this.
            let _ = tokio::time::timeout(Duration::from_secs(1), tips.changed()).await;
        }
    }
}

fn query(key: &[u8], height: u64, prove: bool) -> serde_json::Value {
    json!({ "path": "/key", "data": hex::encode(key), "height": height.to_string(), "prove": prove })
}

fn value_of(proof: Option<&LedgerProof>) -> Option<Vec<u8>> {
    proof?.value.as_deref().and_then(b64::decode)
}
