//! The ledger over nodes that fail and lie.

mod changing;
mod node;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use node::{FakeNode, Wrong};
use vouchsafe_node::{
    LedgerProof,
    verify::{Options, Trust, verify_proof},
};
use vouchsafe_types::{Code, RsaJwk, TimeMs, jws, keys, state::Endpoint, tx::SetEndpoint};

use super::{CometLedger, KeptError, OpenError, Settings, kept};
use crate::{
    foundation::ORG_KEY,
    ledger::{Committed, Ledger, LedgerError, View, random_nonce},
    seal::{FileKeystore, Keystore},
    testing::Consortium,
};

/// A chain and nodes of it.
struct Bed {
    consortium: Consortium,
    nodes: Vec<FakeNode>,
}

impl Bed {
    async fn new(count: usize) -> Self {
        let consortium = Consortium::new();
        let mut nodes = Vec::new();
        for _ in 0..count {
            nodes.push(FakeNode::start(consortium.ledger.node()).await);
        }
        // The first header that can be verified is that of the first block.
        let bed = Self { consortium, nodes };
        bed.block().await;
        bed
    }

    fn settings(&self, own: usize) -> Settings {
        let now = Arc::clone(&self.consortium.now);
        Settings {
            nodes: self.nodes.iter().map(|node| node.url.clone()).collect(),
            own,
            home: self.consortium.home.path().join("kept"),
            genesis: self.consortium.genesis.clone(),
            clock: Arc::new(move || TimeMs(now.load(Ordering::SeqCst))),
            options: Options::default(),
            patience: Duration::from_secs(20),
        }
    }

    async fn ledger(&self, own: usize) -> CometLedger {
        CometLedger::open(self.settings(own)).await.unwrap()
    }

    /// An act of the hospital's that can be told from others: its gateway's address.
    fn act(&self, url: &str, valid_ms: u64) -> String {
        let home = self.consortium.home.path().join("a");
        let store = FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap();
        let expires = TimeMs(self.consortium.ledger.head().time.0 + valid_ms);
        let rsa = RsaJwk::new(vec![0x81; 384]).unwrap();
        let act = SetEndpoint { nonce: random_nonce(), expires, url: url.into(), rsa };
        jws::sign_tx(&*store.ed25519(ORG_KEY).unwrap(), self.consortium.ledger.chain(), &act.into())
    }

    async fn submit(&self, ledger: &CometLedger, url: &str) -> Result<Committed, LedgerError> {
        ledger.submit(self.act(url, 300_000)).await
    }

    async fn url(&self, ledger: &CometLedger) -> Option<String> {
        let read = View(ledger).endpoint(&self.consortium.account("a")).await.unwrap();
        read.map(|Endpoint { url, .. }| url)
    }

    /// Waits for one more block of the chain.
    async fn block(&self) {
        let node = self.consortium.ledger.node();
        let mut blocks = node.subscribe(node.head().height + 1);
        blocks.next().await.unwrap();
    }

    /// Moves the clock that the chain and the gateway share.
    async fn advance(&self, ms: u64) {
        self.consortium.now.fetch_add(ms, Ordering::SeqCst);
        self.block().await;
        self.block().await;
    }
}

/// Waits until something holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 30, "it never was so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is written through a node is read through it at once and proved, whether the node is believed or not.
#[tokio::test]
async fn own_and_other_nodes_write_read_and_prove() {
    let bed = Bed::new(1).await;
    let genesis = &bed.consortium.genesis;
    let trust = Trust::new(genesis, genesis.body.digest()).unwrap();
    for own in [1, 0] {
        let ledger = bed.ledger(own).await;
        assert_eq!((ledger.chain(), ledger.genesis()), (genesis.body.chain_id().as_str(), genesis));
        for n in 0..5 {
            let url = format!("http://host-{own}-{n}");
            let committed = bed.submit(&ledger, &url).await.unwrap();
            assert_eq!(committed.events.len(), 1);
            assert_eq!(bed.url(&ledger).await, Some(url), "what was written is read");
            let found = bed.consortium.ledger.node().find(&committed.hash).unwrap().unwrap();
            assert_eq!((committed.height, committed.index, committed.time), (found.height, found.index, found.time));
            let asked = [keys::endpoint(&bed.consortium.account("a")), keys::endpoint(&bed.consortium.account("b"))];
            let proofs = ledger.prove(&asked).await.unwrap();
            let proofs: Vec<LedgerProof> = proofs.into_iter().map(|p| serde_json::from_value(p).unwrap()).collect();
            assert!(proofs[0].height >= committed.height && proofs[0].height == proofs[1].height);
            let values = proofs.iter().map(|proof| verify_proof(proof, &trust).unwrap());
            let values: Vec<bool> = values.map(|value| value.value().is_some()).collect();
            assert_eq!(values, [true, false]);
        }
    }
}

