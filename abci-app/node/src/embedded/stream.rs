//! The blocks as a listener gets them: read out of the log, so that a slow listener costs no memory and misses nothing.

use tokio::sync::watch;
use vouchsafe_types::{Event, Hash32, TimeMs};

use super::Tip;
use crate::{NodeError, store::Store};

/// What a block told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEvents {
    /// The block's height.
    pub height: u64,
    /// The block's time.
    pub time: TimeMs,
    /// Its events in their order, each with the hash of the transaction that told it; a deadline's have none.
    pub events: Vec<(Option<Hash32>, Event)>,
}

/// The blocks from a height on.
#[derive(Debug)]
pub struct BlockStream {
    store: Store,
    tip: watch::Receiver<Tip>,
    next: u64,
}

impl BlockStream {
    pub(super) const fn new(store: Store, tip: watch::Receiver<Tip>, next: u64) -> Self {
        Self { store, tip, next }
    }

    /// The next block; waits for it. `None` when the driver has stopped and every block was told.
    pub async fn next(&mut self) -> Option<BlockEvents> {
        loop {
            let (height, ended) = {
                let tip = self.tip.borrow_and_update();
                (tip.head.height, tip.ended)
            };
            if height >= self.next {
                return self.read();
            }
            if ended {
                return None;
            }
            self.tip.changed().await.ok()?;
        }
    }

    fn read(&mut self) -> Option<BlockEvents> {
        match block_events(&self.store, self.next) {
            Ok(found) => {
                self.next += 1;
                found
            }
            Err(e) => {
                tracing::error!(error = %e, height = self.next, "a block cannot be read for its listener");
                None
            }
        }
    }
}

fn block_events(store: &Store, height: u64) -> Result<Option<BlockEvents>, NodeError> {
    let Some(outcome) = store.view()?.outcome(height)? else { return Ok(None) };
    let mut events: Vec<_> = outcome.begin.into_iter().map(|event| (None, event)).collect();
    for tx in outcome.txs {
        events.extend(tx.events.into_iter().map(|event| (Some(tx.hash), event)));
    }
    events.extend(outcome.end.into_iter().map(|event| (None, event)));
    Ok(Some(BlockEvents { height, time: outcome.time, events }))
}
