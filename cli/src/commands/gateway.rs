//! `vouchsafe gateway`: one organisation's gateway.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use vouchsafe_gateway::failpoint;
use vouchsafe_types::tx::Role;

use crate::{
    Output,
    chain::Engine,
    consortium::{Doors, World},
    credentials,
    exit::{Context, Failure, Kind, Outcome},
    interrupt::Interrupt,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts it: on a chain of CometBFT nodes, or on an embedded one of its own, which is one node without fault tolerance, for
    /// a first look.
    Start(Start),
    /// Brings FHIR Bundles, NDJSON and single resources into a running gateway; goes on where an earlier import ended.
    Import(super::import::Args),
    /// Goes through everything that the home of a stopped gateway holds; exit code 8 when something is not whole.
    Check(super::check::Args),
    /// Lists the points at which `VOUCHSAFE_FAILPOINT=NAME[:COUNT]` makes a gateway abort, for tests of crashes.
    #[command(hide = true)]
    Failpoints {
        /// Not needed; every command of a gateway may be given one.
        #[arg(long)]
        home: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct Start {
    /// Where everything is kept; made on the first start.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    pub(super) home: PathBuf,
    /// Where it listens, by default at 127.0.0.1:8080; on an embedded chain the trial authority, without which nobody could be
    /// verified, takes the next port.
    #[arg(long, env = "VOUCHSAFE_LISTEN")]
    pub(super) listen: Option<SocketAddr>,
    /// The ledger: `embedded`, or the RPC addresses of CometBFT nodes, the preferred first.
    #[arg(long, default_value = "embedded", env = "VOUCHSAFE_LEDGER")]
    ledger: String,
    /// The genesis document of the chain; needed at the first start, and kept.
    #[arg(long, env = "VOUCHSAFE_GENESIS")]
    pub(super) genesis: Option<PathBuf>,
    /// How many of the nodes, from the first on, are the organisation's own. What they say is believed; what others say is
    /// believed as far as it is proved.
    #[arg(long, default_value_t = 1, env = "VOUCHSAFE_OWN_NODES")]
    pub(super) own_nodes: usize,
    /// The blob store; only `embedded` is built.
    #[arg(long, default_value = "embedded")]
    blobs: String,
}

/// The name of the chain of a gateway that runs by itself.
pub(super) const CHAIN: &str = "single";

/// The organisation, and the authority that a chain must have.
pub(super) const FOUNDERS: [(&str, Role); 2] = [("hospital", Role::Hospital), ("authority", Role::Authority)];

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Start(args) => start(args, output).await,
        Command::Import(args) => super::import::run(args, output).await,
        Command::Check(args) => super::check::run(args, output).await,
        Command::Failpoints { .. } => {
            failpoints();
            Ok(())
        }
    }
}

async fn start(args: Start, output: Output) -> Outcome {
    if args.blobs != "embedded" {
        return Err(Failure::new(Kind::Usage, format!("--blobs {}: only `embedded` is built so far", args.blobs)));
    }
    if let Ok(failpoint) = std::env::var(failpoint::VARIABLE) {
        failpoint::Failpoints::arm_process(&failpoint).doing(Kind::Usage, || failpoint::VARIABLE.into())?;
    }
    if args.ledger != "embedded" {
        let nodes = nodes(&args.ledger)?;
        return super::joined::start(&args, nodes, output).await;
    }
    let listen = args.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)));
    let world = World::open(&args.home, CHAIN, &FOUNDERS, Doors::Open(listen), Engine::Embedded).await?;
    let mut parties = Vec::new();
    for org in &world.orgs {
        parties.extend(org.parties()?);
    }
    credentials::write(&args.home, &parties)?;
    let interrupt = Interrupt::listen()?;
    tell(&world, &args, output);
    let ended = tokio::select! {
        () = interrupt.wait() => Failure::new(Kind::Interrupted, "interrupted"),
        why = world.fatal() => Failure::new(Kind::Unavailable, format!("the gateway ends: {why}"))
            .hint("everything acknowledged is kept; start it again when there is room"),
    };
    world.end().await?;
    Err(ended)
}

/// The addresses in a list of them.
fn nodes(list: &str) -> Outcome<Vec<String>> {
    let urls: Vec<String> = list.split(',').map(|url| url.trim().trim_end_matches('/').to_owned()).collect();
    match urls.iter().find(|url| !url.starts_with("http://")) {
        None => Ok(urls),
        Some(url) => Err(Failure::new(Kind::Usage, format!("--ledger {url}: neither `embedded` nor http://HOST:PORT"))
            .hint("a node of another house is reached through a tunnel; what it says is verified here all the same")),
    }
}

#[allow(clippy::print_stdout, reason = "the names are the data that this command prints")]
fn failpoints() {
    for (name, what) in failpoint::POINTS {
        println!("{name:<24}{what}");
    }
}

#[allow(clippy::print_stdout, reason = "the addresses are the data that this command prints")]
fn tell(world: &World, args: &Start, output: Output) {
    let file = args.home.join(credentials::FILE);
    let genesis = world.genesis.body.digest().to_string();
    if output == Output::Json {
        let bases: Vec<_> = world.orgs.iter().map(|o| json!({ "name": o.name, "base": o.base() })).collect();
        println!("{}", json!({ "gateways": bases, "credentials": file, "genesis": genesis }));
        return;
    }
    for org in &world.orgs {
        println!("{:<10} {}/fhir", org.name, org.base());
    }
    println!("the keys of their systems: {}", file.display());
    println!("genesis digest, for verify --trust: {genesis}");
    println!("one embedded node without fault tolerance; Ctrl-C ends it");
}
