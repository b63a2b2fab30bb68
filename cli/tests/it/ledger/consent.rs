//! What the real engine proves and tells of grants and sessions.

use serde_json::Value;
use tendermint::block::signed_header::SignedHeader;
use vouchsafe_node::{
    LedgerProof,
    abci::EVENT_JSON,
    verify::{LightClient, Options, Trust, verify_proof},
};
use vouchsafe_types::{Event, SessionId, TimeMs, keys, state};

use super::{
    state::proof,
    story::Story,
    validator::{Validator, now},
};

/// What a proof says of the request, for whoever trusts the genesis document alone.
fn proved(proof: &LedgerProof, trust: &Trust) -> state::Request {
    let verified = verify_proof(proof, trust).unwrap();
    state::Request::from_bytes(verified.value().unwrap()).unwrap()
}

#[tokio::test]
async fn a_grant_its_revocation_and_an_absence_are_proved() {
    let mut validator = Validator::new();
    validator.start().await;
    let mut story = Story::asked(&mut validator, 60_000).await;
    let trust = Trust::new(&validator.genesis, validator.genesis.body.digest()).unwrap();
    let key = keys::request(&story.request);

    let asked = proof(&mut validator, &key).await;
    assert_eq!(proved(&asked, &trust).decision, None);
    story.grant(&mut validator).await;
    let granted = proof(&mut validator, &key).await;
    let decision = proved(&granted, &trust).decision.unwrap();
    assert!(decision.granted.is_some() && decision.revoked.is_none(), "{decision:?}");
    let nobody = keys::session(&SessionId([7; 16]));
    let absent = proof(&mut validator, &nobody).await;
    let verified = verify_proof(&absent, &trust).unwrap();
    assert_eq!((verified.key(), verified.value()), (nobody.as_slice(), None));
    story.revoke(&mut validator).await;
    let revoked = proof(&mut validator, &key).await;
    assert!(proved(&revoked, &trust).decision.unwrap().revoked.is_some());

    // No value convinces but the one that the chain held then, and no absence of what is there.
    let proofs = [&asked, &granted, &revoked, &absent];
    for proof in proofs {
        let others = proofs.iter().filter(|other| other.value != proof.value);
        for value in others.map(|other| other.value.clone()) {
            let forged = LedgerProof { value, ..proof.clone() };
            assert!(verify_proof(&forged, &trust).is_err(), "{forged:?}");
        }
    }
    let hidden = LedgerProof { key: granted.key.clone(), ..absent.clone() };
    assert!(verify_proof(&hidden, &trust).is_err(), "absence of one key says nothing of another");
    let undone =
        LedgerProof { signed_header: revoked.signed_header.clone(), height: revoked.height, ..granted.clone() };
    assert!(verify_proof(&undone, &trust).is_err(), "a grant that was revoked is not in the later state");

    // The headers that they rest on are those which whoever follows the chain comes to.
    let mut client = LightClient::new(trust, Options::default());
    for proof in [&granted, &revoked] {
        let signed: SignedHeader = serde_json::from_value(proof.signed_header.clone()).unwrap();
        client.advance(signed.clone(), None, now()).unwrap();
        assert_eq!(client.head(), Some(&signed));
    }
}

/// What the beginning and the end of a block told.
async fn told(validator: &Validator, height: u64) -> Vec<Event> {
    let results = validator.get(&format!("block_results?height={height}")).await;
    let events = results["finalize_block_events"].as_array().cloned().unwrap_or_default();
    let whole = |event: &Value| {
        let attributes = event["attributes"].as_array()?;
        serde_json::from_str(attributes.iter().find(|a| a["key"] == EVENT_JSON)?["value"].as_str()?).ok()
    };
    events.iter().filter_map(whole).collect()
}

#[tokio::test]
async fn an_idle_chain_expires_a_session() {
    let mut validator = Validator::new();
    validator.start().await;
    let mut story = Story::asked(&mut validator, 2000).await;
    story.grant(&mut validator).await;
    let (session, opened) = story.open(&mut validator).await;
    let held = validator.rpc.value("/key", &keys::session(&session)).await.unwrap().unwrap();
    let expires = state::Session::from_bytes(&held).unwrap().expires;

    // From here on nobody sends anything.
    let rpc = validator.rpc.clone();
    let time = |block: &vouchsafe_testnet::rpc::Block| {
        let time: tendermint::Time = block.time.parse().unwrap();
        TimeMs(u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap())
    };
    let mut height = opened;
    let (block, events) = loop {
        height += 1;
        let block = validator.until("the next block", async || rpc.block(height).await.ok()).await;
        assert!(block.txs.is_empty(), "somebody acts");
        // The block after has it executed for sure.
        validator.until("the block after", async || rpc.block(height + 1).await.ok()).await;
        let events = told(&validator, height).await;
        if !events.is_empty() {
            break (block, events);
        }
        assert!(time(&block) < expires, "the deadline passed and nobody was told");
    };
    assert_eq!(events, [Event::SessionExpired { session }]);
    assert!(time(&block) >= expires);
    let next = rpc.block(height + 1).await.unwrap();
    assert_eq!(next.app_hash, block.app_hash, "a deadline changes no root");
}
