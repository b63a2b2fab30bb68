//! A gateway on a chain of CometBFT nodes.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::json;
use vouchsafe_gateway::{
    clock,
    config::{self, Config},
    gateway::Gateway,
    ledger::{CometLedger, CometSettings, OpenError, kept_genesis},
    seal::{FileKeystore, Keystore},
};
use vouchsafe_node::verify::Options;
use vouchsafe_types::{AccountId, genesis::Genesis};

use super::gateway::Start;
use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
    interrupt::Interrupt,
    ledger::parse_genesis,
};

/// Where the genesis document and the newest header are kept, in the gateway's home.
const LEDGER: &str = "ledger";
/// How long is waited for a first header: a node that was started at the same time needs some seconds.
const FIRST: Duration = Duration::from_secs(30);
/// The organisation's keys in its keystore.
const KEY: &str = "org";

/// Starts it, and serves until it is interrupted or can write no more.
pub(super) async fn start(args: &Start, nodes: Vec<String>, output: Output) -> Outcome {
    let mut config = config(&args.home)?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    let given = args.genesis.as_deref().map(parse_genesis).transpose()?;
    // Before anything is made: a home whose chain is not known is left as it was.
    let genesis = kept(&args.home, given)?;
    let account = keys(&config)?;
    let ledger = ledger(&args.home, nodes, args.own_nodes, Some(genesis)).await?;
    let interrupt = Interrupt::listen()?;
    let started = Gateway::start(config, std::sync::Arc::new(ledger.clone()), clock::system()).await;
    let running = started.doing(Kind::Unavailable, || format!("the gateway of {account}"))?;
    tell(account, running.addr, &running.gateway.base, &ledger, output);
    let fatal = running.gateway.fatal.clone();
    let ended = tokio::select! {
        () = interrupt.wait() => Failure::new(Kind::Interrupted, "interrupted"),
        why = fatal.wait() => Failure::new(Kind::Unavailable, format!("the gateway ends: {why}"))
            .hint("everything acknowledged is kept; start it again when there is room"),
    };
    running.stop().await;
    Err(ended)
}

/// The chain that this home belongs to, followed through these nodes.
pub(crate) async fn ledger(
    home: &Path,
    nodes: Vec<String>,
    own: usize,
    given: Option<Genesis>,
) -> Outcome<CometLedger> {
    let genesis = kept(home, given)?;
    let home = home.join(LEDGER);
    let clock = clock::system();
    let settings = CometSettings { nodes, own, home, genesis, clock, options: Options::default(), patience: FIRST };
    CometLedger::open(settings).await.map_err(|e| {
        let kind = match &e {
            OpenError::Ledger(_) => Kind::Unavailable,
            OpenError::Genesis(_) | OpenError::Checkpoint(_) => Kind::VerificationFailed,
            OpenError::Kept(_) | OpenError::Http(_) => Kind::Error,
        };
        Failure::new(kind, format!("the ledger: {e}"))
    })
}

/// The genesis document of the chain that this home belongs to.
fn kept(home: &Path, given: Option<Genesis>) -> Outcome<Genesis> {
    kept_genesis(&home.join(LEDGER), given).map_err(|e| {
        Failure::new(Kind::Usage, format!("the chain: {e}")).hint("--genesis FILE, as the consortium made it known")
    })
}

/// `HOME/gateway.toml`, or every default.
fn config(home: &Path) -> Outcome<Config> {
    if !home.join(config::FILE).exists() {
        return Ok(Config::new(home));
    }
    Config::load(home).doing(Kind::Usage, || config::FILE.into())
}

/// The organisation's keys, made when there are none; its account.
fn keys(config: &Config) -> Outcome<AccountId> {
    let doing = || "the keystore".to_owned();
    let store =
        FileKeystore::open_or_create(&config.home.join("keystore"), &config.unlock_path()).doing(Kind::Error, doing)?;
    if !store.names().doing(Kind::Error, doing)?.iter().any(|name| name == KEY) {
        store.generate_ed25519(KEY).doing(Kind::Error, doing)?;
        store.generate_rsa(KEY).doing(Kind::Error, doing)?;
    }
    Ok(AccountId::of_key(store.ed25519(KEY).doing(Kind::Error, doing)?.public().bytes()))
}

#[allow(clippy::print_stdout, reason = "the address is the data that this command prints")]
fn tell(account: AccountId, addr: SocketAddr, base: &str, ledger: &CometLedger, output: Output) {
    use vouchsafe_gateway::ledger::Ledger as _;
    let (chain, genesis) = (ledger.chain(), ledger.genesis().body.digest().to_string());
    if output == Output::Json {
        let gateways = json!([{ "account": account, "base": base, "listen": addr }]);
        println!("{}", json!({ "gateways": gateways, "chain": chain, "genesis": genesis }));
        return;
    }
    println!("{account}  {base}/fhir");
    println!("chain {chain}");
    println!("genesis digest, for verify --trust: {genesis}");
}
