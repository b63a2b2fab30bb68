//! R4's patient compartment (<https://hl7.org/fhir/R4/compartmentdefinition-patient.html>): which patient a resource
//! is about, and hence to whose chart it belongs.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_path;

/// A reference as a resource holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The type of the target, when the reference says it.
    pub resource_type: Option<String>,
    /// The id of the target, when the reference is `Type/id` or ends so.
    pub id: Option<String>,
    /// The text, as it stands.
    pub text: String,
}

impl Reference {
    /// Reads `Type/id`, `Type/id/_history/version` or an absolute URL that ends so; anything else keeps its text only.
    pub fn parse(text: &str) -> Self {
        let plain = text.split_once("/_history/").map_or(text, |(before, _)| before);
        let mut parts = plain.rsplit('/');
        let (id, kind) = (parts.next(), parts.next());
        match (kind, id) {
            (Some(kind), Some(id)) if vouchsafe_fhir_structure::is_resource_type(kind) && is_id(id) => {
                Self { resource_type: Some(kind.to_owned()), id: Some(id.to_owned()), text: text.to_owned() }
            }
            _ => Self { resource_type: None, id: None, text: text.to_owned() },
        }
    }

    /// True when it is relative, so that its target is on this server.
    pub fn is_local(&self) -> bool {
        self.id.is_some() && !self.text.contains("://")
    }
}

/// True for R4's `id`: 1 to 64 of `A-Z a-z 0-9 - .`
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// Whose a resource is (design: classes of resources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceClass {
    /// About one patient: sealed to the patient's chart.
    Patient,
    /// The organisation's own: read by others only when a permitted record refers to it.
    Organization,
    /// How systems work: public.
    Conformance,
}

/// The class of a resource type, before looking into a resource.
pub fn class_of(resource_type: &str) -> ResourceClass {
    if paths_of(resource_type).is_some() {
        ResourceClass::Patient
    } else if CONFORMANCE.contains(&resource_type) {
        ResourceClass::Conformance
    } else {
        ResourceClass::Organization
    }
}

/// The class of one resource: a Device or Task that names a patient is the patient's, one that names none is not.
pub fn class_of_resource(resource_type: &str, resource: &Value) -> ResourceClass {
    match class_of(resource_type) {
        ResourceClass::Organization if patient_of(resource_type, resource).is_some() => ResourceClass::Patient,
        class => class,
    }
}

/// The patient whom the resource is about: the first reference to a Patient along the compartment's paths, the
/// subject's before those of others who took part. A Patient is its own.
pub fn patient_of(resource_type: &str, resource: &Value) -> Option<Reference> {
    if resource_type == "Patient" {
        let id = resource.get("id").and_then(Value::as_str).filter(|id| is_id(id))?;
        return Some(Reference::parse(&format!("Patient/{id}")));
    }
    let found = |path: &&str| json_path::at(resource, path).into_iter().find_map(to_patient);
    match paths_of(resource_type) {
        Some(paths) => paths.iter().find_map(found),
        None if PATIENT_BESIDES.contains(&resource_type) => BESIDES_PATHS.iter().find_map(found),
        None => None,
    }
}

/// Every patient whom the compartment's paths name, in their order, each once.
pub fn patients_of(resource_type: &str, resource: &Value) -> Vec<Reference> {
    let mut out = Vec::new();
    for path in paths_of(resource_type).unwrap_or(BESIDES_PATHS) {
        for reference in json_path::at(resource, path).into_iter().filter_map(to_patient) {
            if !out.contains(&reference) {
                out.push(reference);
            }
        }
    }
    out
}

fn to_patient(value: &Value) -> Option<Reference> {
    let text = value.get("reference")?.as_str()?;
    let reference = Reference::parse(text);
    let named = value.get("type").and_then(Value::as_str);
    match reference.resource_type.as_deref().or(named) {
        Some("Patient") => Some(reference),
        Some(_) => None,
        // `urn:uuid:` and conditional references inside a transaction say the type in the query or not at all.
        None => text.starts_with("Patient?").then_some(reference),
    }
}

fn paths_of(resource_type: &str) -> Option<&'static [&'static str]> {
    let at = COMPARTMENT.binary_search_by_key(&resource_type, |row| row.0).ok()?;
    Some(COMPARTMENT[at].1)
}

/// Types outside HL7's compartment that may still be about one patient: they follow the patient when they name one.
const PATIENT_BESIDES: &[&str] = &[
    "Binary",
    "Contract",
    "Device",
    "DeviceMetric",
    "GuidanceResponse",
    "PaymentNotice",
    "PaymentReconciliation",
    "Task",
];

/// Where those name the patient.
const BESIDES_PATHS: &[&str] = &["subject", "patient", "for", "securityContext"];

/// How systems work together; nothing in these is about a person.
const CONFORMANCE: &[&str] = &[
    "CapabilityStatement",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "GraphDefinition",
    "ImplementationGuide",
    "MessageDefinition",
    "NamingSystem",
    "OperationDefinition",
    "SearchParameter",
    "StructureDefinition",
    "StructureMap",
    "TerminologyCapabilities",
    "ValueSet",
];

