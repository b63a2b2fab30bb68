//! Resources that nobody means well by, shown to everything here that looks into a body, in the order in which the gateway
//! does. How it is run, and done again, `fhir-search/src/fuzz.rs` says.

#[path = "../../../xtask/src/fuzz/bodies.rs"]
mod bodies;
#[path = "../../../xtask/src/rng.rs"]
mod rng;

use std::{
    io::Read,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use vouchsafe_fhir_search::{extract, terms};

use super::{
    bundle, category, compartment, consent,
    json::{self, Splice},
};
use rng::Rng;

/// What one execution may take on a machine that does much else; what is not bounded takes far longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// One patient of the demo, whose resources are mutated.
const SEEDS: &[u8] = include_bytes!("../../../demo-data/weston.ndjson.gz");
/// Of what is rare there.
const MORE: [&str; 4] = [
    r##"{"resourceType":"Observation","id":"a","meta":{"versionId":"3","security":[{"system":"https://vouchsafe.example/CodeSystem/category","code":"other"},{"code":"R"}]},"contained":[{"resourceType":"Patient","id":"p"}],"status":"final","code":{"text":"x"},"subject":{"reference":"#p"},"valueQuantity":{"value":1.50}}"##,
    r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient"},"request":{"method":"POST","url":"Patient","ifNoneExist":"identifier=a|b"}},{"request":{"method":"DELETE","url":"Observation?code=1"}}]}"#,
    r#"{"resourceType":"Consent","status":"proposed","scope":{"coding":[{"code":"patient-privacy"}]},"category":[{"coding":[{"code":"59284-0"}]}],"patient":{"reference":"Patient/1"},"provision":{"period":{"start":"2020","end":"2021"},"class":[{"code":"x"}],"dataPeriod":{"start":"2020-01-01"}}}"#,
    r#"{"resourceType":"Group","type":"person","actual":true,"member":[{"entity":{"reference":"Patient/1"}},{"entity":{"reference":"Patient?identifier=a"}}]}"#,
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn seeds() -> Vec<Vec<u8>> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(SEEDS).read_to_string(&mut text).unwrap();
    text.lines().chain(MORE).map(|line| line.as_bytes().to_vec()).collect()
}

/// Looks into a body as the gateway does; true when it was read as JSON.
fn look(bytes: &[u8]) -> bool {
    // It reads bytes that are no JSON too, but only to give them back as they are.
    let form = json::sealed_form(bytes);
    let Ok(document) = json::parse(bytes) else { return false };
    let sealed = json::parse(&form).expect("a sealed form is JSON");
    let mut stripped = document.value().clone();
    json::strip(&mut stripped);
    let Some(resource_type) = document.resource_type().filter(|t| vouchsafe_fhir_structure::is_resource_type(t)) else {
        return true;
    };
    let _ = bundle::read(bytes, 100);
    if vouchsafe_fhir_structure::check_value(resource_type, document.value()).is_ok() {
        assert!(*sealed.value() == stripped, "the sealed form is the resource without what the server says");
        of_structure(resource_type, &form, &stripped);
    }
    true
}

/// What is done with a resource of R4's structure only.
fn of_structure(resource_type: &str, form: &[u8], value: &Value) {
    let add = Splice { id: "9", version: "1", last_updated: "2026-01-01T00:00:00Z", labels: &["other"], source: None };
    let served = json::splice(form, &add);
    assert!(json::parse(&served).is_ok(), "what is served is JSON");
    assert!(json::sealed_form(&served) == form, "what is served has the same sealed form");
    let _ = category::categorize(resource_type, value);
    let _ = compartment::belongs(resource_type, value);
    let _ = compartment::patients_of(resource_type, value);
    let _ = terms(extract(resource_type, value, "https://vouchsafe.example/fhir").as_ref());
    let _ = consent::parse_request(value);
    let same = json::rewrite_links(form, &mut |found| {
        let _ = found.expression();
        None
    });
    assert!(same == form, "nothing was to be rewritten");
    let part = json::subset(form, &|name| name == "status");
    assert!(json::parse(&part).is_ok(), "a part is JSON");
}

#[test]
#[allow(clippy::print_stdout, reason = "the seed and the rate are what a run of the fuzzer tells")]
fn no_body_panics_and_what_is_served_is_what_was_sent() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("VOUCHSAFE_FUZZ_SEED").unwrap_or_else(|| now.as_secs() ^ u64::from(now.subsec_nanos()));
    let length = Duration::from_secs(number("VOUCHSAFE_FUZZ_SECONDS").unwrap_or(2));
    let seeds = seeds();
    let began = Instant::now();
    let (mut done, mut read) = (0_u64, 0_u64);
    while done == 0 || began.elapsed() < length {
        let one = seed.wrapping_add(done);
        let started = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| look(&bodies::mutated(&mut Rng::new(one), &seeds))));
        let took = started.elapsed();
        let again = format!("VOUCHSAFE_FUZZ_SEED={one} VOUCHSAFE_FUZZ_SECONDS=0");
        read += u64::from(ended.unwrap_or_else(|_| panic!("{again} panics")));
        assert!(took < PATIENCE, "{again} takes {took:?}");
        done += 1;
    }
    println!(
        "seed {seed}: {done} executions, {read} read as JSON, {:.0} /s",
        done as f64 / began.elapsed().as_secs_f64()
    );
    if length > Duration::ZERO {
        assert!(read > 0 && read < done, "seed {seed}: {read} of {done} were JSON");
    }
}
