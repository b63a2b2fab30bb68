//! A testnet's life: founded, started, asked, hurt, healed, ended.

mod founding;
mod life;
pub(crate) mod state;
mod twin;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use founding::{Founding, Programs, Reach};

use crate::{
    error::{NetError, Result, io_at},
    process::{Marked, Process, Role, marked},
    rpc::Rpc,
};
use state::State;

/// How long a validator may take until it answers.
const READY: Duration = Duration::from_secs(60);
/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// A testnet that this process has to itself as long as the value lives, unless it only looks at it: no other command
/// changes it meanwhile.
#[derive(Debug)]
pub struct Net {
    home: PathBuf,
    program: PathBuf,
    state: State,
    _lock: Option<File>,
}

/// Which half of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The application.
    App,
    /// The engine.
    Engine,
    /// Both, and what supervises them.
    Both,
}

/// What of a validator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// What starts both halves again when one dies.
    pub supervisor: bool,
    /// The application.
    pub app: bool,
    /// The engine.
    pub engine: bool,
}

impl Net {
    /// The testnet of a home; `program` is the binary that its processes are made from.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Unavailable` while another command works on it.
    pub fn open(home: &Path, program: &Path) -> Result<Self> {
        let lock = lock(home)?;
        let state = State::read(home)?;
        Ok(Self { home: home.to_owned(), program: program.to_owned(), state, _lock: Some(lock) })
    }

    /// The testnet of a home as it is now, to be looked at while another command may work on it.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn look(home: &Path) -> Result<Self> {
        Ok(Self { home: home.to_owned(), program: PathBuf::new(), state: State::read(home)?, _lock: None })
    }

    /// Who belongs to it and where they are.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where all its processes write what they have to say.
    pub fn logs(&self) -> PathBuf {
        self.home.join("logs")
    }

    /// True when validators have a network of their own, which can be parted.
    pub const fn separate(&self) -> bool {
        self.state.network.is_some()
    }

    /// A validator's RPC.
    pub fn rpc(&self, node: usize) -> Rpc {
        Rpc::new(&self.state.validators[node].url())
    }

    /// How many validators there are.
    pub const fn size(&self) -> usize {
        self.state.validators.len()
    }

    /// What of a validator runs.
    pub fn running(&self, node: usize) -> Running {
        let all = self.processes(node);
        let runs = |role| all.iter().any(|m| m.role == role);
        Running { supervisor: runs(Role::Supervisor), app: runs(Role::Application), engine: runs(Role::Engine) }
    }

    /// The application and the engine of a validator.
    pub(crate) fn halves(&self, node: usize) -> Vec<Process> {
        let halves = self.processes(node).into_iter().filter(|m| m.role != Role::Supervisor);
        halves.map(|m| m.process).collect()
    }

    /// True while any of its processes runs.
    pub fn up(&self) -> bool {
        !marked(&self.state.mark).is_empty()
    }

    /// Everything of a validator that runs.
    fn processes(&self, node: usize) -> Vec<Marked> {
        let name = validator_mark(&self.state.validators[node].name);
        marked(&self.state.mark).into_iter().filter(|m| m.node == name).collect()
    }

    /// Parts the validators into groups that do not reach each other.
    ///
    /// # Errors
    /// `NotPermitted` without a network of their own, `Usage` for groups that do not name each validator once.
    pub fn partition(&mut self, groups: Vec<Vec<usize>>) -> Result<()> {
        self.network()?.group(&groups)?;
        self.state.partition = Some(groups);
        self.state.write(&self.home)
    }

    /// Takes a partition back.
    ///
    /// # Errors
    /// `NotPermitted` without a network of their own.
    pub fn heal(&mut self) -> Result<()> {
        self.network()?.group(&[(0..self.size()).collect()])?;
        self.state.partition = None;
        self.state.write(&self.home)
    }

    fn network(&self) -> Result<&crate::network::Network> {
        self.state.network.as_ref().ok_or_else(|| {
            NetError::NotPermitted(
                "a partition needs network namespaces, which this testnet does not have: start it as root, with \
                 iproute2, or with --network namespaces to be told why they cannot be made"
                    .into(),
            )
        })
    }

    /// Waits until a validator answers and has a block.
    ///
    /// # Errors
    /// `Unavailable` with the end of its log.
    pub async fn ready(&self, node: usize) -> Result<()> {
        let (rpc, until) = (self.rpc(node), Instant::now() + READY);
        loop {
            if rpc.status().await.is_ok_and(|status| status.height > 0) {
                return Ok(());
            }
            let member = &self.state.validators[node];
            if !member.process.is_some_and(|p| p.alive()) || Instant::now() >= until {
                let (name, log) = (&member.name, self.log(&validator_mark(&member.name)));
                let why = if Instant::now() >= until { "does not answer" } else { "ended" };
                return Err(NetError::Unavailable(format!("validator {node} ({name}) {why}:\n{}", tail(&log))));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where a process writes what it has to say.
    fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Every process of this testnet, whoever started it.
    fn everything(&self) -> Vec<Marked> {
        marked(&self.state.mark)
    }
}

/// How the processes of an organisation's validator are marked, which may run a gateway too.
fn validator_mark(name: &str) -> String {
    format!("validator-{name}")
}

/// The same of its gateway.
fn gateway_mark(name: &str) -> String {
    format!("gateway-{name}")
}

/// Takes a home for this process alone.
fn lock(home: &Path) -> Result<File> {
    if !home.is_dir() {
        let said = format!("{} has no testnet; `vouchsafe testnet up` makes one", home.display());
        return Err(NetError::NotFound(said));
    }
    let path = home.join("testnet.lock");
    let file = File::create(&path).map_err(io_at("cannot make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(NetError::Unavailable(format!("another command works on the testnet in {}", home.display())))
        }
        Err(fs::TryLockError::Error(e)) => Err(io_at("cannot lock", &path)(e)),
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
