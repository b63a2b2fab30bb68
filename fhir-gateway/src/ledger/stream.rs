//! Blocks as they come.

use futures::{StreamExt, stream::BoxStream};
use vouchsafe_types::{Event, Hash32, TimeMs};

/// What happened in one block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockEvents {
    /// Its height.
    pub height: u64,
    /// Its time.
    pub time: TimeMs,
    /// What was told: by a transaction, or by a deadline that passed.
    pub events: Vec<(Option<Hash32>, Event)>,
}

/// Blocks in the order of their heights, without a gap.
pub struct BlockStream(BoxStream<'static, BlockEvents>);

impl BlockStream {
    /// Takes a stream that keeps this order.
    pub fn new(blocks: BoxStream<'static, BlockEvents>) -> Self {
        Self(blocks)
    }

    /// The next block; waits for it. None when the ledger has stopped.
    pub async fn next(&mut self) -> Option<BlockEvents> {
        self.0.next().await
    }
}
