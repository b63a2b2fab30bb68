//! The chores of this repository: `cargo xtask help` lists them.
//!
//! **Architecture invariant:** this crate depends on no other crate of the workspace and reaches the network only
//! through cargo, npm and Maven, so that it builds in seconds and can say what is missing before anything else is built.
#![allow(clippy::print_stdout, reason = "a chore's result is what it prints")]
#![allow(clippy::print_stderr, reason = "progress and errors go to standard error")]

mod acceptance;
mod chain;
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
cargo xtask chain [--seed S] [--rounds N] [--only NAME,…] [--rate N] [--minutes N] [--out FILE] [--keep DIR]   faults on four real validators
cargo xtask disk-full [--seed S]             fills a loaded gateway's disk and checks that it stops cleanly
cargo xtask fuzz [--seed S] [--seconds N] [--count N] [--only http|process|ledger]   feeds search, bodies and the ledger what nobody means well by
cargo xtask model [--seed S] [--sequences N]  holds the machine to its reference over random sequences
cargo xtask examples [--keep DIR] [--sample N] [--seed S]  stores HL7's R4 examples and reads them back
cargo xtask synthea --out DIR [--patients N] [--seed S]    makes synthetic patients to import
A chore that runs the binary builds it first, unless --binary PATH names one.";

/// The chores that `docs/acceptance.toml` may name beside those that are checked further.
pub(crate) const CHORES: [&str; 9] =
    ["defences", "acceptance", "chain", "crash", "disk-full", "fuzz", "model", "examples", "synthea"];

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
        "chain" => {
            let flags = Flags::parse(rest, &[&CHAIN[..], &["--seed", "--out", "--keep", BINARY]].concat(), &[])?;
            chain::chore(&flags.binary(&root)?, &chain_asked(&flags)?)
        }
        "crash" => {
            let flags = Flags::parse(rest, &["--seed", "--rounds", BINARY], &["--failpoints"])?;
            let failpoints = flags.has("--failpoints");
            let rounds = flags.number("--rounds")?.unwrap_or(if failpoints { 0 } else { 100 });
            let seed = flags.number("--seed")?.unwrap_or_else(seed);
            crash::chore(&flags.binary(&root)?, &crash::Plan { seed, rounds, failpoints })
        }
        "disk-full" => {
            let flags = Flags::parse(rest, &["--seed", BINARY], &[])?;
            crash::disk::chore(&flags.binary(&root)?, flags.number("--seed")?.unwrap_or_else(seed))
        }
        "fuzz" => fuzz::chore(&root, &fuzz_asked(rest)?),
        "model" => {
            let flags = Flags::parse(rest, &["--seed", "--sequences"], &[])?;
            let seed = flags.number("--seed")?.unwrap_or_else(seed);
            model(&root, seed, flags.number("--sequences")?.unwrap_or(10_000))
        }
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

/// A seed that nobody has chosen; it is printed, so that the run can be made again.
fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |d| u64::from(d.subsec_nanos()) ^ d.as_secs())
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

/// The flags of `chain` that are those of `testnet faults`.
const CHAIN: [&str; 4] = ["--rounds", "--only", "--rate", "--minutes"];

fn chain_asked(flags: &Flags) -> Result<chain::Ask> {
    let passed = CHAIN.into_iter().filter_map(|flag| Some((flag, flags.one(flag)?.to_owned())));
    let seed = flags.number("--seed")?.unwrap_or_else(seed);
    let path = |flag| flags.one(flag).map(std::path::PathBuf::from);
    Ok(chain::Ask { seed, flags: passed.collect(), out: path("--out"), keep: path("--keep") })
}

fn fuzz_asked(args: &[String]) -> Result<fuzz::Ask> {
    let flags = Flags::parse(args, &["--seed", "--seconds", "--count", "--only"], &[])?;
    let only = match flags.one("--only") {
        None => None,
        Some("http") => Some(fuzz::Part::Http),
        Some("process") => Some(fuzz::Part::InProcess),
        Some("ledger") => Some(fuzz::Part::Ledger),
        Some(other) => return Err(Error::usage(&format!("there is no part `{other}`"))),
    };
    let seed = flags.number("--seed")?.unwrap_or_else(seed);
    let (seconds, count) = (flags.number("--seconds")?.unwrap_or(300), flags.number("--count")?.unwrap_or(1_000_000));
    Ok(fuzz::Ask { seed, seconds, count, only })
}

/// The long form of the test that holds the machine to its reference.
fn model(root: &Path, seed: u64, sequences: u64) -> Result<()> {
    let mut command = std::process::Command::new(process::cargo());
    command.current_dir(root).args(["test", "--release", "-p", "vouchsafe-core", "--test", "it"]);
    command.args(["property::the_machine_says_what_the_model_says", "--", "--nocapture"]);
    command.env("VOUCHSAFE_MODEL_SEED", seed.to_string());
    command.env("VOUCHSAFE_MODEL_SEQUENCES", sequences.to_string());
    process::run(command)
}

fn examples_asked(flags: &Flags) -> Result<examples::Ask> {
    let seed = flags.number("--seed")?.unwrap_or_else(seed);
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
