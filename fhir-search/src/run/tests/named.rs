//! Who is named: a privacy check rests on it.

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;

/// Any spelling of a reference to what has this id, right or wrong.
fn spelling(id: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let bases = [
        "https://vouchsafe.example/fhir/",
        "https://vouchsafe.example/fhir",
        "https://vouchsafe.example/fhir//",
        "HTTPS://vouchsafe.example/fhir/",
        "http://elsewhere.example/fhir/",
        "/",
        "./",
        "urn:uuid:",
    ];
    let types = ["Patient", "patient/", "Group/", "Practitioner/", "Secret/"];
    let ends = ["/_history", "/", "?x=1", "#x", "|1"];
    let base = prop_oneof![3 => Just(""), 2 => select(bases.to_vec())];
    let of = prop_oneof![3 => Just("Patient/"), 1 => Just(""), 1 => select(types.to_vec())];
    let end = prop_oneof![4 => Just(""), 1 => Just("/_history/2"), 1 => select(ends.to_vec())];
    (base, of, id, end).prop_map(|(base, of, id, end)| format!("{base}{of}{id}{end}"))
}

/// Two spellings, mostly of the same id.
fn spellings() -> impl Strategy<Value = (String, String)> {
    let id = select(["1", "A", "a", "a.b", "a_b", "", " 1", "é"].map(str::to_owned).to_vec());
    (id, any::<bool>()).prop_flat_map(|(id, same)| {
        let stored = spelling(Just(id.clone())).boxed();
        let other = spelling(Just(id)).boxed();
        if same { stored.prop_map(|text| (text.clone(), text)).boxed() } else { (stored, other).boxed() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever a reference in a resource and a value in a query look like: when the value finds the resource, and the
    /// reference leads to a Patient of this server, the query names that Patient.
    #[test]
    fn who_is_found_by_a_reference_is_named(
        (stored, asked) in spellings(),
        name in select(vec!["subject", "subject:Patient", "patient", "patient:Patient", "focus", "performer", "subject:identifier",
            "_has:Observation:has-member:subject"]),
    ) {
        let reference = json!({"reference": stored});
        let resource = json!({"resourceType": "Observation", "id": "x", "status": "final", "subject": reference,
            "focus": [reference], "performer": [reference], "hasMember": [{"reference": "Observation/x"}]});
        let context = Context { base: BASE, now: 0 };
        let pairs = [(name.to_owned(), asked.replace('|', "\\|"))];
        let Ok(query) = Query::parse(Some("Observation"), &pairs, &context, Handling::Strict) else { return Ok(()) };
        let universe = universe(&[resource]);
        // Matching alone must see to it, whatever terms a store goes by.
        match run(&Careless(&universe), &query, &LIMITS, None) {
            Ok(hits) if !hits.matches.is_empty() => {}
            Ok(_) => return Ok(()),
            Err(_) => panic!("an answer"),
        }
        let subject = crate::param("Observation", "subject").unwrap().number;
        for fact in universe.facts(&0).unwrap().of(subject) {
            if let crate::Fact::Reference { resource_type: None | Some("Patient"), id: Some(id), .. } = fact {
                prop_assert!(query.named_patients().contains(&id), "{name}={asked} finds {id}");
            }
        }
    }
}
