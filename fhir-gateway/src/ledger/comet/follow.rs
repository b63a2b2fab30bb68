//! Follows the chain: verifies each header, and what its node says that the block did.

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tendermint::{block::signed_header::SignedHeader, validator::Set};
use vouchsafe_node::{comet::time_ms, verify::LightError};
use vouchsafe_types::TimeMs;

use super::{
    Inner,
    blocks::Block,
    nodes::{BEHIND_MS, Fault, Node},
    wire,
};
use crate::ledger::Head;

/// How long is waited for the next block before it is asked for again: while somebody waits for one, and otherwise.
const SOON: Duration = Duration::from_millis(10);
const IDLE: Duration = Duration::from_millis(100);
/// How often the nodes are asked how they are.
const CHECK: Duration = Duration::from_secs(1);
/// How far behind the newest block it is worth taking them one after the other.
const NEAR: u64 = 100;
/// How often the newest header is kept for the next start.
const KEEP: Duration = Duration::from_secs(30);

/// Follows until nobody holds the ledger any more.
pub(super) async fn run(inner: Weak<Inner>) {
    let mut kept = Instant::now();
    while let Some(inner) = inner.upgrade() {
        let pause = match inner.step().await {
            Ok(true) => None,
            Ok(false) => Some(if inner.is_awaited() { SOON } else { IDLE }),
            Err(()) => Some(IDLE),
        };
        if kept.elapsed() > KEEP {
            kept = Instant::now();
            inner.keep().await;
        }
        if let Some(pause) = pause {
            // Who begins to wait for a block does not wait for the idle pause to end.
            let _ = tokio::time::timeout(pause, inner.awaited.notified()).await;
        }
    }
}

/// Watches over the nodes until nobody holds the ledger any more.
pub(super) async fn watch(inner: Weak<Inner>) {
    loop {
        tokio::time::sleep(CHECK).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.nodes.check(&inner.chain).await;
        inner.overtake().await;
    }
}

impl Inner {
    /// Takes the next block of the node that is asked; false when there is none yet.
    async fn step(&self) -> Result<bool, ()> {
        let Ok(node) = self.nodes.active(self.head().time) else { return Err(()) };
        let head = self.head().height;
        let claimed = node.claims().map_or(0, |(height, _)| height);
        let next = if head == 0 || claimed > head + NEAR { claimed.max(1) } else { head + 1 };
        match self.take(&node, next).await {
            Ok(taken) => Ok(taken),
            Err(fault) => {
                node.failed(&fault);
                Err(())
            }
        }
    }

