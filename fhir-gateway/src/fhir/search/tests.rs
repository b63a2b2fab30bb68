use serde_json::json;

use super::*;

fn query(kind: &str, parameters: &[(&str, &str)]) -> Result<Query, Fault> {
    let owned: Vec<(String, String)> = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Query::parse(kind, &owned)
}

fn observation() -> SearchFacts {
    facts(
        "Observation",
        &json!({
            "resourceType": "Observation", "id": "o1", "status": "final",
            "identifier": [{ "system": "urn:lab", "value": "77" }],
            "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory" }] }],
            "code": { "coding": [{ "system": "http://loinc.org", "code": "718-7" }, { "code": "local|1" }] },
            "subject": { "reference": "Patient/p1" },
            "effectiveDateTime": "2026-03-14T10:00:00Z",
        }),
    )
}

fn finds(parameters: &[(&str, &str)]) -> bool {
    matches(&observation(), &query("Observation", parameters).ok().unwrap())
}

#[test]
fn each_parameter_finds_and_leaves_out() {
    for (name, found, missed) in [
        ("_id", "o1", "o2"),
        ("patient", "p1", "p2"),
        ("patient", "Patient/p1", "Patient/p2"),
        ("subject", "http://a.example/fhir/Patient/p1", "p"),
        ("identifier", "urn:lab|77", "urn:lab|78"),
        ("identifier", "77", "7"),
        ("identifier", "urn:lab|", "urn:other|"),
        ("code", "http://loinc.org|718-7", "http://snomed.info/sct|718-7"),
        ("code", "x,718-7", "x,y"),
        ("code", "|local\\|1", "|718-7"),
        ("status", "final", "preliminary"),
        ("category", "laboratory", "vital-signs"),
        ("category", "https://vouchsafe.example/CodeSystem/category|laboratory", "hiv"),
        ("date", "2026", "2025"),
        ("date", "2026-03-14", "2026-03-15"),
        ("date", "ge2026-03-14T10:00:00Z", "gt2026-03-14"),
        ("date", "lt2026-04", "lt2026-03-14T10:00:00Z"),
        ("date", "le2026-03-14", "le2026-03-13"),
        ("date", "sa2026-03-13", "sa2026-03-14"),
        ("date", "eb2026-03-15", "eb2026-03-14"),
        ("date", "ne2025", "ne2026"),
    ] {
        assert!(finds(&[(name, found)]), "{name}={found}");
        assert!(!finds(&[(name, missed)]), "{name}={missed}");
    }
    assert!(finds(&[("date", "ge2026-01"), ("date", "lt2027"), ("status", "final")]));
    assert!(!finds(&[("date", "ge2026-01"), ("date", "lt2026-02")]));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for name in ["_include", "name", "code:text", "patient.name", "_has:x", "value-quantity", "_sort"] {
        let fault = query("Observation", &[(name, "x")]).err().unwrap();
        assert_eq!((fault.status, fault.expression.as_str()), (400, name));
        assert!(fault.what.contains(name));
    }
    assert!(query("Patient", &[("code", "x")]).is_err());
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (name, value) in [
        ("date", "soon"),
        ("_count", "-1"),
        ("_count", "x"),
        ("patient", "Group/1"),
        ("patient", "a b"),
        ("code", ""),
        ("code", "a,,b"),
        ("_id", ""),
    ] {
        let fault = query("Observation", &[(name, value)]).err().unwrap();
        assert_eq!((fault.status, fault.expression.as_str()), (400, name), "{value}");
    }
}

#[test]
fn a_page_is_bounded_and_a_lost_plus_is_found() {
    assert_eq!(query("Observation", &[("_count", "9999999")]).ok().unwrap().count, Some(MAX_COUNT));
    assert!(finds(&[("date", "2026-03-14T12:00:00 02:00")]));
}

#[test]
fn a_resource_without_a_date_matches_no_date() {
    let facts = facts("Observation", &json!({}));
    assert!(!matches(&facts, &query("Observation", &[("date", "ge1900")]).ok().unwrap()));
}

#[test]
fn a_patient_is_found_as_its_own() {
    let facts = facts("Patient", &json!({ "resourceType": "Patient", "id": "p1", "identifier": [{ "value": "9" }] }));
    assert!(matches(&facts, &query("Patient", &[("_id", "p1"), ("identifier", "9")]).ok().unwrap()));
}

#[test]
fn last_updated_is_matched_against_the_version() {
    let query = query("Observation", &[("_lastUpdated", "ge2026-11-22")]).ok().unwrap();
    assert!(query.matches_last_updated(&DateRange::parse("2026-11-22T00:00:00Z").unwrap()));
    assert!(!query.matches_last_updated(&DateRange::parse("2026-11-21T23:59:59Z").unwrap()));
}
