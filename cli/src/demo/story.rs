//! The steps of the story: each is run, timed, checked and told in one line.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Output,
    exit::{Failure, Kind, Outcome},
};

/// A step that was taken.
struct Step {
    part: &'static str,
    what: String,
    took: Duration,
    found: String,
}

/// The steps taken so far.
pub(super) struct Story {
    output: Output,
    began: Instant,
    steps: Vec<Step>,
    figures: Vec<(&'static str, f64, &'static str)>,
}

impl Story {
    pub(super) fn new(output: Output) -> Self {
        Self { output, began: Instant::now(), steps: Vec::new(), figures: Vec::new() }
    }

    /// Takes a step. `act` answers with what it found, for the line, and whatever later steps need.
    pub(super) async fn step<T>(
        &mut self,
        part: &'static str,
        what: impl Into<String>,
        act: impl Future<Output = Outcome<(String, T)>>,
    ) -> Outcome<T> {
        let (what, began) = (what.into(), Instant::now());
        match act.await {
            Ok((found, value)) => {
                self.told(Step { part, what, took: began.elapsed(), found });
                Ok(value)
            }
            Err(failure) => Err(failure.during(&format!("{part}  {what}"))),
        }
    }

    /// A figure for the end: a name, a value, a unit.
    pub(super) fn figure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.figures.push((name, value, unit));
    }

    #[allow(clippy::print_stdout, reason = "the steps are the data that this command prints")]
    fn told(&mut self, step: Step) {
        if self.output == Output::Text {
            let ms = step.took.as_millis();
            println!("ok  {:<2} {}: {}  ({ms} ms)", step.part, step.what, step.found);
        }
        self.steps.push(step);
    }

    /// Tells the figures and, as JSON, everything.
    #[allow(clippy::print_stdout, reason = "the steps are the data that this command prints")]
    pub(super) fn end(&mut self) {
        self.figure("total", self.began.elapsed().as_secs_f64(), "s");
        if let Some(bytes) = peak_memory() {
            #[allow(clippy::cast_precision_loss, reason = "a figure for people, in MiB")]
            self.figure("peak_resident", bytes as f64 / 1_048_576.0, "MiB");
        }
        if self.output == Output::Text {
            for (name, value, unit) in &self.figures {
                println!("    {name}: {value:.3} {unit}");
            }
            return;
        }
        let steps: Vec<Value> = self.steps.iter().map(Step::json).collect();
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|(name, value, unit)| json!({ "name": name, "value": value, "unit": unit }))
            .collect();
        println!("{}", json!({ "steps": steps, "figures": figures }));
    }
}

impl Step {
    fn json(&self) -> Value {
        json!({ "part": self.part, "what": self.what, "found": self.found, "ok": true,
            "seconds": self.took.as_secs_f64() })
    }
}

/// The most memory that this process ever held, in bytes; Linux tells it in /proc.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// Fails a step: something is not as it must be.
pub(super) fn wrong<T>(what: impl Into<String>) -> Outcome<T> {
    Err(Failure::new(Kind::Error, what))
}

/// Checks that something is as it must be.
pub(super) fn must(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { wrong(what()) }
}
