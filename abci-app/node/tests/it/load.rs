//! How much the embedded ledger takes. It prints and asserts nothing about time.

use std::{sync::Arc, time::Instant};

use vouchsafe_node::Settings;
use vouchsafe_types::Hash32;

use crate::consortium::Consortium;

const CLIENTS: u64 = 64;

/// 64 clients, each waiting for each of its anchors before it sends the next. `VOUCHSAFE_LOAD` sets how many each
/// sends; `--nocapture` shows the figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::print_stderr, reason = "the figures are what this is for")]
async fn sixty_four_clients() {
    let each: u64 = std::env::var("VOUCHSAFE_LOAD").map_or(10, |n| n.parse().unwrap());
    let c = Arc::new(Consortium::new("load"));
    let ledger = c.open_with(Settings { heartbeat: std::time::Duration::from_secs(3), ..c.settings() }).unwrap();
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (c, ledger) = (Arc::clone(&c), ledger.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut old: Option<Hash32> = None;
                for seq in 1..=each {
                    let tx = c.anchor_move(n, seq, old);
                    let sent = Instant::now();
                    ledger.submit(tx).await.unwrap();
                    latencies.push(sent.elapsed());
                    old = Some(Hash32::of("test/root", &[&n.to_be_bytes(), &seq.to_be_bytes()]));
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await.unwrap());
    }
    let elapsed = started.elapsed();
    latencies.sort();
    let (total, blocks) = (CLIENTS * each, ledger.head().height);
    assert_eq!(latencies.len() as u64, total);
    let per_second = u128::from(total) * 1_000_000 / elapsed.as_micros().max(1);
    let p50 = latencies[latencies.len() / 2];
    eprintln!("{total} transactions, {CLIENTS} clients: {per_second} tx/s, p50 {p50:?}, {blocks} blocks");
}
