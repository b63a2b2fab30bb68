//! `ledger replay --verify`: an exported chain, run again without the engine that made it.

use std::{
    fs::{self, DirBuilder, File},
    io::BufReader,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::json;
use vouchsafe_node::{
    NodeError,
    engine::Home,
    export,
    replay::{Replayed, replay_blocks},
};

use super::{failure, read_genesis};
use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
};

/// The directory of the state that a replay makes; it goes with the replay.
struct Scratch(PathBuf);

impl Scratch {
    /// Makes it beside the exported file, where there was room for the blocks.
    fn beside(file: &Path) -> Outcome<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".replay");
        let path = PathBuf::from(path);
        DirBuilder::new().mode(0o700).create(&path).doing(Kind::Conflict, || path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is named by the next replay, which finds it in its way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(genesis: &Path, file: &Path, output: Output) -> Outcome {
    let document = if genesis.is_dir() { Home::new(genesis).genesis() } else { genesis.to_owned() };
    let genesis = read_genesis(&document)?;
    let blocks = export::read(BufReader::new(File::open(file).doing(Kind::NotFound, || file.display().to_string())?));
    let scratch = Scratch::beside(file)?;
    let end = replay_blocks(blocks, &genesis, &scratch.0.join("ledger.redb")).map_err(|e| match e {
        NodeError::Damaged { .. } => Failure::new(Kind::VerificationFailed, format!("{}: {e}", file.display())),
        e => failure(&e),
    })?;
    tell(&end, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the hashes are the data that this command prints")]
fn tell(end: &Replayed, output: Output) {
    let Replayed { height, app_hash, results_hash } = end;
    match output {
        Output::Json => {
            println!("{}", json!({ "height": height, "app_hash": app_hash, "results_hash": results_hash }));
        }
        Output::Text => println!("{height} blocks hold; app hash {app_hash}, results hash {results_hash}"),
    }
}
