//! `vouchsafe gateway check`: goes through everything that a home holds, while no gateway runs there.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;
use vouchsafe_gateway::records::CheckReport;

use super::gateway::{CHAIN, FOUNDERS};
use crate::{
    Output,
    chain::Engine,
    consortium::{Doors, World},
    credentials,
    exit::{Context, Failure, Kind, Outcome},
};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The home of a gateway that is not running.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    /// Does not read the blobs, only what is said of them.
    #[arg(long)]
    shallow: bool,
}

pub(crate) async fn run(args: Args, output: Output) -> Outcome {
    // Nothing may be founded here by a slip in a path.
    credentials::read(&args.home)?;
    let world = World::open(&args.home, CHAIN, &FOUNDERS, Doors::Closed, Engine::Embedded).await?;
    let mut reports = Vec::new();
    for org in &world.orgs {
        let gateway = org.gateway().ok_or_else(|| Failure::new(Kind::Unavailable, format!("{} is away", org.name)))?;
        let report = gateway.records.check(!args.shallow).await.doing(Kind::Unavailable, || org.name.into())?;
        reports.push((org.name, report));
    }
    world.end().await?;
    tell(&reports, output);
    match reports.iter().map(|(_, report)| report.faulty).sum::<u64>() {
        0 => Ok(()),
        faults => Err(Failure::new(Kind::VerificationFailed, format!("{faults} faults"))),
    }
}

#[allow(clippy::print_stdout, reason = "what was found is the data that this command prints")]
fn tell(reports: &[(&str, CheckReport)], output: Output) {
    if output == Output::Json {
        let all: Vec<_> = reports.iter().map(|(name, report)| json!({ "name": name, "report": report })).collect();
        println!("{}", json!(all));
        return;
    }
    for (name, report) in reports {
        let CheckReport { charts, records, versions, blobs, faulty, faults } = report;
        println!("{name}: {charts} charts, {records} records, {versions} versions, {blobs} blobs, {faulty} faults");
        for fault in faults {
            println!("  {fault}");
        }
    }
}
