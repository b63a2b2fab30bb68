//! A chain that a real engine made, taken out of it and replayed by the embedded path.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use serde_json::Value;
use vouchsafe_node::{
    NodeError, export,
    replay::{Replayed, StoredBlock, replay_blocks},
};
use vouchsafe_types::{
    AccountId, Count, CredentialId, Handle, Hash32, Nonce, OkpJwk, RsaJwk, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::{Sign, sign_tx},
    state::{HeadMove, Params},
    tx::{Anchor, Role},
};

use crate::support::vouchsafe;

struct Key(Ed25519KeyPair);

impl Key {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn account(&self) -> AccountId {
        AccountId::of_key(self.public().bytes())
    }
}

impl Sign for Key {
    fn public(&self) -> OkpJwk {
        OkpJwk::new(self.0.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

fn now() -> TimeMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    TimeMs(u64::try_from(since.as_millis()).unwrap())
}

fn founded(validator: OkpJwk, authority: &Key) -> Genesis {
    let founder = Founder {
        account: authority.account(),
        role: Role::Authority,
        ed25519: authority.public(),
        rsa: RsaJwk::new(vec![0x81; 384]).unwrap(),
        credential: CredentialId([1; 16]),
        identity: Hash32([1; 32]),
    };
    let body = GenesisBody {
        name: "replay".into(),
        time: now(),
        founders: vec![founder],
        validators: vec![Validator { ed25519: validator, power: Count(10) }],
        params: Params::default(),
    };
    let signatures = vec![body.endorse(authority)];
    Genesis { body, signatures }
}

/// A validator as a process, stopped with this value.
struct Running {
    process: Child,
    rpc: String,
}

impl Running {
    fn start(home: &Path) -> Self {
        let mut command = vouchsafe();
        command.args(["ledger", "start", "--home"]).arg(home).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let rpc = said["rpc"].as_str().unwrap().trim_start_matches("tcp://").trim_start_matches("http://").to_owned();
        Self { process, rpc: format!("http://{rpc}") }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.rpc)).await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{path}: {answer}");
        answer["result"].clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, so that the pair ends in its order.
        let _ended = Command::new("kill").arg(self.process.id().to_string()).status();
        let _reaped = self.process.wait();
    }
}

fn anchor(key: &Key, chain: &str, seq: u64) -> String {
    let root = |seq: u64| Hash32::of("test root", &[&seq.to_be_bytes()]);
    let old = (seq > 1).then(|| root(seq - 1));
    let head = HeadMove { handle: Handle([1; 16]), seq: Count(seq), old, new: root(seq) };
    let nonce = Nonce([u8::try_from(seq).unwrap(); 16]);
    let tx = Anchor { nonce, expires: now().plus(300_000), leaves: vec![root(seq)], heads: vec![head], session: None };
    sign_tx(key, chain, &tx.into())
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Sets a validator up, lets it commit some transactions, and takes its blocks out.
async fn made(home: &Path) -> (Genesis, Vec<StoredBlock>, Value) {
    let init = |args: &[&str]| {
        let done =
            vouchsafe().args(["ledger", "init", "--output", "json", "--home"]).arg(home).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice::<Value>(&done.stdout).unwrap()
    };
    let validator = serde_json::from_value(init(&[])["validator"].clone()).unwrap();
    let authority = Key::new(1);
    let genesis = founded(validator, &authority);
    let file = home.join("founded.json");
    std::fs::write(&file, serde_json::to_vec(&genesis).unwrap()).unwrap();
    init(&["--genesis", file.to_str().unwrap(), "--rpc", &free_address(), "--p2p", &free_address()]);
    let running = Running::start(home);
    let mut height = 0;
    for seq in 1..=4 {
        // The last does not follow its head: what is refused is replayed, too.
        let tx = anchor(&authority, &genesis.body.chain_id(), if seq == 4 { 9 } else { seq });
        let said = running.get(&format!("/broadcast_tx_commit?tx=%22{tx}%22")).await;
        let code = said["tx_result"]["code"].as_u64();
        assert_eq!(code, Some(if seq == 4 { 100 } else { 0 }), "{said}");
        height = said["height"].as_str().unwrap().parse::<u64>().unwrap();
    }
    let next = loop {
        let status = running.get("/status").await;
        let latest: u64 = status["sync_info"]["latest_block_height"].as_str().unwrap().parse().unwrap();
        if latest > height {
            break running.get(&format!("/block?height={}", height + 1)).await["block"]["header"].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut blocks = Vec::new();
    for height in 1..=height {
        let block = running.get(&format!("/block?height={height}")).await;
        let commit = running.get(&format!("/commit?height={height}")).await;
        blocks.push(export::of_json(&block["block"], &commit["signed_header"]["commit"]).unwrap());
    }
    (genesis, blocks, next)
}

fn replayed(blocks: &[StoredBlock], genesis: &Genesis) -> Result<Replayed, NodeError> {
    let into = tempfile::tempdir().unwrap();
    let mut file = Vec::new();
    for block in blocks {
        export::write(&mut file, block).unwrap();
    }
    replay_blocks(export::read(file.as_slice()), genesis, &into.path().join("again.redb"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engines_blocks_replayed_give_the_hashes_that_its_headers_carry() {
    let home = tempfile::tempdir().unwrap();
    let (genesis, blocks, next) = made(home.path()).await;
    let end = replayed(&blocks, &genesis).unwrap();
    assert_eq!(end.height, blocks.len() as u64);
    let hexed = |hash: &Hash32| hash.0.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    assert_eq!(next["app_hash"], hexed(&end.app_hash));
    assert_eq!(next["last_results_hash"], hexed(&end.results_hash));

    // One flipped bit, wherever it is, is found and named with its height.
    for (at, block) in blocks.iter().enumerate() {
        for part in 0..8 {
            let mut altered = blocks.clone();
            let (bytes, byte) = match part {
                // The last byte of a commit is the signature's.
                7 => (&mut altered[at].commit, block.commit.len() - 1),
                _ => (&mut altered[at].block, block.block.len() * part / 7),
            };
            bytes[byte] ^= 1;
            let error = replayed(&altered, &genesis).unwrap_err();
            let NodeError::Damaged { height, .. } = error else { panic!("{error}") };
            assert_eq!(height, at as u64 + 1, "part {part}, byte {byte}");
        }
    }
    let mut without = blocks;
    without.remove(2);
    assert!(matches!(replayed(&without, &genesis), Err(NodeError::Damaged { height: 3, .. })));
}
