//! What is known of a testnet between two commands: a file in its home.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    error::{NetError, Result, io_at},
    network::Network,
    process::Process,
};

/// The file's name in a home.
pub(super) const FILE: &str = "testnet.json";

/// A testnet: who belongs to it, where they are, which processes they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What marks its processes and names its network.
    pub(crate) mark: String,
    /// The engine's program.
    pub(crate) engine: PathBuf,
    /// The namespaces, when it has a network of its own.
    pub(crate) network: Option<Network>,
    /// Whether it is to have one.
    pub(crate) separate: bool,
    /// The groups that validators are parted into, while they are.
    pub partition: Option<Vec<Vec<usize>>>,
    /// The validators, by their numbers.
    pub validators: Vec<Member>,
    /// The gateways.
    pub gateways: Vec<Door>,
}

/// A validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The organisation that runs it.
    pub name: String,
    /// Its engine's id among the others.
    pub node_id: String,
    /// Where the others find it.
    pub p2p: SocketAddr,
    /// Where this machine finds it.
    pub rpc: SocketAddr,
    /// `ledger start`, as it was started last.
    pub process: Option<Process>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    /// The organisation that runs it.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// `gateway start`, as it was started last.
    pub process: Option<Process>,
}

impl State {
    /// Reads a home's.
    pub(crate) fn read(home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => {
                NetError::NotFound(format!("{} has no testnet; `vouchsafe testnet up` makes one", home.display()))
            }
            _ => io_at("cannot read", &path)(source),
        })?;
        serde_json::from_slice(&bytes).map_err(|e| io_at("cannot read", &path)(e.into()))
    }

    /// Writes it, whole or not at all.
    pub(crate) fn write(&self, home: &Path) -> Result<()> {
        let (path, part) = (home.join(FILE), home.join("testnet.part"));
        let text = serde_json::to_vec_pretty(self).map_err(|e| io_at("cannot write", &path)(e.into()))?;
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
        file.and_then(|mut file| file.write_all(&text)).map_err(io_at("cannot write", &part))?;
        fs::rename(&part, &path).map_err(io_at("cannot write", &path))
    }

    /// The number of the validator that is called so: by its number or its organisation's name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn number(&self, node: &str) -> Result<usize> {
        let by_name = self.validators.iter().position(|v| v.name == node);
        let by_number = node.parse().ok().filter(|n| *n < self.validators.len());
        by_name.or(by_number).ok_or_else(|| {
            let names: Vec<String> =
                self.validators.iter().enumerate().map(|(n, v)| format!("{n} ({})", v.name)).collect();
            NetError::NotFound(format!("there is no validator {node:?}; there are {}", names.join(", ")))
        })
    }
}

impl Door {
    /// Its address, without `/fhir`.
    pub fn base(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its home.
    pub fn home(&self, home: &Path) -> PathBuf {
        home.join("gateways").join(&self.name)
    }
}

impl Member {
    /// The address of its RPC.
    pub fn url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    /// Its home.
    pub fn home(&self, home: &Path) -> PathBuf {
        home.join("validators").join(&self.name)
    }
}
