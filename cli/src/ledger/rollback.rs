//! `ledger rollback`: the engine takes its last block back, and the application's state is made again from the blocks.
//!
//! The store could take back its tree, of which it keeps the last versions, but not the rows beside it, which keep no
//! older ones. Every block is kept, so nothing has to be taken back: the next start runs them all again, the last one
//! with the program that is installed then.

use std::{fs, path::Path, process::Command};

use serde_json::json;
use vouchsafe_node::engine::Home;

use super::{genesis_of, start};
use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
};

pub(crate) fn run(home: &Home, program: &Path, output: Output) -> Outcome {
    genesis_of(home)?;
    let _lock = start::lock(home)?;
    let said = Command::new(program)
        .arg("rollback")
        .arg("--home")
        .arg(home.engine())
        .output()
        .doing(Kind::Unavailable, || program.display().to_string())?;
    if !said.status.success() {
        let why = String::from_utf8_lossy(&said.stderr).lines().next().unwrap_or("without a word").to_owned();
        return Err(Failure::new(Kind::Error, format!("the engine took no block back: {why}")));
    }
    let (store, old) = (home.store(), home.store().with_extension("redb.old"));
    match fs::rename(&store, &old) {
        Ok(()) => {}
        // It was taken back before, and not run since.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Failure::new(Kind::Unavailable, format!("{}: {e}", store.display()))),
    }
    tell(String::from_utf8_lossy(&said.stdout).trim(), &old, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what was done is the data that this command prints")]
fn tell(said: &str, old: &Path, output: Output) {
    match output {
        Output::Json => println!("{}", json!({ "engine": said, "old_state": old })),
        Output::Text => {
            println!("{said}");
            println!("the application's state is now {}; the next start makes it again from the blocks", old.display());
        }
    }
}
