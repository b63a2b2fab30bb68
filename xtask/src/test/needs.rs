//! What must be on the machine, and what to install when it is not.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    error::{Error, Result},
    process,
};

/// A program, what needs it, and how to get it.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("cc", "aws-lc and the linker need a C compiler", "apt-get install gcc libc6-dev"),
    ("go", "CometBFT is built from its Go module", "apt-get install golang-go, if that is Go 1.23 or newer"),
    ("ip", "testnets are parted by network namespaces", "apt-get install iproute2"),
    ("faketime", "its library gives a validator a wrong clock", "apt-get install faketime"),
    ("bash", "the README's blocks are bash", "apt-get install bash"),
];

/// Parts of the toolchain, which rustup's default profile has.
const COMPONENTS: &[(&str, &str)] = &[("fmt", "rustfmt"), ("clippy", "clippy")];

/// Says everything that is missing at once.
pub(crate) fn check(_root: &Path) -> Result<()> {
    let mut missing = Vec::new();
    for (program, why, install) in PROGRAMS {
        if !process::on_path(program) {
            missing.push(format!("`{program}` is missing: {why}. On Debian: {install}"));
        }
    }
    for (command, component) in COMPONENTS {
        let mut probe = Command::new(process::cargo());
        probe.args([*command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|s| s.success()) {
            missing.push(format!("`cargo {command}` is missing: rustup component add {component}"));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(Error::failed(missing.join("\n"))) }
}
