//! Processes that outlive the command that started them, found again and ended without ever touching a foreign one.
//!
//! A process is known by its id and the moment it started (`proc_pid_stat(5)`, field 22), because ids are used again.
//! Every process of a testnet carries the testnet's mark in its environment, which its children inherit: whatever
//! carries it is ours, whoever started it, and nothing else is.

use std::{
    fs::{self, File},
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};

use crate::error::{NetError, Result, io_at};

/// The variable that marks every process of a testnet.
pub(crate) const MARK: &str = "VOUCHSAFE_TESTNET";
/// The variable that says which node it belongs to.
pub(crate) const NODE: &str = "VOUCHSAFE_TESTNET_NODE";

const POLL: Duration = Duration::from_millis(20);

/// One process, never to be confused with a later one of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

impl Process {
    /// The process that has this id now.
    pub fn of(pid: u32) -> Option<Self> {
        Stat::of(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// True until it has ended; one that ended and that nobody has waited for counts as ended.
    pub fn alive(&self) -> bool {
        self.reap();
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }

    /// Sends a signal; false when the process had ended.
    ///
    /// # Errors
    /// `Io` when it may not be signalled.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool> {
        let told = |source: rustix::io::Errno| NetError::Io {
            what: format!("cannot signal process {}", self.pid),
            source: source.into(),
        };
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        // The descriptor holds on to one process: whatever passes the look at the start time is what is signalled.
        let held = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(held) => held,
            Err(rustix::io::Errno::SRCH) => return Ok(false),
            Err(e) => return Err(told(e)),
        };
        if !self.alive() {
            return Ok(false);
        }
        match pidfd_send_signal(held, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(e) => Err(told(e)),
        }
    }

    /// Waits until it has ended; false when it has not within the time.
    pub(crate) async fn ended(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.alive() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(POLL).await;
        }
        true
    }

    /// Ends it as a crash would, and waits for the end.
    ///
    /// # Errors
    /// `Io` when it may not be signalled, `Unavailable` when it does not end.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        if self.ended(Duration::from_secs(10)).await {
            return Ok(());
        }
        Err(NetError::Unavailable(format!("process {} does not end", self.pid)))
    }

    /// A child of ours that has ended is waited for, so that nothing of it stays.
    fn reap(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Fails for a process that is not our child, whose parent waits for it.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// A process that carries the mark.
#[derive(Clone, Debug)]
pub(crate) struct Marked {
    pub(crate) process: Process,
    /// What it is of its node.
    pub(crate) role: Role,
    /// The node it belongs to.
    pub(crate) node: String,
}

/// What a process is of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Answers the engine.
    Application,
    /// Starts both halves, and starts them again; or it is a node by itself, such as a gateway.
    Supervisor,
    /// Whatever else there is: CometBFT.
    Engine,
}

impl Role {
    /// By the words of its command line, which the supervisor and the application share a program by.
    fn of(command: &[u8]) -> Self {
        let words: Vec<&[u8]> = command.split(|b| *b == 0).take(3).collect();
        match words.as_slice() {
            [_, b"ledger", b"application"] => Self::Application,
            [_, b"ledger" | b"gateway", b"start"] => Self::Supervisor,
            _ => Self::Engine,
        }
    }
}

/// Every process that carries the mark and has not ended.
pub(crate) fn marked(mark: &str) -> Vec<Marked> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| look(pid, mark)).collect()
}

/// The process of that id, if it carries the mark.
fn look(pid: u32, mark: &str) -> Option<Marked> {
    let stat = Stat::of(pid).filter(|stat| !stat.ended)?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let of = |name: &str| {
        let variables = environment.split(|b| *b == 0).filter_map(|v| std::str::from_utf8(v).ok());
        variables.filter_map(|v| v.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value.to_owned())
    };
    (of(MARK)? == mark).then_some(())?;
    let role = Role::of(&fs::read(format!("/proc/{pid}/cmdline")).ok()?);
    Some(Marked { process: Process { pid, started: stat.started }, role, node: of(NODE)? })
}

/// Starts a program that lives on when this process ends: in a group of its own, so that Ctrl-C meant for us does not
/// end it, with its output in files.
pub(crate) fn spawn(mut command: Command, mark: &str, node: &str, out: &Path, log: &Path) -> Result<Process> {
    let out = File::create(out).map_err(io_at("cannot make", out))?;
    let log = File::options().append(true).create(true).mode(0o600).open(log).map_err(io_at("cannot open", log))?;
    command.stdin(Stdio::null()).stdout(out).stderr(log).process_group(0).env(MARK, mark).env(NODE, node);
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let child = command.spawn().map_err(|source| NetError::Io { what: format!("cannot start {name}"), source })?;
    Process::of(child.id()).ok_or_else(|| NetError::Unavailable(format!("{name} ended as soon as it was started")))
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let done = command.stdin(Stdio::null()).output();
    let done = done.map_err(|source| NetError::Io { what: format!("cannot run {name}"), source })?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let source = io::Error::other(format!("{}: {}", done.status, said.trim()));
    Err(NetError::Io { what: name, source })
}

/// What the kernel says of a process.
struct Stat {
    started: u64,
    ended: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything, parentheses too.
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        let ended = matches!(fields.next()?, "Z" | "X");
        // Field 22; the name was the second and one more is taken.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { started, ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep(mark: &str) -> Process {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // A child of the shell, which inherits the mark.
        command.args(["-c", "sleep 600 & wait"]);
        spawn(command, mark, "3", &dir.path().join("out"), &dir.path().join("log")).unwrap()
    }

    #[tokio::test]
    async fn what_carries_the_mark_is_found_children_too_and_ends() {
        let mark = format!("test-{}", std::process::id());
        let shell = sleep(&mark);
        let mut ours = Vec::new();
        let until = Instant::now() + Duration::from_secs(10);
        while ours.len() < 2 && Instant::now() < until {
            ours = marked(&mark);
        }
        assert_eq!(ours.len(), 2);
        assert!(ours.iter().all(|m| m.node == "3") && ours.iter().any(|m| m.process == shell));
        for found in ours {
            found.process.kill().await.unwrap();
        }
        assert!(!shell.alive() && marked(&mark).is_empty());
    }

    #[test]
    fn halves_are_told_apart_by_their_command_lines() {
        assert_eq!(Role::of(b"/proc/self/exe\0ledger\0application\0--home\0x"), Role::Application);
        assert_eq!(Role::of(b"/usr/bin/vouchsafe\0ledger\0start\0--home\0x"), Role::Supervisor);
        assert_eq!(Role::of(b"/cache/cometbft\0start\0--home\0x"), Role::Engine);
        assert_eq!(Role::of(b"/proc/self/exe\0ledger\0engine\0/cache/cometbft"), Role::Engine);
    }

    #[tokio::test]
    async fn another_process_of_the_same_id_is_left_alone() {
        let shell = sleep(&format!("other-{}", std::process::id()));
        let before = Process { started: shell.started - 1, ..shell };
        assert!(!before.alive() && !before.signal(Signal::KILL).unwrap());
        assert!(shell.alive());
        for found in marked(&format!("other-{}", std::process::id())) {
            found.process.kill().await.unwrap();
        }
    }
}
