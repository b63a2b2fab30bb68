//! Load on a chain, and when what was sent was committed.
//!
//! Transactions are sent without waiting for their check, because an engine gathers what it asks an application for
//! twenty milliseconds, which one waiting client would measure and nothing else. Only what is committed counts.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::Value;

use super::chain::{Chain, Rpc};
use crate::exit::{Context, Failure, Kind, Outcome};

/// How fast transactions come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As fast as they are taken, with at most so many not committed.
    Window(usize),
    /// So many a second, whatever becomes of them.
    Rate(u64),
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) pace: Pace,
    pub(crate) lanes: usize,
    /// Transactions that one request carries.
    pub(crate) batch: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Committed {
    /// Transactions a second, from the first block after the warm-up to the last.
    pub(crate) rate: f64,
    /// Seconds from sending to commit, within which half, and nineteen of twenty, were.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

/// What the lanes and the watcher share.
struct Shared {
    /// The transactions as requests carry them, base64.
    txs: Vec<String>,
    load: Load,
    begin: Instant,
    /// Nanoseconds after `begin` that each was sent at, plus one; 0 for one that was not.
    sent: Vec<AtomicU64>,
    in_flight: AtomicUsize,
    done: AtomicBool,
}

/// Puts the load on a chain. `txs` are those of `prepared`, number `i` for lane `i % lanes`.
pub(crate) async fn run(chain: &Chain, txs: &[String], load: Load) -> Outcome<Committed> {
    let nodes = chain.rpc();
    let encoded = txs.iter().map(|tx| STANDARD.encode(chain.application.bytes(tx))).collect();
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.doing(Kind::Error, || "a runtime".into());
        // Whoever waited may have gone.
        drop(send.send(done.and_then(|runtime| runtime.block_on(generate(nodes, encoded, load)))));
    });
    receive.await.doing(Kind::Error, || "the load generator".into())?
}

