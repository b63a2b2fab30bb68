//! Brings transactions into blocks, and finds out what became of them.

use std::time::{Duration, Instant};

use serde_json::json;
use vouchsafe_node::abci;
use vouchsafe_types::{Code, Hash32, TimeMs, jws::Unverified};

use super::{
    Inner,
    blocks::{committed, refusal},
    nodes::Fault,
    rpc::RpcError,
    wire,
};
use crate::ledger::{Committed, FRESH_MS, LedgerError};

/// How long is waited for a transaction's block, while blocks come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long, when the node that was asked refuses it.
const REFUSED: Duration = Duration::from_secs(10);

/// What CometBFT says of a transaction that it has had, and of a mempool without room (`mempool/errors.go`).
const KNOWN: &str = "tx already exists in cache";
const FULL: &str = "mempool is full";
const LARGE: &str = "Tx too large";

/// A transaction on its way.
struct Act {
    raw: String,
    hash: Hash32,
    expires: TimeMs,
    /// The newest block when it was sent: it is not in that one or before, unless it was sent before.
    from: u64,
    /// Whether it may lie in some mempool whatever the next node says: a refusal is then none.
    loose: bool,
}

/// How the sending went.
enum Sent {
    /// A node has it.
    Taken,
    /// It is refused, which ends it unless it is loose.
    Refused(LedgerError),
}

impl Inner {
    /// Submits a transaction for the first time.
    pub(super) async fn submit(&self, raw: String) -> Result<Committed, LedgerError> {
        let mut act = self.read(raw)?;
        self.must_be_fresh()?;
        let _awaits = self.awaits();
        match self.send(&mut act).await? {
            Sent::Taken => self.wait(&act, PATIENCE).await,
            Sent::Refused(why) if act.loose => Err(unknown(&why)),
            Sent::Refused(why) => Err(why),
        }
    }

    /// Submits a transaction that may have been submitted before. A node's refusal does not end it, because the mempool of
    /// another may hold it: it is dead when a block's time has passed its expiry, and not before.
    pub(super) async fn resubmit(&self, raw: String) -> Result<Committed, LedgerError> {
        let mut act = self.read(raw)?;
        act.loose = true;
        if let Some(done) = self.look_up(&act.hash).await {
            return done;
        }
        self.must_be_fresh()?;
        if self.head().time > act.expires {
            return Err(dead(&act));
        }
        let _awaits = self.awaits();
        // Whatever the answer, the blocks tell.
        let sent = self.send(&mut act).await?;
        let patience = if matches!(sent, Sent::Taken) { PATIENCE } else { REFUSED };
        let waited = self.wait(&act, patience).await;
        match (sent, waited) {
            (Sent::Refused(why), Err(LedgerError::Unavailable(_))) => Err(unknown(&why)),
            (_, waited) => waited,
        }
    }

    fn read(&self, raw: String) -> Result<Act, LedgerError> {
        let tx = Unverified::parse(raw.as_bytes(), &self.chain)?;
        let (hash, expires) = (vouchsafe_types::jws::hash_of(raw.as_bytes()), tx.expires());
        Ok(Act { raw, hash, expires, from: self.head().height, loose: false })
    }

    /// A chain that stands still takes nothing: better told at once than after a long wait.
    fn must_be_fresh(&self) -> Result<(), LedgerError> {
        let age = self.head().received.elapsed();
        if age > Duration::from_millis(FRESH_MS) {
            return Err(LedgerError::Unavailable(format!("no block for {} ms", age.as_millis())));
        }
        Ok(())
    }

