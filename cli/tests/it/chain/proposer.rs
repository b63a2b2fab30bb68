//! A validator that lies: its application puts a badly signed transaction into every block that it proposes, and votes
//! for it. The engine is the real one, and so are the three others.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;
use tendermint_proto::v0_38::abci::{
    RequestCheckTx, RequestCommit, RequestFinalizeBlock, RequestInfo, RequestInitChain, RequestPrepareProposal,
    RequestProcessProposal, RequestQuery, ResponseCheckTx, ResponseCommit, ResponseFinalizeBlock, ResponseInfo,
    ResponseInitChain, ResponsePrepareProposal, ResponseProcessProposal, ResponseQuery,
    response_process_proposal::ProposalStatus,
};
use vouchsafe_gateway::seal::keystore::{FileKeystore, Keystore, Signer};
use vouchsafe_node::{
    abci::{Address, Answer, Application, Server, VouchsafeAbci},
    app::App,
    store::Store,
};
use vouchsafe_testnet::load::{Anchors, Load};
use vouchsafe_types::{
    Count, Hash32, Nonce, TimeMs,
    genesis::Genesis,
    jws::sign_tx,
    tx::{AnchorAudit, Tx},
};

use super::net::Consortium;
use crate::support::{code, json, stderr};

/// The validator that lies, by its number.
const LIAR: usize = 3;
/// So many of its proposals are waited for.
const PROPOSALS: usize = 3;

struct Liar {
    honest: VouchsafeAbci,
    bad: Vec<u8>,
    proposed: AtomicUsize,
}

impl Application for Liar {
    fn prepare_proposal(&self, request: RequestPrepareProposal) -> Answer<ResponsePrepareProposal> {
        let mut proposal = self.honest.prepare_proposal(request)?;
        proposal.txs.push(self.bad.clone().into());
        self.proposed.fetch_add(1, Ordering::SeqCst);
        Ok(proposal)
    }

    fn process_proposal(&self, _: RequestProcessProposal) -> Answer<ResponseProcessProposal> {
        Ok(ResponseProcessProposal { status: ProposalStatus::Accept.into() })
    }

    fn info(&self, request: RequestInfo) -> Answer<ResponseInfo> {
        self.honest.info(request)
    }

    fn query(&self, request: RequestQuery) -> Answer<ResponseQuery> {
        self.honest.query(request)
    }

    fn check_tx(&self, request: RequestCheckTx) -> Answer<ResponseCheckTx> {
        self.honest.check_tx(request)
    }

    fn init_chain(&self, request: RequestInitChain) -> Answer<ResponseInitChain> {
        self.honest.init_chain(request)
    }

    fn finalize_block(&self, request: RequestFinalizeBlock) -> Answer<ResponseFinalizeBlock> {
        self.honest.finalize_block(request)
    }

    fn commit(&self, request: RequestCommit) -> Answer<ResponseCommit> {
        self.honest.commit(request)
    }
}

/// An engine that ends with the value.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        // Either fails only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a hospital signed, with one bit of the signature turned.
fn badly_signed(signer: &Signer, chain: &str) -> Vec<u8> {
    let audit = AnchorAudit {
        nonce: Nonce([7; 16]),
        expires: TimeMs(u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 300_000),
        first: Count(0),
        last: Count(0),
        old: None,
        new: Hash32([7; 32]),
    };
    let mut tx = sign_tx(signer.as_ref(), chain, &Tx::from(audit)).into_bytes();
    let start = tx.iter().rposition(|b| *b == b'.').unwrap() + 1;
    tx[start] = if tx[start] == b'A' { b'B' } else { b'A' };
    tx
}

pub(super) fn signer(net: &Consortium) -> Signer {
    let home = net.home.path().join("gateways/hospital-a");
    FileKeystore::open_or_create(&home.join("keystore"), &home.join("unlock.key")).unwrap().ed25519("org").unwrap()
}

/// The liar in place of the validator that was killed.
fn lie(net: &Consortium, home: &Path, bad: Vec<u8>) -> (Arc<Liar>, vouchsafe_node::abci::Serving, Engine) {
    let genesis: Genesis = json(&home.join("genesis.json"));
    let app = App::open(Store::open(&home.join("app/ledger.redb")).unwrap(), &genesis).unwrap();
    let liar = Arc::new(Liar { honest: VouchsafeAbci::new(app, genesis), bad, proposed: AtomicUsize::new(0) });
    let address = Address::Unix(home.join("liar.sock"));
    let serving = Server::bind(&address).unwrap().serve(liar.clone()).unwrap();
    let state: Value = json(&net.home.path().join("testnet.json"));
    let mut engine = Command::new(state["engine"].as_str().unwrap());
    engine.args(["start", "--proxy_app", &address.to_string(), "--home"]).arg(home.join("comet"));
    let engine = engine.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (liar, serving, Engine(engine))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_with_a_badly_signed_transaction_is_refused_and_the_chain_goes_on() {
    let net = Consortium::up(&["--validators", "4", "--gateways", "0", "--network", "loopback"]);
    let validators = net.told["validators"].as_array().unwrap().clone();
    let nodes = net.nodes();
    let chain = net.told["chain"].as_str().unwrap();
    let bad = badly_signed(&signer(&net), chain);

    let killed = net.run(&["kill", &LIAR.to_string()]);
    assert_eq!(code(&killed), 0, "{}", stderr(&killed));
    let home = Path::new(validators[LIAR]["home"].as_str().unwrap());
    let (liar, _serving, _engine) = lie(&net, home, bad.clone());

    // Honest transactions make blocks come quickly, so that the liar's turn comes often.
    let load = Load::begin(nodes[..LIAR].to_vec(), Anchors::new(chain, vec![signer(&net)], 1), 20);
    let until = Instant::now() + Duration::from_secs(90);
    while liar.proposed.load(Ordering::SeqCst) < PROPOSALS {
        assert!(Instant::now() < until, "the liar never proposed: {:?}", load.tally());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let before = load.height();
    while load.height() < before + 2 {
        assert!(Instant::now() < until, "the chain stands at {before}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(load.tally().acknowledged > 0, "{:?}", load.tally());
    for height in 1..=load.height() {
        let block = nodes[0].block(height).await.unwrap();
        assert!(!block.txs.contains(&bad), "block {height} has the badly signed transaction");
    }
}
