//! `cargo xtask chain`: a real consortium of four validators, killed, parted and loaded from a seed. `vouchsafe testnet
//! faults` plays and judges; this chore founds the consortium, keeps the figures and sees that nothing of it stays.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::{Error, Result},
    process,
    test::Scratch,
};

/// What is asked for; what is not is as the binary has it.
pub(crate) struct Ask {
    pub(crate) seed: u64,
    /// Flags that go on to `testnet faults`, each with its value.
    pub(crate) flags: Vec<(&'static str, String)>,
    /// Where the figures are kept.
    pub(crate) out: Option<PathBuf>,
    /// Where the consortium is kept, its logs too, instead of a directory that goes away.
    pub(crate) keep: Option<PathBuf>,
}

/// The chore.
pub(crate) fn chore(binary: &Path, ask: &Ask) -> Result<()> {
    println!("seed {}", ask.seed);
    let scratch = Scratch::new("chain")?;
    let home = ask.keep.clone().unwrap_or_else(|| scratch.0.join("home"));
    let net = Net { binary, home: &home };
    net.run(&["up"])?;
    let seed = ask.seed.to_string();
    let mut args = vec!["faults", "--output", "json", "--seed", &seed];
    args.extend(ask.flags.iter().flat_map(|(flag, value)| [*flag, value.as_str()]));
    let played = net.say(&args);
    let down = net.run(&["down"]);
    if played.is_err() {
        net.show_logs();
    }
    let report = played?;
    down?;
    println!("{}", report.trim_end());
    if let Some(out) = &ask.out {
        fs::write(out, report).map_err(Error::io("write", out))?;
    }
    nothing_stays(&home)
}

struct Net<'a> {
    binary: &'a Path,
    home: &'a Path,
}

impl Net<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("testnet").args(args).arg("--home").arg(self.home).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        process::run(self.command(args))
    }

    /// Runs a command whose progress is for whoever watches; what it printed as data.
    fn say(&self, args: &[&str]) -> Result<String> {
        let failed = |source| Error::Io { what: format!("cannot run `testnet {}`", args.join(" ")), source };
        let done = self.command(args).stderr(Stdio::inherit()).output().map_err(failed)?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(Error::failed(format!("`testnet {}` ended with {}", args.join(" "), done.status)))
    }

    /// The end of each log, because the directory goes away.
    fn show_logs(&self) {
        const LINES: usize = 15;
        for entry in fs::read_dir(self.home.join("logs")).into_iter().flatten().flatten() {
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("-- {}", entry.file_name().display());
            lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// No process that names a validator of the home.
fn nothing_stays(home: &Path) -> Result<()> {
    let name = home.join("validators").display().to_string();
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&name) {
            left.push(format!("process {}", entry.file_name().display()));
        }
    }
    if left.is_empty() { Ok(()) } else { Err(Error::failed(format!("left over: {}", left.join(", ")))) }
}
