//! `_include` and `_revinclude`.

use serde_json::json;

use super::*;
use crate::run::includes as run_includes;

fn world() -> Vec<Value> {
    let part = |id: &str, of: &str| json!({"resourceType": "Location", "id": id, "partOf": {"reference": format!("Location/{of}")}});
    let mut world = charts();
    world.extend([
        // A circle of three.
        part("l1", "l2"),
        part("l2", "l3"),
        part("l3", "l1"),
        part("alone", "alone"),
        json!({"resourceType": "Provenance", "id": "v1", "target": [{"reference": "Observation/o1"}, {"reference": "Observation/o2"}],
            "location": {"reference": "Location/l1"}}),
        json!({"resourceType": "Observation", "id": "o6", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/p1"},
            "encounter": {"reference": "Encounter/e1"}, "hasMember": [{"reference": "Observation/o1"}, {"reference": "Observation/gone"}],
            "performer": [{"reference": "http://elsewhere.example/fhir/Practitioner/1"}]}),
    ]);
    world
}

fn included(text: &str, limits: &Limits) -> Result<String, Fault> {
    let universe = universe(&world());
    let (of, rest) = text.split_once('?').unwrap();
    let query = query(Some(of).filter(|of| !of.is_empty()), rest);
    let page = answer(&universe, &query, limits).matches;
    match run_includes(&universe, &query, &page, limits) {
        Ok(hits) => {
            assert!(hits.iter().all(|hit| hit.mode == Mode::Include));
            let mut ids = hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>();
            ids.sort();
            Ok(ids.join(" "))
        }
        Err(RunError::Fault(fault)) => Err(fault),
        Err(RunError::Universe(never)) => match never {},
    }
}

#[test]
fn each_document_comes_along_once() {
    for (query, expected) in [
        ("Observation?code=29463-7&_include=Observation:subject", "p1 p2"),
        ("Observation?patient=p1&_include=Observation:patient", "p1"),
        ("Observation?_id=o6&_include=Observation:encounter&_include=Observation:patient", "e1 p1"),
        ("Observation?_id=o6&_include=Observation:*", "e1 o1 p1"),
        ("Observation?_id=o6&_include=*", "e1 o1 p1"),
        ("Observation?_id=o6&_include=Observation:subject:Patient", "p1"),
        ("Observation?_id=o6&_include=Observation:subject:Group", ""),
        ("Observation?_id=o6&_include=Encounter:patient", ""),
        ("Observation?_id=o6&_include=Observation:encounter&_include:iterate=Encounter:patient", "e1 p2"),
        ("Observation?_id=o6&_include=Observation:encounter&_include=Encounter:patient", "e1"),
        ("Observation?_id=o6&_include=Observation:encounter&_include:recurse=Encounter:patient", "e1 p2"),
        // What is on the page does not come again.
        ("Observation?patient=p1&_include=Observation:has-member", ""),
        ("Observation?_id=o1&_revinclude=Provenance:target", "v1"),
        ("Observation?_id=o1,o2&_revinclude=Provenance:target", "v1"),
        ("Observation?_id=o1&_revinclude=Provenance:target:Observation", "v1"),
        ("Observation?_id=o1&_revinclude=Provenance:target:Patient", ""),
        ("Observation?_id=o1&_revinclude=*", "o6 v1"),
        ("Observation?_id=o1&_revinclude=Provenance:*", "v1"),
        ("Observation?_id=o1&_revinclude=Provenance:target&_include:iterate=Provenance:location", "l1 v1"),
        ("Patient?_id=p2&_revinclude=Encounter:patient&_revinclude:iterate=Observation:encounter", "e1 o6"),
        ("Observation?_id=o3", ""),
    ] {
        assert_eq!(included(query, &LIMITS).unwrap_or_else(|fault| panic!("{query}: {fault}")), expected, "{query}");
    }
}

#[test]
fn circles_end() {
    for (query, expected) in [
        ("Location?_id=l1&_include:iterate=Location:partof", "l2 l3"),
        ("Location?_id=l1&_revinclude:iterate=Location:partof", "l2 l3"),
        ("Location?_id=l1&_include:iterate=*&_revinclude:iterate=*", "e1 l2 l3 o1 o2 o3 o6 p1 p2 v1"),
        ("Location?_id=alone&_include:iterate=*&_revinclude:iterate=*", ""),
        ("Location?_id=l1&_include=Location:partof", "l2"),
    ] {
        assert_eq!(included(query, &LIMITS).unwrap_or_else(|fault| panic!("{query}: {fault}")), expected, "{query}");
    }
}

#[test]
fn no_more_come_along_than_may() {
    let text = "Location?_id=l1&_include:iterate=Location:partof";
    assert!(included(text, &Limits { included: 2, ..LIMITS }).is_ok());
    for (text, parameter) in
        [(text, "_include:iterate"), ("Location?_id=l1&_revinclude:iterate=*", "_revinclude:iterate")]
    {
        let fault = included(text, &Limits { included: 1, ..LIMITS }).unwrap_err();
        assert_eq!((fault.kind, fault.parameter.as_str()), (FaultKind::TooCostly, parameter));
    }
    let fault = included("Patient?_id=p1&_revinclude=*", &Limits { scanned: 2, ..LIMITS }).unwrap_err();
    assert_eq!((fault.kind, fault.parameter.as_str()), (FaultKind::TooCostly, "_revinclude"));
}
