//! Taking the defences out, one after the other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use super::{Defence, copy::Copy, patched};
use crate::{
    error::{Error, Result},
    process::{self, Finished, tests_run},
    report::{seconds, table},
    tree,
};

/// The first build of the copy compiles every dependency.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
const TEST_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What became of a defence that was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Its test failed: the defence is tested.
    Caught,
    /// Its test passed all the same.
    Survived,
    /// Its test did not end.
    Hung,
    /// The patch does not compile, so nothing was learnt.
    DoesNotCompile,
    /// The test fails, or does not run, with the defence in place.
    TestUnfit,
}

impl Verdict {
    const fn words(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Survived => "SURVIVED: the test passes without the defence",
            Self::Hung => "HUNG: the test did not end",
            Self::DoesNotCompile => "PATCH DOES NOT COMPILE",
            Self::TestUnfit => "TEST UNFIT: it must run and pass with the defence in place",
        }
    }
}

/// Takes each defence out and expects its test to fail.
pub(crate) fn chore(root: &Path, defences: &[Defence]) -> Result<()> {
    if defences.is_empty() {
        return Err(Error::failed("docs/defences.toml lists no defence"));
    }
    let quick = tree::packages(root)?.into_iter();
    let quick =
        quick.flat_map(|(name, _)| ["--config".to_owned(), format!("profile.release.package.{name}.opt-level=0")]);
    let bench = Bench { copy: Copy::of(root)?, target: root.join("target/defences-build"), quick: quick.collect() };
    let mut passes = BTreeMap::new();
    for defence in defences {
        if !passes.contains_key(&defence.test) {
            eprintln!("with all defences: {}", defence.test);
            passes.insert(defence.test.clone(), bench.passes(&defence.test)?);
        }
    }
    let mut rows = Vec::new();
    let mut bad = 0;
    for defence in defences {
        let began = Instant::now();
        let fit = passes.get(&defence.test).copied().unwrap_or(false);
        let verdict = if fit { bench.without(defence)? } else { Verdict::TestUnfit };
        bad += usize::from(verdict != Verdict::Caught);
        eprintln!("{}: {}", defence.id, verdict.words());
        rows.push(vec![defence.id.clone(), seconds(began.elapsed()), verdict.words().to_owned()]);
    }
    table(&rows);
    if bad > 0 {
        return Err(Error::failed(format!("{bad} of {} defences are not shown to be tested", defences.len())));
    }
    println!("{} defences, each caught by its test when taken out", defences.len());
    Ok(())
}

/// The copy and where it is built.
struct Bench {
    copy: Copy,
    target: PathBuf,
    /// Our own packages are built without optimisation: each is built again for each of its defences. The dependencies
    /// keep theirs, so the tests stay quick, and no check depends on the level.
    quick: Vec<String>,
}

impl Bench {
    /// Does the test run and pass with every defence in place?
    fn passes(&self, test: &str) -> Result<bool> {
        let done = self.cargo(&split(test)?, BUILD_LIMIT)?;
        let fit = done.success() && tests_run(&done.output) > 0;
        if !fit {
            eprintln!("{}", tail(&done.output));
        }
        Ok(fit)
    }

    /// Takes one defence out, runs its test, puts the defence back.
    fn without(&self, defence: &Defence) -> Result<Verdict> {
        let whole = tree::must_text(&self.copy.root.join(&defence.file))?;
        self.copy.write(&defence.file, &patched(&whole, defence)?)?;
        let verdict = self.judge(&defence.test);
        self.copy.write(&defence.file, &whole)?;
        verdict
    }

    fn judge(&self, test: &str) -> Result<Verdict> {
        let words = split(test)?;
        let mut build = words.clone();
        build.insert(1, "--no-run".to_owned());
        let built = self.cargo(&build, BUILD_LIMIT)?;
        if !built.success() {
            eprintln!("{}", tail(&built.output));
            return Ok(Verdict::DoesNotCompile);
        }
        let done = self.cargo(&words, TEST_LIMIT)?;
        Ok(match done.status {
            None => Verdict::Hung,
            Some(status) if status.success() => Verdict::Survived,
            Some(_) => Verdict::Caught,
        })
    }

    fn cargo(&self, words: &[String], limit: Duration) -> Result<Finished> {
        let mut command = Command::new(process::cargo());
        command.args(&words[..1]).args(&self.quick).args(&words[1..]);
        command.current_dir(&self.copy.root).env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "1");
        process::capture(command, limit)
    }
}

/// The words after `cargo`; the first must be `test`.
fn split(test: &str) -> Result<Vec<String>> {
    let mut words = test.split_whitespace().map(str::to_owned);
    let command = words.next();
    let words: Vec<String> = words.collect();
    if command.as_deref() == Some("cargo") && words.first().is_some_and(|w| w == "test") {
        return Ok(words);
    }
    Err(Error::failed(format!("`{test}` is not a `cargo test` command")))
}

/// The last lines of a long output.
fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn only_cargo_test_commands_are_taken() {
        assert_eq!(split("cargo test -p a b").unwrap(), ["test", "-p", "a", "b"]);
        assert!(split("cargo build").is_err());
        assert!(split("rm -r x").is_err());
    }
}
