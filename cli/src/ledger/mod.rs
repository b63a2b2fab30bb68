//! One validator: setting it up, running it, asking it, taking its blocks out and back.

pub(crate) mod application;
pub(crate) mod engine;
pub(crate) mod export;
pub(crate) mod init;
mod pair;
pub(crate) mod replay;
pub(crate) mod rollback;
mod rpc;
pub(crate) mod start;
pub(crate) mod status;

use std::path::Path;

use vouchsafe_node::{NodeError, engine::Home};
use vouchsafe_types::genesis::Genesis;

use crate::exit::{Context, Failure, Kind, Outcome};

/// The genesis document in a file, as it stands there: a caller that compares it with one that was checked needs no more.
pub(crate) fn parse_genesis(path: &Path) -> Outcome<Genesis> {
    let bytes = std::fs::read(path).doing(Kind::NotFound, || path.display().to_string())?;
    serde_json::from_slice(&bytes).doing(Kind::InvalidData, || format!("{} is no genesis document", path.display()))
}

/// The genesis document in a file, checked.
pub(crate) fn read_genesis(path: &Path) -> Outcome<Genesis> {
    let genesis = parse_genesis(path)?;
    genesis.check().doing(Kind::InvalidData, || path.display().to_string())?;
    Ok(genesis)
}

/// The genesis document of a home that was set up.
pub(crate) fn genesis_of(home: &Home) -> Outcome<Genesis> {
    read_genesis(&home.genesis()).map_err(|e| e.hint("`vouchsafe ledger init --genesis FILE` sets a validator up"))
}

/// What the node could not do, as a failure of the command.
pub(crate) fn failure(error: &NodeError) -> Failure {
    let kind = match error {
        NodeError::BadFile { .. }
        | NodeError::Damaged { .. }
        | NodeError::Genesis(_)
        | NodeError::OtherGenesis { .. }
        | NodeError::Comet(_) => Kind::InvalidData,
        _ => Kind::Unavailable,
    };
    Failure::new(kind, error.to_string())
}
