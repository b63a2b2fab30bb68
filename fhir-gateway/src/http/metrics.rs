//! Counters in Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// What the gateway counts about its calls. Labels are routes and classes, never ids.
#[derive(Default)]
pub struct Metrics {
    routes: [[AtomicU64; 5]; KINDS.len()],
    micros: [AtomicU64; KINDS.len()],
    in_flight: AtomicU64,
    panics: AtomicU64,
    tokens: AtomicU64,
    tokens_refused: AtomicU64,
    body_bytes: AtomicU64,
}

/// The kinds of call told apart.
pub(crate) const KINDS: [&str; 11] =
    ["read", "search", "create", "update", "delete", "history", "bundle", "operation", "auth", "peer", "other"];

/// Counts a call as being served while it is held.
pub(crate) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Metrics {
    pub(crate) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(&self.in_flight)
    }

    pub(crate) fn served(&self, kind: &str, status: u16, took: std::time::Duration, body: usize) {
        let kind = KINDS.iter().position(|k| *k == kind).unwrap_or(KINDS.len() - 1);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.routes[kind][class].fetch_add(1, Relaxed);
        self.micros[kind].fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        self.body_bytes.fetch_add(body as u64, Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn token(&self, given: bool) {
        if given { &self.tokens } else { &self.tokens_refused }.fetch_add(1, Relaxed);
    }

    /// The page; `gauges` are values that others hold.
    pub(crate) fn render(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut out =
            String::from("# HELP vouchsafe_calls_total Calls answered.\n# TYPE vouchsafe_calls_total counter\n");
        for (kind, classes) in KINDS.iter().zip(&self.routes) {
            for (i, n) in classes.iter().enumerate() {
                let n = n.load(Relaxed);
                if n > 0 {
                    let _ = writeln!(out, "vouchsafe_calls_total{{kind=\"{kind}\",class=\"{}xx\"}} {n}", i + 1);
                }
            }
        }
        out.push_str("# HELP vouchsafe_call_seconds_total Time spent on calls.\n");
        out.push_str("# TYPE vouchsafe_call_seconds_total counter\n");
        for (kind, micros) in KINDS.iter().zip(&self.micros) {
            let micros = micros.load(Relaxed);
            let _ = writeln!(
                out,
                "vouchsafe_call_seconds_total{{kind=\"{kind}\"}} {}.{:06}",
                micros / 1_000_000,
                micros % 1_000_000
            );
        }
        let counters = [
            ("vouchsafe_panics_total", "Calls that ended in a fault of ours.", &self.panics),
            ("vouchsafe_tokens_total", "Bearer tokens given out.", &self.tokens),
            ("vouchsafe_tokens_refused_total", "Token requests refused.", &self.tokens_refused),
            ("vouchsafe_body_bytes_total", "Bytes of request bodies read.", &self.body_bytes),
        ];
        for (name, help, value) in counters {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", value.load(Relaxed));
        }
        let in_flight = [("vouchsafe_calls_in_flight", "Calls being served.", self.in_flight.load(Relaxed))];
        for (name, help, value) in in_flight.iter().chain(gauges) {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        }
        out
    }
}
