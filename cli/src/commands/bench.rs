//! `vouchsafe bench`: the figures, each beside its baseline measured in the same run.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use crate::{
    Output,
    bench::{self, Report, Server, Setting},
    exit::{Context, Failure, Kind, Outcome},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The gateway over HTTP, on an embedded ledger, beside a plain store without sealing, anchors, audit or consent.
    Gateway(Gateway),
    /// What records cost on disk and in memory, and whether many make the gateway slower.
    Size(Size),
    /// Only puts the load of `bench gateway` on a FHIR server at an address, such as HAPI or Helios.
    Load(LoadArgs),
    /// What the chain commits, on CometBFT, beside a do-nothing application and CometBFT's kvstore.
    Ledger(Ledger),
    /// The plain store, by itself.
    #[command(hide = true)]
    PlainStore(PlainStore),
    /// An application that an engine drives, by itself.
    #[command(hide = true)]
    Application(Application),
}

#[derive(Args)]
pub(crate) struct Ledger {
    /// Seconds that each figure is measured, after a quarter of that to warm up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Makes the same transactions again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each application is measured, in turn; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    /// Only these figures, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// CometBFT's binary; without it one is built on first use.
    #[arg(long, env = "VOUCHSAFE_COMETBFT", value_name = "PATH")]
    cometbft: Option<PathBuf>,
    /// Only the application, without an engine: a block of a thousand transactions with so many keys in the state, the
    /// fewest first.
    #[arg(long, value_delimiter = ',', num_args = 0..=1, default_missing_value = "10000,100000,1000000", value_name = "KEYS")]
    scale: Vec<usize>,
    /// Where the chains of the bench keep their data; without it a directory under the system's temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Application {
    #[arg(long, value_parser = ["ledger", "nothing"])]
    kind: String,
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    listen: String,
}

#[derive(Args)]
pub(crate) struct Gateway {
    #[command(flatten)]
    how: How,
    /// Puts the same load on this FHIR server too; may be repeated.
    #[arg(long, value_name = "URL")]
    against: Vec<String>,
    /// Where the servers of the bench keep their data; without it a directory under the system's temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Size {
    /// How many records are measured at, the fewest first.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000", value_name = "N")]
    records: Vec<usize>,
    /// Seconds that searches are measured at each.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Makes the same data and the same requests again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the servers of the bench keep their data; without it a directory under the system's temporary one.
    #[arg(long)]
    home: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    how: How,
    /// The server's FHIR base, http:// and without authentication.
    #[arg(long, value_name = "URL")]
    against: String,
}

#[derive(Args)]
struct How {
    /// Seconds that each figure is measured, after a quarter of that to warm up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Makes the same data and the same requests again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these figures, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// A directory of Synthea's output to import, as `cargo xtask synthea` makes it; without it 30 patients are made from
    /// the seed.
    #[arg(long, value_name = "DIR")]
    synthea: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PlainStore {
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
}

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Gateway(args) => gateway(args, output).await,
        Command::Load(args) => {
            let server = Server::at(&args.against, &args.against)?;
            let mut report = Report::new(output);
            let home = Home::new(None)?;
            bench::alone(&setting(args.how, &home)?, server, &mut report).await?;
            report.end();
            Ok(())
        }
        Command::Size(args) => size(args, output).await,
        Command::Ledger(args) => ledger(args, output).await,
        Command::Application(args) => bench::serve_application(&args.kind, &args.home, &args.listen).await,
        Command::PlainStore(args) => bench::plain_store(&args.home, args.listen).await,
    }
}

async fn ledger(args: Ledger, output: Output) -> Outcome {
    known(&args.only, bench::ledger_names())?;
    if !args.scale.is_empty() {
        return scale(&args, output);
    }
    let engine = match args.cometbft {
        Some(path) => path,
        None => vouchsafe_testnet::engines::cometbft().doing(Kind::Unavailable, || "CometBFT".into())?,
    };
    let home = Home::new(args.home)?;
    let rounds = usize::try_from(args.rounds).unwrap_or(1);
    let (seconds, seed, only) = (args.seconds, args.seed, args.only);
    let setting = bench::LedgerSetting { seconds, seed, rounds, only, engine, home: home.path.clone() };
    let mut report = Report::new(output);
    bench::ledger(&setting, &mut report).await?;
    report.end();
    Ok(())
}

fn scale(args: &Ledger, output: Output) -> Outcome {
    if !args.scale.is_sorted() || args.scale.contains(&0) {
        return Err(Failure::new(Kind::Usage, "--scale: numbers above 0, the smallest first"));
    }
    let home = Home::new(args.home.clone())?;
    let mut report = Report::new(output);
    bench::ledger_scale(&home.path, args.seed, &args.scale, &mut report)?;
    report.end();
    Ok(())
}

/// That figures are named as they are.
fn known(only: &[String], names: impl Iterator<Item = &'static str>) -> Outcome {
    let known: Vec<&str> = names.collect();
    match only.iter().find(|o| !known.contains(&o.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Failure::new(Kind::Usage, format!("no figure is named {unknown:?}"))
            .hint(format!("there are: {}", known.join(", ")))),
    }
}

fn setting(how: How, home: &Home) -> Outcome<Setting> {
    known(&how.only, bench::names())?;
    bench::progress(&format!("seed {}", how.seed));
    let How { seconds, seed, only, synthea } = how;
    Ok(Setting { seconds, seed, only, synthea, scratch: home.path.join("made") })
}

async fn gateway(args: Gateway, output: Output) -> Outcome {
    let home = Home::new(args.home)?;
    let setting = setting(args.how, &home)?;
    let http = bench::http()?;
    let mut servers =
        vec![Server::gateway(&home.path.join("gateway"), &http)?, Server::plain(&home.path.join("plain"))?];
    for url in &args.against {
        servers.push(Server::at(url, url)?);
    }
    let mut report = Report::new(output);
    bench::all(&setting, &servers, &http, &mut report).await?;
    report.end();
    Ok(())
}

async fn size(args: Size, output: Output) -> Outcome {
    if args.records.is_empty() || !args.records.is_sorted() || args.records.contains(&0) {
        return Err(Failure::new(Kind::Usage, "--records: numbers above 0, the smallest first"));
    }
    let home = Home::new(args.home)?;
    let (seconds, seed, scratch) = (args.seconds, args.seed, home.path.join("made"));
    let setting = Setting { seconds, seed, only: Vec::new(), synthea: None, scratch };
    let (ours, plain) = (home.path.join("gateway"), home.path.join("plain"));
    let gateway = (Server::gateway(&ours, &bench::http()?)?, ours);
    let plain = (Server::plain(&plain)?, plain);
    let mut report = Report::new(output);
    bench::size(&setting, &args.records, gateway, plain, &mut report).await?;
    report.end();
    Ok(())
}

/// A directory that goes away at the end, unless it was named.
struct Home {
    path: PathBuf,
    temporary: bool,
}

impl Home {
    fn new(named: Option<PathBuf>) -> Outcome<Self> {
        let temporary = named.is_none();
        let path =
            named.unwrap_or_else(|| std::env::temp_dir().join(format!("vouchsafe-bench-{}", std::process::id())));
        if path.read_dir().is_ok_and(|mut d| d.next().is_some()) {
            return Err(Failure::new(Kind::Usage, format!("{} is not empty", path.display()))
                .hint("a bench begins from nothing: name another directory, or remove this one"));
        }
        std::fs::create_dir_all(&path).doing(Kind::Error, || path.display().to_string())?;
        Ok(Self { path, temporary })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            // Best effort: what stays is synthetic data under the system's temporary directory.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}