/// HL7's CompartmentDefinition of the patient, its search parameters resolved to element paths.
const COMPARTMENT: &[(&str, &[&str])] = &[
    ("Account", &["subject"]),
    ("AdverseEvent", &["subject"]),
    ("AllergyIntolerance", &["patient", "recorder", "asserter"]),
    ("Appointment", &["participant.actor"]),
    ("AppointmentResponse", &["actor"]),
    ("AuditEvent", &["agent.who", "entity.what"]),
    ("Basic", &["subject", "author"]),
    ("BodyStructure", &["patient"]),
    ("CarePlan", &["subject", "activity.detail.performer"]),
    ("CareTeam", &["subject", "participant.member"]),
    ("ChargeItem", &["subject"]),
    ("Claim", &["patient", "payee.party"]),
    ("ClaimResponse", &["patient"]),
    ("ClinicalImpression", &["subject"]),
    ("Communication", &["subject", "sender", "recipient"]),
    ("CommunicationRequest", &["subject", "sender", "recipient", "requester"]),
    ("Composition", &["subject", "author", "attester.party"]),
    ("Condition", &["subject", "asserter"]),
    ("Consent", &["patient"]),
    ("Coverage", &["beneficiary", "policyHolder", "subscriber", "payor"]),
    ("CoverageEligibilityRequest", &["patient"]),
    ("CoverageEligibilityResponse", &["patient"]),
    ("DetectedIssue", &["patient"]),
    ("DeviceRequest", &["subject", "performer"]),
    ("DeviceUseStatement", &["subject"]),
    ("DiagnosticReport", &["subject"]),
    ("DocumentManifest", &["subject", "author", "recipient"]),
    ("DocumentReference", &["subject", "author"]),
    ("Encounter", &["subject"]),
    ("EnrollmentRequest", &["candidate"]),
    ("EpisodeOfCare", &["patient"]),
    ("ExplanationOfBenefit", &["patient", "payee.party"]),
    ("FamilyMemberHistory", &["patient"]),
    ("Flag", &["subject"]),
    ("Goal", &["subject"]),
    ("Group", &["member.entity"]),
    ("ImagingStudy", &["subject"]),
    ("Immunization", &["patient"]),
    ("ImmunizationEvaluation", &["patient"]),
    ("ImmunizationRecommendation", &["patient"]),
    ("Invoice", &["subject", "recipient"]),
    ("List", &["subject", "source"]),
    ("MeasureReport", &["subject"]),
    ("Media", &["subject"]),
    ("MedicationAdministration", &["subject", "performer.actor"]),
    ("MedicationDispense", &["subject", "receiver"]),
    ("MedicationRequest", &["subject"]),
    ("MedicationStatement", &["subject"]),
    ("MolecularSequence", &["patient"]),
    ("NutritionOrder", &["patient"]),
    ("Observation", &["subject", "performer"]),
    ("Patient", &["link.other"]),
    ("Person", &["link.target"]),
    ("Procedure", &["subject", "performer.actor"]),
    ("Provenance", &["target"]),
    ("QuestionnaireResponse", &["subject", "author"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["subject", "action.participant"]),
    ("ResearchSubject", &["individual"]),
    ("RiskAssessment", &["subject"]),
    ("Schedule", &["actor"]),
    ("ServiceRequest", &["subject", "performer"]),
    ("Specimen", &["subject"]),
    ("SupplyDelivery", &["patient"]),
    ("SupplyRequest", &["deliverTo"]),
    ("VisionPrescription", &["patient"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_is_sorted_and_of_known_types() {
        assert!(COMPARTMENT.windows(2).all(|w| w[0].0 < w[1].0));
        for name in COMPARTMENT.iter().map(|r| &r.0).chain(CONFORMANCE).chain(PATIENT_BESIDES) {
            assert!(vouchsafe_fhir_structure::is_resource_type(name), "{name}");
        }
    }

    #[test]
    fn the_subject_comes_before_others_who_took_part() {
        let value =
            json!({ "performer": [{ "reference": "Patient/mother" }], "subject": { "reference": "Patient/child" } });
        assert_eq!(patient_of("Observation", &value).unwrap().id.as_deref(), Some("child"));
        assert_eq!(patients_of("Observation", &value).len(), 2);
    }

    #[test]
    fn references_to_others_are_no_patient() {
        assert_eq!(patient_of("Observation", &json!({ "subject": { "reference": "Group/1" } })), None);
        assert_eq!(patient_of("Observation", &json!({ "subject": { "display": "somebody" } })), None);
        assert_eq!(patient_of("Organization", &json!({ "subject": { "reference": "Patient/1" } })), None);
    }

    #[test]
    fn references_are_read_in_all_their_forms() {
        let parsed = Reference::parse("https://a.example/fhir/Patient/7/_history/2");
        assert_eq!((parsed.resource_type.as_deref(), parsed.id.as_deref()), (Some("Patient"), Some("7")));
        assert!(!parsed.is_local());
        assert!(Reference::parse("Patient/7").is_local());
        for odd in ["#contained", "urn:uuid:1", "Patient/", "Patient/a b", "Nothing/1", "Patient?identifier=x|1"] {
            assert_eq!(Reference::parse(odd).id, None, "{odd}");
        }
        let nested = json!({ "participant": [{ "actor": { "reference": "Location/1" } }, { "actor": { "reference": "Patient/9" } }] });
        assert_eq!(patient_of("Appointment", &nested).unwrap().id.as_deref(), Some("9"));
    }

    #[test]
    fn classes() {
        assert_eq!(class_of("Patient"), ResourceClass::Patient);
        assert_eq!(class_of("Observation"), ResourceClass::Patient);
        assert_eq!(class_of("Practitioner"), ResourceClass::Organization);
        assert_eq!(class_of("Medication"), ResourceClass::Organization);
        assert_eq!(class_of("ValueSet"), ResourceClass::Conformance);
        let implant = json!({ "patient": { "reference": "Patient/1" } });
        assert_eq!(class_of_resource("Device", &implant), ResourceClass::Patient);
        assert_eq!(class_of_resource("Device", &json!({})), ResourceClass::Organization);
    }
}
