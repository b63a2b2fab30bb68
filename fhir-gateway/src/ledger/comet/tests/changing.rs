//! A chain whose validators change, followed through a node.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use tendermint::{
    Hash, Signature,
    block::{Commit, CommitSig, Header, Height, Id, Round, parts, signed_header::SignedHeader},
    validator::{Info, Set},
    vote::{Power, Type, ValidatorIndex, Vote},
};
use vouchsafe_node::{
    ValidatorKey,
    comet::{Outcome, comet_time, data_hash},
    verify::{Options, Trust, verify_proof, write_validators},
};
use vouchsafe_types::{Count, TimeMs, genesis::Genesis, genesis::Validator, jws::Sign};

use super::Bed;
use crate::ledger::comet::{CometLedger, Settings};

/// The heights after which other validators commit, and how many heights there are.
const CHANGES: [u64; 3] = [7, 8, 700];
const HEIGHT: u64 = 1_000;
const BEGIN: u64 = 1_900_000_000_000;

/// A chain of empty blocks, made when they are asked for.
struct Changing {
    genesis: Genesis,
    keys: Vec<ValidatorKey>,
    pattern: Header,
    asked: AtomicUsize,
    /// Whether the second change is signed by those whom it appoints.
    usurped: bool,
}

impl Changing {
    /// Who commits a height: two of the keys, of which each change replaces one.
    fn members(&self, height: u64) -> &[ValidatorKey] {
        let passed = CHANGES.iter().filter(|at| **at < height).count();
        &self.keys[passed..passed + 2]
    }

    fn set(&self, height: u64) -> Set {
        let info = |key: &ValidatorKey| {
            let public = tendermint::PublicKey::from_raw_ed25519(key.public().bytes()).unwrap();
            Info::new(public, Power::from(10_u32))
        };
        Set::without_proposer(self.members(height).iter().map(info).collect())
    }

    fn signed(&self, height: u64) -> SignedHeader {
        let usurped = self.usurped && height == CHANGES[1];
        let set = self.set(height + u64::from(usurped));
        let nothing = Outcome { time: TimeMs(0), begin: Vec::new(), txs: Vec::new(), end: Vec::new() };
        let header = Header {
            chain_id: self.genesis.body.chain_id().parse().unwrap(),
            height: Height::try_from(height).unwrap(),
            time: comet_time(TimeMs(BEGIN + height)).unwrap(),
            validators_hash: set.hash(),
            next_validators_hash: self.set(height + 1).hash(),
            data_hash: Some(Hash::Sha256(data_hash(&[]).0)),
            last_results_hash: Some(Hash::Sha256(nothing.results_hash().0)),
            last_block_id: self.pattern.last_block_id.filter(|_| height > 1),
            ..self.pattern.clone()
        };
        let block_id =
            Id { hash: header.hash(), part_set_header: parts::Header::new(1, Hash::Sha256([7; 32])).unwrap() };
        let signatures = set.validators().iter().enumerate().map(|(place, info)| {
            let vote = Vote {
                vote_type: Type::Precommit,
                height: header.height,
                round: Round::default(),
                block_id: Some(block_id),
                timestamp: Some(header.time),
                validator_address: info.address,
                validator_index: ValidatorIndex::try_from(place).unwrap(),
                signature: None,
                extension: Vec::new(),
                extension_signature: None,
            };
            let public = info.pub_key.to_bytes();
            let key = self.keys.iter().find(|key| key.public().bytes()[..] == public[..]).unwrap();
            let signature = Signature::new(key.sign(&vote.into_signable_vec(header.chain_id.clone()))).unwrap();
            CommitSig::BlockIdFlagCommit { validator_address: info.address, timestamp: header.time, signature }
        });
        let signatures = signatures.collect();
        let commit = Commit { height: header.height, round: Round::default(), block_id, signatures };
        SignedHeader::new(header, commit).unwrap()
    }

    fn one(&self, call: &Value) -> Value {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let height = call["params"]["height"].as_str().map_or(HEIGHT, |height| height.parse().unwrap());
        if height > HEIGHT + 1 || (height > HEIGHT && call["method"] != "validators") {
            return json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "message": "not yet", "data": "" } });
        }
        let result = match call["method"].as_str().unwrap() {
            "status" => json!({ "node_info": { "network": self.genesis.body.chain_id() }, "sync_info": {
                "latest_block_height": HEIGHT.to_string(), "catching_up": false,
                "latest_block_time": self.signed(HEIGHT).header.time.to_rfc3339() } }),
            "commit" => json!({ "signed_header": self.signed(height), "canonical": true }),
            "header" => json!({ "header": self.signed(height).header }),
            "block" => json!({ "block": { "header": self.signed(height).header, "data": { "txs": [] } } }),
            "block_results" => json!({ "txs_results": null, "finalize_block_events": null }),
            "validators" => json!({ "validators": write_validators(&self.set(height)).unwrap(), "total": "2" }),
            method => panic!("{method} is not asked for"),
        };
        json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
    }
}

