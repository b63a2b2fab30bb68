//! The embedded driver.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use vouchsafe_node::SubmitError;
use vouchsafe_types::{Code, jws::hash_of};

use crate::consortium::{BEGIN, Consortium};

#[tokio::test]
async fn a_submission_is_answered_when_its_block_is_durable() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let tx = c.endpoint("https://gateway.example");
    let hash = hash_of(tx.as_bytes());
    let committed = ledger.submit(tx).await.unwrap();
    assert_eq!((committed.hash, committed.index), (hash, 0));
    assert!(ledger.head().height >= committed.height);
    let key = vouchsafe_types::keys::endpoint(&c.hospital.account());
    assert!(String::from_utf8(ledger.get(&key).unwrap()).unwrap().contains("https://gateway.example"));
    assert_eq!(ledger.find(&hash).unwrap(), Some(committed));
    assert_eq!(ledger.find(&hash_of(b"another")).unwrap(), None);
}

#[tokio::test]
async fn a_rejection_carries_its_code() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let tx = c.anchor(1);
    ledger.submit(tx.clone()).await.unwrap();
    let code = |e: SubmitError| match e {
        SubmitError::Rejected(rejection) => Some(rejection.code),
        _ => None,
    };
    assert_eq!(code(ledger.submit(tx).await.unwrap_err()), Some(Code::Replayed));
    assert_eq!(code(ledger.submit(c.anchor(1)).await.unwrap_err()), Some(Code::StaleHead));
    assert_eq!(code(ledger.submit("x".into()).await.unwrap_err()), Some(Code::Malformed));
}

#[tokio::test]
async fn many_submissions_share_few_blocks() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let before = ledger.head().height;
    let txs: Vec<String> = (0..1000).map(|n| c.anchor(n)).collect();
    let tasks: Vec<_> = txs
        .into_iter()
        .map(|tx| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.submit(tx).await.unwrap() })
        })
        .collect();
    let mut blocks = BTreeSet::new();
    for task in tasks {
        blocks.insert(task.await.unwrap().height);
    }
    assert!(blocks.iter().all(|height| *height > before));
    assert!(blocks.len() <= 500, "1,000 transactions took {} blocks", blocks.len());
}

#[tokio::test]
async fn a_full_queue_says_busy() {
    let c = Consortium::new("embedded");
    let ledger = c.open_with(vouchsafe_node::Settings { max_queue: 0, ..c.settings() }).unwrap();
    assert!(matches!(ledger.submit(c.anchor(1)).await, Err(SubmitError::Busy)));
}

#[tokio::test]
async fn an_idle_chain_keeps_its_app_hash_and_moves_its_time() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let committed = ledger.submit(c.anchor(1)).await.unwrap();
    let app_hash = ledger.view().unwrap().head().unwrap().app_hash;
    let mut blocks = ledger.subscribe(committed.height + 1);
    let mut last = committed.time;
    for step in 1..=5 {
        c.now.store(BEGIN.0 + step * 10_000, Ordering::SeqCst);
        let seen = blocks.next().await.unwrap();
        assert!(seen.time > last, "time moves with every block");
        last = seen.time;
    }
    // The clock stood at the last step when a later block was made.
    while blocks.next().await.unwrap().time.0 < BEGIN.0 + 50_000 {}
    let head = ledger.view().unwrap().head().cloned().unwrap();
    assert_eq!(head.app_hash, app_hash, "empty blocks leave the app hash as it was");
    assert!(head.height > committed.height + 5);
}

#[tokio::test]
async fn block_time_moves_although_the_clock_goes_back() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let first = ledger.submit(c.anchor(1)).await.unwrap();
    c.now.store(BEGIN.0 - 60_000, Ordering::SeqCst);
    let second = ledger.subscribe(first.height + 1).next().await.unwrap();
    assert!(second.time > first.time);
}

#[tokio::test]
async fn a_listener_gets_every_block_from_where_it_asked() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let mut hashes = Vec::new();
    for n in 0..5 {
        hashes.push(ledger.submit(c.anchor(n)).await.unwrap().hash);
    }
    let mut blocks = ledger.subscribe(1);
    let (mut seen, mut height) = (Vec::new(), 0);
    while seen.len() < 5 {
        let block = blocks.next().await.unwrap();
        height += 1;
        assert_eq!(block.height, height, "none is left out, none comes twice");
        seen.extend(block.events.into_iter().filter_map(|(tx, _)| tx));
    }
    assert_eq!(seen, hashes);
}

#[tokio::test]
async fn a_stopped_ledger_says_so_and_ends_its_streams() {
    let c = Consortium::new("embedded");
    let ledger = c.open().unwrap();
    let (other, mut blocks) = (ledger.clone(), ledger.subscribe(1));
    ledger.stop().await;
    assert!(matches!(other.submit(c.anchor(1)).await, Err(SubmitError::Stopped(_))));
    while blocks.next().await.is_some() {}
}
