//! The table against HL7's text.

use super::{
    read::{COMPARTMENTS, ELEMENTS, PARAMETERS},
    *,
};
use crate::Kind;

/// How many definitions HL7's search-parameters.json has; `_text`, `_content` and `_query` are without an expression.
const DEFINITIONS: usize = 1375 - 3;

#[test]
fn every_definition_of_hl7_is_there_and_can_be_read() {
    assert_eq!(table().definitions.len(), DEFINITIONS);
    for definition in &table().definitions {
        let code = definition.url;
        assert!(definition.expression.as_ref().is_some_and(|e| !e.is_empty()), "{code}");
        assert!(definition.components.iter().all(|c| c.expression.is_some()), "{code}");
        let types: Vec<_> = RESOURCE_TYPES.iter().filter(|name| definition.is_for(name)).collect();
        for name in &types {
            assert!(definition.branches(name).next().is_some(), "{code} looks at no {name}");
        }
        assert_eq!(
            types.len(),
            if definition.bases == ["Resource"] { RESOURCE_TYPES.len() } else { definition.bases.len() },
            "{code}"
        );
    }
}

#[test]
fn numbers_stay_what_they_were() {
    // A stored index files facts under these numbers. The list is sorted by address and HL7's 4.0.1 is closed.
    let number = |kind, code| param(kind, code).unwrap().number;
    assert!(table().definitions.is_sorted_by_key(|d| d.url));
    assert_eq!(number("Account", "identifier"), 0);
    assert_eq!(number("Observation", "patient"), number("Condition", "patient"));
    assert_eq!(usize::from(number("Patient", "birthdate")), place("individual-birthdate"));
    assert_eq!(usize::from(number("VisionPrescription", "status")), place("VisionPrescription-status"));
}

fn place(id: &str) -> usize {
    let headings = PARAMETERS.lines().filter(|line| !line.starts_with(' '));
    headings.enumerate().find(|(_, line)| line.contains(&format!("/{id} "))).unwrap().0
}

#[test]
fn parameters_are_found_by_type_and_code() {
    for name in RESOURCE_TYPES {
        let all = params(name);
        assert!(all.is_sorted_by(|a, b| a.code < b.code), "{name} has a code twice");
        for code in ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"] {
            assert!(param(name, code).is_some(), "{name} has no {code}");
        }
        for found in all {
            assert_eq!(param(name, found.code).unwrap().url, found.url);
        }
    }
    assert!(params("Resource").is_empty());
    assert!(param("Patient", "").is_none());
    assert!(param("Patient", "code").is_none());
}

#[test]
fn composites_have_all_their_parts() {
    let mut composites = 0;
    for name in RESOURCE_TYPES {
        for found in params(name).iter().filter(|p| p.kind == Kind::Composite) {
            composites += 1;
            let definition = &table().definitions[usize::from(found.number)];
            let urls: Vec<_> = found.components.iter().map(|c| c.url).collect();
            assert_eq!(urls, definition.components.iter().map(|c| c.url).collect::<Vec<_>>(), "{name} {}", found.code);
            assert!(urls.len() >= 2);
        }
    }
    assert_eq!(composites, 72);
    let parts = param("Observation", "code-value-quantity").unwrap().components;
    assert_eq!(
        parts.iter().map(|p| (p.code, p.kind)).collect::<Vec<_>>(),
        [("code", Kind::Token), ("value-quantity", Kind::Quantity)]
    );
}

#[test]
fn targets_are_what_the_expression_leaves() {
    assert_eq!(param("Observation", "patient").unwrap().targets, ["Patient"]);
    assert_eq!(param("Observation", "subject").unwrap().targets, ["Device", "Group", "Location", "Patient"]);
    assert!(param("Patient", "birthdate").unwrap().targets.is_empty());
    for name in RESOURCE_TYPES {
        for found in params(name) {
            for target in found.targets {
                assert!(vouchsafe_fhir_structure::is_resource_type(target), "{name} {} {target}", found.code);
            }
        }
    }
}

#[test]
fn codes_are_of_the_system_that_r4_requires() {
    let system = |name, code| param(name, code).unwrap().code_system;
    assert_eq!(system("Patient", "gender"), Some("http://hl7.org/fhir/administrative-gender"));
    assert_eq!(system("Observation", "status"), Some("http://hl7.org/fhir/observation-status"));
    assert_eq!(system("Bundle", "type"), Some("http://hl7.org/fhir/bundle-type"));
    // The types of medication share a definition of status; each has a code system of its own.
    assert_eq!(system("MedicationRequest", "status"), Some("http://hl7.org/fhir/CodeSystem/medicationrequest-status"));
    assert_eq!(
        system("MedicationStatement", "status"),
        Some("http://hl7.org/fhir/CodeSystem/medication-statement-status")
    );
    // Codings say their system themselves, and booleans and texts have none.
    assert_eq!(system("Observation", "code"), None);
    assert_eq!(system("Patient", "active"), None);
    assert_eq!(system("Patient", "identifier"), None);
    for name in RESOURCE_TYPES {
        assert!(params(name).iter().all(|p| p.code_system.is_none() || p.kind == Kind::Token), "{name}");
    }
}

#[test]
fn compartments_are_hl7s() {
    let mut members = 0;
    let mut of = "";
    for line in COMPARTMENTS.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap();
        if first == "compartment" {
            of = words.next().unwrap();
            continue;
        }
        let codes: Vec<_> = compartment(of, first).unwrap().iter().map(|p| p.code).collect();
        assert_eq!(codes, words.collect::<Vec<_>>(), "{of} {first}");
        members += 1;
    }
    assert_eq!(members, COMPARTMENTS.lines().count() - 5);
    assert!(compartment("Patient", "Observation").unwrap().iter().any(|p| p.code == "performer"));
    assert!(compartment("Patient", "Organization").is_none());
    assert!(compartment("Encounter", "Encounter").unwrap().is_empty());
    assert!(compartment("Device", "Device").unwrap().is_empty());
    assert!(compartment("Observation", "Observation").is_none());
    assert!(compartment("Patient", "Nothing").is_none());
}

#[test]
fn every_type_has_its_elements() {
    assert_eq!(ELEMENTS.lines().filter(|line| !line.starts_with(' ')).count(), RESOURCE_TYPES.len());
    for name in RESOURCE_TYPES {
        assert!(summary_elements(name).contains(&"id"), "{name}");
        assert!(!summary_elements(name).contains(&"text"), "{name}");
        for member in summary_elements(name).iter().chain(mandatory_elements(name)) {
            assert!(vouchsafe_fhir_structure::kind_of(name, member).is_some(), "{name}.{member}");
        }
    }
    assert_eq!(mandatory_elements("Observation"), ["status", "code"]);
    assert!(mandatory_elements("MedicationRequest").contains(&"medicationReference"));
    assert!(summary_elements("Observation").contains(&"valueQuantity"));
    assert!(!summary_elements("Observation").contains(&"note"));
    assert!(summary_elements("Resource").is_empty());
}

#[test]
fn more_of_fhirpath_than_r4_uses_is_refused() {
    for bad in
        ["", "A.b | ", "A.b.first()", "A.b.where(c)", "A.b[x]", "(A.b as)", "A.b.where(c='d'", "A.b and A.c", "A..b"]
    {
        assert!(expression::parse(bad).is_none(), "{bad}");
    }
}