async fn answer(State(chain): State<Arc<Changing>>, Json(asked): Json<Value>) -> Json<Value> {
    match asked {
        Value::Array(calls) => Json(calls.iter().map(|call| chain.one(call)).collect()),
        call => Json(chain.one(&call)),
    }
}

/// A node of such a chain, and what a gateway needs to follow it.
async fn changing(bed: &Bed, usurped: bool) -> (Arc<Changing>, Settings) {
    let keys: Vec<ValidatorKey> = (0..=CHANGES.len() + 1).map(|_| ValidatorKey::generate()).collect();
    let mut genesis = bed.consortium.genesis.clone();
    genesis.body.validators =
        keys[..2].iter().map(|key| Validator { ed25519: key.public(), power: Count(10) }).collect();
    bed.consortium.endorse(&mut genesis);
    let node = bed.consortium.ledger.node();
    bed.block().await;
    let proof = node.prove(&[b"none".to_vec()]).await.unwrap().remove(0);
    let pattern: SignedHeader = serde_json::from_value(proof.signed_header).unwrap();
    let chain = Arc::new(Changing {
        genesis: genesis.clone(),
        keys,
        pattern: pattern.header,
        asked: AtomicUsize::new(0),
        usurped,
    });
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/", post(answer)).with_state(Arc::clone(&chain));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let settings = Settings {
        nodes: vec![url],
        genesis,
        clock: Arc::new(|| TimeMs(BEGIN + HEIGHT)),
        options: Options::default(),
        patience: std::time::Duration::from_secs(5),
        ..bed.settings(0)
    };
    (chain, settings)
}

/// From the genesis to a header three changes later, two of them at heights that follow each other, in about as many
/// questions as a bisection has steps; and what is kept goes on at the next start.
#[tokio::test]
async fn changes_of_the_validators_are_found_and_kept() {
    let bed = Bed::new(1).await;
    let (chain, settings) = changing(&bed, false).await;
    let (home, trust) = (settings.home.clone(), Trust::new(&chain.genesis, chain.genesis.body.digest()).unwrap());
    let again =
        Settings { genesis: chain.genesis.clone(), nodes: settings.nodes.clone(), ..changing(&bed, false).await.1 };
    let ledger = CometLedger::open(settings).await.unwrap();
    assert_eq!(crate::ledger::Ledger::head(&ledger).height, HEIGHT);
    let changes = ledger.0.light().changes().to_vec();
    let height = |change: &vouchsafe_node::ValidatorChange| change.signed_header["header"]["height"].clone();
    assert_eq!(changes.iter().map(height).collect::<Vec<_>>(), CHANGES.map(|at| Value::from(at.to_string())));
    let asked = chain.asked.load(Ordering::SeqCst);
    assert!(asked < 150, "{asked} questions for {HEIGHT} heights");
    let kept = super::kept::checkpoint(&home).unwrap().unwrap();
    assert_eq!(kept.changes, changes);
    // What is handed on is what a third party can check: all but the state, which this chain does not have.
    let proof = vouchsafe_node::LedgerProof {
        key: "none".into(),
        value: None,
        ics23: String::new(),
        height: HEIGHT - 1,
        signed_header: kept.signed_header,
        validators: write_validators(ledger.0.light().validators()).unwrap(),
        changes,
    };
    let verdict = verify_proof(&proof, &trust).unwrap_err().to_string();
    assert!(verdict.starts_with("ics23"), "the header holds, and only then is the state looked at: {verdict}");
    drop(ledger);
    chain.asked.store(0, Ordering::SeqCst);
    let ledger = CometLedger::open(again).await.unwrap();
    assert_eq!(crate::ledger::Ledger::head(&ledger).height, HEIGHT);
    let asked = chain.asked.load(Ordering::SeqCst);
    assert!(asked < 20, "{asked} questions although the newest header was kept");
}

/// Those whom a change appoints cannot appoint themselves.
#[tokio::test]
async fn a_change_by_those_whom_it_appoints_is_not_followed() {
    let bed = Bed::new(1).await;
    let (_, settings) = changing(&bed, true).await;
    let error = CometLedger::open(settings).await.err().unwrap().to_string();
    assert!(error.contains("does not hold"), "{error}");
}
