//! What nobody means well by: no panic, and no more work than may be.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::select};

use super::*;
use crate::run::includes as run_includes;

/// The charts, made once.
fn little_universe() -> &'static MemoryUniverse<u32> {
    static UNIVERSE: OnceLock<MemoryUniverse<u32>> = OnceLock::new();
    UNIVERSE.get_or_init(|| universe(&charts()))
}

const LITTLE: Limits = Limits { scanned: 500, page: 10, included: 10 };

/// Pieces that names are made of.
const PIECES: &[&str] = &[
    "_has",
    ":",
    ".",
    "Patient",
    "Observation",
    "Group",
    "subject",
    "patient",
    "code",
    "name",
    "_id",
    "_lastUpdated",
    "_sort",
    "_include",
    "_revinclude",
    "iterate",
    "*",
    "missing",
    "not",
    "exact",
    "contains",
    "text",
    "of-type",
    "identifier",
    "link",
    "general-practitioner",
    "encounter",
    "component-code-value-quantity",
    "value-quantity",
    "birthdate",
    "near",
    "target",
    "Provenance",
    "organization",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_type",
    "above",
    "below",
    "in",
    "ä",
    "",
];

/// Pieces that values are made of.
const VALUES: &[&str] = &[
    "p1",
    "Patient/",
    "Patient/p1",
    ",",
    "|",
    "$",
    "\\",
    "\\,",
    "ge",
    "ne",
    "ap",
    "sa",
    "2020",
    "-01",
    "T10:00",
    "Z",
    "+",
    "1e9",
    ".",
    "-",
    "*",
    ":",
    "true",
    "false",
    "http://loinc.org",
    "29463-7",
    "https://vouchsafe.example/fhir/",
    "ä",
    "\u{301}",
    "\u{0}",
    "9999",
    "99999999999999999999999999999999999999999",
    "e99999999",
    "Observation:subject",
    "Provenance:target",
    "code",
    "-date",
    "%",
    "",
];

fn of(pieces: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(select(pieces), 0..most).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        "patient",
        "code",
        "subject:Patient.name",
        "patient._id",
        "_has:Observation:patient:code",
        "value-quantity",
        "date",
        "_sort",
        "_include",
        "_revinclude:iterate",
        "_id",
        "code-value-quantity",
        "_lastUpdated",
        "_count",
        "birthdate",
        "name:contains",
    ];
    prop_oneof![3 => select(known.map(str::to_owned).to_vec()), 2 => of(PIECES, 8), 1 => ".{0,20}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![3 => of(VALUES, 6), 1 => ".{0,20}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_query_is_refused_or_answered(
        resource_type in proptest::option::of(select(vec!["Patient", "Observation", "Provenance", "Location", "Secret", ""])),
        pairs in proptest::collection::vec((name(), value()), 0..4),
        strict in any::<bool>(),
        compartment in proptest::option::of(select(vec!["Patient", "Device", "Secret"])),
    ) {
        let handling = if strict { Handling::Strict } else { Handling::Lenient };
        let context = Context { base: BASE, now: 1_800_000_000_000 };
        let read = Query::parse(resource_type, &pairs, &context, handling);
        let read = match compartment {
            Some(name) => read.and_then(|query| query.within(name, "p1")),
            None => read,
        };
        let universe = little_universe();
        let query = match read {
            Ok(query) => query,
            Err(fault) => {
                let given = pairs.iter().any(|(name, _)| name.starts_with(&fault.parameter));
                prop_assert!(given || matches!(&*fault.parameter, "_type" | "Patient" | "Device" | "Secret"), "{fault}");
                return Ok(());
            }
        };
        let Ok(hits) = run(universe, &query, &LITTLE, None) else { return Ok(()) };
        prop_assert!(hits.matches.len() <= LITTLE.page);
        if let Ok(more) = run_includes(universe, &query, &hits.matches, &LITTLE) {
            prop_assert!(more.len() <= LITTLE.included);
        }
        if let Some(place) = &hits.next {
            let _ = run(universe, &query, &LITTLE, Some(place));
        }
    }

    /// Values of one kind in a parameter of another.
    #[test]
    fn every_parameter_takes_any_value(value in value(), modifier in select(vec!["", ":missing", ":not", ":exact", ":text", ":Patient"])) {
        let context = Context { base: BASE, now: 0 };
        for param in crate::params("Observation") {
            let pairs = [(format!("{}{modifier}", param.code), value.clone())];
            if let Ok(query) = Query::parse(Some("Observation"), &pairs, &context, Handling::Strict) {
                let _ = run(little_universe(), &query, &LITTLE, None);
            }
        }
    }
}

/// The worst of each kind ends soon, answered or refused.
#[test]
fn the_worst_that_can_be_asked_ends_soon() {
    let universe = little_universe();
    let values = |text: &str, count: usize| vec![text; count].join(",");
    let chain = |times: usize| format!("{}name", "link:Patient.".repeat(times));
    let untyped = |times: usize| format!("{}name", "subject.".repeat(times));
    let has = |times: usize| format!("{}_id", "_has:Patient:link:".repeat(times));
    let many = |name: &str, value: &str, count: usize| vec![(name.to_owned(), value.to_owned()); count];
    let cases = vec![
        (Some("Patient"), many("_count", "1000000000", 1)),
        (Some("Patient"), many(&chain(10), "x", 1)),
        (Some("Patient"), many(&chain(4), "x", 100)),
        (Some("Observation"), many(&untyped(10), "x", 1)),
        (Some("Observation"), many(&untyped(4), &values("x", 200), 100)),
        (Some("Patient"), many(&has(10), "x", 1)),
        (Some("Patient"), many(&has(4), &values("p1", 200), 100)),
        (Some("Patient"), many("name", "x", 10_000)),
        (Some("Patient"), many("name", &values("x", 10_000), 1)),
        (Some("Patient"), many(&"x".repeat(1_000_000), "x", 1)),
        (Some("Patient"), many("name", &"x".repeat(10_000_000), 1)),
        (Some("Patient"), many("_sort", &values("name", 10_000), 1)),
        (Some("Patient"), many("_elements", &values("name", 100_000), 1)),
        (Some("Patient"), many("_revinclude:iterate", "*", 32)),
        (Some("Patient"), many("_include", "*", 10_000)),
        (None, many("_id", &values("p1", 200), 100)),
        (None, many("_tag", &values("x|y", 200), 100)),
        (None, many("_type", &values("Patient", 100_000), 1)),
        (Some("Observation"), many("date", &values("ap0001", 200), 100)),
        (Some("Observation"), many("value-quantity", &values("1e-999999999", 200), 100)),
        (Some("Observation"), many("component-code-value-quantity", &values("a$1", 200), 100)),
    ];
    let context = Context { base: BASE, now: 0 };
    for (of, pairs) in cases {
        let name = pairs[0].0.chars().take(40).collect::<String>();
        let began = Instant::now();
        if let Ok(query) = Query::parse(of, &pairs, &context, Handling::Strict) {
            let limits = Limits { scanned: 100_000, page: 1000, included: 1000 };
            if let Ok(hits) = run(universe, &query, &limits, None) {
                let _ = run_includes(universe, &query, &hits.matches, &limits);
            }
        }
        // Ten times what a slow build takes; without the bounds it would be minutes.
        assert!(began.elapsed() < Duration::from_secs(5), "{name} took {:?}", began.elapsed());
    }
}
