//! `cargo xtask fuzz`: searches and bodies that nobody means well by, from a printed seed. First in process, against what
//! reads queries and looks into bodies, where the same functions run for seconds among the ordinary tests; then over HTTP,
//! against a real gateway with records in it. Nothing may panic, fail, hang or be answered without an OperationOutcome.
//! With `--only ledger`: transactions and queries, against the application that an engine drives.

mod bodies;
mod http;
mod words;

use std::{path::Path, process::Command};

use crate::{error::Result, process, rng};

/// What is fuzzed in process: a package, and the tests.
const IN_PROCESS: [(&str, &str); 2] = [("vouchsafe-fhir-search", "fuzz::"), ("vouchsafe-gateway", "fhir::fuzz::")];

/// What the chore was asked for.
pub(crate) struct Ask {
    pub(crate) seed: u64,
    /// For so long each part; 0 does exactly one execution again.
    pub(crate) seconds: u64,
    /// How many transactions and queries the ledger is sent.
    pub(crate) count: u64,
    /// Only one of the parts.
    pub(crate) only: Option<Part>,
}

/// The parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    InProcess,
    Http,
    Ledger,
}

/// Runs them.
pub(crate) fn chore(root: &Path, ask: &Ask) -> Result<()> {
    println!("seed {}, {} s each part of the gateway, {} for the ledger", ask.seed, ask.seconds, ask.count);
    if ask.only.is_none_or(|only| only == Part::Ledger) {
        ledger(root, ask)?;
    }
    if ask.only.is_none_or(|only| only == Part::InProcess) {
        for (package, filter) in IN_PROCESS {
            let mut command = Command::new(process::cargo());
            command.current_dir(root).args(["test", "--release", "-p", package, "--lib", filter, "--", "--nocapture"]);
            command.env("VOUCHSAFE_FUZZ_SEED", ask.seed.to_string());
            command.env("VOUCHSAFE_FUZZ_SECONDS", ask.seconds.to_string());
            process::run(command)?;
        }
    }
    if ask.only.is_none_or(|only| only == Part::Http) {
        http::fuzz(root, ask.seed, ask.seconds)?;
    }
    Ok(())
}

fn ledger(root: &Path, ask: &Ask) -> Result<()> {
    let mut command = Command::new(process::cargo());
    command.current_dir(root).args(["test", "--release", "-p", "vouchsafe-node", "--test", "it", "fuzz::"]);
    command.args(["--", "--nocapture"]);
    command.env("VOUCHSAFE_FUZZ_SEED", ask.seed.to_string());
    command.env("VOUCHSAFE_FUZZ_COUNT", ask.count.to_string());
    process::run(command)
}
