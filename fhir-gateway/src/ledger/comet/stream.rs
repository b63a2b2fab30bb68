//! Blocks from a height on, for those who listen: the newest out of memory, the others from a node.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use serde_json::json;

use super::{
    Inner,
    blocks::events,
    nodes::{Fault, Node},
    rpc::TOGETHER,
    wire,
};
use crate::ledger::{BlockEvents, BlockStream, LedgerError};

/// How many heights are asked for in one message: a block and its results each.
const HEIGHTS: u64 = TOGETHER as u64 / 2;
/// How long is waited when no node has what is next.
const AGAIN: Duration = Duration::from_millis(500);

/// Where a stream is: every height below `next` was given, none from there on. A connection that breaks changes nothing
/// of that, so nothing is left out and nothing comes twice.
struct Place {
    inner: Arc<Inner>,
    next: u64,
    ready: std::collections::VecDeque<BlockEvents>,
}

pub(super) fn from(inner: Arc<Inner>, height: u64) -> BlockStream {
    let place = Place { inner, next: height.max(1), ready: std::collections::VecDeque::new() };
    BlockStream::new(
        stream::unfold(place, |mut place| async {
            let block = place.block().await;
            Some((block, place))
        })
        .boxed(),
    )
}

impl Place {
    async fn block(&mut self) -> BlockEvents {
        let mut tips = self.inner.tip.subscribe();
        loop {
            if let Some(block) = self.ready.pop_front() {
                self.next = block.height + 1;
                return block;
            }
            let tip = *tips.borrow_and_update();
            let recent = self.inner.recent().at(self.next);
            if let Some(block) = recent {
                self.next += 1;
                return block.events();
            }
            if self.next > tip.height {
                // An error would be the sender's end, which this stream itself keeps from coming.
                let _ = tips.changed().await;
                continue;
            }
            match self.inner.history(self.next, tip.height).await {
                Ok(blocks) => self.ready.extend(blocks),
                Err(error) => {
                    tracing::warn!(height = self.next, %error, "the ledger's blocks cannot be read on");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

impl Inner {
    /// Some blocks from a height on, at least one.
    async fn history(&self, from: u64, to: u64) -> Result<Vec<BlockEvents>, LedgerError> {
        let node = self.nodes.active(self.head().time)?;
        let to = to.min(from + HEIGHTS - 1);
        let read = read(&node, from, to).await;
        read.map_err(|fault| {
            node.failed(&fault);
            LedgerError::Unavailable(fault.to_string())
        })
    }
}

async fn read(node: &Node, from: u64, to: u64) -> Result<Vec<BlockEvents>, Fault> {
    let heights = from..=to;
    let calls = heights.clone().flat_map(|height| {
        let at = json!({ "height": height.to_string() });
        [("block", at.clone()), ("block_results", at)]
    });
    let mut answers = node.rpc.batch(calls.collect()).await?.into_iter();
    let mut blocks = Vec::new();
    for height in heights {
        let (Some(block), Some(results)) = (answers.next(), answers.next()) else { break };
        let (time, hashes) = wire::hashes(&block?)?;
        blocks.push(events(height, &wire::outcome(&results?, time, &hashes)?));
    }
    Ok(blocks)
}
