//! `cargo xtask test`: the stages, in order, each timed. A stage that fails does not stop the others, so that one run
//! says everything that is wrong; a missing need stops at once, because everything after it would fail in obscure words.

pub(crate) mod curl;
mod demo;
mod needs;
mod readme;

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::{
    acceptance, crash, defences,
    error::{Error, Result},
    process, ratchets,
    report::{seconds, table},
};

/// From a clean clone on two cores.
const LIMIT: Duration = Duration::from_secs(30 * 60);

type Step = fn(&Path) -> Result<()>;

/// A stage's name, what it does, and the function. Cheap ones first: what is wrong shows early.
const STAGES: &[(&str, &str, Step)] = &[
    ("needs", "the programs that the other stages call are there", needs::check),
    ("format", "cargo fmt leaves every file as it is", format),
    ("style", "rules of style, links of the documents, vectors beside schemas", ratchets::check),
    ("lists", "defences and acceptance lines name tests, files and code that exist", lists),
    ("lints", "clippy, warnings denied", lints),
    ("docs", "rustdoc, warnings denied", docs),
    ("build", "the binary", build),
    ("tests", "unit, property, vector and integration tests", tests),
    ("demo", "the story A to H, end to end, within its limits of time and memory", demo::check),
    ("crash", "a loaded gateway is killed some times, and nothing acknowledged is lost", crash_briefly),
    ("readme", "the README's command blocks, executed", readme::check),
];

/// Prints the stages.
pub(crate) fn list() {
    let rows: Vec<Vec<String>> = STAGES.iter().map(|(name, what, _)| vec![(*name).into(), (*what).into()]).collect();
    table(&rows);
}

/// Runs the stages named, or all.
pub(crate) fn chore(root: &Path, only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !STAGES.iter().any(|(stage, _, _)| stage == name)) {
        return Err(Error::usage(&format!("there is no stage `{unknown}`; `cargo xtask test --list` shows all")));
    }
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let start = Instant::now();
    for (name, _, step) in STAGES.iter().filter(|(name, _, _)| only.is_empty() || only.iter().any(|o| o == name)) {
        eprintln!("\n== {name}");
        let began = Instant::now();
        let result = step(root);
        if let Err(error) = &result {
            eprintln!("{name} failed: {error}");
            failed.push(*name);
        }
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        rows.push(vec![(*name).to_owned(), verdict.to_owned(), seconds(began.elapsed())]);
        if *name == "needs" && result.is_err() {
            break;
        }
    }
    rows.push(vec!["sum".to_owned(), String::new(), seconds(start.elapsed())]);
    println!();
    table(&rows);
    verdict(&failed, start.elapsed())
}

/// Do the stages that the words after `cargo xtask test` name exist?
pub(crate) fn stages_exist(words: &[&str]) -> Result<()> {
    let names = words.iter().flat_map(|w| w.trim_start_matches("--only=").split(','));
    let mut names = names.filter(|n| !n.is_empty() && !n.starts_with("--"));
    match names.find(|name| !STAGES.iter().any(|(stage, _, _)| stage == name)) {
        Some(unknown) => Err(Error::failed(format!("there is no stage `{unknown}`"))),
        None => Ok(()),
    }
}

fn verdict(failed: &[&str], took: Duration) -> Result<()> {
    if !failed.is_empty() {
        return Err(Error::failed(format!("failed: {}", failed.join(", "))));
    }
    if took > LIMIT {
        return Err(Error::failed(format!("took {}, more than {}", seconds(took), seconds(LIMIT))));
    }
    Ok(())
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(process::cargo());
    command.current_dir(root).args(args);
    command
}

fn format(root: &Path) -> Result<()> {
    process::run(cargo(root, &["fmt", "--all", "--check"]))
}

fn lists(root: &Path) -> Result<()> {
    defences::check(root)?;
    acceptance::check(root)
}

fn lints(root: &Path) -> Result<()> {
    process::run(cargo(root, &["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn docs(root: &Path) -> Result<()> {
    let mut command = cargo(root, &["doc", "--release", "--no-deps", "--workspace"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    process::run(command)
}

/// The binary, and the engine that it builds on first use: tests that count seconds do not begin with that.
fn build(root: &Path) -> Result<()> {
    process::run(cargo(root, &["build", "--release"]))?;
    let mut engine = Command::new(binary()?);
    engine.args(["testnet", "engine"]);
    process::run(engine)
}

fn tests(root: &Path) -> Result<()> {
    process::run(cargo(root, &["test", "--release", "--workspace"]))
}

/// The short form of `cargo xtask crash`.
fn crash_briefly(_root: &Path) -> Result<()> {
    crash::chore(&binary()?, &crash::Plan { seed: crate::seed(), rounds: 8, failpoints: false })
}

/// The binary that the `build` stage made: it lies beside this program, wherever the target directory is.
pub(crate) fn binary() -> Result<std::path::PathBuf> {
    let here = std::env::current_exe().map_err(Error::io("find", Path::new("xtask")))?;
    let binary = here.with_file_name("vouchsafe");
    if binary.is_file() { Ok(binary) } else { Err(Error::failed("the binary is not built; run the stage `build`")) }
}

/// The binary, built now if it was not.
pub(crate) fn built(root: &Path) -> Result<std::path::PathBuf> {
    build(root)?;
    binary()
}

/// A directory that goes away when this value does.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new(purpose: &str) -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let (process, nth) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("vouchsafe-{purpose}-{process}-{nth}"));
        std::fs::create_dir(&path).map_err(Error::io("make", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the system's directory for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn an_unknown_stage_is_a_usage_error() {
        let error = chore(Path::new("."), &["lnits".to_owned()]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_failed_stage_or_too_long_a_run_fails() {
        assert!(verdict(&[], Duration::from_secs(1)).is_ok());
        assert!(verdict(&["docs"], Duration::from_secs(1)).is_err());
        assert!(verdict(&[], LIMIT + Duration::from_secs(1)).is_err());
    }
}
