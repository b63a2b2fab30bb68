//! Terms: what matches has what is needed, and no document has many.

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;
use crate::{MAX_TERMS, terms};

fn text() -> impl Strategy<Value = String> {
    select(
        ["anna", "Anna", "ANNA", "Ann", "ANNABEL", "Ännchen", "an", "bo", "Bob", "x|y", "true", "2"]
            .map(str::to_owned)
            .to_vec(),
    )
}

fn reference() -> impl Strategy<Value = String> {
    let texts = [
        "Patient/1",
        "Patient/2",
        "Group/1",
        "https://vouchsafe.example/fhir/Patient/1",
        "http://a.example/Patient/1",
        "urn:uuid:1",
    ];
    select(texts.map(str::to_owned).to_vec())
}

fn address() -> impl Strategy<Value = String> {
    select(
        ["http://a.example/x", "http://a.example/x|1", "http://a.example/x|2", "http://a.example/y"]
            .map(str::to_owned)
            .to_vec(),
    )
}

prop_compose! {
    fn patient_of(id: u32)(family in text(), given in text(), born in select(vec!["1970", "1970-05", "1970-05-01"]), system in "[ab]?",
        value in text(), city in text(), link in reference(), logical in text()) -> Value {
        json!({"resourceType": "Patient", "id": format!("{id}"), "birthDate": born, "gender": "male", "active": true,
            "name": [{"family": family, "given": [given]}], "address": [{"city": city}],
            "identifier": [{"system": system, "value": value, "type": {"coding": [{"system": "s", "code": "MR"}]}}],
            "link": [{"other": {"reference": link, "identifier": {"value": logical}}}]})
    }
}

prop_compose! {
    fn observation_of(id: u32)(code in text(), system in "[ab]?", subject in reference(), number in 1..3_u32, canonical in address()) -> Value {
        json!({"resourceType": "Observation", "id": format!("{id}"), "status": "final", "subject": {"reference": subject},
            "code": {"coding": [{"system": system, "code": code}]}, "valueQuantity": {"value": number, "unit": "kg"},
            "meta": {"profile": [canonical], "tag": [{"code": code}]}})
    }
}

prop_compose! {
    fn library_of(id: u32)(url in address(), title in text(), on in address()) -> Value {
        json!({"resourceType": "Library", "id": format!("{id}"), "url": url, "title": title, "status": "draft",
            "relatedArtifact": [{"type": "depends-on", "resource": on}]})
    }
}

fn question() -> impl Strategy<Value = String> {
    let of = |questions: &'static [&'static str], value: BoxedStrategy<String>| {
        (select(questions), value).prop_map(|(question, value)| format!("{question}{value}")).boxed()
    };
    let escaped = text().prop_map(|text| text.replace('|', "\\|")).boxed();
    let two = (escaped.clone(), escaped.clone()).prop_map(|(a, b)| format!("{a},{b}")).boxed();
    let days = select(vec!["1970-05-01", "1970", "ge1970-05", "ne1970-05-01", "1970-05-01T00:00:00Z"]);
    prop_oneof![
        of(TEXTS, prop_oneof![escaped.clone(), two].boxed()),
        of(CODES, escaped),
        of(&["Patient?birthdate="], days.prop_map(str::to_owned).boxed()),
        of(REFERENCES, prop_oneof![reference(), Just("1".to_owned()), Just("Patient/1,Group/1".to_owned())].boxed()),
        of(ADDRESSES, address().boxed()),
        of(OTHERS, Just(String::new()).boxed()),
    ]
}

const TEXTS: &[&str] = &[
    "Patient?name=",
    "Patient?family=",
    "Patient?given:exact=",
    "Patient?family:contains=",
    "Patient?address-city=",
    "Patient?identifier=",
    "Patient?identifier:not=",
    "Patient?identifier:text=",
    "Patient?link:identifier=",
    "Patient?_has:Observation:patient:code=",
    "Observation?patient.name=",
    "Observation?subject:Patient.identifier=",
    "Observation?code=",
    "Observation?code:not=",
    "Observation?_tag=",
    "Observation?combo-code=",
    "Library?title=",
];
const CODES: &[&str] =
    &["Patient?identifier=a|", "Patient?identifier=|", "Patient?identifier:of-type=s|MR|", "Observation?code=b|"];
const REFERENCES: &[&str] =
    &["Patient?link=", "Observation?subject=", "Observation?patient=", "Observation?subject:Group="];
const ADDRESSES: &[&str] =
    &["Observation?_profile=", "Library?url=", "Library?url:below=", "Library?url:above=", "Library?depends-on="];
const OTHERS: &[&str] = &[
    "Patient?gender=male",
    "Patient?active=true&_has:Observation:patient:status=final",
    "Observation?code-value-quantity=anna$2",
    "Observation?code-value-quantity=true$2",
    "Observation?code-value-quantity=AN$lt2",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A store that leaves out what lacks a term finds the same as one that shows everything.
    #[test]
    fn nothing_is_missed_for_want_of_a_term(
        patients in (patient_of(1), patient_of(2)),
        observations in (observation_of(1), observation_of(2)),
        library in library_of(1),
        question in question(),
    ) {
        let universe = universe(&[patients.0, patients.1, observations.0, observations.1, library]);
        let (of, rest) = question.split_once('?').unwrap();
        let pairs = rest.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned()));
        let context = Context { base: BASE, now: 0 };
        let Ok(query) = Query::parse(Some(of), &pairs.collect::<Vec<_>>(), &context, Handling::Strict) else { return Ok(()) };
        let all = match run(&Careless(&universe), &query, &LIMITS, None) {
            Ok(hits) => hits,
            Err(_) => panic!("an answer"),
        };
        prop_assert_eq!(ids(&answer(&universe, &query, &LIMITS).matches), ids(&all.matches));
        for hit in &all.matches {
            let has = terms(universe.facts(&hit.place.key).unwrap());
            prop_assert!(query.need(of).iter().all(|list| list.iter().any(|term| has.contains(term))));
        }
    }
}

#[test]
fn what_is_equal_in_several_parameters_is_filed_once() {
    let count =
        |resource: &Value| terms(extract(resource["resourceType"].as_str().unwrap(), resource, BASE).as_ref()).len();
    // The patient, and the code.
    assert_eq!(count(&observation("o", "p", "29463-7", "2020", 70.5)), 2);
    // Three names, the identifier and the day of birth.
    assert_eq!(count(&patient("p", "Chalmers", "1970-05-01")), 5);
}

#[test]
fn a_document_of_very_many_terms_is_filed_under_one_and_still_found() {
    let members = (0..MAX_TERMS + 1).map(|n| json!({"entity": {"reference": format!("Patient/{n}")}}));
    let group = json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true, "member": members.collect::<Vec<_>>()});
    assert_eq!(terms(extract("Group", &group, BASE).as_ref()).len(), 1);
    check(&[group], &[("Group?member=Patient/7", "g"), ("Group?member=Patient/x", "")]);
}
