//! `cargo xtask acceptance`: docs/acceptance.toml holds each line of an issue with the command that shows it. Without
//! `--run` the commands are checked to exist: the test, the chore's stage or the program that each names.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    error::{Error, Result},
    process,
    report::{seconds, table},
    test, tree,
};

const LIMIT: Duration = Duration::from_secs(45 * 60);

/// One line of an issue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The issue's number.
    issue: u32,
    /// Its words.
    text: String,
    /// The commands that show it.
    commands: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    line: Vec<Line>,
}

fn load(root: &Path) -> Result<Vec<Line>> {
    Ok(tree::parse_toml::<File>(&root.join("docs/acceptance.toml"))?.line)
}

/// The chore.
pub(crate) fn chore(root: &Path, run: bool) -> Result<()> {
    check(root)?;
    if run { run_all(root) } else { Ok(()) }
}

/// Checks that every line has a command and every command exists.
pub(crate) fn check(root: &Path) -> Result<()> {
    let lines = load(root)?;
    let mut faults = Vec::new();
    for line in &lines {
        let at = format!("issue {}, \u{ab}{}\u{bb}", line.issue, line.text);
        if line.commands.is_empty() {
            faults.push(format!("{at}: has no command"));
        }
        for command in &line.commands {
            if let Err(why) = command_exists(root, command) {
                faults.push(format!("{at}: {why}"));
            }
        }
    }
    if !faults.is_empty() {
        return Err(Error::failed(format!("{} faults in docs/acceptance.toml:\n{}", faults.len(), faults.join("\n"))));
    }
    println!("{} lines of acceptance", lines.len());
    Ok(())
}

/// Runs every command once, however many lines name it.
fn run_all(root: &Path) -> Result<()> {
    let mut commands: BTreeMap<String, usize> = BTreeMap::new();
    for command in load(root)?.into_iter().flat_map(|l| l.commands) {
        *commands.entry(command).or_default() += 1;
    }
    let mut rows = Vec::new();
    let mut failed = 0;
    for (command, lines) in &commands {
        eprintln!("$ {command}");
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).current_dir(root);
        let began = Instant::now();
        let done = process::capture(bash, LIMIT)?;
        // A filter that matches no test succeeds and shows nothing.
        let empty = command.starts_with("cargo test ") && process::tests_run(&done.output) == 0;
        let good = done.success() && !empty;
        if !good {
            failed += 1;
            eprintln!("{}", done.output);
        }
        let verdict = match (good, empty) {
            (true, _) => "ok",
            (false, true) => "NO TEST RAN",
            (false, false) => "FAILED",
        };
        rows.push(vec![verdict.to_owned(), seconds(began.elapsed()), format!("{lines} lines"), command.clone()]);
    }
    table(&rows);
    if failed > 0 { Err(Error::failed(format!("{failed} of {} commands failed", commands.len()))) } else { Ok(()) }
}

/// Does what the command names exist?
pub(crate) fn command_exists(root: &Path, command: &str) -> Result<()> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        [] => Err(Error::failed("the command is empty")),
        ["cargo", "test", rest @ ..] => test_exists(root, command, rest),
        ["cargo", "xtask", "test", rest @ ..] => test::stages_exist(rest),
        ["cargo", "xtask", chore, ..] if crate::CHORES.contains(chore) => Ok(()),
        ["cargo", "build" | "run" | "doc" | "clippy" | "fmt", ..] => Ok(()),
        ["cargo", other, ..] => Err(Error::failed(format!("`cargo {other}` is not a command known here"))),
        [program, ..] if program.contains('/') && root.join(program).is_file() => Ok(()),
        [program, ..] if process::on_path(program) => Ok(()),
        [program, ..] => Err(Error::failed(format!("there is no program `{program}`"))),
    }
}

/// A `cargo test` command names a package of the workspace, by `-p`, and tests by their names, each of which must be a
/// function or a module in the package's sources.
fn test_exists(root: &Path, command: &str, words: &[&str]) -> Result<()> {
    let mut package = None;
    let mut names = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-p" | "--package" => package = words.next().copied(),
            "--test" | "--features" => drop(words.next()),
            "--workspace" => return Ok(()),
            flag if flag.starts_with('-') => {}
            name => names.push(name),
        }
    }
    let package = package.ok_or_else(|| Error::failed(format!("`{command}` names no package by -p")))?;
    let dir = tree::packages(root)?.into_iter().find(|(name, _)| name == package).map(|(_, dir)| dir);
    let dir = dir.ok_or_else(|| Error::failed(format!("there is no package `{package}`")))?;
    let sources = rust_sources(root, &dir)?;
    for name in names {
        let last = name.rsplit("::").next().unwrap_or(name);
        let stands = |word: &str| sources.iter().any(|s| s.contains(&format!("{word} {last}")));
        if !stands("fn") && !stands("mod") {
            return Err(Error::failed(format!("`{package}` has no test named `{name}`")));
        }
    }
    Ok(())
}

fn rust_sources(root: &Path, dir: &Path) -> Result<Vec<String>> {
    let files: Vec<PathBuf> = tree::files(&root.join(dir))?;
    let rust = files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs"));
    rust.map(|f| tree::must_text(&root.join(dir).join(f))).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn commands_are_checked_to_exist() {
        let root = tree::root().unwrap();
        let exists = |command: &str| command_exists(&root, command);
        exists("cargo test --release -p xtask commands_are_checked_to_exist").unwrap();
        exists("cargo xtask test --only lints,docs").unwrap();
        for missing in [
            "",
            concat!("cargo test --release -p xtask no_such_", "test"),
            "cargo test --release -p no-such-package a",
            "cargo test --release commands_are_checked_to_exist",
            "cargo xtask test --only no-such-stage",
            "no-such-program",
        ] {
            assert!(exists(missing).is_err(), "{missing}");
        }
    }
}
