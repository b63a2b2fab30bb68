//! `ledger start`: supervision of the pair. Either half may linger when the other dies, so both are ended and started
//! again together.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vouchsafe_node::{
    abci::Address,
    engine::{self, Home},
};

use super::{
    failure, genesis_of,
    pair::{Death, Pair, Plan, last_words},
    rpc::{Listen, Rpc},
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// So many failures in a row end the supervision: what does not help five times will not the sixth.
const MOST_FAILURES: u32 = 5;

/// A pair that ran this long had nothing wrong from the beginning.
const SETTLED: Duration = Duration::from_secs(60);

/// The first pause before a pair is started again; each failure doubles it.
const PAUSE: Duration = Duration::from_millis(100);

/// A path that fits into `sockaddr_un`.
const MOST_SOCKET_PATH: usize = 107;

/// What the operator asks for.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// How the operator ended it.
#[derive(Clone, Copy)]
enum Asked {
    Terminated,
    Interrupted,
}

impl Signals {
    fn listen() -> Outcome<Self> {
        let heard = |kind| signal(kind).doing(Kind::Error, || "listening for signals".into());
        Ok(Self { terminate: heard(SignalKind::terminate())?, interrupt: heard(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminated,
            _ = self.interrupt.recv() => Asked::Interrupted,
        }
    }
}

/// What ended the watch over a pair.
enum Ended {
    Asked(Asked),
    /// A half died; after it had served, or before.
    Died(Death, bool),
}

pub(crate) async fn run(home: Home, program: PathBuf, abci: Option<Address>) -> Outcome {
    let mut signals = Signals::listen()?;
    let genesis = genesis_of(&home)?;
    home.make().map_err(|e| failure(&e))?;
    let _lock = lock(&home)?;
    let listen = Listen::read(&home)?;
    let abci = match abci {
        Some(address) => address,
        None => Address::Unix(socket(&home)?),
    };
    let keys = engine::keys(&home).map_err(|e| failure(&e))?;
    let rpc = Rpc::new(&listen.rpc)?;
    let ready = json!({
        "rpc": listen.rpc,
        "p2p": format!("{}@{}", keys.node_id, listen.p2p),
        "app": abci.to_string(),
        "chain": genesis.body.chain_id(),
    });
    let ended = supervise(&Plan { home: home.clone(), program, abci, rpc }, &mut signals, &ready).await;
    // Gone is what is wanted: the file names processes, and there are none.
    let _ = fs::remove_file(home.processes());
    match ended? {
        Asked::Terminated => Ok(()),
        Asked::Interrupted => Err(Failure::new(Kind::Interrupted, "interrupted")),
    }
}

/// One supervisor per home: two engines that sign with one key are a misbehaving validator.
pub(super) fn lock(home: &Home) -> Outcome<File> {
    let path = home.path().join("ledger.lock");
    let file = File::create(&path).doing(Kind::Unavailable, || path.display().to_string())?;
    file.try_lock()
        .doing(Kind::Conflict, || format!("another process runs the validator in {}", home.path().display()))?;
    Ok(file)
}

fn socket(home: &Home) -> Outcome<PathBuf> {
    let absolute = home.socket();
    let absolute = std::path::absolute(&absolute).doing(Kind::Error, || absolute.display().to_string())?;
    if absolute.as_os_str().len() > MOST_SOCKET_PATH {
        let said = format!("{} is longer than a socket's path may be", absolute.display());
        return Err(Failure::new(Kind::Usage, said).hint("name a shorter one, or a port: --abci tcp://127.0.0.1:26658"));
    }
    Ok(absolute)
}

async fn supervise(plan: &Plan, signals: &mut Signals, ready: &serde_json::Value) -> Outcome<Asked> {
    let (mut failures, mut told) = (0, false);
    loop {
        let began = Instant::now();
        let (death, served) = match watch(plan, signals, || tell_once(&mut told, ready)).await? {
            Ended::Asked(asked) => return Ok(asked),
            Ended::Died(death, served) => (death, served),
        };
        failures = count(failures, &death, served, began.elapsed());
        if hopeless(&death) || failures >= MOST_FAILURES {
            let log = plan.home.engine_log();
            let said = format!("{death}, and starting both again does not help");
            let hint = format!("the end of {}:\n{}", log.display(), last_words(&log));
            return Err(Failure::new(Kind::Unavailable, said).hint(hint));
        }
        tracing::warn!(%death, failures, "the pair is started again");
        tokio::select! {
            () = tokio::time::sleep(pause(failures)) => {}
            asked = signals.asked() => return Ok(asked),
        }
    }
}

/// Starts a pair and watches over it until it has ended; whatever happens, both halves have.
async fn watch(plan: &Plan, signals: &mut Signals, ready: impl FnOnce()) -> Outcome<Ended> {
    let begun = tokio::select! {
        asked = signals.asked() => return Ok(Ended::Asked(asked)),
        begun = plan.begin() => begun?,
    };
    let mut pair = match begun {
        Ok(pair) => pair,
        Err(death) => return Ok(Ended::Died(death, false)),
    };
    let ended = watched(plan, signals, &mut pair, ready).await;
    match ended {
        Ended::Asked(_) => pair.end().await,
        Ended::Died(..) => pair.end_rest().await,
    }
    Ok(ended)
}

async fn watched(plan: &Plan, signals: &mut Signals, pair: &mut Pair, ready: impl FnOnce()) -> Ended {
    tokio::select! {
        biased;
        asked = signals.asked() => return Ended::Asked(asked),
        up = pair.ready(&plan.rpc) => if let Err(death) = up { return Ended::Died(death, false) },
    }
    ready();
    tokio::select! {
        biased;
        asked = signals.asked() => Ended::Asked(asked),
        death = pair.death() => Ended::Died(death, true),
    }
}

/// How many failures in a row there are after a death. A half that somebody killed after it had served did not fail,
/// and one that ran long had other reasons than the one before.
fn count(before: u32, death: &Death, served: bool, ran: Duration) -> u32 {
    let killed = death.status.signal().is_some();
    match (served && killed, ran >= SETTLED) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => before + 1,
    }
}

/// What no second start can mend: a wrong home, genesis or command line.
fn hopeless(death: &Death) -> bool {
    let codes = [Kind::Usage, Kind::NotFound, Kind::InvalidData].map(|kind| kind as i32);
    death.who == "application" && death.status.code().is_some_and(|code| codes.contains(&code))
}

fn pause(failures: u32) -> Duration {
    PAUSE * 2u32.pow(failures.min(MOST_FAILURES))
}

#[allow(clippy::print_stdout, reason = "the addresses are the data that this command prints")]
fn tell_once(told: &mut bool, ready: &serde_json::Value) {
    if !std::mem::replace(told, true) {
        println!("{ready}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn death(raw: i32) -> Death {
        Death { who: "application", status: ExitStatus::from_raw(raw) }
    }

    const KILLED: i32 = 9;
    const UNAVAILABLE: i32 = 7 << 8;

    #[test]
    fn only_what_fails_is_counted() {
        let soon = Duration::from_secs(1);
        assert_eq!(count(3, &death(KILLED), true, soon), 0, "killed while it served");
        assert_eq!(count(3, &death(KILLED), false, soon), 4, "killed before it served");
        assert_eq!(count(3, &death(UNAVAILABLE), true, soon), 4, "failed soon after it served");
        assert_eq!(count(3, &death(UNAVAILABLE), true, SETTLED), 1, "failed after a long time");
    }

    #[test]
    fn pauses_grow_and_what_cannot_be_mended_is_known() {
        assert!((0..MOST_FAILURES).all(|n| pause(n) < pause(n + 1)));
        assert!(pause(u32::MAX) <= Duration::from_secs(5));
        assert!(hopeless(&death(6 << 8)) && !hopeless(&death(UNAVAILABLE)) && !hopeless(&death(KILLED)));
    }
}
