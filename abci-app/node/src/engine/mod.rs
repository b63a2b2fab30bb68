//! The files of a CometBFT 0.38 node beside this application: its keys, its genesis, its configuration
//! (<https://docs.cometbft.com/v0.38/core/configuration>).

mod config;
mod genesis;
mod keys;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use config::Config;
pub use genesis::engine_genesis;
pub use keys::{NodeKeys, load_or_create as keys};

use crate::NodeError;

/// Where everything of one validator lies.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// The home at a path; nothing needs to be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The engine's own home.
    pub fn engine(&self) -> PathBuf {
        self.0.join("comet")
    }

    /// The genesis document that the founders signed.
    pub fn genesis(&self) -> PathBuf {
        self.0.join("genesis.json")
    }

    /// The genesis file of the engine, with that document in it.
    pub fn engine_genesis(&self) -> PathBuf {
        self.engine().join("config/genesis.json")
    }

    /// The engine's configuration.
    pub fn engine_config(&self) -> PathBuf {
        self.engine().join("config/config.toml")
    }

    /// The application's state.
    pub fn store(&self) -> PathBuf {
        self.0.join("app/ledger.redb")
    }

    /// The socket between both.
    pub fn socket(&self) -> PathBuf {
        self.0.join("app.sock")
    }

    /// What the engine says.
    pub fn engine_log(&self) -> PathBuf {
        self.0.join("comet.log")
    }

    /// Which processes run, JSON.
    pub fn processes(&self) -> PathBuf {
        self.0.join("processes.json")
    }

    /// Makes the directories, closed to others: the socket among them answers whoever may open it.
    ///
    /// # Errors
    /// `File` when the system does not let it.
    pub fn make(&self) -> Result<(), NodeError> {
        for dir in [self.0.clone(), self.engine().join("config"), self.engine().join("data"), self.0.join("app")] {
            fs::create_dir_all(&dir).and_then(|()| restrict(&dir, 0o700)).map_err(at(&dir))?;
        }
        Ok(())
    }
}

fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Writes a file whole or not at all, readable by its owner alone.
///
/// # Errors
/// `File` when the system does not let it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), NodeError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = || {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> NodeError + '_ {
    |source| NodeError::File { path: path.to_owned(), source }
}
