//! Tests of runs.

mod chains;
mod examples;
mod hostile;
mod includes;
mod itself;
mod named;
mod pages;
mod prefixes;
mod speed;
mod terms;

use std::{convert::Infallible, ops::ControlFlow};

use serde_json::{Value, json};

use super::*;
use crate::{Context, DateRange, Handling, MemoryUniverse, Need, extract};

const BASE: &str = "https://vouchsafe.example/fhir";
const LIMITS: Limits = Limits { scanned: 100_000, page: 100, included: 100 };

/// A universe of resources; their keys are their places in the list.
fn universe(resources: &[Value]) -> MemoryUniverse<u32> {
    let mut universe = MemoryUniverse::default();
    for (key, resource) in (0..).zip(resources) {
        let member = |name: &str| resource[name].as_str().unwrap();
        let at = DateRange::parse("2026-01-01T00:00:00Z").unwrap().start + i64::from(key) * 1000;
        let facts = extract(member("resourceType"), resource, BASE);
        universe.insert(key, member("resourceType"), member("id"), at, facts);
    }
    universe
}

fn query(resource_type: Option<&str>, text: &str) -> Query {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let context = Context { base: BASE, now: DateRange::parse("2026-06-01").unwrap().start };
    Query::parse(resource_type, &pairs.collect::<Vec<_>>(), &context, Handling::Strict)
        .unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn answer(universe: &MemoryUniverse<u32>, query: &Query, limits: &Limits) -> Hits<u32> {
    run(universe, query, limits, None).unwrap_or_else(|_| panic!("an answer"))
}

/// `Type?query`, or `?query` over several types: the ids that are found, in order.
fn found(universe: &MemoryUniverse<u32>, text: &str) -> String {
    let (of, rest) = text.split_once('?').unwrap();
    let query = query(Some(of).filter(|of| !of.is_empty()), rest);
    ids(&answer(universe, &query, &LIMITS).matches)
}

fn ids(hits: &[Hit<u32>]) -> String {
    hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>().join(" ")
}

fn check(resources: &[Value], cases: &[(&str, &str)]) {
    let universe = universe(resources);
    for (query, expected) in cases {
        assert_eq!(found(&universe, query), *expected, "{query}");
    }
}

fn patient(id: &str, family: &str, born: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family, "given": ["Anna", "Maria"]}],
        "birthDate": born, "gender": "female", "identifier": [{"system": "urn:mrn", "value": format!("MRN-{id}")}]})
}

fn observation(id: &str, patient: &str, code: &str, at: &str, value: f64) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "Body weight"}]},
        "subject": {"reference": format!("Patient/{patient}")}, "effectiveDateTime": at,
        "valueQuantity": {"value": value, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}})
}

fn charts() -> Vec<Value> {
    vec![
        patient("p1", "Chalmers", "1970-05-01"),
        patient("p2", "Peters", "1981"),
        observation("o1", "p1", "29463-7", "2020-01-01", 70.5),
        observation("o2", "p1", "8302-2", "2021-01-01T10:00:00Z", 180.0),
        observation("o3", "p2", "29463-7", "2019", 60.0),
        json!({"resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"},
            "subject": {"reference": "Patient/p2"}, "period": {"start": "2019-01-01"}}),
    ]
}

#[test]
fn documents_are_found_by_what_they_say() {
    check(
        &charts(),
        &[
            ("Patient?", "p1 p2"),
            ("Patient?name=chal", "p1"),
            ("Patient?_id=p2,p1", "p1 p2"),
            ("Patient?birthdate=ge1980", "p2"),
            ("Observation?patient=p1", "o1 o2"),
            ("Observation?patient=p1&date=2021", "o2"),
            ("Observation?code=http://loinc.org|29463-7", "o1 o3"),
            ("Observation?code=29463-7&subject=Patient/p2", "o3"),
            ("Observation?value-quantity=gt65||kg", "o1 o2"),
            ("Observation?code-value-quantity=29463-7$lt65", "o3"),
            ("?_type=Observation,Encounter&patient=p2", "o3 e1"),
        ],
    );
}

/// The same documents with every need passed over.
struct Careless<'u>(&'u MemoryUniverse<u32>);

impl Universe for Careless<'_> {
    type Key = u32;
    type Error = Infallible;

    fn scan(
        &self,
        resource_type: &str,
        _need: &Need,
        after: Option<&u32>,
        each: &mut dyn FnMut(Seen<'_, u32>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.0.scan(resource_type, &[], after, each)
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, u32>)) -> Result<(), Infallible> {
        self.0.get(resource_type, id, each)
    }
}
