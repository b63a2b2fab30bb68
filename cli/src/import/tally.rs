//! What an import did, counted while it runs and told at the end.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use serde_json::{Value, json};

/// Places that are told for one reason; more are counted.
const PLACES: usize = 20;

/// How much an unstored entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It is not for the gateway to store: nothing is wrong with it.
    LeftOut,
    /// It is wrong.
    Refused,
}

/// Counters.
pub(crate) struct Tally {
    began: Instant,
    stored: AtomicU64,
    already: AtomicU64,
    refused: AtomicU64,
    left_out: AtomicU64,
    bytes: AtomicU64,
    pub(super) all_bytes: AtomicU64,
    reasons: Mutex<BTreeMap<(Weight, String), Reason>>,
    /// When so many were stored, for the rate over time.
    samples: Mutex<Vec<(f64, u64)>>,
}

#[derive(Default)]
struct Reason {
    count: u64,
    places: Vec<(String, String)>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            stored: AtomicU64::new(0),
            already: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            all_bytes: AtomicU64::new(0),
            reasons: Mutex::default(),
            samples: Mutex::default(),
        }
    }
}

impl Tally {
    /// So many were stored now.
    pub(super) fn stored(&self, count: u64) {
        let all = self.stored.fetch_add(count, Ordering::Relaxed) + count;
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push((self.began.elapsed().as_secs_f64(), all));
    }

    /// So many were there before.
    pub(super) fn already(&self, count: u64) {
        self.already.fetch_add(count, Ordering::Relaxed);
    }

    /// A file of so many bytes is done with.
    pub(super) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One was not stored.
    pub(super) fn not_stored(&self, weight: Weight, reason: &str, place: String, text: String) {
        let counter = if weight == Weight::Refused { &self.refused } else { &self.left_out };
        counter.fetch_add(1, Ordering::Relaxed);
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reasons.entry((weight, reason.to_owned())).or_default();
        reason.count += 1;
        if reason.places.len() < PLACES {
            reason.places.push((place, text));
        }
    }

    /// How many were refused.
    pub(crate) fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many were stored, and in what time.
    pub(crate) fn so_far(&self) -> (u64, f64) {
        (self.stored.load(Ordering::Relaxed), self.began.elapsed().as_secs_f64())
    }

    /// Records per second in the first and in the last fifth of what was stored.
    pub(crate) fn first_and_last_fifth(&self) -> Option<(f64, f64)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, all) = *samples.last()?;
        let begin = (0.0, 0);
        let at = |count: u64| samples.iter().rev().find(|(_, n)| *n <= count).copied().unwrap_or(begin);
        let (first, last) = (at(all / 5), at(all - all / 5));
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |from: (f64, u64), to: (f64, u64)| (to.1 - from.1) as f64 / (to.0 - from.0);
        let rates = (rate(begin, first), rate(last, (end, all)));
        (rates.0.is_finite() && rates.1.is_finite()).then_some(rates)
    }

    /// The line of the progress bar.
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    pub(super) fn bar(&self) -> String {
        let (stored, seconds) = self.so_far();
        let (bytes, all) = (self.bytes.load(Ordering::Relaxed), self.all_bytes.load(Ordering::Relaxed).max(1));
        let share = (bytes as f64 / all as f64).min(1.0);
        let full = (share * 30.0).floor();
        let bar: String = (0..30).map(|n| if f64::from(n) < full { '=' } else { ' ' }).collect();
        let refused = self.refusals();
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        let rate = stored as f64 / seconds.max(0.001);
        format!("[{bar}] {:3.0}%  {stored} stored, {rate:.0}/s{refused}", share * 100.0)
    }

    /// Everything, for a program.
    pub(crate) fn to_json(&self) -> Value {
        let (stored, seconds) = self.so_far();
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |weight: Weight| -> Vec<Value> {
            let of = reasons.iter().filter(|((w, _), _)| *w == weight);
            of.map(|((_, name), reason)| {
                let place = |(place, text): &(String, String)| json!({ "place": place, "text": text });
                let places: Vec<Value> = reason.places.iter().map(place).collect();
                json!({ "reason": name, "count": reason.count, "places": places })
            })
            .collect()
        };
        json!({
            "stored": stored, "already_there": self.already.load(Ordering::Relaxed),
            "left_out": self.left_out.load(Ordering::Relaxed), "refused": self.refusals(),
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "left_out_reasons": told(Weight::LeftOut), "refused_reasons": told(Weight::Refused),
        })
    }

    /// Everything, for a person.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn to_text(&self) -> String {
        let (stored, seconds) = self.so_far();
        let rate = stored as f64 / seconds.max(0.001);
        let mut out = format!("stored         {stored:>9}  in {seconds:.1} s, {rate:.0}/s\n");
        for (name, count) in
            [("already there", &self.already), ("left out", &self.left_out), ("refused", &self.refused)]
        {
            out.push_str(&format!("{name:<14} {:>9}\n", count.load(Ordering::Relaxed)));
        }
        for ((weight, name), reason) in &*self.reasons.lock().unwrap_or_else(PoisonError::into_inner) {
            let weight = if *weight == Weight::Refused { "refused" } else { "left out" };
            out.push_str(&format!("{weight}, {}: {name}\n", reason.count));
            // Why something is left out is the same wherever it is.
            let places = if weight == "refused" { &reason.places[..] } else { &[] };
            for (place, text) in places {
                out.push_str(&format!("  {place}: {text}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_stored_is_told_by_its_reason() {
        let tally = Tally::default();
        tally.stored(10);
        tally.already(2);
        tally.not_stored(Weight::LeftOut, "Provenance is made by the gateway", "a.json".into(), String::new());
        for n in 0..30 {
            tally.not_stored(Weight::Refused, "422 structure", format!("b.json Bundle.entry[{n}]"), "status".into());
        }
        let told = tally.to_json();
        assert_eq!((&told["stored"], &told["already_there"]), (&json!(10), &json!(2)));
        assert_eq!((&told["left_out"], &told["refused"]), (&json!(1), &json!(30)));
        assert_eq!(told["refused_reasons"][0]["count"], 30);
        assert_eq!(told["refused_reasons"][0]["places"].as_array().unwrap().len(), PLACES);
        let text = tally.to_text();
        assert!(text.contains("refused, 30: 422 structure\n  b.json Bundle.entry[0]: status"), "{text}");
        assert!(text.contains("left out, 1: Provenance"), "{text}");
    }
}
