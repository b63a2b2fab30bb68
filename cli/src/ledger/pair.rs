//! The two processes of a validator, started together and ended together.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};
use vouchsafe_node::{
    abci::Address,
    engine::{self, Home},
};

use super::{application::READY, failure, rpc::Rpc};
use crate::exit::{Context, Failure, Kind, Outcome};

/// How long either may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// How long the rest may take when one of both has died: without the other it has nothing to finish, and at times an engine
/// without its application does not end when it is asked to.
const REST: Duration = Duration::from_secs(1);

/// How long an application may take to open its store.
const OPENING: Duration = Duration::from_secs(60);

/// How often the engine is asked whether it serves.
const ASK: Duration = Duration::from_millis(50);

/// A log that is longer than this when a pair starts becomes the old one.
const LOG_BYTES: u64 = 16 * 1024 * 1024;

/// What a pair needs.
pub(super) struct Plan {
    pub(super) home: Home,
    pub(super) program: PathBuf,
    pub(super) abci: Address,
    pub(super) rpc: Rpc,
}

/// How one of both ended.
#[derive(Debug)]
pub(super) struct Death {
    /// Which.
    pub(super) who: &'static str,
    /// How.
    pub(super) status: ExitStatus,
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} ended ({})", self.who, self.status)
    }
}

/// Both processes, running.
pub(super) struct Pair {
    application: Child,
    engine: Child,
}

impl Plan {
    /// Starts the application, then the engine.
    pub(super) async fn begin(&self) -> Outcome<Result<Pair, Death>> {
        let mut application = match self.application().await? {
            Ok(child) => child,
            Err(death) => return Ok(Err(death)),
        };
        let engine = match self.engine() {
            Ok(child) => child,
            Err(e) => {
                // What cannot be waited for has ended.
                let _ = end(&mut application, GRACE).await;
                return Err(e);
            }
        };
        let pair = Pair { application, engine };
        let told = json!({
            "supervisor": std::process::id(),
            "application": pair.application.id(),
            "engine": pair.engine.id(),
        });
        engine::write(&self.home.processes(), told.to_string().as_bytes()).map_err(|e| failure(&e))?;
        Ok(Ok(pair))
    }

    async fn application(&self) -> Outcome<Result<Child, Death>> {
        let mut child = itself()
            .arg("application")
            .args(["--abci", &self.abci.to_string(), "--supervisor", &std::process::id().to_string(), "--home"])
            .arg(self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .doing(Kind::Unavailable, || "starting the application".into())?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new(Kind::Error, "the application has no stdout"))?;
        let mut line = String::new();
        let said = timeout(OPENING, BufReader::new(stdout).read_line(&mut line)).await;
        if said.is_ok_and(|read| read.is_ok()) && line.trim_end() == READY {
            return Ok(Ok(child));
        }
        let status = end(&mut child, GRACE).await.doing(Kind::Unavailable, || "waiting for the application".into())?;
        Ok(Err(Death { who: "application", status }))
    }

    fn engine(&self) -> Outcome<Child> {
        let log = self.log()?;
        let twice = log.try_clone().doing(Kind::Unavailable, || "the engine's log".into())?;
        itself()
            .args(["engine", "--supervisor", &std::process::id().to_string()])
            .arg(&self.program)
            .args(["--", "start", "--proxy_app", &self.abci.to_string(), "--home"])
            .arg(self.home.engine())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(twice)
            .process_group(0)
            .spawn()
            .doing(Kind::Unavailable, || "starting the engine".into())
    }

    fn log(&self) -> Outcome<File> {
        let path = self.home.engine_log();
        if fs::metadata(&path).is_ok_and(|found| found.len() > LOG_BYTES) {
            fs::rename(&path, path.with_extension("log.old"))
                .doing(Kind::Unavailable, || path.display().to_string())?;
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        options.open(&path).doing(Kind::Unavailable, || path.display().to_string())
    }
}

/// This very program, also when a newer one was put in its place meanwhile.
fn itself() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("ledger");
    command
}

impl Pair {
    /// Waits until the engine answers; the death of either, if that is first.
    pub(super) async fn ready(&mut self, rpc: &Rpc) -> Result<(), Death> {
        tokio::select! {
            death = self.death() => Err(death),
            () = async {
                while rpc.status().await.is_err() {
                    tokio::time::sleep(ASK).await;
                }
            } => Ok(()),
        }
    }

    /// Waits until either dies.
    pub(super) async fn death(&mut self) -> Death {
        let (who, status) = tokio::select! {
            status = self.application.wait() => ("application", status),
            status = self.engine.wait() => ("engine", status),
        };
        match status {
            Ok(status) => Death { who, status },
            // Nobody else waits for these children, so the system has an answer; without one there is nothing to wait for.
            Err(_) => Death { who, status: ExitStatus::default() },
        }
    }

    /// Ends both in order: the engine, which asks, then the application, which answers.
    pub(super) async fn end(self) {
        self.end_within(GRACE).await;
    }

    /// Ends what is left of both when one has died.
    pub(super) async fn end_rest(self) {
        self.end_within(REST).await;
    }

    async fn end_within(mut self, grace: Duration) {
        for child in [&mut self.engine, &mut self.application] {
            // What cannot be waited for has ended.
            let _ = end(child, grace).await;
        }
    }
}

/// Asks a process to end, and after a while does not ask any more.
async fn end(child: &mut Child, grace: Duration) -> std::io::Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // The child is waited for by us alone, so the id is still its own.
        let _ = kill_process(pid, Signal::TERM);
    }
    match timeout(grace, child.wait()).await {
        Ok(ended) => ended,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

/// The last words of a log.
pub(super) fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}
