//! One validator of a chain of its own, run as an operator runs it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use vouchsafe_gateway::seal::device::Ed25519Key;
use vouchsafe_testnet::rpc::Rpc;
use vouchsafe_types::{
    AccountId, CredentialId, Handle, Hash32, Nonce, OkpJwk, RsaJwk, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator as Founding},
    jws::{Sign, hash_of, sign_tx},
    keys,
    state::{HeadMove, Params},
    time::Count,
    tx::{Anchor, Role, Tx},
};

use crate::support::{code, json as file, run, stderr, vouchsafe};

/// Far more than any machine needs; only a hanging process ever waits it out.
pub(crate) const LONG: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(20);

/// A validator; its processes end with it.
pub(crate) struct Validator {
    dir: tempfile::TempDir,
    child: Option<Child>,
    pub(crate) authority: Ed25519Key,
    pub(crate) hospital: Ed25519Key,
    pub(crate) genesis: Genesis,
    pub(crate) rpc: Rpc,
    made: AtomicU64,
}

impl Drop for Validator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Either fails only when the process has ended, which is what is wanted; its children end with it.
            drop(child.kill());
            drop(child.wait());
        }
        // Nothing of a test that failed stays, whatever made it fail.
        let home = self.home();
        let names_home = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| holds(&line, &home));
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = all.filter_map(|entry| entry.file_name().into_string().ok()?.parse::<u64>().ok());
        for pid in ours.filter(|pid| names_home(&pid.to_string())) {
            drop(Command::new("/bin/sh").args(["-c", &format!("kill -KILL {pid}")]).status());
        }
    }
}

pub(crate) fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    TimeMs(u64::try_from(since.as_millis()).unwrap())
}

/// A port of this machine that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn founder(key: &Ed25519Key, role: Role, n: u8) -> Founder {
    Founder {
        account: AccountId::of_key(key.public().bytes()),
        role,
        ed25519: key.public(),
        rsa: RsaJwk::new(vec![0x80 | n; 384]).unwrap(),
        credential: CredentialId([n; 16]),
        identity: Hash32([n; 32]),
    }
}

/// A chain with one validator, founded by an authority and a hospital.
pub(crate) fn genesis(name: &str, validator: OkpJwk, authority: &Ed25519Key, hospital: &Ed25519Key) -> Genesis {
    let mut founders = vec![founder(authority, Role::Authority, 1), founder(hospital, Role::Hospital, 2)];
    founders.sort_by_key(|f| f.account);
    let body = GenesisBody {
        name: name.into(),
        time: now(),
        founders,
        validators: vec![Founding { ed25519: validator, power: Count(10) }],
        params: Params::default(),
    };
    let key = |account| if AccountId::of_key(hospital.public().bytes()) == account { hospital } else { authority };
    let signatures = body.founders.iter().map(|f| body.endorse(key(f.account))).collect();
    Genesis { body, signatures }
}

impl Validator {
    /// Sets one up, not running yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let made = ledger(&["init", "--output", "json"], &home);
        let validator: OkpJwk = serde_json::from_value(made["validator"].clone()).unwrap();
        let (authority, hospital) = (Ed25519Key::generate(), Ed25519Key::generate());
        let genesis = genesis("ledger", validator, &authority, &hospital);
        let document = dir.path().join("genesis.json");
        fs::write(&document, serde_json::to_vec(&genesis).unwrap()).unwrap();
        let (p2p, rpc) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let args = ["init", "--output", "json", "--p2p", &p2p, "--rpc", &rpc, "--genesis", document.to_str().unwrap()];
        let again = ledger(&args, &home);
        assert_eq!((&again["validator"], &again["node_id"]), (&made["validator"], &made["node_id"]));
        assert_eq!(again["chain"], genesis.body.chain_id());
        let rpc = Rpc::new(&format!("http://{rpc}"));
        Self { dir, child: None, authority, hospital, genesis, rpc, made: AtomicU64::new(0) }
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A path outside of the home.
    pub(crate) fn beside(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(&mut self) -> Value {
        self.start_in(&[]).await
    }

    /// Starts it in an environment; the engine and the application inherit it.
    pub(crate) async fn start_in(&mut self, variables: &[(&str, String)]) -> Value {
        let out = self.dir.path().join("out");
        let log = fs::File::options().append(true).create(true).open(self.dir.path().join("log")).unwrap();
        let mut command = vouchsafe();
        command.args(["ledger", "start", "--home"]).arg(self.home()).envs(variables.iter().cloned());
        let child = command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
        self.until("it says that it is ready", async || {
            serde_json::from_str::<Value>(fs::read_to_string(&out).unwrap().trim()).ok()
        })
        .await
    }

    /// Waits until something is there.
    pub(crate) async fn until<T>(&mut self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if let Some(child) = &mut self.child {
                let ended = child.try_wait().unwrap();
                assert!(ended.is_none(), "before {what} it ended ({ended:?}): {}", log());
            }
            assert!(began.elapsed() < LONG, "never: {what}: {}", log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// The ids of the processes that run, by their part.
    pub(crate) fn process(&self, part: &str) -> u64 {
        file::<Value>(&self.home().join("processes.json"))[part].as_u64().unwrap()
    }

    /// Sends a signal to the supervisor and waits for its end.
    pub(crate) async fn signalled(&mut self, name: &str) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        signal(name, u64::from(child.id()));
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LONG, "it does not end");
            tokio::time::sleep(POLL).await;
        }
    }

