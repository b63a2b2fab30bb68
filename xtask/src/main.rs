//! The chores of this repository: `cargo xtask help` lists them.
//!
//! **Architecture invariant:** this crate depends on no other crate of the workspace and reaches the network only
//! through cargo, npm and Maven, so that it builds in seconds and can say what is missing before anything else is built.
#![allow(clippy::print_stdout, reason = "a chore's result is what it prints")]
#![allow(clippy::print_stderr, reason = "progress and errors go to standard error")]

mod acceptance;
mod crash;
mod defences;
mod error;
mod examples;
mod fuzz;
mod gateway;
mod markdown;
mod process;
mod ratchets;
mod report;
mod rng;
mod synthea;
mod test;
mod tree;
mod wire;

use std::{path::Path, process::ExitCode};

use error::{Error, Result};

const USAGE: &str = "\
cargo xtask test [--only STAGE,…] [--list]   everything CI checks, stage by stage, with the seconds each took
cargo xtask defences [--only ID,…] [--list]  takes each defence out in a copy and expects its test to fail
cargo xtask acceptance [--run]               checks that every command of docs/acceptance.toml exists, or runs it
cargo xtask crash [--seed S] [--rounds N] [--failpoints] [--binary PATH]   kills a loaded gateway and checks that nothing is lost
cargo xtask disk-full [--seed S]             fills a loaded gateway's disk and checks that it stops cleanly
cargo xtask fuzz [--seed S] [--seconds N] [--only http|process]   feeds search and bodies what nobody means well by
cargo xtask examples [--keep DIR] [--sample N] [--seed S]  stores HL7's R4 examples and reads them back
cargo xtask synthea --out DIR [--patients N] [--seed S]    makes synthetic patients to import
A chore that runs the binary builds it first, unless --binary PATH names one.";

/// The chores that `docs/acceptance.toml` may name beside those that are checked further.
pub(crate) const CHORES: [&str; 7] = ["defences", "acceptance", "crash", "disk-full", "fuzz", "examples", "synthea"];

