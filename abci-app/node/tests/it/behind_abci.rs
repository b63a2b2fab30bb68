//! The machine behind ABCI: what the engine is told of genesis, mempool, proposals, blocks and state.

use prost::Message;
use prost::bytes::Bytes;
use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::{
        abci::{
            CheckTxType, ExecTxResult, Misbehavior, MisbehaviorType, RequestCheckTx, RequestCommit,
            RequestFinalizeBlock, RequestInfo, RequestInitChain, RequestPrepareProposal, RequestProcessProposal,
            RequestQuery, ResponseCheckTx, ResponseFinalizeBlock, ResponseQuery, Validator, ValidatorUpdate,
            response_process_proposal::ProposalStatus,
        },
        crypto::{PublicKey, public_key::Sum},
        types::{BlockParams, ConsensusParams},
    },
};
use vouchsafe_node::{
    abci::{
        Application, BAD_KEY, CODESPACE, EVENT_JSON, MISBEHAVIOUR, NO_SUCH_HEIGHT, REJECTIONS, UNKNOWN_PATH,
        VouchsafeAbci,
    },
    app::{App, Misbehaviour},
    comet::{Outcome, TxOutcome},
    store::Store,
};
use vouchsafe_types::{Code, Event, TimeMs, jws::hash_of, time::Count};

use crate::consortium::{BEGIN, Consortium};

/// A chain that began a minute ago, because admission asks the clock of the node until there is a block.
fn consortium() -> Consortium {
    let mut c = Consortium::new("abci");
    c.now.store(now(), std::sync::atomic::Ordering::SeqCst);
    c.genesis.body.time = TimeMs(now() - 60_000);
    endorse(&mut c);
    c
}

