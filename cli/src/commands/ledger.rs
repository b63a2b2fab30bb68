//! `vouchsafe ledger`: one validator, which is the engine and the application as a pair.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};
use vouchsafe_node::{abci::Address, engine::Home};

use crate::{
    Output,
    exit::Outcome,
    ledger::{application, engine, export, init, replay, rollback, start, status},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a validator's keys where there are none and prints their public halves; with --genesis, also sets the engine up.
    Init(Init),
    /// Runs the engine and the application until SIGTERM or Ctrl-C, and starts both again when either dies.
    Start(Start),
    /// Says where a running validator stands.
    Status(Status),
    /// Writes the blocks of a running validator to a file.
    Export(Export),
    /// Runs an exported chain through the application again.
    Replay(Replay),
    /// Takes the last block of a stopped validator back; the next start runs it again.
    Rollback(At),
    /// The application of a pair.
    #[command(hide = true)]
    Application(Application),
    /// Turns into the engine of a pair.
    #[command(hide = true)]
    Engine(Engine),
}

#[derive(Args)]
pub(crate) struct At {
    /// Where everything of the validator is kept.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    #[command(flatten)]
    engine: Which,
}

#[derive(Args)]
pub(crate) struct Which {
    /// The engine, CometBFT 0.38; looked for on PATH and built when it is not there.
    #[arg(long, env = "VOUCHSAFE_COMETBFT")]
    cometbft: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Init {
    /// Where everything of the validator is kept; made when it is not there.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    /// The genesis document, signed by every founder.
    #[arg(long)]
    genesis: Option<PathBuf>,
    /// Where other validators reach this one.
    #[arg(long, default_value = "0.0.0.0:26656")]
    p2p: SocketAddr,
    /// Where gateways reach it; give it to nobody else, because it has no passwords.
    #[arg(long, default_value = "127.0.0.1:26657")]
    rpc: SocketAddr,
    /// The other validators, each as ID@HOST:PORT.
    #[arg(long, value_delimiter = ',', value_parser = init::peer)]
    peers: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Start {
    /// The validator's home, set up by `ledger init --genesis`.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    #[command(flatten)]
    engine: Which,
    /// Where the application listens for the engine; HOME/app.sock if not given.
    #[arg(long)]
    abci: Option<Address>,
}

#[derive(Args)]
pub(crate) struct Status {
    /// The validator's home.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The validator's home.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    /// The file to write.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// Checks that every block gives the hashes that its headers say; exit code 8 when one does not.
    #[arg(long, required = true)]
    verify: bool,
    /// The genesis document, or the validator's home that holds it.
    #[arg(long)]
    genesis: PathBuf,
    /// A file written by `ledger export`.
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Application {
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    abci: Address,
    /// The process that this one must not outlive.
    #[arg(long)]
    supervisor: i32,
}

#[derive(Args)]
pub(crate) struct Engine {
    #[arg(long)]
    supervisor: i32,
    program: PathBuf,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Init(args) => {
            let place = init::Place { p2p: args.p2p, rpc: args.rpc, peers: args.peers };
            init::run(&Home::new(args.home), args.genesis.as_deref(), &place, output)
        }
        Command::Start(args) => {
            let home = Home::new(args.home);
            let program = engine::find(args.engine.cometbft.as_deref())?;
            start::run(home, program, args.abci).await
        }
        Command::Status(args) => status::run(&Home::new(args.home), output).await,
        Command::Export(args) => export::run(&Home::new(args.home), &args.file, output).await,
        Command::Replay(args) => replay::run(&args.genesis, &args.file, output),
        Command::Rollback(args) => {
            let program = engine::find(args.engine.cometbft.as_deref())?;
            rollback::run(&Home::new(args.home), &program, output)
        }
        Command::Application(args) => application::run(&Home::new(args.home), &args.abci, args.supervisor).await,
        Command::Engine(args) => engine::become_it(&args.program, &args.args, args.supervisor),
    }
}
