//! `vouchsafe testnet faults`: faults from a seed on a testnet that is up and under load, and what must hold after each.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use vouchsafe_testnet::{
    faults::{Fault, Plan, Report, Trial},
    load::{Anchors, Load},
};

use super::testnet;
use crate::{
    Output, consortium,
    exit::{Context, Kind, Outcome},
    wallet::person,
};

#[derive(Args)]
pub(crate) struct Faults {
    #[command(flatten)]
    at: testnet::At,
    /// Where everything random comes from; printed, so that it can be played again.
    #[arg(long)]
    seed: Option<u64>,
    /// How often each fault is played, if not as often as usual.
    #[arg(long)]
    rounds: Option<u64>,
    /// Which faults, instead of all but the soak.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Transactions handed in a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// How long the soak lasts.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

pub(crate) async fn run(args: Faults, output: Output) -> Outcome {
    let mut net = testnet::open(args.at.home())?;
    let seed = match args.seed {
        Some(seed) => seed,
        // Short enough to be typed again.
        None => u64::from(u32::from_be_bytes(person::random()?)),
    };
    let wanted = if args.only.is_empty() {
        Fault::ALL.into_iter().filter(|(_, fault, _)| *fault != Fault::Soak).collect()
    } else {
        let named = args.only.iter().map(|name| Fault::named(name).map_err(testnet::failure));
        let named = named.collect::<Outcome<Vec<_>>>()?;
        Fault::ALL.into_iter().filter(|(_, fault, _)| named.contains(fault)).collect::<Vec<_>>()
    };
    let faults = wanted.into_iter().map(|(_, fault, usual)| (fault, args.rounds.unwrap_or(usual))).collect();
    let plan = Plan { seed, faults, rate: args.rate, soak: Duration::from_secs(args.minutes * 60) };
    tell(&format!("seed {seed}"));
    let chain = testnet::genesis(net.home())?.body.chain_id();
    let names: Vec<&str> = net.state().validators.iter().map(|v| v.name.as_str()).collect();
    let anchors = Anchors::new(&chain, consortium::signers(net.home(), &names)?, seed);
    let nodes = (0..net.size()).map(|node| net.rpc(node)).collect();
    let load = Load::begin(nodes, anchors, args.rate);
    let trial = Trial::new(&mut net, load, plan, tell);
    let report = trial.run().await.map_err(|e| testnet::failure(e).hint(format!("again: --seed {seed}")))?;
    print(&report, output)
}

#[allow(clippy::print_stderr, reason = "progress is for whoever watches")]
fn tell(what: &str) {
    eprintln!("{what}");
}

#[allow(clippy::print_stdout, reason = "the report is the data that this command prints")]
fn print(report: &Report, output: Output) -> Outcome {
    if output == Output::Json {
        let text = serde_json::to_string(report).doing(Kind::Error, || "the report".into())?;
        println!("{text}");
        return Ok(());
    }
    let played: Vec<String> = report.played.iter().map(|(name, times)| format!("{times} {name}")).collect();
    println!("seed {}: {} in {:.0} s", report.seed, played.join(", "), report.seconds);
    println!(
        "{} acknowledged of {} sent, 0 lost; {} told to come back, {} rejected, {} reached no node",
        report.acknowledged, report.sent, report.told_back, report.rejected, report.unreached
    );
    println!(
        "{} heights alike at {} validators, {} records looked up at each",
        report.heights, report.validators, report.looked_up
    );
    for (name, figure) in &report.figures {
        println!("{name}: {}", json!(figure));
    }
    Ok(())
}
