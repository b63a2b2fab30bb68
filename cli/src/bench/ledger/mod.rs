//! `vouchsafe bench ledger`: what the chain commits, beside a do-nothing application over the same socket and beside
//! CometBFT's kvstore; the same transactions, settings and generator, in the same run.

mod application;
mod chain;
mod load;
mod prepared;
mod scale;

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use vouchsafe_types::TimeMs;

use super::figure::{Figure, Report, Target};
use crate::exit::{Failure, Kind, Outcome};
pub(crate) use application::serve as serve_application;
use chain::{Application, Seedbed};
use load::{Committed, Load, Pace};
use prepared::{Anchors, Consortium};
pub(crate) use scale::measure as scale;

/// How `bench ledger` is run.
pub(crate) struct Setting {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    /// How often each application is measured, in turn; the median counts.
    pub(crate) rounds: usize,
    pub(crate) only: Vec<String>,
    pub(crate) engine: PathBuf,
    pub(crate) home: PathBuf,
}

/// What is measured together: one chain of each application a round.
struct Measure {
    name: &'static str,
    validators: usize,
    against: &'static [Application],
    anchors: Anchors,
    pace: Pace,
    batch: usize,
}

/// Transactions that may wait in a saturated chain: some blocks' worth, far below the mempool's size.
const WINDOW: usize = 2000;
// What is told to come back is not sent again here, and would be waited for without end.
const _: () = assert!(WINDOW <= vouchsafe_node::app::FLOOR, "a quiet chain takes all of them");
const LANES: usize = 16;
/// One leaf that moves one head: what a gateway anchors for one record.
const SMALL: Anchors = Anchors { count: 0, lanes: LANES, charts: 200, leaves: 1, heads: 1 };

const SATURATED: Measure = Measure {
    name: "commit_throughput",
    validators: 1,
    against: &[Application::Nothing, Application::Kvstore],
    anchors: SMALL,
    pace: Pace::Window(WINDOW),
    batch: 25,
};
const STEADY: Measure = Measure {
    name: "commit_p50",
    pace: Pace::Rate(1000),
    batch: 1,
    against: &[Application::Nothing, Application::Kvstore],
    ..SATURATED
};
const RECORDS: Measure = Measure {
    name: "anchored_records",
    validators: 1,
    against: &[Application::Nothing],
    anchors: Anchors { count: 0, lanes: LANES, charts: 20, leaves: 1000, heads: 10 },
    pace: Pace::Window(64),
    batch: 1,
};
const FOUR_STEADY: Measure = Measure {
    name: "four_validators_p95_at_300",
    validators: 4,
    against: &[Application::Nothing],
    anchors: SMALL,
    pace: Pace::Rate(300),
    batch: 1,
};
const FOUR_SATURATED: Measure =
    Measure { name: "four_validators_saturated", pace: Pace::Window(WINDOW), batch: 25, ..FOUR_STEADY };

/// Everything, in the order it is measured in.
const MEASURES: [&Measure; 5] = [&SATURATED, &STEADY, &RECORDS, &FOUR_STEADY, &FOUR_SATURATED];

/// The names of the figures that are asked for.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    MEASURES.iter().map(|measure| measure.name)
}

/// Measures what is asked for.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Outcome {
    for measure in MEASURES {
        if setting.only.is_empty() || setting.only.iter().any(|only| only == measure.name) {
            let results = rounds(setting, measure).await?;
            tell(measure, &results, report);
        }
    }
    Ok(())
}

/// Each application's results, ours first.
type Results = Vec<(Application, Vec<Committed>)>;

