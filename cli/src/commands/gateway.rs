//! `vouchsafe gateway`: one organisation's gateway.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use vouchsafe_gateway::failpoint;
use vouchsafe_types::tx::Role;

use crate::{
    Output,
    consortium::{Doors, World},
    credentials,
    exit::{Context, Failure, Kind, Outcome},
    interrupt::Interrupt,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts it, on an embedded chain of its own: one node without fault tolerance, for a first look.
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
    home: PathBuf,
    /// Where it listens; the trial authority, without which nobody could be verified, takes the next port.
    #[arg(long, default_value = "127.0.0.1:8080", env = "VOUCHSAFE_LISTEN")]
    listen: SocketAddr,
    /// The ledger; only `embedded` is built.
    #[arg(long, default_value = "embedded")]
    ledger: String,
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
    for (flag, value) in [("--ledger", &args.ledger), ("--blobs", &args.blobs)] {
        if value != "embedded" {
            return Err(Failure::new(Kind::Usage, format!("{flag} {value}: only `embedded` is built so far")));
        }
    }
    if let Ok(failpoint) = std::env::var(failpoint::VARIABLE) {
        failpoint::Failpoints::arm_process(&failpoint).doing(Kind::Usage, || failpoint::VARIABLE.into())?;
    }
    let world = World::open(&args.home, CHAIN, &FOUNDERS, Doors::Open(args.listen)).await?;
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
    world.end().await;
    Err(ended)
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
