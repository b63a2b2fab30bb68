//! A real gateway in a process of its own, for the chores that start, load, kill and check one.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

/// The longest that a gateway takes to start, recovery included.
const START: Duration = Duration::from_secs(120);
/// The longest that any other command of the binary takes here.
const COMMAND: Duration = Duration::from_secs(600);

/// Where a gateway lives, running or not.
#[derive(Clone)]
pub(crate) struct Home {
    binary: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) addr: SocketAddr,
}

impl Home {
    /// A home whose gateway will always be at the same free port; the trial authority takes the next one.
    pub(crate) fn new(binary: PathBuf, dir: PathBuf) -> Result<Self> {
        for _ in 0..100 {
            let free = || TcpListener::bind("127.0.0.1:0");
            let Ok(first) = free() else { continue };
            let Ok(addr) = first.local_addr() else { continue };
            let next = SocketAddr::new(addr.ip(), addr.port().saturating_add(1));
            if TcpListener::bind(next).is_ok() {
                return Ok(Self { binary, dir, addr });
            }
        }
        Err(Error::failed("no two free ports in a row were found"))
    }

    /// The path of FHIR.
    pub(crate) const FHIR: &str = "/fhir";

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).arg("--home").arg(&self.dir).env_remove("VOUCHSAFE_FAILPOINT");
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    /// Starts the gateway and waits until it serves; none when it ended before.
    pub(crate) fn start(&self, failpoint: Option<&str>) -> Result<Option<Gateway>> {
        let mut command = self.command(&["gateway", "start", "--output", "json"]);
        command.args(["--listen", &self.addr.to_string()]).stdout(Stdio::piped());
        if let Some(failpoint) = failpoint {
            // What an armed process says at its end is expected.
            command.env("VOUCHSAFE_FAILPOINT", failpoint).stderr(Stdio::null());
        }
        let mut child =
            command.spawn().map_err(|source| Error::Io { what: "cannot start a gateway".into(), source })?;
        let out = child.stdout.take();
        let mut gateway = Gateway { child };
        let (send, said) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = out.is_some_and(|out| BufReader::new(out).read_line(&mut line).is_ok_and(|n| n > 0));
            // Whoever waited may have given up.
            let _ = send.send(read);
        });
        match said.recv_timeout(START) {
            Ok(true) => Ok(Some(gateway)),
            Ok(false) => {
                gateway.wait(Duration::from_secs(10))?;
                Ok(None)
            }
            Err(_) => Err(Error::failed(format!("the gateway did not serve within {} s", START.as_secs()))),
        }
    }

    /// Starts it as one that must serve.
    pub(crate) fn must_start(&self) -> Result<Gateway> {
        self.start(None)?.ok_or_else(|| Error::failed("the gateway ended instead of serving"))
    }

    /// A bearer token of the hospital's EHR.
    pub(crate) fn token(&self) -> Result<String> {
        self.token_of("ehr-hospital")
    }

    /// A bearer token of a system, by its name in the home's `credentials.json`.
    pub(crate) fn token_of(&self, system: &str) -> Result<String> {
        let done = self.run(&["keys", "token", "--as", system])?;
        Ok(done.1.trim().to_owned())
    }

    /// Where the trial authority serves.
    pub(crate) fn authority(&self) -> SocketAddr {
        SocketAddr::new(self.addr.ip(), self.addr.port().saturating_add(1))
    }

    /// The hospital's account on the ledger.
    pub(crate) fn hospital(&self) -> Result<String> {
        let path = self.dir.join("credentials.json");
        let parties: serde_json::Value = serde_json::from_str(&crate::tree::must_text(&path)?)
            .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
        let all = parties.as_array().map_or(&[][..], Vec::as_slice);
        let account = all.iter().find(|p| p["role"] == "hospital").and_then(|p| p["account"].as_str());
        account.map(str::to_owned).ok_or_else(|| Error::failed("credentials.json names no hospital"))
    }

    /// Writes the hospital's configuration file, which counts from its next start, or removes it.
    pub(crate) fn configure(&self, text: Option<&str>) -> Result<()> {
        let path = self.dir.join("gateways/hospital/gateway.toml");
        let done = match text {
            Some(text) => std::fs::write(&path, text),
            None => std::fs::remove_file(&path),
        };
        done.map_err(Error::io("write", &path))
    }

    /// Runs another command on the home to its end: its exit code and what it printed. Anything but 0 is in the caller's hands.
    pub(crate) fn ask(&self, args: &[&str], more: &[&Path]) -> Result<(i32, String)> {
        let mut command = self.command(args);
        command.args(more);
        let done = crate::process::capture(command, COMMAND)?;
        let status = done.status.ok_or_else(|| Error::failed(format!("`{}` did not end", args.join(" "))))?;
        Ok((status.code().unwrap_or(-1), done.output))
    }

    fn run(&self, args: &[&str]) -> Result<(i32, String)> {
        match self.ask(args, &[])? {
            (0, said) => Ok((0, said)),
            (code, said) => Err(Error::failed(format!("`{}` ended with {code}: {said}", args.join(" ")))),
        }
    }

    /// Starts another command beside; its output is dropped.
    pub(crate) fn beside(&self, args: &[&str], more: &[&Path]) -> Result<Gateway> {
        let mut command = self.command(args);
        command.args(more).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|source| Error::Io { what: format!("cannot start {args:?}"), source })?;
        Ok(Gateway { child })
    }

    /// Goes through everything that is stored, while no gateway runs; what is wrong is an error.
    pub(crate) fn check(&self) -> Result<String> {
        match self.ask(&["gateway", "check"], &[])? {
            (0, said) => Ok(said),
            (code, said) => Err(Error::failed(format!("`gateway check` ended with {code}:\n{said}"))),
        }
    }
}

/// A process of the binary that does not outlive this value.
pub(crate) struct Gateway {
    child: Child,
}

impl Gateway {
    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().map_err(|source| Error::Io { what: "cannot kill a gateway".into(), source })?;
        self.child.wait().map_err(|source| Error::Io { what: "cannot wait for a gateway".into(), source })?;
        Ok(())
    }

    /// How it ended, if it did within the time.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let until = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                Ok(status) => return Ok(status),
                Err(source) => return Err(Error::Io { what: "cannot wait for a gateway".into(), source }),
            }
        }
    }

    /// True when it ended by aborting itself, as at a failpoint.
    pub(crate) fn aborted(status: ExitStatus) -> bool {
        const SIGABRT: i32 = 6;
        status.signal() == Some(SIGABRT)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Either fails only when the process has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
