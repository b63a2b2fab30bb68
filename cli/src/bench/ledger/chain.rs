//! Chains to measure: CometBFT over one application or another, with the same genesis, keys and settings.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use vouchsafe_node::engine::{self, Home, NodeKeys};
use vouchsafe_types::OkpJwk;

use super::prepared::Consortium;
use crate::{
    bench::wire::Connection,
    exit::{Context, Failure, Kind, Outcome},
    ledger::failure,
};

/// What answers the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Application {
    /// The ledger: every signature checked, a Merkle store, an fsync for each block.
    Ledger,
    /// An application that accepts everything and keeps nothing, behind the same server and the same kind of socket.
    Nothing,
    /// CometBFT's own example, in the engine's process.
    Kvstore,
}

impl Application {
    /// What it is called in the figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ledger => "vouchsafe",
            Self::Nothing => "do-nothing application",
            Self::Kvstore => "kvstore",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Nothing => "nothing",
            Self::Kvstore => "kvstore",
        }
    }

    /// The bytes that are sent for a transaction. kvstore takes only what has one `=`, so that its copy has one for the
    /// first dot: as many bytes, as random.
    pub(crate) fn bytes(self, tx: &str) -> String {
        match self {
            Self::Ledger | Self::Nothing => tx.to_owned(),
            Self::Kvstore => tx.replacen('.', "=", 1),
        }
    }
}

/// Validators' homes that chains are begun from, all with one genesis.
pub(crate) struct Seedbed {
    engine: PathBuf,
    dir: PathBuf,
    nodes: Vec<Planted>,
}

/// One validator's home, with its keys.
struct Planted {
    home: Home,
    keys: NodeKeys,
}

impl Seedbed {
    /// Makes the keys of so many validators.
    pub(crate) fn new(engine: &Path, dir: &Path, validators: usize) -> Outcome<Self> {
        let plant = |n: usize| {
            let home = Home::new(dir.join(format!("keys-{n}")));
            home.make().map_err(|e| failure(&e))?;
            let keys = engine::keys(&home).map_err(|e| failure(&e))?;
            Ok(Planted { home, keys })
        };
        let nodes = (0..validators).map(plant).collect::<Outcome<Vec<_>>>()?;
        Ok(Self { engine: engine.to_owned(), dir: dir.to_owned(), nodes })
    }

    /// The validators' keys.
    pub(crate) fn validators(&self) -> Vec<OkpJwk> {
        self.nodes.iter().map(|node| node.keys.validator).collect()
    }

    /// Starts a fresh chain over an application, and waits for its first block.
    pub(crate) async fn start(
        &self,
        application: Application,
        consortium: &Consortium,
        round: usize,
    ) -> Outcome<Chain> {
        let ports = (0..2 * self.nodes.len()).map(|_| free_port()).collect::<Outcome<Vec<_>>>()?;
        // A port is free for others from now until the engine takes it; nobody else is expected to want it.
        let addresses: Vec<SocketAddr> = ports
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()
            .doing(Kind::Error, || "a port".into())?;
        drop(ports);
        let (rpc, p2p) = addresses.split_at(self.nodes.len());
        let peers: Vec<String> =
            self.nodes.iter().zip(p2p).map(|(node, at)| format!("{}@{at}", node.keys.node_id)).collect();
        let mut nodes = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let home = Home::new(self.dir.join(format!("{}-{round}-{n}", application.word())));
            copy(node.home.path(), home.path())?;
            configure(&home, consortium, rpc[n], p2p[n], &peers)?;
            nodes.push(Node::start(&self.engine, application, &home, rpc[n])?);
        }
        let chain = Chain { application, nodes };
        chain.ready().await?;
        Ok(chain)
    }
}

/// The settings that every chain of a bench has; all others are the engine's defaults.
fn configure(home: &Home, consortium: &Consortium, rpc: SocketAddr, p2p: SocketAddr, peers: &[String]) -> Outcome {
    let peers = peers.iter().filter(|peer| !peer.ends_with(&p2p.to_string())).cloned().collect::<Vec<_>>().join(",");
    let settings: [(&str, &str, toml::Value); 17] = [
        ("rpc", "laddr", format!("tcp://{rpc}").into()),
        ("rpc", "max_request_batch_size", 1000.into()),
        ("rpc", "max_body_bytes", (16 << 20).into()),
        ("p2p", "laddr", format!("tcp://{p2p}").into()),
        ("p2p", "persistent_peers", peers.into()),
        ("p2p", "addr_book_strict", false.into()),
        ("p2p", "allow_duplicate_ip", true.into()),
        ("p2p", "pex", false.into()),
        ("p2p", "flush_throttle_timeout", "10ms".into()),
        ("mempool", "size", 50_000.into()),
        ("mempool", "cache_size", 100_000.into()),
        ("mempool", "recheck", false.into()),
        ("consensus", "timeout_commit", "100ms".into()),
        ("consensus", "create_empty_blocks", false.into()),
        ("consensus", "peer_gossip_sleep_duration", "10ms".into()),
        ("tx_index", "indexer", "null".into()),
        ("p2p", "send_rate", (64 << 20).into()),
    ];
    let mut config = toml::Table::new();
    config.insert("log_level".into(), "error".into());
    for (section, name, value) in settings {
        let section = config.entry(section).or_insert_with(|| toml::Table::new().into());
        if let toml::Value::Table(section) = section {
            section.insert(name.into(), value);
        }
    }
    let genesis = engine::engine_genesis(&consortium.genesis).map_err(|e| failure(&e))?;
    let document = serde_json::to_vec(&consortium.genesis).doing(Kind::Error, || "the genesis".into())?;
    for (path, bytes) in [
        (home.engine_config(), config.to_string().into_bytes()),
        (home.engine_genesis(), genesis.to_string().into_bytes()),
        (home.genesis(), document),
    ] {
        engine::write(&path, &bytes).map_err(|e| failure(&e))?;
    }
    Ok(())
}