async fn generate(nodes: Vec<SocketAddr>, txs: Vec<String>, load: Load) -> Outcome<Committed> {
    let sent = txs.iter().map(|_| AtomicU64::new(0)).collect();
    let (in_flight, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let shared = Arc::new(Shared { txs, load, begin: Instant::now(), sent, in_flight, done });
    let watcher = Watcher::new(&shared, nodes[0]).await?;
    let watching = tokio::spawn(watcher.watch());
    let lanes = (0..load.lanes).map(|n| lane(&shared, nodes[n % nodes.len()], n));
    for ended in futures::future::join_all(lanes).await {
        ended?;
    }
    shared.done.store(true, Ordering::Relaxed);
    watching.await.doing(Kind::Error, || "the watcher".into())??.tally(&shared)
}

/// Sends the transactions of one lane in their order.
async fn lane(shared: &Shared, node: SocketAddr, number: usize) -> Outcome {
    let load = shared.load;
    let mut rpc = Rpc::new(node);
    let mut next = number;
    let mut body = String::new();
    let end = shared.begin + load.warm_up + load.measured;
    while next < shared.txs.len() && Instant::now() < end {
        match load.pace {
            Pace::Window(most) => {
                while shared.in_flight.load(Ordering::Relaxed) + load.batch > most && Instant::now() < end {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Pace::Rate(rate) => {
                let due = shared.begin + Duration::from_secs(1).mul_f64(next as f64 / rate as f64);
                tokio::time::sleep_until(due.into()).await;
            }
        }
        let batch: Vec<usize> = (next..shared.txs.len()).step_by(load.lanes).take(load.batch).collect();
        next += batch.len() * load.lanes;
        request(&mut body, batch.iter().map(|i| shared.txs[*i].as_str()));
        let now = u64::try_from(shared.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        for i in &batch {
            shared.sent[*i].store(now + 1, Ordering::Relaxed);
        }
        shared.in_flight.fetch_add(batch.len(), Ordering::Relaxed);
        taken(rpc.post(&body).await?)?;
    }
    Ok(())
}

/// A batch of calls (<https://www.jsonrpc.org/specification#batch>).
fn request<'a>(body: &mut String, txs: impl Iterator<Item = &'a str>) {
    body.clear();
    for (id, tx) in txs.enumerate() {
        body.push(if id == 0 { '[' } else { ',' });
        body.push_str(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"broadcast_tx_async","params":{{"tx":""#));
        body.push_str(tx);
        body.push_str("\"}}");
    }
    body.push(']');
}

#[derive(Deserialize)]
struct Call {
    error: Option<Value>,
}

/// That the engine took every transaction of a batch.
fn taken(answer: &[u8]) -> Outcome {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Answer {
        Many(Vec<Call>),
        One(Call),
    }
    let calls = match serde_json::from_slice(answer).doing(Kind::InvalidData, || "the engine's answer".into())? {
        Answer::Many(calls) => calls,
        Answer::One(call) => vec![call],
    };
    match calls.into_iter().find_map(|call| call.error) {
        None => Ok(()),
        Some(error) => Err(Failure::new(Kind::Unavailable, format!("the engine did not take a transaction: {error}"))),
    }
}

/// Sees blocks being committed.
struct Watcher {
    shared: Arc<Shared>,
    node: SocketAddr,
    /// Which transaction has these bytes.
    numbers: HashMap<u64, usize>,
    first: u64,
    /// When each height from `first` on was committed, after `begin`, and its transactions.
    blocks: Vec<(Duration, Vec<usize>)>,
}

impl Watcher {
    async fn new(shared: &Arc<Shared>, node: SocketAddr) -> Outcome<Self> {
        let first = Rpc::new(node).height().await?;
        let numbers = shared.txs.iter().enumerate().map(|(i, tx)| (tail(tx), i)).collect();
        Ok(Self { shared: Arc::clone(shared), node, numbers, first, blocks: Vec::new() })
    }

    /// Watches until everything that was sent is committed.
    async fn watch(mut self) -> Outcome<Self> {
        let mut rpc = Rpc::new(self.node);
        let mut last = (Instant::now(), 0);
        loop {
            let working_at = rpc.height().await?;
            let at = self.shared.begin.elapsed();
            while self.first + (self.blocks.len() as u64) < working_at {
                let height = self.first + self.blocks.len() as u64;
                let block = rpc.get(&format!("/block?height={height}")).await?;
                let txs = block["block"]["data"]["txs"].as_array().cloned().unwrap_or_default();
                let known = txs.iter().filter_map(|tx| self.numbers.get(&tail(tx.as_str()?)).copied());
                let txs: Vec<usize> = known.collect();
                self.shared.in_flight.fetch_sub(txs.len(), Ordering::Relaxed);
                self.blocks.push((at, txs));
            }
            let waiting = self.shared.in_flight.load(Ordering::Relaxed);
            if self.shared.done.load(Ordering::Relaxed) && waiting == 0 {
                return self.accepted(&mut rpc).await.map(|()| self);
            }
            if last.1 != self.blocks.len() {
                last = (Instant::now(), self.blocks.len());
            }
            if last.0.elapsed() > Duration::from_secs(60) {
                return Err(Failure::new(Kind::Unavailable, format!("no block for a minute, {waiting} wait")));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// That every transaction was accepted: a figure over refusals is no figure.
    async fn accepted(&self, rpc: &mut Rpc) -> Outcome {
        for (height, (_, txs)) in (self.first..).zip(&self.blocks) {
            let results = rpc.get(&format!("/block_results?height={height}")).await?;
            let results = results["txs_results"].as_array().cloned().unwrap_or_default();
            let refused = results.iter().find(|result| result["code"].as_u64() != Some(0));
            if let Some(refused) = refused.filter(|_| !txs.is_empty()) {
                let why = format!("height {height}: code {}: {}", refused["code"], refused["log"]);
                return Err(Failure::new(Kind::Error, why));
            }
        }
        Ok(())
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn tally(self, shared: &Shared) -> Outcome<Committed> {
        let (from, to) = (shared.load.warm_up, shared.load.warm_up + shared.load.measured);
        let mut counted = self.blocks.iter().filter(|(at, txs)| *at >= from && *at < to && !txs.is_empty());
        let first = counted.next().map(|(at, _)| *at);
        let rest: Vec<_> = counted.collect();
        let (Some(first), Some((last, _))) = (first, rest.last()) else {
            return Err(Failure::new(Kind::Error, "the run had too few blocks: measure longer"));
        };
        let mut took = Vec::new();
        for (at, txs) in &rest {
            for i in txs {
                let sent = shared.sent[*i].load(Ordering::Relaxed) - 1;
                took.push(at.saturating_sub(Duration::from_nanos(sent)));
            }
        }
        took.sort_unstable();
        let at = |percent: usize| took.get(took.len() * percent / 100).map_or(0.0, Duration::as_secs_f64);
        let rate = took.len() as f64 / (*last - first).as_secs_f64();
        Ok(Committed { rate, p50: at(50), p95: at(95) })
    }
}

/// What tells a transaction from every other: the last bytes of its signature.
fn tail(base64: &str) -> u64 {
    let bytes = base64.as_bytes();
    // FNV-1a over the last 24 characters.
    bytes[bytes.len().saturating_sub(24)..]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_go_reads_them() {
        assert_eq!(STANDARD.encode([0xfb, 0xff, 0xbf, 0x41]), "+/+/QQ==");
    }

    #[test]
    fn a_batch_is_one_array_and_an_error_in_it_is_found() {
        let mut body = String::new();
        request(&mut body, ["AA==", "AQ=="].into_iter());
        let calls: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(calls[1]["params"]["tx"], "AQ==");
        taken(br#"[{"id":0,"result":{}},{"id":1,"result":{}}]"#).unwrap();
        taken(br#"{"id":0,"result":{}}"#).unwrap();
        assert!(taken(br#"[{"id":0,"result":{}},{"id":1,"error":{"code":-1}}]"#).is_err());
    }
}
