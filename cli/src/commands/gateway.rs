//! `vouchsafe gateway`: one organisation's gateway.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use vouchsafe_types::tx::Role;

use crate::{
    Output,
    consortium::World,
    credentials,
    exit::{Failure, Kind, Outcome},
    interrupt::Interrupt,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Starts it, on an embedded chain of its own: one node without fault tolerance, for a first look.
    Start(Start),
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

/// The organisation, and the authority that a chain must have.
const FOUNDERS: [(&str, Role); 2] = [("hospital", Role::Hospital), ("authority", Role::Authority)];

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    let Command::Start(args) = command;
    for (flag, value) in [("--ledger", &args.ledger), ("--blobs", &args.blobs)] {
        if value != "embedded" {
            return Err(Failure::new(Kind::Usage, format!("{flag} {value}: only `embedded` is built so far")));
        }
    }
    let world = World::open(&args.home, "single", &FOUNDERS, args.listen).await?;
    let mut parties = Vec::new();
    for org in &world.orgs {
        parties.extend(org.parties()?);
    }
    credentials::write(&args.home, &parties)?;
    let interrupt = Interrupt::listen()?;
    tell(&world, &args, output);
    interrupt.wait().await;
    world.end().await;
    Err(Failure::new(Kind::Interrupted, "interrupted"))
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