/// Signs a genesis document that was changed.
fn endorse(c: &mut Consortium) {
    let body = &c.genesis.body;
    let keys = [&c.authority, &c.hospital];
    let signer = |account| *keys.iter().find(|key| key.account() == account).unwrap();
    c.genesis.signatures = body.founders.iter().map(|f| body.endorse(signer(f.account))).collect();
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn abci(c: &Consortium) -> VouchsafeAbci {
    let store = Store::open(&c.home.path().join("abci.redb")).unwrap();
    VouchsafeAbci::new(App::open(store, &c.genesis).unwrap(), c.genesis.clone())
}

fn timestamp(ms: u64) -> Option<Timestamp> {
    let (seconds, nanos) = (i64::try_from(ms / 1000).unwrap(), i32::try_from(ms % 1000).unwrap() * 1_000_000);
    Some(Timestamp { seconds, nanos })
}

fn init_chain(c: &Consortium) -> RequestInitChain {
    let body = &c.genesis.body;
    let validators = body.validators.iter().map(|v| ValidatorUpdate {
        pub_key: Some(PublicKey { sum: Some(Sum::Ed25519(v.ed25519.bytes().to_vec())) }),
        power: i64::try_from(v.power.0).unwrap(),
    });
    let max_bytes = i64::try_from(body.params.max_block_bytes.0).unwrap();
    RequestInitChain {
        time: timestamp(body.time.0),
        chain_id: body.chain_id(),
        consensus_params: Some(ConsensusParams {
            block: Some(BlockParams { max_bytes, max_gas: -1 }),
            ..Default::default()
        }),
        validators: validators.collect(),
        app_state_bytes: serde_json::to_vec(&c.genesis).unwrap().into(),
        initial_height: 1,
    }
}

fn check(abci: &VouchsafeAbci, tx: &str, kind: CheckTxType) -> ResponseCheckTx {
    abci.check_tx(RequestCheckTx { tx: Bytes::copy_from_slice(tx.as_bytes()), r#type: kind.into() }).unwrap()
}

fn block(abci: &VouchsafeAbci, height: i64, ms: u64, txs: &[&String]) -> ResponseFinalizeBlock {
    let txs = txs.iter().map(|tx| Bytes::copy_from_slice(tx.as_bytes())).collect();
    let done =
        abci.finalize_block(RequestFinalizeBlock { height, time: timestamp(ms), txs, ..Default::default() }).unwrap();
    abci.commit(RequestCommit {}).unwrap();
    done
}

fn propose(abci: &VouchsafeAbci, ms: u64, txs: &[&String]) -> Vec<String> {
    let txs = txs.iter().map(|tx| Bytes::copy_from_slice(tx.as_bytes())).collect();
    let asked =
        RequestPrepareProposal { max_tx_bytes: 1 << 20, txs, height: 1, time: timestamp(ms), ..Default::default() };
    let chosen = abci.prepare_proposal(asked).unwrap().txs;
    chosen.into_iter().map(|tx| String::from_utf8(tx.to_vec()).unwrap()).collect()
}

fn query(abci: &VouchsafeAbci, path: &str, data: &[u8], height: i64) -> ResponseQuery {
    let asked = RequestQuery { path: path.into(), data: data.to_vec().into(), height, prove: true };
    abci.query(asked).unwrap()
}

#[test]
fn the_engine_begins_the_chain_of_this_genesis_and_no_other() {
    let c = consortium();
    let abci = abci(&c);
    let info = abci.info(RequestInfo::default()).unwrap();
    assert_eq!((info.last_block_height, info.app_version), (0, 1));
    let begun = abci.init_chain(init_chain(&c)).unwrap();
    assert_eq!(begun.app_hash, info.last_block_app_hash);
    assert_eq!(begun.validators, init_chain(&c).validators);
    assert!(abci.init_chain(init_chain(&c)).is_ok(), "an engine that was stopped before its first block asks again");

    let other = Consortium::new("other");
    let refused = |change: &dyn Fn(&mut RequestInitChain)| {
        let mut asked = init_chain(&c);
        change(&mut asked);
        abci.init_chain(asked).unwrap_err().to_string()
    };
    let document = |genesis| Bytes::from(serde_json::to_vec(genesis).unwrap());
    assert!(refused(&|r| r.app_state_bytes = document(&other.genesis)).contains("this node's"));
    let mut unsigned = c.genesis.clone();
    unsigned.body.params.max_heads = Count(1000);
    assert!(refused(&|r| r.app_state_bytes = document(&unsigned)).contains("genesis document"));
    assert!(refused(&|r| r.app_state_bytes = Bytes::new()).contains("no genesis document"));
    assert!(refused(&|r| r.chain_id = "other".into()).contains("chain"));
    assert!(refused(&|r| r.initial_height = 7).contains("height 1"));
    assert!(refused(&|r| r.time = timestamp(1)).contains("time"));
    assert!(refused(&|r| r.validators[0].power += 1).contains("validators"));
    assert!(refused(&|r| r.validators.clear()).contains("validators"));
    assert!(refused(&|r| r.consensus_params = None).contains("max_bytes"));
}

#[test]
fn an_engine_that_forgot_its_blocks_is_not_followed() {
    let c = consortium();
    let abci = abci(&c);
    block(&abci, 1, now(), &[&c.anchor(1)]);
    assert!(abci.init_chain(init_chain(&c)).unwrap_err().to_string().contains("height 1"));
    let skipped = RequestFinalizeBlock { height: 3, time: timestamp(now()), ..Default::default() };
    assert!(abci.finalize_block(skipped).is_err(), "a block that does not follow is a fault of this node");
}

#[test]
fn admission_answers_by_the_codes_of_the_ledger() {
    let c = consortium();
    let abci = abci(&c);
    assert_eq!(check(&abci, &c.anchor(1), CheckTxType::New), ResponseCheckTx::default());
    let refused = check(&abci, "no transaction", CheckTxType::New);
    assert_eq!((refused.code, refused.codespace.as_str()), (Code::Malformed.number(), REJECTIONS));
    assert_eq!(refused.info, "malformed");
}

/// Two transactions with one nonce cannot both be in the chain, so only one waits for it.
#[test]
fn a_nonce_that_waits_is_used() {
    let c = consortium();
    let abci = abci(&c);
    let nonce = c.nonce();
    let end = |session| {
        let expires = c.now().plus(60_000);
        c.sign(&c.hospital, vouchsafe_types::tx::End { nonce, expires, session: vouchsafe_types::SessionId(session) })
    };
    assert_eq!(check(&abci, &end([1; 16]), CheckTxType::New).code, 0);
    assert_eq!(check(&abci, &end([2; 16]), CheckTxType::New).code, Code::Replayed.number());
    assert_eq!(check(&abci, &end([1; 16]), CheckTxType::New).code, 0, "the same one again");
}

#[test]
fn a_recheck_looks_at_expiry_nonce_and_signer() {
    let c = consortium();
    let abci = abci(&c);
    let (stays, committed) = (c.anchor(1), c.anchor(2));
    for tx in [&stays, &committed] {
        assert_eq!(check(&abci, tx, CheckTxType::New).code, 0);
    }
    block(&abci, 1, now(), &[&committed]);
    assert_eq!(check(&abci, &stays, CheckTxType::Recheck).code, 0);
    assert_eq!(check(&abci, &committed, CheckTxType::Recheck).code, Code::Replayed.number());
    block(&abci, 2, now() + 301_000, &[]);
    assert_eq!(check(&abci, &stays, CheckTxType::Recheck).code, Code::Expired.number());
}

/// This node's clock is an hour and a half from the chain's, either way, and it still admits what the others do.
#[test]
fn a_wrong_clock_admits_what_the_chain_would() {
    for chain in [now() - 5_400_000, now() + 5_400_000] {
        let c = consortium();
        let abci = abci(&c);
        block(&abci, 1, chain, &[]);
        c.now.store(chain + 1000, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(check(&abci, &c.anchor(1), CheckTxType::New).code, 0);
    }
}

#[test]
fn a_proposal_leaves_out_what_would_have_it_refused_and_what_is_not_of_its_time() {
    let c = consortium();
    let abci = abci(&c);
    let good = c.anchor(1);
    let cut = good.rfind('.').unwrap() + 1;
    let first = if good.as_bytes()[cut] == b'A' { "B" } else { "A" };
    let bad = format!("{}{first}{}", &good[..cut], &good[cut + 1..]);
    let nonsense = "nonsense".to_owned();
    assert_eq!(propose(&abci, now(), &[&bad, &good, &nonsense, &good]), [good.as_str()]);
    // After a standstill the first block has the old time, and the next one this one's.
    assert!(propose(&abci, now() - 3_600_000, &[&good]).is_empty());
    assert!(propose(&abci, now() + 3_600_000, &[&good]).is_empty(), "it has expired");
}

/// More than a block's share would be refused for good in this block, and is accepted in the next.
#[test]
fn a_proposal_takes_no_more_of_an_account_than_a_block_allows() {
    let mut c = consortium();
    c.genesis.body.params.organization_per_block = Count(3);
    endorse(&mut c);
    let abci = abci(&c);
    let txs: Vec<String> = (0..5).map(|n| c.anchor(n)).collect();
    let all: Vec<&String> = txs.iter().collect();
    let first = propose(&abci, now(), &all);
    assert_eq!(first, txs[..3]);
    let done = block(&abci, 1, now(), &first.iter().collect::<Vec<_>>());
    assert!(done.tx_results.iter().all(|result| result.code == 0));
    assert_eq!(propose(&abci, now(), &all[3..]), txs[3..]);
}

#[test]
fn a_proposal_with_a_badly_signed_transaction_is_voted_against() {
    let c = consortium();
    let abci = abci(&c);
    let good = c.anchor(1);
    // The last character carries two bits and is often the same; the first of the signature is always another.
    let cut = good.rfind('.').unwrap() + 1;
    let first = if good.as_bytes()[cut] == b'A' { "B" } else { "A" };
    let bad = format!("{}{first}{}", &good[..cut], &good[cut + 1..]);
    let judged = |txs: &[&String]| {
        let txs = txs.iter().map(|tx| Bytes::copy_from_slice(tx.as_bytes())).collect();
        let asked = RequestProcessProposal { txs, height: 1, time: timestamp(now()), ..Default::default() };
        abci.process_proposal(asked).unwrap().status()
    };
    assert_eq!(judged(&[&good]), ProposalStatus::Accept);
    assert_eq!(judged(&[&good, &bad]), ProposalStatus::Reject);
}

/// What the engine hashes of a result is its code and data; the hash is the one that the embedded chain computes.
#[test]
fn results_hash_as_the_embedded_chain_has_it() {
    let c = consortium();
    let abci = abci(&c);
    let txs = [c.anchor(1), "malformed".into(), c.anchor(2)];
    let done = block(&abci, 1, now(), &txs.iter().collect::<Vec<_>>());
    let deterministic = |r: &ExecTxResult| ExecTxResult {
        code: r.code,
        data: r.data.clone(),
        gas_wanted: r.gas_wanted,
        gas_used: r.gas_used,
        ..Default::default()
    };
    let leaves: Vec<Vec<u8>> = done.tx_results.iter().map(|r| deterministic(r).encode_to_vec()).collect();
    let engine =
        tendermint::merkle::simple_hash_from_byte_vectors::<tendermint::crypto::default::Sha256>(leaves.as_slice());
    let outcome = |tx: &String, r: &ExecTxResult| TxOutcome {
        hash: hash_of(tx.as_bytes()),
        code: r.code,
        data: r.data.to_vec(),
        log: String::new(),
        events: vec![],
    };
    let txs = txs.iter().zip(&done.tx_results).map(|(tx, r)| outcome(tx, r)).collect();
    let embedded = Outcome { time: TimeMs(0), begin: vec![], txs, end: vec![] }.results_hash();
    assert_eq!(engine, embedded.0);
    assert_eq!(abci.app().head().unwrap().results_hash, embedded);
}

#[test]
fn a_block_tells_its_events() {
    let c = consortium();
    let abci = abci(&c);
    let done = block(&abci, 1, now(), &[&c.anchor(1)]);
    let told = &done.tx_results[0].events[0];
    assert_eq!(told.r#type, "vouchsafe.anchored");
    let json = told.attributes.iter().find(|a| a.key == EVENT_JSON).unwrap();
    let event: Event = serde_json::from_str(&json.value).unwrap();
    assert!(matches!(event, Event::Anchored { custodian, .. } if custodian == c.hospital.account()));
    let refused = block(&abci, 2, now(), &[&"malformed".into()]);
    assert_eq!((refused.tx_results[0].codespace.as_str(), refused.tx_results[0].events.len()), (REJECTIONS, 0));
}

#[test]
fn misbehaviour_is_recorded_and_leaves_the_app_hash_as_it_was() {
    let c = consortium();
    let abci = abci(&c);
    let before = abci.info(RequestInfo::default()).unwrap().last_block_app_hash;
    let offence = Misbehavior {
        r#type: MisbehaviorType::DuplicateVote.into(),
        validator: Some(Validator { address: vec![0xab; 20].into(), power: 10 }),
        height: 5,
        time: timestamp(BEGIN.0),
        total_voting_power: 40,
    };
    let evidence = RequestFinalizeBlock {
        height: 1,
        time: timestamp(now()),
        misbehavior: vec![offence.clone(), offence],
        ..Default::default()
    };
    let done = abci.finalize_block(evidence).unwrap();
    assert_eq!(done.app_hash, before);
    assert_eq!(done.events[0].r#type, MISBEHAVIOUR);
    abci.commit(RequestCommit {}).unwrap();
    let found: Vec<Misbehaviour> = serde_json::from_slice(&query(&abci, "/misbehaviour", b"", 0).value).unwrap();
    let [found] = found.as_slice() else { panic!("one offence is one row: {found:?}") };
    assert_eq!((found.kind.as_str(), found.height, found.power, found.total_power), ("duplicate-vote", 5, 10, 40));
    assert_eq!((found.validator.as_str(), found.time), ("AB".repeat(20).as_str(), BEGIN));
}

#[test]
fn queries_say_what_they_cannot() {
    let c = consortium();
    let abci = abci(&c);
    block(&abci, 1, now(), &[&c.anchor(1)]);
    block(&abci, 2, now(), &[&c.anchor_move(1, 2, Some(first_root()))]);
    let code = |path: &str, data: &[u8], height| {
        let answer = query(&abci, path, data, height);
        assert!(answer.code == 0 || answer.codespace == CODESPACE);
        answer.code
    };
    assert_eq!(code("/elsewhere", b"params", 0), UNKNOWN_PATH);
    assert_eq!(code("/key", b"", 0), BAD_KEY);
    assert_eq!(code("/key", &[b'a'; 1000], 0), BAD_KEY);
    assert_eq!(code("/key", b"params", 3), NO_SUCH_HEIGHT);
    assert_eq!(code("/key", b"params", -1), NO_SUCH_HEIGHT);
    let at = |height| query(&abci, "/key", &c.head_key(1), height);
    assert_ne!(at(1).value, at(2).value, "the state of a height is that of this height");
    assert_eq!((at(0).value, at(0).height), (at(2).value, 2));
    assert!(at(1).proof_ops.is_some());
    let unproved = RequestQuery { path: "/key".into(), data: c.head_key(1).into(), height: 0, prove: false };
    let unproved = abci.query(unproved).unwrap();
    assert_eq!((unproved.value, unproved.proof_ops), (at(2).value, None));
}

/// The root to which `anchor(1)` moves its chart.
fn first_root() -> vouchsafe_types::Hash32 {
    vouchsafe_types::Hash32::of("test/root", &[&1u64.to_be_bytes(), &1u64.to_be_bytes()])
}
