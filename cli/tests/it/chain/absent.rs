//! A chain in whose commits a validator is missing, taken out of its engines and run again without them.

use std::{
    fs,
    io::Cursor,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vouchsafe_node::{export, replay::StoredBlock};
use vouchsafe_testnet::{
    load::{Anchors, Load},
    rpc::Rpc,
};
use vouchsafe_types::b64;

use super::{net::Consortium, proposer::signer};
use crate::{
    ledger::validator::ledger,
    support::{code, run, stderr},
};

/// The validator that is missing for a while, by its number.
const MISSING: usize = 3;
/// So many blocks are made without it.
const WITHOUT: u64 = 3;
/// What CometBFT writes for a vote that did not come, and for one that did.
const ABSENT: u64 = 1;
const COMMIT: u64 = 2;

async fn get(node: &Rpc, path: &str) -> Value {
    let answer: Value = reqwest::get(format!("{}/{path}", node.url())).await.unwrap().json().await.unwrap();
    answer["result"].clone()
}

async fn commit_at(node: &Rpc, height: u64) -> Value {
    get(node, &format!("commit?height={height}")).await["signed_header"]["commit"].take()
}

/// How each of the four voted.
fn votes(commit: &Value) -> Vec<u64> {
    let signatures = commit["signatures"].as_array().unwrap();
    signatures.iter().map(|s| s["block_id_flag"].as_u64().unwrap()).collect()
}

/// Whether a validator's vote is in a commit. A commit is made when three of four have voted, so that one is missing from
/// every one, and who was away is in some of the next.
fn signed_by(commit: &Value, address: &str) -> bool {
    commit["signatures"].as_array().unwrap().iter().any(|s| s["validator_address"] == address)
}

fn replay(net: &Consortium, file: &Path) -> std::process::Output {
    let genesis = net.home.path().join("genesis.json");
    let replay = ["ledger", "replay", "--verify", "--output", "json", "--genesis"];
    run(replay.map(Into::into).into_iter().chain([genesis.into_os_string(), file.as_os_str().to_owned()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_without_one_of_four_votes_are_exported_and_replayed() {
    let net = Consortium::up(&["--validators", "4", "--gateways", "0", "--network", "loopback"]);
    let validators = net.told["validators"].as_array().unwrap().clone();
    let nodes = net.nodes();
    let chain = net.told["chain"].as_str().unwrap();
    let missing = get(&nodes[MISSING], "status").await["validator_info"]["address"].as_str().unwrap().to_owned();
    let killed = net.run(&["kill", &MISSING.to_string()]);
    assert_eq!(code(&killed), 0, "{}", stderr(&killed));
    let gone = nodes[0].status().await.unwrap().height;
    let load = Load::begin(nodes[..MISSING].to_vec(), Anchors::new(chain, vec![signer(&net)], 1), 20);
    let until = Instant::now() + Duration::from_secs(90);
    let wait = async |what: &str| {
        assert!(Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    // Votes for the first blocks may have come before.
    let first = gone + 2;
    while nodes[0].status().await.unwrap().height < first + WITHOUT {
        wait("the three do not go on").await;
    }
    // The commit of the newest block is what this node has seen of it so far; that of the one before is in a block.
    let last_without = nodes[0].status().await.unwrap().height - 1;
    let back = net.run(&["restart", &MISSING.to_string()]);
    assert_eq!(code(&back), 0, "{}", stderr(&back));
    let mut with = last_without + 1;
    while !signed_by(&commit_at(&nodes[0], with).await, &missing) {
        with += 1;
        while nodes[0].status().await.unwrap().height <= with {
            wait("the missing one does not vote again").await;
        }
    }
    assert!(load.tally().acknowledged > 0, "{:?}", load.tally());
    drop(load);

    // From the one that was missing, which has what it missed from the others.
    let file = net.home.path().join("blocks");
    let home = validators[MISSING]["home"].as_str().unwrap();
    let exported = ledger(&["export", "--output", "json", file.to_str().unwrap()], home.as_ref());
    let last = exported["blocks"].as_u64().unwrap();
    while nodes[0].status().await.unwrap().height <= last {
        wait("no block follows").await;
    }
    assert!(last > with, "the vote of the one that came back is in a block of the file");
    for height in first..=last_without {
        assert!(!signed_by(&commit_at(&nodes[0], height).await, &missing), "it voted at {height}, being away");
    }
    let replayed = replay(&net, &file);
    assert_eq!(code(&replayed), 0, "{}", stderr(&replayed));
    let end: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(end["height"], last);
    let root = b64::decode(end["app_hash"].as_str().unwrap()).unwrap();
    assert_eq!(nodes[0].block(last + 1).await.unwrap().app_hash, hex::encode_upper(root));

    // Three of four votes are just enough; one more gone, and nobody has to believe that the block was decided.
    let height = last_without;
    let mut commit = commit_at(&nodes[0], height).await;
    let place = votes(&commit).iter().position(|vote| *vote == COMMIT).unwrap();
    let nothing = json!({ "block_id_flag": ABSENT, "validator_address": "", "timestamp": "0001-01-01T00:00:00Z", "signature": null });
    commit["signatures"][place] = nothing;
    let block = get(&nodes[0], &format!("block?height={height}")).await["block"].take();
    let thin = export::of_json(&block, &commit).unwrap();
    let bytes = fs::read(&file).unwrap();
    let mut blocks: Vec<StoredBlock> = export::read(Cursor::new(bytes)).map(Result::unwrap).collect();
    let place = usize::try_from(height).unwrap() - 1;
    assert_eq!(blocks[place].block, thin.block);
    blocks[place].commit = thin.commit;
    let mut written = Vec::new();
    blocks.iter().for_each(|block| export::write(&mut written, block).unwrap());
    fs::write(&file, written).unwrap();
    let refused = replay(&net, &file);
    assert_eq!(code(&refused), 8, "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&height.to_string()), "{}", stderr(&refused));
}
