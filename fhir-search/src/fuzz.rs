//! Searches and resources that nobody means well by, shown to the reading of queries, to extraction and to the engine.
//!
//! A few seconds in the ordinary tests, as long as one likes by `cargo xtask fuzz`, which sets `VOUCHSAFE_FUZZ_SEED` and
//! `VOUCHSAFE_FUZZ_SECONDS`. Each execution has a seed of its own, which a failure names: with it and 0 seconds exactly
//! that one is done again.

#[path = "../../xtask/src/fuzz/bodies.rs"]
mod bodies;
#[path = "../../xtask/src/rng.rs"]
mod rng;
#[path = "../../xtask/src/fuzz/words.rs"]
mod words;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{Context, Facts, Handling, Limits, MemoryUniverse, Query, extract, includes, params, run, terms};
use rng::Rng;
use words::Vocabulary;

const BASE: &str = "https://vouchsafe.example/fhir";
const LIMITS: Limits = Limits { scanned: 500, page: 10, included: 20 };
/// What one execution may take on a machine that does much else; what is not bounded takes far longer.
const PATIENCE: Duration = Duration::from_secs(20);
const SEEDS: &str = include_str!("extract/tests/examples.ndjson");

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn vocabulary() -> Vocabulary {
    let kinds = |resource_type: &str| {
        let one = |param: &&crate::Param| (param.code.to_owned(), format!("{:?}", param.kind).to_lowercase());
        params(resource_type).iter().map(one).collect()
    };
    let types = vouchsafe_fhir_structure::RESOURCE_TYPES;
    let ids = ["example", "p1", "f001"].map(str::to_owned).to_vec();
    Vocabulary { types: types.iter().map(|name| ((*name).to_owned(), kinds(name))).collect(), ids }
}

fn insert(universe: &mut MemoryUniverse<u32>, key: u32, resource: &Value) {
    let Some(resource_type) = resource["resourceType"].as_str() else { return };
    // The gateway asks for the structure first; what it would refuse is never looked into.
    if vouchsafe_fhir_structure::check_value(resource_type, resource).is_err() {
        return;
    }
    let facts: Facts = extract(resource_type, resource, BASE);
    let _ = terms(facts.as_ref());
    universe.insert(key, resource_type, resource["id"].as_str().unwrap_or("x"), i64::from(key), facts);
}

fn search(rng: &mut Rng, words: &Vocabulary, universe: &MemoryUniverse<u32>) {
    let (resource_type, pairs) = words::search(rng, words);
    let handling = if rng.one_in(2) { Handling::Strict } else { Handling::Lenient };
    let context = Context { base: BASE, now: 1_800_000_000_000 };
    let Ok(mut query) = Query::parse(resource_type.as_deref(), &pairs, &context, handling) else { return };
    if rng.one_in(6) {
        let compartment = rng.pick(&["Patient", "Encounter", "Device", "Practitioner", "RelatedPerson", "Secret"]);
        match query.within(compartment, "example") {
            Ok(within) => query = within,
            Err(_) => return,
        }
    }
    let Ok(hits) = run(universe, &query, &LIMITS, None) else { return };
    assert!(hits.matches.len() <= LIMITS.page);
    if let Ok(more) = includes(universe, &query, &hits.matches, &LIMITS) {
        assert!(more.len() <= LIMITS.included);
    }
    if let Some(place) = &hits.next {
        let _ = run(universe, &query, &LIMITS, Some(place));
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "the seed and the rate are what a run of the fuzzer tells")]
fn nothing_that_is_asked_or_stored_panics() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("VOUCHSAFE_FUZZ_SEED").unwrap_or_else(|| now.as_secs() ^ u64::from(now.subsec_nanos()));
    let length = Duration::from_secs(number("VOUCHSAFE_FUZZ_SECONDS").unwrap_or(2));
    let words = vocabulary();
    let seeds: Vec<Vec<u8>> = SEEDS.lines().map(|line| line.as_bytes().to_vec()).collect();
    let mut universe = MemoryUniverse::default();
    for (key, line) in (0..).zip(SEEDS.lines()) {
        insert(&mut universe, key, &serde_json::from_str(line).unwrap());
    }
    let began = Instant::now();
    let (mut done, mut stored) = (0_u64, 0_u64);
    while done == 0 || began.elapsed() < length {
        let one = seed.wrapping_add(done);
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let mut rng = Rng::new(one);
            if !rng.one_in(4) {
                search(&mut rng, &words, &universe);
                return 0;
            }
            let Ok(resource) = serde_json::from_slice(&bodies::mutated(&mut rng, &seeds)) else { return 0 };
            let mut little = MemoryUniverse::default();
            insert(&mut little, 1, &resource);
            search(&mut rng, &words, &little);
            1
        }));
        let took = started.elapsed();
        let again = format!("VOUCHSAFE_FUZZ_SEED={one} VOUCHSAFE_FUZZ_SECONDS=0");
        stored += ended.unwrap_or_else(|_| panic!("{again} panics"));
        assert!(took < PATIENCE, "{again} takes {took:?}");
        done += 1;
    }
    println!(
        "seed {seed}: {done} executions, {stored} of bodies, {:.0} /s",
        done as f64 / began.elapsed().as_secs_f64()
    );
    if length > Duration::ZERO {
        assert!(stored > 0, "seed {seed}: no body could be read");
    }
}
