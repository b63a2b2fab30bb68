//! Faults, played on a net under load from a seed, with what must hold after each.

mod check;
mod play;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    error::{NetError, Result},
    load::{Load, Tally},
    net::Net,
    rng::Rng,
};

/// Back, after a crash, within this.
pub const BACK: Duration = Duration::from_secs(10);
/// Level again, after a partition was healed, within this. Connections were not cut, so TCP tries again when its own
/// timer says so, up to half a minute after a partition of ten seconds.
pub const HEALED: Duration = Duration::from_secs(40);
/// No block for so long while transactions wait is a stall.
pub const STALL: Duration = Duration::from_secs(10);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of a random validator.
    KillOne,
    /// `kill -9` of all at once.
    KillAll,
    /// Two of four down: no block, then recovery.
    Half,
    /// Two and two do not reach each other: no block, then recovery.
    SplitEven,
    /// One does not reach the three others, which go on.
    SplitOne,
    /// The application alone is killed.
    AppAlone,
    /// The engine alone is killed.
    EngineAlone,
    /// One key in two engines, which sign different things.
    Twin,
    /// A rate for minutes.
    Soak,
}

impl Fault {
    /// Each by its name, in the order in which they are played, with how often unless said otherwise.
    pub const ALL: [(&'static str, Self, u64); 9] = [
        ("kill", Self::KillOne, 50),
        ("kill-all", Self::KillAll, 5),
        ("half", Self::Half, 1),
        ("split-even", Self::SplitEven, 1),
        ("split-one", Self::SplitOne, 1),
        ("app", Self::AppAlone, 2),
        ("engine", Self::EngineAlone, 2),
        ("twin", Self::Twin, 1),
        ("soak", Self::Soak, 1),
    ];

    /// The fault of that name.
    ///
    /// # Errors
    /// `Usage` with all the names.
    pub fn named(name: &str) -> Result<Self> {
        let names = || Self::ALL.map(|(name, ..)| name).join(", ");
        let found = Self::ALL.iter().find(|(known, ..)| *known == name);
        found.map(|(_, fault, _)| *fault).ok_or_else(|| NetError::Usage(format!("no fault {name:?}: {}", names())))
    }
}

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where everything random comes from.
    pub seed: u64,
    /// The faults, each so many times.
    pub faults: Vec<(Fault, u64)>,
    /// Transactions a second meanwhile.
    pub rate: u64,
    /// How long a soak lasts.
    pub soak: Duration,
}

/// What was found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many validators.
    pub validators: usize,
    /// Transactions a second.
    pub rate: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How often each fault was played.
    pub played: BTreeMap<&'static str, u64>,
    /// What became of the transactions.
    pub sent: u64,
    /// In a block and accepted: none of them was lost.
    pub acknowledged: u64,
    /// Told to come back.
    pub told_back: u64,
    /// In a block and rejected.
    pub rejected: u64,
    /// Reached no node.
    pub unreached: u64,
    /// Some of the words by which nodes told to come back or rejected.
    pub refusals: Vec<String>,
    /// Heights at which all validators had the same block and the same app hash.
    pub heights: u64,
    /// Records that every validator's state was asked for and held.
    pub looked_up: usize,
    /// Named figures: the middle and the longest, in seconds.
    pub figures: BTreeMap<&'static str, Figure>,
}

/// How long something took over all times that it happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figure {
    /// How often.
    pub count: usize,
    /// The middle one, in seconds.
    pub p50: f64,
    /// All but a twentieth, in seconds.
    pub p95: f64,
    /// The longest, in seconds.
    pub max: f64,
}

impl Figure {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |hundredth: usize| {
            let index = (times.len() * hundredth / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, Duration::as_secs_f64)
        };
        Self { count: times.len(), p50: at(50), p95: at(95), max: at(100) }
    }
}

/// A net under load, and what happened so far.
pub struct Trial<'a> {
    net: &'a mut Net,
    load: Load,
    rng: Rng,
    plan: Plan,
    times: BTreeMap<&'static str, Vec<Duration>>,
    played: BTreeMap<&'static str, u64>,
    tell: Box<dyn Fn(&str) + 'a>,
}

impl<'a> Trial<'a> {
    /// A trial of a net that is up; `tell` hears how it goes.
    pub fn new(net: &'a mut Net, load: Load, plan: Plan, tell: impl Fn(&str) + 'a) -> Self {
        let rng = Rng::new(plan.seed);
        Self { net, load, rng, plan, times: BTreeMap::new(), played: BTreeMap::new(), tell: Box::new(tell) }
    }

    /// Plays everything, then compares what all validators hold.
    ///
    /// # Errors
    /// `Broken` with what does not hold, whatever else with what could not be done.
    pub async fn run(mut self) -> Result<Report> {
        let began = Instant::now();
        self.blocks_come(Duration::from_secs(60)).await?;
        for (fault, rounds) in self.plan.faults.clone() {
            let name = Fault::ALL.iter().find(|(_, known, _)| *known == fault).map_or("", |(name, ..)| name);
            for round in 1..=rounds {
                let (height, played) = (self.load.height(), Instant::now());
                self.play(fault).await.map_err(|e| at(name, round, e))?;
                *self.played.entry(name).or_default() += 1;
                let took = played.elapsed().as_secs_f64();
                (self.tell)(&format!(
                    "{name} {round}/{rounds}: {took:.1} s, height {height} to {}",
                    self.load.height()
                ));
            }
        }
        let left = self.load.drain(Duration::from_secs(60)).await;
        if left > 0 {
            return Err(NetError::Broken(format!("{left} transactions still wait a minute after the last was sent")));
        }
        let (heights, looked_up) = self.compare().await?;
        Ok(self.report(began.elapsed(), heights, looked_up))
    }

    fn report(self, took: Duration, heights: u64, looked_up: usize) -> Report {
        let Tally { sent, acknowledged, told_back, rejected, unreached } = self.load.tally();
        let mut figures: BTreeMap<_, _> = self.times.into_iter().map(|(name, t)| (name, Figure::of(t))).collect();
        let latencies = self.load.acknowledged().iter().map(|a| a.after).collect();
        figures.insert("commit", Figure::of(latencies));
        Report {
            seed: self.plan.seed,
            validators: self.net.size(),
            rate: self.plan.rate,
            seconds: took.as_secs_f64(),
            played: self.played,
            sent,
            acknowledged,
            told_back,
            rejected,
            unreached,
            refusals: self.load.refusals(),
            heights,
            looked_up,
            figures,
        }
    }

    fn time(&mut self, name: &'static str, took: Duration) {
        self.times.entry(name).or_default().push(took);
    }
}

fn at(name: &str, round: u64, error: NetError) -> NetError {
    let place = format!("{name}, round {round}");
    match error {
        NetError::Broken(what) => NetError::Broken(format!("{place}: {what}")),
        NetError::Unavailable(what) => NetError::Unavailable(format!("{place}: {what}")),
        other => other,
    }
}