fn main() -> ExitCode {
    let called = std::env::args().next().unwrap_or_default();
    if Path::new(&called).file_name().is_some_and(|name| name == "curl") {
        return ExitCode::from(test::curl::main(std::env::args().skip(1)));
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let root = tree::root()?;
    let (chore, rest) = args.split_first().ok_or_else(|| Error::usage("which chore?"))?;
    match chore.as_str() {
        "test" => test_chore(&root, &Flags::parse(rest, &["--only"], &["--list"])?),
        "defences" => defences_chore(&root, &Flags::parse(rest, &["--only"], &["--list"])?),
        "acceptance" => acceptance::chore(&root, Flags::parse(rest, &[], &["--run"])?.has("--run")),
        "crash" => {
            let flags = Flags::parse(rest, &["--seed", "--rounds", BINARY], &["--failpoints"])?;
            let failpoints = flags.has("--failpoints");
            let rounds = flags.number("--rounds")?.unwrap_or(if failpoints { 0 } else { 100 });
            let seed = flags.number("--seed")?.unwrap_or_else(rng::seed);
            crash::chore(&flags.binary(&root)?, &crash::Plan { seed, rounds, failpoints })
        }
        "disk-full" => {
            let flags = Flags::parse(rest, &["--seed", BINARY], &[])?;
            crash::disk::chore(&flags.binary(&root)?, flags.number("--seed")?.unwrap_or_else(rng::seed))
        }
        "fuzz" => fuzz::chore(&root, &fuzz_asked(rest)?),
        "examples" => {
            let flags = Flags::parse(rest, &["--keep", "--sample", "--seed", BINARY], &[])?;
            examples::chore(&root, &flags.binary(&root)?, &examples_asked(&flags)?)
        }
        "synthea" => {
            let flags = Flags::parse(rest, &["--out", "--patients", "--seed"], &[])?;
            let out = flags.one("--out").ok_or_else(|| Error::usage("--out DIR is needed"))?;
            let (patients, seed) = (flags.number("--patients")?.unwrap_or(30), flags.number("--seed")?.unwrap_or(1));
            synthea::chore(Path::new(out), patients, seed)
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        other => Err(Error::usage(&format!("there is no chore `{other}`"))),
    }
}

fn test_chore(root: &Path, flags: &Flags) -> Result<()> {
    if flags.has("--list") {
        test::list();
        return Ok(());
    }
    test::chore(root, &flags.list("--only"))
}

fn defences_chore(root: &Path, flags: &Flags) -> Result<()> {
    let all = defences::load(root)?;
    let only = flags.list("--only");
    let chosen = defences::choose(&all, &only)?;
    if flags.has("--list") {
        defences::print_list(&chosen);
        return Ok(());
    }
    defences::chore(root, &chosen)
}

fn fuzz_asked(args: &[String]) -> Result<fuzz::Ask> {
    let flags = Flags::parse(args, &["--seed", "--seconds", "--only"], &[])?;
    let only = match flags.one("--only") {
        None => None,
        Some("http") => Some(fuzz::Part::Http),
        Some("process") => Some(fuzz::Part::InProcess),
        Some(other) => return Err(Error::usage(&format!("there is no part `{other}`"))),
    };
    let seed = flags.number("--seed")?.unwrap_or_else(rng::seed);
    Ok(fuzz::Ask { seed, seconds: flags.number("--seconds")?.unwrap_or(300), only })
}

fn examples_asked(flags: &Flags) -> Result<examples::Ask> {
    let seed = flags.number("--seed")?.unwrap_or_else(rng::seed);
    let sample = flags.number("--sample")?.map(|n| (usize::try_from(n).unwrap_or(usize::MAX), seed));
    Ok(examples::Ask { keep: flags.one("--keep").map(Into::into), sample })
}

/// A binary that is used instead of one built now.
const BINARY: &str = "--binary";

/// The flags of a chore: switches, and flags with a value, which may also be written `--flag=value`.
struct Flags {
    switches: Vec<String>,
    values: Vec<(String, String)>,
}

impl Flags {
    fn parse(args: &[String], valued: &[&str], switches: &[&str]) -> Result<Self> {
        let mut flags = Self { switches: Vec::new(), values: Vec::new() };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if valued.contains(&name) {
                let value = inline.or_else(|| args.next().cloned());
                let value = value.ok_or_else(|| Error::usage(&format!("{name} needs a value")))?;
                flags.values.push((name.to_owned(), value));
            } else if switches.contains(&name) && inline.is_none() {
                flags.switches.push(name.to_owned());
            } else {
                return Err(Error::usage(&format!("`{arg}` is not a flag of this chore")));
            }
        }
        Ok(flags)
    }

    fn has(&self, name: &str) -> bool {
        self.switches.iter().any(|s| s == name)
    }

    /// The binary that a chore runs.
    fn binary(&self, root: &Path) -> Result<std::path::PathBuf> {
        self.one(BINARY).map_or_else(|| test::built(root), |path| Ok(path.into()))
    }

    /// The last value of a flag.
    fn one(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(flag, _)| flag == name).map(|(_, v)| v.as_str())
    }

    /// The last value of a flag, which is a number.
    fn number(&self, name: &str) -> Result<Option<u64>> {
        let number = self.one(name).map(|v| v.parse().map_err(|_| Error::usage(&format!("{name} takes a number"))));
        number.transpose()
    }

    /// The values of a flag, each a list separated by commas.
    fn list(&self, name: &str) -> Vec<String> {
        let given = self.values.iter().filter(|(flag, _)| flag == name);
        given.flat_map(|(_, v)| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags> {
        let args: Vec<String> = args.iter().map(|s| (*s).to_owned()).collect();
        Flags::parse(&args, &["--only"], &["--list"])
    }

    #[test]
    fn values_may_be_separated_by_commas_or_repeated() {
        let flags = parse(&["--only", "a,b", "--only=c", "--list"]).unwrap();
        assert_eq!(flags.list("--only"), ["a", "b", "c"]);
        assert!(flags.has("--list"));
    }

    #[test]
    fn an_unknown_flag_or_a_missing_value_is_refused() {
        assert!(parse(&["--onyl", "a"]).is_err());
        assert!(parse(&["--only"]).is_err());
        assert!(parse(&["--list=yes"]).is_err());
        assert!(parse(&["--only", "a"]).unwrap().number("--only").is_err());
        assert_eq!(parse(&["--only", "1", "--only", "7"]).unwrap().number("--only").unwrap(), Some(7));
    }
}