    async fn send(&self, act: &mut Act) -> Result<Sent, LedgerError> {
        let params = json!({ "tx": wire::encode(act.raw.as_bytes()) });
        for _ in self.nodes.all() {
            let node = self.nodes.active(self.head().time)?;
            let fault = match node.rpc.call("broadcast_tx_sync", params.clone()).await {
                Ok(answer) => {
                    let code = answer["code"].as_u64().and_then(|code| u32::try_from(code).ok());
                    let log = answer["log"].as_str().unwrap_or_default();
                    match code {
                        Some(0) => return Ok(Sent::Taken),
                        Some(abci::BUSY) => return Ok(Sent::Refused(LedgerError::Busy)),
                        Some(code) if node.own => return Ok(Sent::Refused(refusal(code, log))),
                        // A node that is not believed may refuse, keep the transaction and pass it on later.
                        Some(code) => {
                            let why = refusal(code, log);
                            act.loose = true;
                            return Ok(Sent::Refused(why));
                        }
                        None => Fault::Untrue("broadcast_tx_sync is not of its form".into()),
                    }
                }
                Err(RpcError::Refused(why)) if why.contains(KNOWN) => return Ok(Sent::Taken),
                Err(RpcError::Refused(why)) if why.contains(FULL) => return Ok(Sent::Refused(LedgerError::Busy)),
                Err(RpcError::Refused(why)) if why.contains(LARGE) => {
                    let refused = vouchsafe_types::Rejection::new(Code::TooLarge, why);
                    return Ok(Sent::Refused(refused.into()));
                }
                Err(e) => {
                    act.loose |= !matches!(e, RpcError::NotReached(_));
                    e.into()
                }
            };
            act.loose |= matches!(fault, Fault::Untrue(_));
            node.failed(&fault);
        }
        Err(LedgerError::Unavailable("no node took the transaction".into()))
    }

    /// Waits for the block that holds it.
    async fn wait(&self, act: &Act, patience: Duration) -> Result<Committed, LedgerError> {
        let begun = Instant::now();
        let mut tips = self.tip.subscribe();
        let mut next = act.from + 1;
        let mut unseen = false;
        loop {
            let tip = *tips.borrow_and_update();
            while next <= tip.height {
                let block = self.recent().at(next);
                match block {
                    Some(block) => match block.find(&act.hash) {
                        Some(done) if block.sure => return done,
                        // The next header tells whether the node told the truth of this one.
                        Some(_) if next == tip.height => break,
                        Some(_) | None => next += 1,
                    },
                    None => {
                        if let Some(done) = self.look_up(&act.hash).await {
                            return done;
                        }
                        // Blocks went by unseen; what lies in them cannot be told here any more.
                        (unseen, next) = (true, tip.height + 1);
                    }
                }
            }
            // A block at or after the expiry refuses it, and every block up to this one was looked into.
            if next > tip.height && tip.time > act.expires {
                if unseen {
                    return Err(LedgerError::Unavailable("the transaction's block may have gone by unseen".into()));
                }
                return Err(dead(act));
            }
            if begun.elapsed() > patience {
                return Err(LedgerError::Unavailable("the transaction is in no block yet".into()));
            }
            self.must_be_fresh()?;
            // An error is the second having passed; the sender lives as long as this.
            let _ = tokio::time::timeout(Duration::from_secs(1), tips.changed()).await;
        }
    }

    /// What an own node's index knows of a transaction. Only what it finds is believed: it may be behind, or keep no index.
    async fn look_up(&self, hash: &Hash32) -> Option<Result<Committed, LedgerError>> {
        let head = self.head().time;
        let node = self.nodes.active(head).ok().filter(|node| node.own)?;
        let params = json!({ "hash": wire::encode(hash.0), "prove": false });
        let answer = node.rpc.call("tx", params).await.ok()?;
        let height = wire::number(&answer["height"])?;
        let index = answer["index"].as_u64().and_then(|index| u32::try_from(index).ok())?;
        let tx = wire::tx_outcome(&answer["tx_result"], *hash).ok()?;
        let block = node.rpc.call("block", json!({ "height": height.to_string() })).await.ok()?;
        let (time, _) = wire::hashes(&block).ok()?;
        Some(committed(height, index, time, &tx))
    }
}

/// A refused transaction that may all the same be committed.
fn unknown(why: &LedgerError) -> LedgerError {
    LedgerError::Unavailable(format!("a node says: {why}; whether another has the transaction is not known"))
}

fn dead(act: &Act) -> LedgerError {
    let facts = format!("no block before {}, when it expired, holds it", act.expires);
    vouchsafe_types::Rejection::new(Code::Expired, facts).into()
}
