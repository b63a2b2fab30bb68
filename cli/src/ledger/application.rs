//! The application of a pair, in a process of its own: what it cannot survive must not take the supervisor with it.

use std::{path::Path, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};
use vouchsafe_node::{
    abci::{Address, Server, VouchsafeAbci},
    app::App,
    engine::Home,
    store::Store,
};

use super::{engine::die_with, failure, genesis_of};
use crate::exit::{Context, Failure, Kind, Outcome};

/// The line on stdout that says that the engine may come.
pub(super) const READY: &str = "ready";

/// Serves the engine until SIGTERM, or until a fault after which nothing may be answered.
#[allow(clippy::print_stdout, reason = "the supervisor waits for this line")]
pub(crate) async fn run(home: &Home, abci: &Address, supervisor: i32) -> Outcome {
    // Ctrl-C reaches every process of a terminal; the supervisor says in which order the pair ends.
    let _ignored = signal(SignalKind::interrupt()).doing(Kind::Error, || "signals".into())?;
    let mut terminated = signal(SignalKind::terminate()).doing(Kind::Error, || "signals".into())?;
    die_with(supervisor)?;
    let genesis = genesis_of(home)?;
    let app = open(&home.store()).and_then(|store| App::open(store, &genesis).map_err(|e| failure(&e)))?;
    let server = Server::bind(abci).doing(Kind::Unavailable, || format!("listening at {abci}"))?;
    let serving = server
        .serve(Arc::new(VouchsafeAbci::new(app, genesis)))
        .doing(Kind::Unavailable, || "serving the engine".into())?;
    println!("{READY}");
    tokio::select! {
        _ = terminated.recv() => {
            serving.stop();
            Ok(())
        }
        fault = serving.fault() => Err(Failure::new(Kind::Unavailable, format!("the application stops: {fault}"))
            .hint("what is committed is kept")),
    }
}

fn open(path: &Path) -> Outcome<Store> {
    Store::open(path).map_err(|e| failure(&e).during(&path.display().to_string()))
}