/// A running chain; it ends with this value.
pub(crate) struct Chain {
    pub(crate) application: Application,
    nodes: Vec<Node>,
}

impl Chain {
    /// Where each node's RPC is.
    pub(crate) fn rpc(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.rpc).collect()
    }

    async fn ready(&self) -> Outcome {
        let until = Instant::now() + Duration::from_secs(60);
        for node in &self.nodes {
            let mut rpc = Rpc::new(node.rpc);
            loop {
                if rpc.height().await.is_ok_and(|height| height >= 2) {
                    break;
                }
                if Instant::now() > until {
                    let log = fs::read_to_string(&node.log).unwrap_or_default();
                    let tail: String = log.lines().rev().take(5).collect::<Vec<_>>().join(" / ");
                    return Err(Failure::new(Kind::Unavailable, format!("the chain makes no block: {tail}")));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }
}

/// An engine and its application.
struct Node {
    rpc: SocketAddr,
    log: PathBuf,
    // The engine is dropped, and ended, first.
    _engine: Process,
    _application: Option<Process>,
}

impl Node {
    fn start(engine: &Path, application: Application, home: &Home, rpc: SocketAddr) -> Outcome<Self> {
        let (process, proxy) = match application {
            Application::Kvstore => (None, "kvstore".to_owned()),
            Application::Ledger | Application::Nothing => {
                let socket = format!("unix://{}", home.socket().display());
                let program = std::env::current_exe().doing(Kind::Error, || "this program".into())?;
                let mut command = Command::new(program);
                command.args(["bench", "application", "--kind", application.word(), "--listen", &socket, "--home"]);
                command.arg(home.path());
                (Some(Process::start(&mut command, &home.path().join("app.log"))?), socket)
            }
        };
        let log = home.engine_log();
        let mut command = Command::new(engine);
        command.args(["start", "--proxy_app", &proxy, "--home"]).arg(home.engine());
        Ok(Self { rpc, _engine: Process::start(&mut command, &log)?, log, _application: process })
    }
}

/// A process that does not outlive this value.
struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Outcome<Self> {
        let file = fs::File::create(log).doing(Kind::Error, || log.display().to_string())?;
        let errors = file.try_clone().doing(Kind::Error, || log.display().to_string())?;
        // A Ctrl-C in the terminal is for the bench, which then ends what it started.
        std::os::unix::process::CommandExt::process_group(command, 0);
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        child.map(Self).doing(Kind::Error, || command.get_program().to_string_lossy().into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when the process has ended, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An engine's RPC over one kept connection.
pub(crate) struct Rpc {
    connection: Connection,
    request: Vec<u8>,
}

impl Rpc {
    pub(crate) fn new(at: SocketAddr) -> Self {
        Self { connection: Connection::new(at), request: Vec::new() }
    }

    /// Calls a method by its address.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<Value> {
        self.request.clear();
        self.request.extend(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = self.connection.exchange(&self.request).await.doing(Kind::Unavailable, || path.to_owned())?;
        let value: Value = serde_json::from_slice(answer.body).doing(Kind::InvalidData, || path.to_owned())?;
        if answer.status != 200 || value.get("error").is_some() {
            return Err(Failure::new(Kind::Error, format!("{path}: {}", value["error"])));
        }
        Ok(value["result"].clone())
    }

    /// Sends a JSON-RPC text, and gives the answer's.
    pub(crate) async fn post(&mut self, body: &str) -> Outcome<&[u8]> {
        self.request.clear();
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:";
        self.request.extend(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes());
        let answer = self.connection.exchange(&self.request).await.doing(Kind::Unavailable, || "the engine".into())?;
        Ok(answer.body)
    }

    /// The height that consensus works at: the blocks before it are committed by the application too, which `/status` does
    /// not say.
    pub(crate) async fn height(&mut self) -> Outcome<u64> {
        let state = self.get("/consensus_state").await?;
        let step = state["round_state"]["height/round/step"].as_str().unwrap_or_default();
        let height = step.split('/').next().and_then(|h| h.parse().ok());
        height.ok_or_else(|| Failure::new(Kind::InvalidData, format!("no height: {step}")))
    }
}

fn free_port() -> Outcome<TcpListener> {
    TcpListener::bind("127.0.0.1:0").doing(Kind::Unavailable, || "a free port".into())
}

/// Copies a directory of small files.
fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to).doing(Kind::Error, || to.display().to_string())?;
    for entry in fs::read_dir(from).doing(Kind::Error, || from.display().to_string())?.flatten() {
        let (path, into) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &into)?;
        } else {
            fs::copy(&path, &into).doing(Kind::Error, || path.display().to_string())?;
        }
    }
    Ok(())
}
