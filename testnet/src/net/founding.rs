//! Founding a testnet: each organisation makes its validator's keys in its own home, the founders sign a genesis that
//! names them, and each validator is set up by it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use vouchsafe_types::OkpJwk;

use super::{
    Net, lock,
    state::{Door, FILE, Member, State},
};
use crate::{
    error::{NetError, Result, io_at},
    network::{self, Network},
    process::run,
};

/// The range that ports are looked for in: below the one that outgoing connections take theirs from.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// How validators reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// By namespaces where they can be made, else over loopback.
    Auto,
    /// Over loopback; there can be no partition.
    Loopback,
    /// By namespaces, or not at all.
    Namespaces,
}

/// A testnet whose keys are made and whose genesis is not.
#[derive(Debug)]
pub struct Founding {
    net: Net,
    keys: Vec<OkpJwk>,
}

/// What a testnet's processes are made from.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// `vouchsafe`.
    pub vouchsafe: &'a Path,
    /// CometBFT.
    pub engine: &'a Path,
}

/// What `ledger init` prints.
#[derive(Deserialize)]
pub(super) struct Made {
    validator: OkpJwk,
    node_id: String,
}

impl Founding {
    /// Makes the homes and keys of validators, one per name, and plans where they and the gateways will be.
    ///
    /// # Errors
    /// `Usage` when the home has a testnet or there are too many, and whatever `ledger init` says.
    pub fn begin(
        home: &Path,
        programs: Programs<'_>,
        mark: String,
        validators: &[&str],
        gateways: &[&str],
        reach: Reach,
    ) -> Result<Self> {
        if validators.is_empty() || validators.len() > network::MOST {
            return Err(NetError::Usage(format!("a testnet has 1 to {} validators", network::MOST)));
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(io_at("cannot make", home))?;
        let held = lock(home)?;
        if home.join(FILE).exists() {
            return Err(NetError::Usage(format!("{} has a testnet", home.display())));
        }
        let network = match reach {
            Reach::Loopback => None,
            Reach::Namespaces => Some(Network::make(&mark, validators.len())?),
            Reach::Auto => Network::make(&mark, validators.len()).ok(),
        };
        let made = members(home, programs.vouchsafe, &mark, validators, network.as_ref());
        let made = made.and_then(|(members, keys, mut ports)| {
            let door = |name: &&str| Ok(Door { name: (*name).into(), listen: ports.next()?, process: None });
            let gateways = gateways.iter().map(door).collect::<Result<_>>()?;
            let (separate, network) = (network.is_some(), network.clone());
            let engine = programs.engine.to_owned();
            let state = State { mark, engine, network, separate, partition: None, validators: members, gateways };
            state.write(home)?;
            Ok(Self {
                net: Net { home: home.to_owned(), program: programs.vouchsafe.to_owned(), state, _lock: Some(held) },
                keys,
            })
        });
        if let (Err(_), Some(network)) = (&made, &network) {
            // No state names it, so nobody else would.
            network.remove();
        }
        made
    }

    /// The validators' keys, by their numbers.
    pub fn keys(&self) -> &[OkpJwk] {
        &self.keys
    }

    /// Where the gateways will listen.
    pub fn gateways(&self) -> &[Door] {
        &self.net.state.gateways
    }

    /// Sets every validator up by the genesis in a file.
    ///
    /// # Errors
    /// Whatever `ledger init` says.
    pub fn finish(self, genesis: &Path) -> Result<Net> {
        self.net.set_up(genesis)?;
        Ok(self.net)
    }
}

/// Makes the validators' keys and says where they will be.
fn members(
    home: &Path,
    program: &Path,
    mark: &str,
    names: &[&str],
    network: Option<&Network>,
) -> Result<(Vec<Member>, Vec<OkpJwk>, Ports)> {
    let mut ports = Ports::from(mark);
    let (mut members, mut keys) = (Vec::new(), Vec::new());
    for (number, name) in names.iter().enumerate() {
        let (p2p, rpc) = match network {
            Some(network) => network.places(number),
            None => (ports.next()?, ports.next()?),
        };
        let mut member = Member { name: (*name).into(), node_id: String::new(), p2p, rpc, process: None };
        let made = init(program, &member.home(home), &[])?;
        member.node_id = made.node_id;
        members.push(member);
        keys.push(made.validator);
    }
    Ok((members, keys, ports))
}

impl State {
    /// Makes the network and places the validators in it.
    pub(super) fn lay_network(&mut self) -> Result<()> {
        let network = Network::make(&self.mark, self.validators.len())?;
        for (number, member) in self.validators.iter_mut().enumerate() {
            (member.p2p, member.rpc) = network.places(number);
        }
        self.network = Some(network);
        Ok(())
    }
}

impl Net {
    /// Writes every engine's configuration and genesis.
    pub(super) fn set_up(&self, genesis: &Path) -> Result<()> {
        let genesis = genesis.display().to_string();
        for (number, member) in self.state.validators.iter().enumerate() {
            let others = self.state.validators.iter().enumerate().filter(|(n, _)| *n != number);
            let peers: Vec<String> = others.map(|(_, m)| format!("{}@{}", m.node_id, m.p2p)).collect();
            let (p2p, rpc, peers) = (member.p2p.to_string(), member.rpc.to_string(), peers.join(","));
            let home = member.home(&self.home);
            let mut args = vec!["--genesis", &genesis, "--p2p", &p2p, "--rpc", &rpc];
            if !peers.is_empty() {
                args.extend(["--peers", &peers]);
            }
            init(&self.program, &home, &args)?;
        }
        Ok(())
    }
}

/// Runs `ledger init`.
pub(super) fn init(program: &Path, home: &Path, more: &[&str]) -> Result<Made> {
    let mut command = Command::new(program);
    command.args(["ledger", "init", "--home"]).arg(home).args(more).args(["--output", "json"]);
    let said = run(&mut command)?;
    let source = |e: serde_json::Error| NetError::Io { what: "`ledger init` printed".into(), source: e.into() };
    serde_json::from_str(&said).map_err(source)
}

/// Free ports of this machine, beginning at a place that differs between testnets.
pub(super) struct Ports {
    next: u16,
    tries: u16,
}

impl Ports {
    pub(super) fn from(mark: &str) -> Self {
        let size = PORTS.end - PORTS.start;
        let begin = u16::from_str_radix(&mark[..4.min(mark.len())], 16).unwrap_or_default() % size;
        Self { next: PORTS.start + begin, tries: size }
    }

    pub(super) fn next(&mut self) -> Result<SocketAddr> {
        while let Some(left) = self.tries.checked_sub(1) {
            self.tries = left;
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next));
            self.next = if self.next + 1 == PORTS.end { PORTS.start } else { self.next + 1 };
            if TcpListener::bind(addr).is_ok() {
                return Ok(addr);
            }
        }
        Err(NetError::Unavailable("no free port was found".into()))
    }
}

/// The sockets below a directory.
pub(crate) fn socket_files(dir: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(socket_files(&entry.path())),
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
