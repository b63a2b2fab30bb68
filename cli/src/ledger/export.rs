//! `ledger export`: a chain in a file, as its validators keep it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
};

use serde_json::json;
use vouchsafe_node::{engine::Home, export};

use super::{
    failure,
    rpc::{Listen, Rpc},
};
use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
};

/// Writes every block and its commit, from the first to the newest, to a file that takes its name when it is whole.
pub(crate) async fn run(home: &Home, file: &Path, output: Output) -> Outcome {
    let rpc = Rpc::new(&Listen::read(home)?.rpc)?;
    let status = rpc.status().await?;
    let newest = status["sync_info"]["latest_block_height"].as_str().and_then(|text| text.parse::<u64>().ok());
    let newest = newest.ok_or_else(|| Failure::new(Kind::Unavailable, "the engine does not say its height"))?;
    let doing = || file.display().to_string();
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let mut to = BufWriter::new(File::create(beside).doing(Kind::Unavailable, doing)?);
    for height in 1..=newest {
        let block = rpc.get(&format!("block?height={height}")).await?;
        let commit = rpc.get(&format!("commit?height={height}")).await?;
        let stored = export::of_json(&block["block"], &commit["signed_header"]["commit"]).map_err(|e| failure(&e))?;
        export::write(&mut to, &stored).doing(Kind::Unavailable, doing)?;
    }
    to.flush().and_then(|()| to.get_ref().sync_all()).doing(Kind::Unavailable, doing)?;
    fs::rename(beside, file).doing(Kind::Unavailable, doing)?;
    tell(file, newest, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what was written is the data that this command prints")]
fn tell(file: &Path, blocks: u64, output: Output) {
    match output {
        Output::Json => println!("{}", json!({ "file": file, "blocks": blocks })),
        Output::Text => println!("{blocks} blocks in {}", file.display()),
    }
}
