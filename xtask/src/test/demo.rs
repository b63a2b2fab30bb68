//! The stage `demo`: `vouchsafe demo --once` in a directory of its own, with the time it took and the most memory it
//! held, both against the limits that the demo promises.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Scratch, binary};
use crate::{
    error::{Error, Result},
    process,
    report::seconds,
};

const MAX_TIME: Duration = Duration::from_secs(30);
const MAX_RESIDENT_KIB: u64 = 300 * 1024;
/// After this it hangs.
const HANGS: Duration = Duration::from_secs(300);

/// Plays the story once and judges the figures.
pub(crate) fn check(_root: &Path) -> Result<()> {
    let scratch = Scratch::new("demo")?;
    let mut command = Command::new(binary()?);
    // Port 0: the stage needs no particular port to be free.
    command.args(["demo", "--once", "--listen", "127.0.0.1:0", "--home"]).arg(scratch.0.join("home"));
    command.current_dir(&scratch.0).stdin(Stdio::null()).process_group(0);
    let began = Instant::now();
    let mut child =
        command.spawn().map_err(|source| Error::Io { what: "cannot start `vouchsafe demo`".to_owned(), source })?;
    let mut resident = 0;
    let status = process::wait(&mut child, HANGS, |id| resident = resident.max(high_water_kib(id)))?;
    let took = began.elapsed();
    println!("demo --once: {} elapsed, {} MiB resident at most", seconds(took), resident / 1024);
    match status {
        None => Err(Error::failed(format!("`vouchsafe demo --once` had not ended after {}", seconds(HANGS)))),
        Some(status) if !status.success() => Err(Error::failed(format!("`vouchsafe demo --once` ended with {status}"))),
        Some(_) => within(took, resident),
    }
}

fn within(took: Duration, resident_kib: u64) -> Result<()> {
    if took > MAX_TIME {
        return Err(Error::failed(format!("the demo may take {}, and took {}", seconds(MAX_TIME), seconds(took))));
    }
    if resident_kib > MAX_RESIDENT_KIB {
        return Err(Error::failed(format!("the demo may hold {MAX_RESIDENT_KIB} KiB, and held {resident_kib}")));
    }
    if resident_kib == 0 {
        return Err(Error::failed("the demo's memory could not be read from /proc"));
    }
    Ok(())
}

/// The most memory a process has held so far; 0 once it is gone. The kernel keeps the maximum, so polling loses only
/// what grew in the last twenty milliseconds.
fn high_water_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn each_limit_is_kept() {
        assert!(within(MAX_TIME, MAX_RESIDENT_KIB).is_ok());
        assert!(within(MAX_TIME + Duration::from_millis(1), 1).is_err());
        assert!(within(Duration::ZERO, MAX_RESIDENT_KIB + 1).is_err());
        assert!(within(Duration::ZERO, 0).is_err());
    }

    #[test]
    fn our_own_memory_can_be_read() {
        assert!(high_water_kib(std::process::id()) > 0);
    }
}