async fn rounds(setting: &Setting, measure: &Measure) -> Outcome<Results> {
    let dir = setting.home.join(measure.name);
    std::fs::create_dir_all(&dir).map_err(|e| Failure::new(Kind::Error, format!("{}: {e}", dir.display())))?;
    let seedbed = Seedbed::new(&setting.engine, &dir, measure.validators)?;
    let applications = [&[Application::Ledger], measure.against].concat();
    let mut results: Results = applications.iter().map(|application| (*application, Vec::new())).collect();
    for round in 0..setting.rounds {
        // Every round has transactions of its own, because they are good for ten minutes only.
        let consortium = Consortium::found(setting.seed, seedbed.validators(), now())?;
        super::progress(&format!("{}: signing the transactions of round {}", measure.name, round + 1));
        let txs =
            consortium.anchors(setting.seed.wrapping_add(round as u64), &counted(measure, setting.seconds), now());
        // In turn, so that what else the machine does falls on all alike; the other way round the next time.
        let mut order: Vec<usize> = (0..results.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (application, done) = &mut results[at];
            super::progress(&format!("{}: {}", measure.name, application.name()));
            done.push(one(setting, measure, &seedbed, &consortium, *application, round, &txs).await?);
        }
        remove(&dir, round);
    }
    Ok(results)
}

async fn one(
    setting: &Setting,
    measure: &Measure,
    seedbed: &Seedbed,
    consortium: &Consortium,
    application: Application,
    round: usize,
    txs: &[String],
) -> Outcome<Committed> {
    let chain = seedbed.start(application, consortium, round).await?;
    let load = Load {
        pace: measure.pace,
        lanes: measure.anchors.lanes,
        batch: measure.batch,
        warm_up: Duration::from_secs(setting.seconds.div_ceil(4)),
        measured: Duration::from_secs(setting.seconds),
    };
    load::run(&chain, txs, load).await.map_err(|e| e.during(application.name()))
}

/// As many transactions as the run can need.
fn counted(measure: &Measure, seconds: u64) -> Anchors {
    let whole = seconds + seconds.div_ceil(4);
    let most = match (measure.pace, measure.anchors.leaves) {
        (Pace::Rate(rate), _) => rate,
        (Pace::Window(_), 1) => 12_000,
        (Pace::Window(_), _) => 100,
    };
    Anchors { count: usize::try_from(whole * most).unwrap_or(usize::MAX), ..measure.anchors }
}

/// Homes of a round that is over, which would fill the disk; best effort.
fn remove(dir: &Path, round: usize) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(&format!("-{round}-")) {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimeMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn median(results: &[Committed], of: fn(&Committed) -> f64) -> f64 {
    let mut all: Vec<f64> = results.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Tells the figures of a measure beside each baseline; targets are shares of the do-nothing application's.
fn tell(measure: &Measure, results: &Results, report: &mut Report) {
    let Some(((_, ours), others)) = results.split_first() else { return };
    let rate: fn(&Committed) -> f64 = |c| c.rate;
    let p50: fn(&Committed) -> f64 = |c| c.p50;
    let p95: fn(&Committed) -> f64 = |c| c.p95;
    for (application, theirs) in others {
        let judged = *application == Application::Nothing;
        let mut figure =
            |name: &str, of: fn(&Committed) -> f64, unit, target: Option<fn(f64) -> Target>, scale: f64| {
                let baseline = median(theirs, of) * scale;
                let figure = Figure::new(name, median(ours, of) * scale, unit).beside(application.name(), baseline);
                let target = target.filter(|_| judged);
                report.tell(target.map_or(figure.clone(), |target| figure.should(target(baseline))));
            };
        let slower: fn(f64) -> Target = |baseline| Target::AtMost(1.5 * baseline);
        match measure.name {
            "commit_throughput" => {
                figure("commit_throughput", rate, "1/s", Some(|b| Target::AtLeast(0.6 * b)), 1.0);
                figure("commit_throughput_p50", p50, "s", None, 1.0);
            }
            "commit_p50" => {
                figure("commit_p50", p50, "s", Some(slower), 1.0);
                figure("commit_p95", p95, "s", None, 1.0);
            }
            "anchored_records" => {
                figure("anchored_records", rate, "1/s", Some(|_| Target::AtLeast(20_000.0)), 1000.0);
            }
            "four_validators_p95_at_300" => {
                figure("four_validators_p95_at_300", p95, "s", Some(slower), 1.0);
                figure("four_validators_p50_at_300", p50, "s", None, 1.0);
            }
            _ => {
                figure("four_validators_saturated", rate, "1/s", Some(|b| Target::AtLeast(0.8 * b)), 1.0);
                figure("four_validators_saturated_p95", p95, "s", Some(slower), 1.0);
            }
        }
    }
}
