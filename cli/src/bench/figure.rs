//! The figures of a bench: each with its baseline of the same run, as `interfaces` promises them to scripts.

use serde_json::{Value, json};

use crate::Output;

/// What a figure should reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A rate or a ratio.
    AtLeast(f64),
    /// A time, a size or a spread.
    AtMost(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What it is beside, and how much that is.
    pub(crate) baseline: Option<(String, f64)>,
    pub(crate) target: Option<Target>,
}

impl Figure {
    /// A figure beside nothing.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, baseline: None, target: None }
    }

    /// Beside this, measured in the same run.
    pub(crate) fn beside(mut self, name: &str, value: f64) -> Self {
        self.baseline = Some((name.to_owned(), value));
        self
    }

    /// Should reach this.
    pub(crate) const fn should(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.baseline.as_ref().filter(|(_, value)| *value > 0.0).map(|(_, value)| self.value / value)
    }

    fn pass(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
        })
    }

    fn to_json(&self) -> Value {
        let target = self.target.map(|(Target::AtLeast(t) | Target::AtMost(t))| t);
        let baseline = self.baseline.as_ref();
        json!({
            "name": self.name, "value": rounded(self.value), "unit": self.unit,
            "baseline": baseline.map(|b| &b.0), "baseline_value": baseline.map(|b| rounded(b.1)),
            "ratio": self.ratio().map(rounded), "target": target, "pass": self.pass(),
        })
    }

    fn to_text(&self) -> String {
        let mut line = format!("{:<28} {:>12} {:<5}", self.name, text(self.value), self.unit);
        if let Some((name, value)) = &self.baseline {
            line.push_str(&format!("  {name} {}", text(*value)));
        }
        if let Some(ratio) = self.ratio() {
            line.push_str(&format!("  ratio {ratio:.2}"));
        }
        if let (Some(target), Some(pass)) = (self.target, self.pass()) {
            let (sign, target) = match target {
                Target::AtLeast(t) => ("at least", t),
                Target::AtMost(t) => ("at most", t),
            };
            line.push_str(&format!("  {sign} {}: {}", text(target), if pass { "yes" } else { "NO" }));
        }
        line
    }
}

/// Prints figures as they come, or all at the end as one array.
pub(crate) struct Report {
    output: Output,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) const fn new(output: Output) -> Self {
        Self { output, figures: Vec::new() }
    }

    /// Tells one figure.
    #[allow(clippy::print_stdout, reason = "figures are the data that this command prints")]
    pub(crate) fn tell(&mut self, figure: Figure) {
        if self.output == Output::Text {
            println!("{}", figure.to_text());
        }
        self.figures.push(figure);
    }

    /// Tells the end.
    #[allow(clippy::print_stdout, reason = "figures are the data that this command prints")]
    pub(crate) fn end(self) {
        if self.output == Output::Json {
            println!("{}", Value::Array(self.figures.iter().map(Figure::to_json).collect()));
        }
    }
}

/// Four digits say all that a measurement on a busy machine knows.
fn rounded(value: f64) -> Value {
    text(value).parse::<serde_json::Number>().map_or(Value::Null, Value::Number)
}

fn text(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.5}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_beside_its_baseline_and_judged_by_its_target() {
        let figure = Figure::new("read_8", 9000.0, "1/s").beside("plain store", 18_000.0);
        let value = figure.clone().should(Target::AtLeast(6348.0)).to_json();
        assert_eq!(
            value.to_string(),
            r#"{"name":"read_8","value":9000,"unit":"1/s","baseline":"plain store","baseline_value":18000,"ratio":0.50000,"target":6348.0,"pass":true}"#
        );
        assert_eq!(figure.clone().should(Target::AtMost(0.3)).to_json()["pass"], false);
        assert_eq!(figure.to_json()["pass"], Value::Null);
        assert_eq!(Figure::new("x", 1.0, "s").to_json()["ratio"], Value::Null);
    }
}
