//! Four validators on real engines in short form; `cargo xtask chain` plays the same at length.

mod absent;
mod net;
mod proposer;

use serde_json::{Value, json};

use crate::support::{code, run, stderr};
use net::{Consortium, namespaces};

/// A seed that differs from run to run and is told, so that a failure can be played again.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    u64::from(now.subsec_nanos())
}

#[test]
fn four_validators_are_killed_and_parted_under_load_and_nothing_of_them_stays() {
    let net = Consortium::up(&["--validators", "4", "--gateways", "1"]);
    let told = net.told.clone();
    assert_eq!(told["validators"].as_array().unwrap().len(), 4, "{told}");
    let names: Vec<&str> = told["gateways"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hospital-a", "authority"]);
    a_record_is_anchored(&net);

    let split = namespaces(&told);
    let faults = if split { "kill,engine,split-even" } else { "kill,engine" };
    let seed = seed().to_string();
    let played = net.run(&["faults", "--rounds", "1", "--rate", "40", "--only", faults, "--seed", &seed]);
    assert_eq!(code(&played), 0, "seed {seed}: {}", stderr(&played));
    let report: Value = serde_json::from_slice(&played.stdout).unwrap();
    for figure in ["acknowledged", "heights", "looked_up"] {
        assert!(report[figure].as_u64().unwrap() > 0, "{figure}: {report}");
    }
    assert_eq!(report["rejected"], 0, "{report}");
    assert_eq!(report["figures"]["back_after_kill"]["count"], 1, "{report}");
    if !split {
        // Where the network cannot be parted, that is said and nothing is pretended.
        let refused = net.run(&["partition", "0,1/2,3"]);
        assert_eq!(code(&refused), 4, "{}", stderr(&refused));
    }
    net.down_leaves_nothing();
}

/// The hospital's EHR writes a patient, which is in a block of this chain when it is acknowledged.
fn a_record_is_anchored(net: &Consortium) {
    let home = net.home.path().to_str().unwrap();
    let token = run(["keys", "token", "--home", home, "--as", "ehr-hospital-a"]);
    assert_eq!(code(&token), 0, "{}", stderr(&token));
    let token = String::from_utf8(token.stdout).unwrap();
    let base = net.told["gateways"][0]["base"].as_str().unwrap().to_owned();
    let written = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let patient = json!({ "resourceType": "Patient", "active": true }).to_string();
        let post = reqwest::Client::new().post(format!("{base}/Patient")).bearer_auth(token.trim());
        post.header("content-type", "application/fhir+json").body(patient).send().await.unwrap()
    });
    assert_eq!(written.status(), 201);
}

#[test]
fn what_cannot_be_meant_is_said() {
    let nowhere = tempfile::tempdir().unwrap();
    let home = nowhere.path().join("none");
    let home = home.to_str().unwrap();
    for (args, exit) in [
        (vec!["testnet", "status", "--home", home], 3),
        (vec!["testnet", "down", "--home", home], 3),
        (vec!["testnet", "up", "--validators", "0", "--home", home], 2),
        (vec!["testnet", "up", "--gateways", "9", "--home", home], 2),
    ] {
        let ended = run(&args);
        assert_eq!(code(&ended), exit, "{args:?}: {}", stderr(&ended));
    }
}