    /// A node that claims to be further ahead than the one that is asked is believed when its headers hold; the other one is
    /// then behind, and left.
    async fn overtake(&self) {
        let asked = self.nodes.active(self.head().time).ok().map(|node| node.rpc.url().to_owned());
        for node in self.nodes.all().iter().filter(|node| Some(node.rpc.url()) != asked.as_deref()) {
            let Some((claimed, time)) = node.claims() else { continue };
            if time <= self.head().time.plus(BEHIND_MS) || node.is_banned() {
                continue;
            }
            loop {
                let head = self.head().height;
                if head >= claimed {
                    return;
                }
                let next = if claimed > head + NEAR { claimed } else { head + 1 };
                match self.take(node, next).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(fault) => {
                        node.failed(&fault);
                        break;
                    }
                }
            }
        }
    }

    /// Takes one block from a node; false when the node does not have it yet.
    pub(super) async fn take(&self, node: &Node, height: u64) -> Result<bool, Fault> {
        let turn = self.turn.lock().await;
        if height <= self.head().height {
            return Ok(true);
        }
        let at = json!({ "height": height.to_string() });
        let calls = vec![("commit", at.clone()), ("block", at.clone()), ("block_results", at)];
        let mut answers = node.rpc.batch(calls).await?.into_iter();
        let (Some(Ok(mut commit)), Some(Ok(block)), Some(Ok(results))) =
            (answers.next(), answers.next(), answers.next())
        else {
            // The block is not made, or not executed yet.
            return Ok(false);
        };
        let signed = wire::signed_header(&mut commit)?;
        if signed.header.height.value() != height {
            return Err(Fault::Untrue(format!("asked for {height}, it gives another header")));
        }
        let txs = wire::transactions(&block, &signed)?;
        let hashes: Vec<_> = txs.iter().map(|tx| vouchsafe_types::jws::hash_of(tx)).collect();
        drop(txs);
        let (time, signed) = self.believe(node, signed).await?;
        let outcome = wire::outcome(&results, time, &hashes)?;
        let pushed = self.recent().push(Block::new(signed, outcome, node.own));
        node.gave(height, time);
        // The head is told last, so that who hears of it finds the block.
        self.tip.send_replace(Head { height, time, received: Instant::now() });
        drop(turn);
        match pushed {
            Ok(()) => Ok(true),
            Err(before) => {
                Err(Fault::Untrue(format!("the results that it told of block {before} are not the chain's")))
            }
        }
    }

    /// Verifies a header, following the changes of the validators on the way to it; gives it back with its time.
    async fn believe(&self, node: &Node, signed: SignedHeader) -> Result<(TimeMs, SignedHeader), Fault> {
        let mut next = None;
        loop {
            let now = (self.clock)();
            let verdict = self.light().advance(signed.clone(), next.take(), now);
            match verdict {
                Ok(time) => return Ok((time, signed)),
                Err(LightError::NotNewer { head, got }) => return self.known(&signed, head, got),
                Err(LightError::NextMissing { height }) => next = Some(validators(node, height + 1).await?),
                Err(LightError::Skipped { height }) => self.follow_change(node, height).await?,
                Err(LightError::Expired) => {
                    return Err(Fault::Away(
                        "the newest header known here is older than the trusting period: the kept trust must be renewed".into(),
                    ));
                }
                Err(e) => return Err(Fault::Untrue(e.to_string())),
            }
        }
    }

    /// The first header after a start may be the one that was kept. It is taken as it was verified then.
    fn known(&self, signed: &SignedHeader, head: u64, got: u64) -> Result<(TimeMs, SignedHeader), Fault> {
        if got < head {
            return Err(Fault::Away(format!("it is at {got}, and {head} was seen before")));
        }
        let kept = self.light().head().filter(|kept| kept.header == signed.header).cloned();
        let kept = kept.ok_or_else(|| Fault::Untrue(format!("it has another header at {got}")))?;
        let time = time_ms(kept.header.time).ok_or_else(|| Fault::Untrue("a time before 1970".into()))?;
        Ok((time, kept))
    }

    /// Finds the last header of the validators known before a height, by bisection, and verifies it with those it names.
    ///
    /// What is looked at on the way is not verified; a node that lies about it leads to a header that does not hold.
    async fn follow_change(&self, node: &Node, target: u64) -> Result<(), Fault> {
        let (known, from) = {
            let light = self.light();
            (light.validators().hash(), light.height())
        };
        let (mut low, mut high) = (from.max(1), target);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let header = node.rpc.call("header", json!({ "height": middle.to_string() })).await?;
            let of_known = header["header"]["validators_hash"].as_str().map(str::to_owned) == Some(known.to_string());
            if of_known { low = middle } else { high = middle }
        }
        if low <= from {
            return Err(Fault::Untrue(format!(
                "its validators after {from} are not those that the header there names"
            )));
        }
        let mut commit = node.rpc.call("commit", json!({ "height": low.to_string() })).await?;
        let signed = wire::signed_header(&mut commit)?;
        let next = validators(node, low + 1).await?;
        let now = (self.clock)();
        let changes = self.light().changes().len();
        let verdict = self.light().advance(signed, Some(next), now);
        verdict.map_err(|e| Fault::Untrue(e.to_string()))?;
        // Each turn of the caller's loop must bring it nearer.
        if self.light().changes().len() == changes {
            return Err(Fault::Untrue(format!("the header at {low} changes no validators")));
        }
        Ok(())
    }
}

/// The validators at a height, as the node has them; the header that names them says whether they are.
async fn validators(node: &Node, height: u64) -> Result<Set, Fault> {
    let mut pages: Vec<Value> = Vec::new();
    // CometBFT has at most 10,000 validators, 100 on a page.
    for page in 1..=100 {
        let params = json!({ "height": height.to_string(), "page": page.to_string(), "per_page": "100" });
        pages.push(node.rpc.call("validators", params).await?);
        if let Some(set) = wire::validators(&pages)? {
            return Ok(set);
        }
    }
    Err(Fault::Untrue("more validators than a chain has".into()))
}
