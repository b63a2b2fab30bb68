//! What `ledger init` writes, and what it and `ledger start` refuse.

use std::fs;

use serde_json::Value;
use vouchsafe_gateway::seal::device::Ed25519Key;
use vouchsafe_types::jws::Sign;

use super::validator::{Validator, genesis};
use crate::support::{code, json, run, stderr};

#[test]
fn a_home_is_set_up_for_the_engine_and_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let validator = Validator::new();
    let home = validator.home();
    let genesis: Value = json(&home.join("comet/config/genesis.json"));
    assert_eq!(genesis["chain_id"], validator.genesis.body.chain_id());
    assert_eq!(genesis["app_state"], serde_json::to_value(&validator.genesis).unwrap());
    assert_eq!((&genesis["initial_height"], &genesis["validators"][0]["power"]), (&"1".into(), &"10".into()));
    assert_eq!(genesis["consensus_params"]["block"]["max_bytes"], "1048576");
    let config = fs::read_to_string(home.join("comet/config/config.toml")).unwrap();
    for needed in ["create_empty_blocks = false", "create_empty_blocks_interval = \"3s\"", "indexer = \"kv\""] {
        assert!(config.contains(needed), "{needed}");
    }
    let mode = |name: &str| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("comet/config/priv_validator_key.json")), (0o700, 0o600));
}

#[test]
fn a_home_keeps_its_chain() {
    let validator = Validator::new();
    let (authority, hospital) = (Ed25519Key::generate(), Ed25519Key::generate());
    let other = genesis("other", hospital.public(), &authority, &hospital);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("genesis.json");
    let home = validator.home();
    let init = ["ledger", "init", "--home", home.to_str().unwrap(), "--genesis", file.to_str().unwrap()];
    fs::write(&file, serde_json::to_vec(&other).unwrap()).unwrap();
    assert_eq!(code(&run(init)), 5, "another chain is in the way");

    let mut forged = serde_json::to_value(&validator.genesis).unwrap();
    forged["body"]["validators"][0]["power"] = 11.into();
    fs::write(&file, serde_json::to_vec(&forged).unwrap()).unwrap();
    let refused = run(init);
    assert_eq!(code(&refused), 6, "nobody signed this: {}", stderr(&refused));
    assert_eq!(json::<Value>(&home.join("genesis.json")), serde_json::to_value(&validator.genesis).unwrap());
}

#[test]
fn what_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().to_str().unwrap();
    let refused = run(["ledger", "start", "--home", home, "--cometbft", "/nowhere/cometbft"]);
    assert_eq!(code(&refused), 3);
    assert!(stderr(&refused).contains("/nowhere/cometbft"));
    let refused = run(["ledger", "start", "--home", home, "--cometbft", "/bin/true"]);
    assert_eq!(code(&refused), 2, "what is no CometBFT 0.38 is not run: {}", stderr(&refused));
    assert_eq!(code(&run(["ledger", "status", "--home", home])), 3, "no validator was set up there");
    let validator = Validator::new();
    let refused = run(["ledger", "status", "--home", validator.home().to_str().unwrap()]);
    assert_eq!(code(&refused), 7, "it does not run");
    let bad = run(["ledger", "init", "--home", home, "--peers", "somebody@somewhere"]);
    assert_eq!(code(&bad), 2);
}