/// Whatever another's node makes up, it is found out, left, and the next one asked.
#[tokio::test]
async fn a_node_that_says_what_does_not_hold_is_left() {
    let bed = Bed::new(2).await;
    let lies = [
        Wrong { values: true, ..Wrong::default() },
        Wrong { results: true, ..Wrong::default() },
        Wrong { headers: true, ..Wrong::default() },
        Wrong { blocks: true, ..Wrong::default() },
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        bed.nodes[0].is(Wrong::default());
        let ledger = bed.ledger(0).await;
        let liar = Arc::clone(&ledger.0.nodes.all()[0]);
        assert!(ledger.0.nodes.active(TimeMs(0)).unwrap().rpc.url() == liar.rpc.url());
        bed.nodes[0].is(lie);
        let url = format!("http://lie-{n}");
        // Sent to the liar it may be unknown for a moment; it is in a block all the same.
        if let Err(e) = bed.submit(&ledger, &url).await {
            assert!(matches!(e, LedgerError::Unavailable(_)), "{lie:?}: {e}");
        }
        assert_eq!(bed.url(&ledger).await, Some(url), "{lie:?}");
        let is_left = || ledger.0.nodes.active(TimeMs(0)).is_ok_and(|node| node.rpc.url() != liar.rpc.url());
        until(is_left).await;
    }
}

/// An own node's results are held against the chain's as well: a damaged one is left.
#[tokio::test]
async fn results_that_are_not_the_chains_are_found_out_by_the_next_header() {
    let bed = Bed::new(2).await;
    bed.nodes[0].is(Wrong { results: true, ..Wrong::default() });
    let ledger = bed.ledger(1).await;
    let _ = bed.submit(&ledger, "http://damaged").await;
    until(|| ledger.0.nodes.active(TimeMs(0)).is_ok_and(|node| !node.own)).await;
    bed.submit(&ledger, "http://whole").await.unwrap();
    assert_eq!(bed.url(&ledger).await.as_deref(), Some("http://whole"));
}

/// A subscription goes over to another node, and over an outage of all, without a gap and without a block twice.
#[tokio::test]
async fn a_subscription_goes_on_after_nodes_were_lost() {
    let mut bed = Bed::new(2).await;
    for n in 0..12 {
        bed.submit_embedded(&format!("http://before-{n}")).await;
    }
    let ledger = bed.ledger(2).await;
    let mut blocks = ledger.subscribe(1).await.unwrap();
    let mut expected = bed.consortium.ledger.subscribe(1).await.unwrap();
    let mut told = 0;
    for round in 0..3 {
        bed.submit_embedded(&format!("http://round-{round}")).await;
        let target = bed.consortium.ledger.head().height;
        loop {
            let (got, wanted) = (blocks.next().await.unwrap(), expected.next().await.unwrap());
            assert_eq!(got, wanted);
            told += got.events.len();
            if got.height >= target {
                break;
            }
        }
        match round {
            0 => bed.nodes[0].kill().await,
            1 => {
                bed.nodes[1].kill().await;
                bed.block().await;
                bed.nodes[0].restart().await;
            }
            _ => {}
        }
    }
    assert_eq!(told, 15, "every event once");
}

impl Bed {
    /// Writes without any gateway.
    async fn submit_embedded(&self, url: &str) {
        self.consortium.ledger.submit(self.act(url, 300_000)).await.unwrap();
    }
}

/// A node that stands still is left for one that does not, and preferred again when it has caught up.
#[tokio::test]
async fn a_node_that_lags_is_left() {
    let bed = Bed::new(2).await;
    let ledger = bed.ledger(2).await;
    let stuck = bed.consortium.ledger.head().height;
    bed.nodes[0].is(Wrong { stuck_at: Some(stuck), ..Wrong::default() });
    bed.advance(10_000).await;
    bed.submit(&ledger, "http://moved").await.unwrap();
    assert_eq!(bed.url(&ledger).await.as_deref(), Some("http://moved"));
    assert!(ledger.head().height > stuck);
    bed.nodes[0].is(Wrong::default());
    let first = bed.nodes[0].url.clone();
    let head = || ledger.head().time;
    until(|| ledger.0.nodes.active(head()).is_ok_and(|node| node.rpc.url() == first)).await;
}

