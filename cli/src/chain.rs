//! What makes the blocks of a consortium that this process plays: the embedded driver, or validators of its own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use vouchsafe_gateway::ledger::{EmbeddedLedger, Ledger};
use vouchsafe_node::{
    ValidatorKey,
    embedded::{Embedded, Settings},
};
use vouchsafe_testnet::{Founding, Net, Programs, Reach};
use vouchsafe_types::{
    Count, OkpJwk,
    genesis::{Genesis, Validator},
    jws::Sign,
};

use crate::{
    commands::{joined, testnet::failure},
    exit::{Context, Kind, Outcome},
    ledger::engine,
    wallet::person,
};

/// Which engine makes the blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    /// The embedded driver: one node, in this process.
    Embedded,
    /// So many CometBFT validators, each a pair of processes.
    Validators(usize),
}

/// The chain of a consortium.
pub(crate) enum Chain {
    /// One node in this process.
    Embedded(Embedded),
    /// Validators on this machine.
    Validators(Box<Net>, Box<Genesis>),
}

/// A validator's power; all have the same.
const POWER: Count = Count(10);

impl Chain {
    /// Makes or opens the chain of a home. `genesis` makes the document that names these validators, or reads the one there is.
    pub(crate) async fn open(
        home: &Path,
        names: &[&str],
        driver: Engine,
        genesis: impl FnOnce(Vec<Validator>) -> Outcome<Genesis>,
    ) -> Outcome<(Self, Genesis)> {
        let validator = |key: OkpJwk| Validator { ed25519: key, power: POWER };
        let Engine::Validators(count) = driver else {
            let home = home.join("ledger");
            std::fs::create_dir_all(&home).doing(Kind::Error, || home.display().to_string())?;
            let key = ValidatorKey::load_or_create(&home.join("validator.key"));
            let key = key.doing(Kind::Error, || "the validator's key".into())?;
            let genesis = genesis(vec![validator(key.public())])?;
            let chain = Embedded::open(&home, &genesis, key, Settings::default());
            return Ok((Self::Embedded(chain.doing(Kind::Error, || "the embedded ledger".into())?), genesis));
        };
        // Found once here and not by each validator at the same time, so that what it says is seen.
        let found = engine::find(std::env::var_os("VOUCHSAFE_COMETBFT").map(PathBuf::from).as_deref())?;
        let program = std::env::current_exe().doing(Kind::Error, || "finding this program".into())?;
        let programs = Programs { vouchsafe: &program, engine: &found };
        let mark: [u8; 16] = person::random()?;
        let mark = mark.iter().map(|b| format!("{b:02x}")).collect();
        let validators = home.join("validators");
        let names: Vec<&str> = names.iter().copied().take(count).collect();
        let founding = Founding::begin(&validators, programs, mark, &names, &[], Reach::Loopback).map_err(failure)?;
        let genesis = genesis(founding.keys().iter().copied().map(validator).collect())?;
        let path = home.join("genesis.json");
        let mut net = founding.finish(&path).map_err(failure)?;
        if let Err(failed) = net.start(&path).await {
            let logs = net.logs();
            net.down().await.map_err(failure)?;
            return Err(failure(failed).hint(format!("the logs are in {}", logs.display())));
        }
        Ok((Self::Validators(Box::new(net), Box::new(genesis.clone())), genesis))
    }

    /// The chain as the gateway of one organisation sees it, in whose home it keeps what it believes. Its own node is the
    /// validator of the same number, while there are as many.
    pub(crate) async fn ledger(&self, index: usize, home: &Path) -> Outcome<Arc<dyn Ledger>> {
        match self {
            Self::Embedded(chain) => Ok(Arc::new(EmbeddedLedger::new(chain.clone()))),
            Self::Validators(net, genesis) => {
                let mut nodes: Vec<String> = net.state().validators.iter().map(|v| v.url()).collect();
                let own = index % nodes.len();
                nodes.rotate_left(own);
                Ok(Arc::new(joined::ledger(home, nodes, 1, Some((**genesis).clone())).await?))
            }
        }
    }

    /// What it is, for people.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Embedded(_) => "one embedded node without fault tolerance".into(),
            Self::Validators(net, _) => match net.state().validators.len() {
                count @ ..4 => format!("{count} CometBFT validators without fault tolerance"),
                count => format!("{count} CometBFT validators"),
            },
        }
    }

    /// Ends it.
    pub(crate) async fn end(self) -> Outcome {
        match self {
            Self::Embedded(chain) => chain.stop().await,
            Self::Validators(mut net, _) => net.down().await.map_err(failure)?,
        }
        Ok(())
    }
}
