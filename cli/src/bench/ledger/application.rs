//! The applications that are measured, each in a process of its own behind the same server.

use std::{fs, path::Path, sync::Arc};

use serde::Deserialize;
use vouchsafe_node::{
    abci::{Address, Application, Server, VouchsafeAbci},
    app::App,
    store::Store,
};
use vouchsafe_types::genesis::Genesis;

use crate::exit::{Context, Failure, Kind, Outcome};

/// Accepts everything and keeps nothing.
struct Nothing;

impl Application for Nothing {}

/// The engine's genesis file, as far as the application needs it.
#[derive(Deserialize)]
struct EngineGenesis {
    app_state: Genesis,
}

/// Serves the ledger, or nothing, for the engine in `home` until the process is ended.
pub(crate) async fn serve(kind: &str, home: &Path, listen: &str) -> Outcome {
    let address: Address = listen.parse().map_err(|e| Failure::new(Kind::Usage, format!("--listen: {e}")))?;
    let application: Arc<dyn Application> = match kind {
        "ledger" => Arc::new(ledger(home)?),
        _ => Arc::new(Nothing),
    };
    let server = Server::bind(&address).doing(Kind::Unavailable, || listen.to_owned())?;
    let serving = server.serve(application).doing(Kind::Error, || listen.to_owned())?;
    Err(Failure::new(Kind::Error, serving.fault().await.to_string()))
}

fn ledger(home: &Path) -> Outcome<VouchsafeAbci> {
    let path = home.join("config/genesis.json");
    let text = fs::read(&path).doing(Kind::Error, || path.display().to_string())?;
    let EngineGenesis { app_state } =
        serde_json::from_slice(&text).doing(Kind::InvalidData, || path.display().to_string())?;
    let path = home.join("ledger.redb");
    let app = Store::open(&path).and_then(|store| App::open(store, &app_state));
    Ok(VouchsafeAbci::new(app.doing(Kind::Error, || path.display().to_string())?, app_state))
}
