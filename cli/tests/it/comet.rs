//! Gateways on a real chain: CometBFT validators on this machine, killed and started again under them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use vouchsafe_testnet::rpc::Rpc;

use crate::{
    serving::{Serving, get, ready, token},
    support::{code, json as file, run, stderr, vouchsafe},
};

/// How long a chain, or what follows it, may take to notice that a validator is gone or back.
const NOTICED: Duration = Duration::from_secs(90);

/// The longest that a write hangs on a chain that stands: ten seconds without a block are a stale ledger, and who waits
/// looks once a second. The rest is what a busy machine needs.
const ANSWERED: Duration = Duration::from_secs(15);

/// What a stale ledger refuses is refused before anything is sent.
const AT_ONCE: Duration = Duration::from_secs(3);

/// A validator's processes by their supervisor, whose end they do not outlive.
struct Validator(Child);

impl Drop for Validator {
    fn drop(&mut self) {
        // Either fails only when the process has ended, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The validators of a demo's home.
struct Validators {
    home: PathBuf,
}

impl Validators {
    fn member(&self, number: usize) -> Value {
        file::<Value>(&self.home.join("testnet.json"))["validators"][number].clone()
    }

    fn rpc(&self, number: usize) -> Rpc {
        Rpc::new(&format!("http://{}", self.member(number)["rpc"].as_str().unwrap()))
    }

    /// Kills one as a crash would.
    fn kill(&self, number: usize) {
        let pid = self.member(number)["process"]["pid"].to_string();
        let killed = std::process::Command::new("/bin/sh").args(["-c", "kill -KILL \"$0\"", &pid]).status().unwrap();
        assert!(killed.success());
    }

    /// Starts one again, for as long as this is kept.
    fn restart(&self, number: usize) -> Validator {
        let name = self.member(number)["name"].as_str().unwrap().to_owned();
        let mut command = vouchsafe();
        command.args(["ledger", "start", "--home"]).arg(self.home.join("validators").join(name));
        Validator(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

async fn post(base: &str, token: &str, family: &str) -> reqwest::Response {
    let body = json!({ "resourceType": "Patient", "name": [{ "family": family }] });
    let request = reqwest::Client::new().post(format!("{base}/Patient")).bearer_auth(token);
    request.header("content-type", "application/fhir+json").body(body.to_string()).send().await.unwrap()
}

/// That an answer says in FHIR's terms that the chain is away, and when to come back.
async fn told_to_come_back(answer: reqwest::Response) {
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["resourceType"], "OperationOutcome", "{body}");
    assert_eq!(body["issue"][0]["code"], "transient", "{body}");
}

/// Writes until it is taken; the new Patient. What is not taken says when to come back.
async fn written(base: &str, token: &str, family: &str) -> String {
    let begun = Instant::now();
    loop {
        let answer = post(base, token, family).await;
        if answer.status() == StatusCode::CREATED {
            let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            return format!("Patient/{}", body["id"].as_str().unwrap());
        }
        told_to_come_back(answer).await;
        assert!(begun.elapsed() < NOTICED, "nothing is written any more");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A proof of a record, anchored a moment ago, checked by `vouchsafe verify` with nothing but the genesis digest.
async fn proved(home: &Path, base: &str, token: &str, record: &str) {
    let begun = Instant::now();
    let proof = loop {
        let (status, proof) = get(base, &format!("{record}/$proof"), Some(token)).await;
        if status == StatusCode::OK {
            break proof;
        }
        assert!(begun.elapsed() < NOTICED, "{proof}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let path = home.join("proof.json");
    fs::write(&path, proof.to_string()).unwrap();
    let digest = fs::read_to_string(home.join("genesis.digest")).unwrap();
    let verify = |digest: &str| run(["verify", "--trust", digest.trim(), path.to_str().unwrap()]);
    let verified = verify(&digest);
    assert_eq!(code(&verified), 0, "{}", stderr(&verified));
    let other = verify("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(code(&other), 8, "{}", stderr(&other));
    let mut forged = proof;
    for parameter in forged["parameter"].as_array_mut().unwrap() {
        if parameter["name"] == "ledger" {
            let text = parameter["valueString"].as_str().unwrap().replace("\"changes\":[]", "\"changes\":[{}]");
            parameter["valueString"] = text.into();
        }
    }
    fs::write(&path, forged.to_string()).unwrap();
    assert_eq!(code(&verify(&digest)), 8, "a change of validators that is none");
}

/// The story A to H on four validators; then one goes, and the gateway whose node it was goes on with the others'; then
/// two are gone, nothing is committed and nothing is acknowledged; then one is back, and all goes on by itself, and the other
/// as well.
#[tokio::test]
async fn gateways_outlive_their_validators() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut demo = Serving::start(&["demo", "--validators", "4"], home);
    demo.until_it_says("Serving until Ctrl-C").await;
    let validators = Validators { home: home.join("validators") };
    let base = ready(home, "ehr-hospital-a").await;
    let ehr = token(home, "ehr-hospital-a").await;

    let first = written(&base, &ehr, "Before").await;
    proved(home, &base, &ehr, &first).await;

    // Hospital A's own.
    validators.kill(0);
    let second = written(&base, &ehr, "Without its own node").await;
    proved(home, &base, &ehr, &second).await;

    // Three of four are needed.
    validators.kill(1);
    let begun = Instant::now();
    loop {
        let sent = Instant::now();
        let answer = post(&base, &ehr, "Never acknowledged").await;
        assert!(sent.elapsed() < ANSWERED, "a write hung for {:?}", sent.elapsed());
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            told_to_come_back(answer).await;
            break;
        }
        // A block that was under way when the validator was killed.
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert!(begun.elapsed() < NOTICED, "it acknowledges what no block can hold");
    }
    // By now it is known that the chain stands.
    let sent = Instant::now();
    told_to_come_back(post(&base, &ehr, "Never acknowledged").await).await;
    assert!(sent.elapsed() < AT_ONCE, "it was asked for {:?} what it knew", sent.elapsed());
    assert_eq!(get(&base, &second, Some(&ehr)).await.0, StatusCode::OK, "the own chart is read all the same");
    let result = format!("Patient?identifier=x&_id={}", second.trim_start_matches("Patient/"));
    assert_eq!(get(&base, &result, Some(&ehr)).await.0, StatusCode::OK, "and searched");

    let back = validators.restart(1);
    let third = written(&base, &ehr, "Never acknowledged").await;
    proved(home, &base, &ehr, &third).await;
    let both = validators.restart(0);
    let (begun, height) = (Instant::now(), validators.rpc(1).status().await.unwrap().height);
    while !validators.rpc(0).status().await.is_ok_and(|status| status.height >= height && !status.catching_up) {
        assert!(begun.elapsed() < NOTICED, "the own node does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let fourth = written(&base, &ehr, "With all four").await;
    proved(home, &base, &ehr, &fourth).await;

    assert_eq!(demo.interrupted().await.code(), Some(130));
    drop((back, both));
}

/// One organisation's gateway by its own command, on a testnet's chain.
#[tokio::test]
async fn a_gateway_joins_a_chain_by_its_genesis_document() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("net");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let up = [
        "testnet",
        "up",
        "--validators",
        "1",
        "--gateways",
        "0",
        "--network",
        "loopback",
        "--output",
        "json",
        "--home",
    ];
    let up = tokio::task::spawn_blocking({
        let home = text(&home);
        move || run(up.iter().copied().chain([home.as_str()]))
    });
    let up = up.await.unwrap();
    assert_eq!(code(&up), 0, "{}", stderr(&up));
    let up: Value = serde_json::from_slice(&up.stdout).unwrap();
    let down = Down(text(&home));
    let url = up["validators"][0]["rpc"].as_str().unwrap().to_owned();
    let (gateway, genesis) = (home.join("gateways/hospital-a"), text(&home.join("genesis.json")));
    let nowhere = "http://127.0.0.1:1";
    let both = format!("{url},{nowhere}");
    let start = ["gateway", "start", "--output", "json", "--ledger"];

    // Without the document nothing is trusted, and an address of another form is none.
    let refused = |ledger: &str| {
        let mut command = vouchsafe();
        command.args(start).arg(ledger).arg("--home").arg(&gateway).output().unwrap()
    };
    assert_eq!(code(&refused(&url)), 2);
    assert_eq!(code(&refused("ftp://elsewhere")), 2);

    for arguments in [vec![both.as_str(), "--genesis", &genesis], vec![&url], vec![nowhere, "--own-nodes", "0"]] {
        let away = arguments[0] == nowhere;
        let mut serving = Serving::start(&[&start[..], &arguments].concat(), &gateway);
        if away {
            serving.until_it_ends(7).await;
            continue;
        }
        serving.until_it_says("gateways").await;
        let said: Value = serde_json::from_str(serving.said().lines().find(|l| l.starts_with('{')).unwrap()).unwrap();
        assert_eq!(said["genesis"], up["genesis"]);
        let base = said["gateways"][0]["base"].as_str().unwrap();
        let (status, body) = get(&format!("{base}/fhir"), "metadata", None).await;
        assert_eq!((status, &body["resourceType"]), (StatusCode::OK, &"CapabilityStatement".into()));
        assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), StatusCode::OK);
        assert_eq!(serving.interrupted().await.code(), Some(130));
    }

    // The home stays with its chain.
    let mut other: Value = file(Path::new(&genesis));
    other["body"]["name"] = "other".into();
    let path = dir.path().join("other.json");
    fs::write(&path, other.to_string()).unwrap();
    let mut command = vouchsafe();
    command.args(start).arg(&url).arg("--genesis").arg(&path).arg("--home").arg(&gateway);
    let refused = command.output().unwrap();
    assert_eq!(code(&refused), 2, "{}", stderr(&refused));
    assert!(stderr(&refused).contains("genesis digest"), "{}", stderr(&refused));
    drop(down);
}

/// Ends a testnet.
struct Down(String);

impl Drop for Down {
    fn drop(&mut self) {
        drop(run(["testnet", "down", "--home", &self.0]));
    }
}
