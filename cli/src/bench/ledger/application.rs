//! The applications that are measured, each in a process of its own behind the same server.

use std::{path::Path, sync::Arc};

use vouchsafe_node::{
    abci::{Address, Application, Server, VouchsafeAbci},
    app::App,
    engine::Home,
    store::Store,
};

use crate::{
    exit::{Context, Failure, Kind, Outcome},
    ledger::{failure, genesis_of},
};

/// Accepts everything and keeps nothing.
struct Nothing;

impl Application for Nothing {}

/// Serves the ledger, or nothing, for the engine in `home` until the process is ended.
pub(crate) async fn serve(kind: &str, home: &Path, listen: &str) -> Outcome {
    let address: Address = listen.parse().map_err(|e| Failure::new(Kind::Usage, format!("--listen: {e}")))?;
    let application: Arc<dyn Application> = match kind {
        "ledger" => Arc::new(ledger(&Home::new(home))?),
        _ => Arc::new(Nothing),
    };
    let server = Server::bind(&address).doing(Kind::Unavailable, || listen.to_owned())?;
    let serving = server.serve(application).doing(Kind::Error, || listen.to_owned())?;
    Err(Failure::new(Kind::Error, serving.fault().await.to_string()))
}

fn ledger(home: &Home) -> Outcome<VouchsafeAbci> {
    let genesis = genesis_of(home)?;
    let app = Store::open(&home.store()).and_then(|store| App::open(store, &genesis));
    Ok(VouchsafeAbci::new(app.map_err(|e| failure(&e))?, genesis))
}
