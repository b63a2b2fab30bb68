//! What one validator commits, proves and takes back.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use tendermint::block::signed_header::SignedHeader;
use vouchsafe_node::{
    LedgerProof,
    comet::Chain,
    verify::{Trust, verify_proof, write_validators},
};
use vouchsafe_types::{Code, b64};

use super::validator::{Validator, ledger};
use crate::support::{code, run, stderr};

/// Asks for the value under a key with its proof, as any client of the engine does.
pub(super) async fn proof(validator: &mut Validator, key: &[u8]) -> LedgerProof {
    let path = format!("abci_query?path=%22/key%22&data=0x{}&prove=true", hex::encode(key));
    let response = validator.get(&path).await["response"].take();
    assert_eq!(response["code"], 0, "{response}");
    let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
    let height: u64 = response["height"].as_str().unwrap().parse().unwrap();
    let op = &response["proofOps"]["ops"][0];
    assert_eq!(op["type"], "ics23:jmt");
    // The header of the next height carries the root.
    let rpc = validator.rpc.clone();
    validator.until("the next block", async || (rpc.status().await.ok()?.height > height).then_some(())).await;
    let signed = validator.get(&format!("commit?height={}", height + 1)).await["signed_header"].take();
    let signed: SignedHeader = serde_json::from_value(signed).unwrap();
    let value = Some(decode(&response["value"])).filter(|value| !value.is_empty());
    LedgerProof {
        key: String::from_utf8(key.to_vec()).unwrap(),
        value: value.map(b64::encode),
        ics23: b64::encode(decode(&op["data"])),
        height,
        signed_header: serde_json::to_value(&signed).unwrap(),
        validators: write_validators(Chain::new(&validator.genesis).unwrap().validators()).unwrap(),
        changes: Vec::new(),
    }
}

#[tokio::test]
async fn a_validator_commits_and_proves_and_says_where_it_stands() {
    let mut validator = Validator::new();
    let ready = validator.start().await;
    assert_eq!(ready["rpc"], validator.rpc.url());
    assert!(ready["app"].as_str().unwrap().starts_with("unix://"), "{ready}");
    let keys = validator.commit(20).await;

    let trust = Trust::new(&validator.genesis, validator.genesis.body.digest()).unwrap();
    let present = proof(&mut validator, &keys[7]).await;
    assert!(verify_proof(&present, &trust).unwrap().value().is_some());
    let absent = proof(&mut validator, b"head/nobody/nothing").await;
    assert!(verify_proof(&absent, &trust).unwrap().value().is_none());
    let mut forged = present.clone();
    forged.value = absent.value;
    assert!(verify_proof(&forged, &trust).is_err());

    // What the ledger refuses, it refuses by its code, at the door.
    let (tx, _) = validator.anchor();
    let refused = |checked: vouchsafe_testnet::rpc::Checked| checked.code;
    assert_eq!(refused(validator.rpc.broadcast(b"no transaction").await.unwrap()), Code::Malformed.number());
    let cut = tx.rfind('.').unwrap() + 1;
    let first = if tx.as_bytes()[cut] == b'A' { 'B' } else { 'A' };
    let bad = format!("{}{first}{}", &tx[..cut], &tx[cut + 1..]);
    assert_eq!(refused(validator.rpc.broadcast(bad.as_bytes()).await.unwrap()), Code::BadSignature.number());

    let said = ledger(&["status", "--output", "json"], &validator.home());
    assert_eq!(said["chain"], validator.genesis.body.chain_id());
    assert!(said["height"].as_u64().unwrap() > 1 && said["voting_power"] == 10 && said["catching_up"] == false);

    let found = validator.get("tx_search?query=%22vouchsafe.anchored.leaves%20EXISTS%22").await;
    assert_eq!(found["total_count"], "0", "numbers of an event are not indexed");
    let status = validator.signalled("TERM").await;
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn blocks_are_exported_and_replayed_and_the_last_is_taken_back() {
    let mut validator = Validator::new();
    validator.start().await;
    let keys = validator.commit(5).await;
    // The engine takes no first block back.
    let rpc = validator.rpc.clone();
    validator.until("a third block", async || (rpc.status().await.ok()?.height >= 3).then_some(())).await;
    let refused = run(["ledger", "rollback", "--home", validator.home().to_str().unwrap()]);
    assert_eq!(code(&refused), 5, "not while it runs");
    let (home, file) = (validator.home(), validator.beside("blocks"));
    let exported = ledger(&["export", "--output", "json", &file], &home);
    let last = exported["blocks"].as_u64().unwrap();
    let said = validator.get(&format!("commit?height={last}")).await["signed_header"]["header"].take();
    validator.signalled("INT").await;

    // Without the engine, the blocks give what it committed; altered, they do not.
    let replay = ["ledger", "replay", "--verify", "--output", "json", "--genesis", home.to_str().unwrap(), &file];
    let replayed = run(replay);
    assert_eq!(code(&replayed), 0, "{}", stderr(&replayed));
    let replayed: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(replayed["height"], last);
    // The state did not change in the last block, which is empty, so its header carries the root after it as well.
    let root = b64::decode(replayed["app_hash"].as_str().unwrap()).unwrap();
    assert_eq!(hex::encode_upper(root), said["app_hash"].as_str().unwrap());
    let mut altered = std::fs::read(&file).unwrap();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    std::fs::write(&file, altered).unwrap();
    assert_eq!(code(&run(replay)), 8);

    ledger(&["rollback", "--output", "json"], &validator.home());
    assert!(!validator.home().join("app/ledger.redb").exists());
    validator.start().await;
    for key in &keys {
        let rpc = validator.rpc.clone();
        validator.until("the state is there again", async || rpc.value("/key", key).await.ok().flatten()).await;
    }
    validator.commit(1).await;
}
