//! Chains, `_has` and compartments.

use serde_json::json;

use super::*;

fn world() -> Vec<Value> {
    let mut world = charts();
    world.extend([
        json!({"resourceType": "Organization", "id": "acme", "name": "Acme Hospital"}),
        json!({"resourceType": "Patient", "id": "p3", "name": [{"family": "Peters"}],
            "managingOrganization": {"reference": "Organization/acme"}, "link": [{"other": {"reference": "Patient/p1"}, "type": "seealso"}]}),
        observation("o4", "p3", "29463-7", "2022-01-01", 80.0),
        json!({"resourceType": "Observation", "id": "o5", "status": "final", "code": {"coding": [{"code": "x"}]},
            "subject": {"reference": "Group/p2"}, "encounter": {"reference": "Encounter/e1"}}),
        json!({"resourceType": "Provenance", "id": "v1", "target": [{"reference": "Observation/o4"}, {"reference": "Observation/o1"}],
            "agent": [{"who": {"reference": "Organization/acme"}}]}),
        json!({"resourceType": "Group", "id": "p2", "identifier": [{"value": "G"}]}),
    ]);
    world
}

/// Each also behind a condition that narrows, so that both ways of answering are taken.
#[test]
fn chains_and_has_find_the_same_from_either_end() {
    for (query, expected) in [
        ("Observation?subject:Patient.name=peters", "o3 o4"),
        ("Observation?patient.name=peters", "o3 o4"),
        ("Observation?subject.name=peters", "o3 o4"),
        ("Observation?patient.name=peters,chalmers", "o1 o2 o3 o4"),
        ("Observation?patient.gender=female", "o1 o2 o3"),
        ("Observation?patient.gender=http://hl7.org/fhir/administrative-gender|female", "o1 o2 o3"),
        ("Observation?patient.gender=http://example.org/gender|female", ""),
        ("Observation?patient.birthdate=ge1980", "o3"),
        ("Observation?patient._id=p1", "o1 o2"),
        ("Observation?patient.identifier=urn:mrn|MRN-p2", "o3"),
        ("Observation?patient.organization.name=acme", "o4"),
        ("Observation?subject:Patient.organization:Organization.name=acme", "o4"),
        ("Observation?patient.organization.name=other", ""),
        ("Observation?patient.name:missing=true", ""),
        ("Observation?patient.name:missing=false", "o1 o2 o3 o4"),
        ("Observation?subject:Group.identifier=G", "o5"),
        ("Observation?encounter.class=AMB", "o5"),
        ("Observation?encounter.patient.name=peters", "o5"),
        ("Observation?patient.name=peters&patient.organization.name=acme", "o4"),
        ("Observation?_has:Provenance:target:agent=Organization/acme", "o1 o4"),
        ("Observation?_has:Provenance:target:agent.name=acme", "o1 o4"),
        ("Patient?_has:Observation:patient:code=29463-7", "p1 p2 p3"),
        ("Patient?_has:Observation:patient:code=8302-2", "p1"),
        ("Patient?_has:Observation:subject:value-quantity=gt75", "p1 p3"),
        ("Patient?_has:Observation:patient:_has:Provenance:target:agent=acme", "p1 p3"),
        ("Patient?_has:Observation:patient:_id=o3", "p2"),
        ("Patient?_has:Encounter:patient:status=finished&family=peters", "p2"),
        ("Patient?organization:Organization._has:Provenance:agent:target=Observation/o1", "p3"),
        ("Patient?_has:Patient:link:family=peters", "p1"),
    ] {
        let universe = universe(&world());
        assert_eq!(found(&universe, query), expected, "{query}");
        let all = "_id=o1,o2,o3,o4,o5,p1,p2,p3";
        assert_eq!(found(&universe, &format!("{query}&{all}")), expected, "{query}");
    }
}

#[test]
fn a_chain_to_more_than_a_few_is_followed_instead() {
    let mut resources = (0..1200).map(|n| patient(&format!("p{n}"), "Peters", "1970")).collect::<Vec<_>>();
    resources.push(patient("other", "Chalmers", "1970"));
    resources.push(observation("o1", "p7", "x", "2020", 1.0));
    resources.push(observation("o2", "other", "x", "2020", 1.0));
    check(&resources, &[("Observation?patient.name=peters", "o1"), ("Observation?patient.name=chalmers", "o2")]);
}

#[test]
fn more_than_are_kept_in_mind_are_found_as_well() {
    let mut resources = vec![patient("none", "Peters", "1970")];
    for n in 0..1600 {
        let id = format!("p{n}");
        resources.push(patient(&id, "Peters", "1970"));
        resources.push(observation(&format!("o{n}"), &id, "x", "2020", 1.0));
    }
    let universe = universe(&resources);
    let count = |of, text| answer(&universe, &query(Some(of), text), &LIMITS).total;
    assert_eq!(count("Patient", "_has:Observation:patient:code=x&_summary=count"), Some(1600));
    // Each is followed, and what was learned of the first is forgotten.
    assert_eq!(count("Observation", "patient.birthdate=1970&_summary=count"), Some(1600));
}

fn within(universe: &MemoryUniverse<u32>, of: Option<&str>, text: &str, id: &str) -> String {
    let query = query(of, text).within("Patient", id).unwrap_or_else(|fault| panic!("{fault}"));
    ids(&answer(universe, &query, &LIMITS).matches)
}

#[test]
fn a_compartment_holds_what_refers_to_its_patient() {
    let universe = universe(&world());
    assert_eq!(within(&universe, Some("Observation"), "", "p1"), "o1 o2");
    assert_eq!(within(&universe, Some("Observation"), "code=8302-2", "p1"), "o2");
    // The Group of the same id is another.
    assert_eq!(within(&universe, Some("Observation"), "", "p2"), "o3");
    assert_eq!(within(&universe, Some("Patient"), "", "p1"), "p1 p3");
    assert_eq!(within(&universe, Some("Patient"), "_id=p3,p2", "p1"), "p3");
    assert_eq!(within(&universe, None, "", "p2"), "e1 o3 p2");
    assert_eq!(within(&universe, None, "", "nobody"), "");
}

#[test]
fn what_a_chain_looks_at_counts() {
    let universe = universe(&world());
    let query = query(Some("Observation"), "patient.birthdate=ge1980");
    let fault = |scanned| match run(&universe, &query, &Limits { scanned, ..LIMITS }, None) {
        Ok(_) => None,
        Err(RunError::Fault(fault)) => Some((fault.kind, fault.parameter)),
        Err(RunError::Universe(never)) => match never {},
    };
    assert_eq!(fault(100), None);
    // Five Observations, and the three Patients they lead to, each twice: it is asked for and looked at.
    assert_eq!(fault(10), Some((FaultKind::TooCostly, "patient.birthdate".to_owned())));
}
