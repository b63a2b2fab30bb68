//! Finding the engine, and turning into it.

use std::{
    env,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use vouchsafe_testnet::engines;

use crate::exit::{Context, Failure, Kind, Outcome};

/// What the engine's version begins with: the ABCI that it speaks.
const VERSION: &str = "0.38.";

/// The engine: the one named, else the one on PATH if it is of the right version, else one that is built.
pub(crate) fn find(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(path) = named {
        let version = version(path).doing(Kind::NotFound, || format!("no engine at {}", path.display()))?;
        if !version.starts_with(VERSION) {
            let said = format!("{} is CometBFT {version:?}; {VERSION}x is needed", path.display());
            return Err(Failure::new(Kind::Usage, said));
        }
        return Ok(path.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path).map(|dir| dir.join("cometbft")).filter(|path| path.is_file());
    if let Some(found) = candidates.find(|path| version(path).is_ok_and(|version| version.starts_with(VERSION))) {
        return Ok(found);
    }
    engines::cometbft().map_err(|e| Failure::new(Kind::Unavailable, e.to_string()))
}

fn version(path: &Path) -> std::io::Result<String> {
    let said = Command::new(path).arg("version").output()?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().trim_start_matches('v').to_owned())
}

/// Ties this process to the one that started it: when that is killed, this one is, so that no half of a pair lingers.
pub(super) fn die_with(supervisor: i32) -> Outcome {
    set_parent_process_death_signal(Some(Signal::KILL))
        .doing(Kind::Error, || "asking to be killed with the supervisor".into())?;
    // It may have died before the system knew that this was to matter.
    if getppid() != Pid::from_raw(supervisor) {
        return Err(Failure::new(Kind::Unavailable, "the supervisor is gone"));
    }
    Ok(())
}

/// Replaces this process by the engine, which keeps its tie to the supervisor.
pub(crate) fn become_it(program: &Path, args: &[String], supervisor: i32) -> Outcome {
    die_with(supervisor)?;
    let failed = Command::new(program).args(args).exec();
    Err(Failure::new(Kind::Unavailable, format!("{}: {failed}", program.display())))
}