    /// A transaction that nobody sent before, and the key of the state under which the ledger then holds something.
    pub(crate) fn anchor(&self) -> (String, Vec<u8>) {
        let n = self.made.fetch_add(1, Ordering::SeqCst);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let (handle, new) = (Handle(id), Hash32::of("test/root", &[&id]));
        let anchor = Anchor {
            nonce: Nonce(id),
            expires: now().plus(300_000),
            leaves: vec![new],
            heads: vec![HeadMove { handle, seq: Count(1), old: None, new }],
            session: None,
        };
        let key = keys::head(&AccountId::of_key(self.hospital.public().bytes()), &handle);
        (sign_tx(&self.hospital, &self.genesis.body.chain_id(), &Tx::from(anchor)), key)
    }

    /// Hands transactions in and waits until the state holds what they did; the keys.
    pub(crate) async fn commit(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for _ in 0..count {
            let (tx, key) = self.anchor();
            let checked = self.rpc.broadcast(tx.as_bytes()).await.unwrap();
            assert_eq!(checked.code, 0, "{}", checked.log);
            keys.push(key);
        }
        for key in &keys {
            let rpc = self.rpc.clone();
            self.until("a transaction is committed", async || rpc.value("/key", key).await.ok().flatten()).await;
        }
        keys
    }

    /// Hands a transaction in and waits until a block holds it, accepted; the block's height.
    pub(crate) async fn committed(&mut self, tx: &str) -> u64 {
        let checked = self.rpc.broadcast(tx.as_bytes()).await.unwrap();
        assert_eq!(checked.code, 0, "{}", checked.log);
        let path = format!("{}/tx?hash=0x{}", self.rpc.url(), hex::encode(hash_of(tx.as_bytes()).0));
        let look = async || {
            let answer: Value = reqwest::get(&path).await.ok()?.json().await.ok()?;
            Some(answer["result"].clone()).filter(Value::is_object)
        };
        let held = self.until("a transaction is committed", look).await;
        assert_eq!(held["tx_result"]["code"], 0, "{held}");
        held["height"].as_str().unwrap().parse().unwrap()
    }

    /// What the engine's RPC answers to a GET.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}/{path}", self.rpc.url())).await.unwrap();
        answer.json::<Value>().await.unwrap()["result"].take()
    }
}

fn holds(line: &[u8], home: &Path) -> bool {
    String::from_utf8_lossy(line).contains(home.to_str().unwrap())
}

/// Sends a signal to one process, by its id.
pub(crate) fn signal(name: &str, pid: u64) {
    let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.unwrap().success(), "no process {pid}");
}

/// True until a process has ended.
pub(crate) fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which ends with the last parenthesis; a zombie has ended.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Runs a command of `ledger` that must succeed, and parses what it prints.
pub(crate) fn ledger(args: &[&str], home: &Path) -> Value {
    let all = [&["ledger"], args, &["--home", home.to_str().unwrap()]].concat();
    let output = run(all);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stdout)))
}