/// When no block comes, writes are told so at once, and the head grows old for whoever asks `fresh`.
#[tokio::test]
async fn a_chain_that_stands_still_takes_nothing() {
    let bed = Bed::new(1).await;
    let ledger = bed.ledger(1).await;
    let at = ledger.head().height;
    bed.nodes[0].is(Wrong { stuck_at: Some(at), ..Wrong::default() });
    bed.block().await;
    let received = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
    ledger.0.tip.send_modify(|head| head.received = received);
    let refused = bed.submit(&ledger, "http://nowhere").await;
    assert!(matches!(&refused, Err(LedgerError::Unavailable(why)) if why.contains("no block for")), "{refused:?}");
    let clock = bed.settings(1).clock;
    assert!(crate::ledger::fresh(&ledger, &clock).is_err());
    bed.nodes[0].is(Wrong::default());
    until(|| crate::ledger::fresh(&ledger, &clock).is_ok()).await;
    bed.submit(&ledger, "http://again").await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_final_only_by_the_word_of_an_own_node() {
    let bed = Bed::new(1).await;
    for (own, refuses) in [(1, true), (0, false)] {
        bed.nodes[0].is(Wrong::default());
        let ledger = bed.ledger(own).await;
        bed.nodes[0].is(Wrong { refuses: Some(Code::KeyEnded.number()), ..Wrong::default() });
        let got = bed.submit(&ledger, "http://refused").await;
        match got {
            Err(LedgerError::Rejected(rejection)) if refuses => {
                assert_eq!((rejection.code, rejection.facts.as_str()), (Code::KeyEnded, "told so"));
            }
            Err(LedgerError::Unavailable(_)) if !refuses => {}
            got => panic!("own {own}: {got:?}"),
        }
        bed.nodes[0].is(Wrong { fails: Some("mempool is full: number of txs 5000"), ..Wrong::default() });
        assert_eq!(bed.submit(&ledger, "http://full").await, Err(LedgerError::Busy));
        bed.nodes[0].is(Wrong { refuses: Some(vouchsafe_node::abci::BUSY), ..Wrong::default() });
        assert_eq!(bed.submit(&ledger, "http://busy").await, Err(LedgerError::Busy));
    }
    // What is no transaction is refused here.
    let ledger = bed.ledger(0).await;
    let got = ledger.submit("no.such.thing".into()).await;
    assert!(matches!(got, Err(LedgerError::Rejected(r)) if r.code == Code::Malformed));
}

/// A refusal in a block comes with the machine's code, by the chain's own word.
#[tokio::test]
async fn what_a_block_refuses_is_refused_with_its_code() {
    let bed = Bed::new(1).await;
    for own in [1, 0] {
        bed.nodes[0].is(Wrong::default());
        let ledger = bed.ledger(own).await;
        // An address that the machine refuses, which no admission looks at.
        let got = bed.submit(&ledger, "").await;
        assert!(matches!(&got, Err(LedgerError::Rejected(_))), "{got:?}");
    }
}

/// The answer is lost, and the transaction is not: another node, or the same one, has it.
#[tokio::test]
async fn a_lost_answer_is_found_out() {
    let bed = Bed::new(2).await;
    let ledger = bed.ledger(2).await;
    bed.nodes[0].is(Wrong { breaks: true, ..Wrong::default() });
    bed.nodes[1].is(Wrong { fails: Some("tx already exists in cache"), ..Wrong::default() });
    let committed = bed.submit(&ledger, "http://broken").await.unwrap();
    assert_eq!(bed.consortium.ledger.node().find(&committed.hash).unwrap().unwrap().height, committed.height);
    // It may be on its way, so that neither a full mempool nor a refusal says what became of it.
    for wrong in [
        Wrong { fails: Some("mempool is full"), ..Wrong::default() },
        Wrong { refuses: Some(Code::Replayed.number()), ..Wrong::default() },
    ] {
        bed.nodes[0].is(Wrong::default());
        let first = bed.nodes[0].url.clone();
        until(|| ledger.0.nodes.active(TimeMs(0)).is_ok_and(|node| node.rpc.url() == first)).await;
        bed.nodes[0].is(Wrong { breaks: true, ..Wrong::default() });
        bed.nodes[1].is(wrong);
        let got = bed.submit(&ledger, "http://perhaps").await;
        assert!(matches!(got, Err(LedgerError::Unavailable(_))), "{got:?}");
    }
}

/// A transaction that a node took and lost is dead when a block's time has passed its expiry, and not before.
#[tokio::test]
async fn a_lost_transaction_is_dead_after_its_expiry() {
    let bed = Bed::new(1).await;
    let ledger = bed.ledger(1).await;
    bed.nodes[0].is(Wrong { loses: true, ..Wrong::default() });
    let act = bed.act("http://lost", 20_000);
    let waiting = tokio::spawn({
        let (ledger, act) = (ledger.clone(), act.clone());
        async move { ledger.submit(act).await }
    });
    bed.block().await;
    bed.advance(5_000).await;
    assert!(!waiting.is_finished());
    bed.advance(5_000).await;
    bed.advance(5_000).await;
    bed.advance(6_000).await;
    let got = waiting.await.unwrap();
    assert!(matches!(&got, Err(LedgerError::Rejected(r)) if r.code == Code::Expired), "{got:?}");
    let again = ledger.resubmit(act).await;
    assert!(matches!(&again, Err(LedgerError::Rejected(r)) if r.code == Code::Expired), "{again:?}");
}

/// A node that refuses what was sent before says nothing of where it may lie.
#[tokio::test]
async fn what_was_sent_before_is_settled_by_blocks_alone() {
    let bed = Bed::new(1).await;
    let ledger = bed.ledger(1).await;
    let act = bed.act("http://once", 15_000);
    let committed = ledger.submit(act.clone()).await.unwrap();
    let again = ledger.resubmit(act).await.unwrap();
    assert_eq!((again.height, again.index), (committed.height, committed.index));
    bed.nodes[0].is(Wrong { refuses: Some(Code::Replayed.number()), ..Wrong::default() });
    let pending = bed.act("http://pending", 15_000);
    let got = ledger.resubmit(pending.clone()).await;
    assert!(matches!(got, Err(LedgerError::Unavailable(_))), "{got:?}");
    // Somebody else's mempool had it.
    bed.consortium.ledger.submit(pending.clone()).await.unwrap();
    ledger.resubmit(pending).await.unwrap();
}

#[tokio::test]
async fn a_home_stays_with_its_chain_and_goes_on_where_it_was() {
    let bed = Bed::new(1).await;
    let settings = bed.settings(1);
    let home = settings.home.clone();
    let genesis = &bed.consortium.genesis;
    assert!(matches!(super::genesis(&home, None), Err(KeptError::NoGenesis)));
    for given in [Some(genesis.clone()), Some(genesis.clone()), None] {
        assert_eq!(super::genesis(&home, given).unwrap(), *genesis);
    }
    let other = Consortium::new();
    let refused = super::genesis(&home, Some(other.genesis.clone()));
    assert!(matches!(refused, Err(KeptError::OtherGenesis { .. })));
    drop(CometLedger::open(settings).await.unwrap());
    let kept = kept::checkpoint(&home).unwrap().unwrap();
    let height = kept.signed_header["header"]["height"].as_str().unwrap().parse::<u64>().unwrap();
    let ledger = bed.ledger(1).await;
    assert!(ledger.head().height >= height);
    drop(ledger);
    // A header that somebody else wrote there is not gone on from.
    let path = home.join("checkpoint.json");
    let mut forged = serde_json::to_value(&kept).unwrap();
    forged["signed_header"]["header"]["app_hash"] = "00".repeat(32).into();
    std::fs::write(&path, forged.to_string()).unwrap();
    assert!(matches!(CometLedger::open(bed.settings(1)).await.err(), Some(OpenError::Checkpoint(_))));
    std::fs::remove_file(&path).unwrap();
    // Nodes of another chain are none.
    bed.nodes[0].is(Wrong { elsewhere: true, ..Wrong::default() });
    let hasty = Settings { patience: Duration::from_millis(300), ..bed.settings(1) };
    assert!(matches!(CometLedger::open(hasty).await.err(), Some(OpenError::Ledger(LedgerError::Unavailable(_)))));
}
