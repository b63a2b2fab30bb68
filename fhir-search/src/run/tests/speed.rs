//! Figures: `cargo test --release -p vouchsafe-fhir-search --lib speed -- --ignored --nocapture`. The best of many short runs,
//! because other work on the machine makes all of them longer and none shorter.

use std::{convert::Infallible, ops::ControlFlow, time::Instant};

use super::*;
use crate::{Facts, FactsRef, Need};

/// Documents one after the other, found by nothing but being looked at.
struct List(Vec<(u32, String, Facts)>);

impl Universe for List {
    type Key = u32;
    type Error = Infallible;

    fn scan(
        &self,
        resource_type: &str,
        _need: &Need,
        after: Option<&u32>,
        each: &mut dyn FnMut(Seen<'_, u32>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for (key, id, facts) in self.0.iter().filter(|(key, ..)| after.is_none_or(|after| key > after)) {
            let facts = FactsRef::new(facts.bytes());
            if each(Seen { key, resource_type, id, last_updated: 0, facts }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, _: &str, _: &str, _: &mut dyn FnMut(Seen<'_, u32>)) -> Result<(), Infallible> {
        Ok(())
    }
}

/// An Observation as Synthea writes them.
fn synthea(n: u32) -> Value {
    let mut observation =
        observation(&format!("{n}"), &format!("{}", n % 50), "29463-7", "2020-01-01T10:00:00+02:00", 70.5);
    let more = serde_json::json!({
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
        "encounter": {"reference": format!("Encounter/{}", n / 7)},
        "issued": "2020-01-01T10:00:00.123+02:00",
        "meta": {"profile": ["http://hl7.org/fhir/StructureDefinition/bodyweight"]},
        "effectiveDateTime": format!("20{:02}-03-01T10:00:00+02:00", n % 26),
    });
    observation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    observation
}

#[test]
#[ignore = "a measurement"]
#[allow(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it prints what it measured, which is no exact number"
)]
fn matching() {
    let list = List((0..20_000).map(|n| (n, n.to_string(), extract("Observation", &synthea(n), BASE))).collect());
    for text in [
        "patient=Patient/7&date=ge2020&_summary=count",
        "date=ge2020&patient=Patient/7&_summary=count",
        "code=http://loinc.org|29463-7&value-quantity=gt70||kg&_summary=count",
        "code-value-quantity=29463-7$gt70&_summary=count",
        "patient=Patient/7&_sort=-date&_count=20",
        "_sort=-date&_count=20",
        "code:text=weight&_summary=count",
    ] {
        let query = query(Some("Observation"), text);
        let limits = Limits { scanned: usize::MAX, ..LIMITS };
        let best = (0..60).map(|_| {
            let began = Instant::now();
            run(&list, &query, &limits, None).unwrap_or_else(|_| panic!("an answer"));
            began.elapsed()
        });
        let seconds = best.min().unwrap().as_secs_f64();
        println!("{text}: {:.2} million documents/s", list.0.len() as f64 / seconds / 1e6);
    }
}
