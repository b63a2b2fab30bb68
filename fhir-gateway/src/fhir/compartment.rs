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

/// Where a resource belongs, by what it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// To the chart of this Patient.
    Patient(Reference),
    /// To the chart that this RelatedPerson lies in.
    Related(Reference),
    /// To nobody: it is the organisation's own.
    Organization,
    /// It may be about a patient, but does not say whom in a way that a chart can be found by. The element at fault.
    Unclear(String),
}

/// Where a resource belongs (docs/adr/0031-records-about-nobody.md): to the patient whom the compartment's paths name, else
/// to the one patient whom anything in it refers to, else to the organisation. What could be about a person who
/// cannot be found by it is unclear, and must not be taken for the organisation's own.
pub fn belongs(resource_type: &str, resource: &Value) -> Belongs {
    if let Some(patient) = patient_of(resource_type, resource) {
        return Belongs::Patient(patient);
    }
    let Some(paths) = paths_of(resource_type) else { return Belongs::Organization };
    let mut related = None;
    for path in paths {
        for reference in json_path::at(resource, path) {
            match subject(resource, reference) {
                Subject::Thing => {}
                Subject::Related(who) => related = related.or(Some(who)),
                Subject::Unknown => return Belongs::Unclear(format!("{resource_type}.{path}")),
            }
        }
    }
    if let Some(who) = related {
        return Belongs::Related(who);
    }
    if contained(resource).any(|inner| inner.get("resourceType").and_then(Value::as_str).is_some_and(is_person)) {
        return Belongs::Unclear(format!("{resource_type}.contained"));
    }
    let mut named = Vec::new();
    patients_within(resource, &mut named);
    match <[Reference; 1]>::try_from(named) {
        Ok([only]) => Belongs::Patient(only),
        Err(_) => Belongs::Organization,
    }
}

/// What a reference along the compartment's paths leads to, when it is no Patient.
enum Subject {
    Thing,
    Related(Reference),
    Unknown,
}

fn subject(resource: &Value, value: &Value) -> Subject {
    let text = value.get("reference").and_then(Value::as_str).unwrap_or_default();
    let reference = Reference::parse(text);
    let inner = text.strip_prefix('#').filter(|id| !id.is_empty()).and_then(|id| {
        let one = contained(resource).find(|inner| inner.get("id").and_then(Value::as_str) == Some(id))?;
        one.get("resourceType").and_then(Value::as_str)
    });
    let named = value.get("type").and_then(Value::as_str);
    match reference.resource_type.as_deref().or(inner).or(named) {
        Some("RelatedPerson") if reference.id.is_some() => Subject::Related(reference),
        Some(kind) if vouchsafe_fhir_structure::is_resource_type(kind) && !is_person(kind) => Subject::Thing,
        // The resource itself, as one that is contained in it calls it.
        None if text == "#" => Subject::Thing,
        _ => Subject::Unknown,
    }
}

fn is_person(kind: &str) -> bool {
    matches!(kind, "Patient" | "Person" | "RelatedPerson")
}

fn contained(resource: &Value) -> impl Iterator<Item = &Value> {
    resource.get("contained").and_then(Value::as_array).into_iter().flatten()
}

/// Every Patient that anything in a resource refers to, each once; its depth is bounded by what the gateway accepts.
fn patients_within(value: &Value, out: &mut Vec<Reference>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| patients_within(item, out)),
        Value::Object(members) => {
            if let Some(patient) = to_patient(value).filter(|p| !out.contains(p)) {
                out.push(patient);
            }
            members.values().for_each(|member| patients_within(member, out));
        }
        _ => {}
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

    fn observation(subject: &Value) -> Belongs {
        belongs("Observation", &json!({ "resourceType": "Observation", "subject": subject }))
    }

    #[test]
    fn what_is_about_a_thing_or_says_nothing_is_the_organisations() {
        for thing in ["Device/1", "Location/1", "Group/1", "https://a.example/fhir/Location/9"] {
            assert_eq!(observation(&json!({ "reference": thing })), Belongs::Organization, "{thing}");
        }
        assert_eq!(observation(&json!({ "display": "ward 7", "type": "Location" })), Belongs::Organization);
        assert_eq!(belongs("Basic", &json!({})), Belongs::Organization);
        let group = json!({ "contained": [{ "resourceType": "Group", "id": "g" }], "subject": { "reference": "#g" } });
        assert_eq!(belongs("RiskAssessment", &group), Belongs::Organization);
    }

    #[test]
    fn what_may_be_about_somebody_is_not_taken_for_the_organisations() {
        let at = |path: &str| Belongs::Unclear(path.to_owned());
        for subject in [
            json!({ "display": "Jane Doe" }),
            json!({ "identifier": { "value": "1" } }),
            json!({ "reference": "urn:uuid:1" }),
            json!({ "reference": "#nowhere" }),
            json!({ "reference": "Person/1" }),
            json!({ "display": "x", "type": "RelatedPerson" }),
            json!({ "display": "x", "type": "Nothing" }),
        ] {
            assert_eq!(observation(&subject), at("Observation.subject"), "{subject}");
        }
        let newborn =
            json!({ "contained": [{ "resourceType": "Patient", "id": "n" }], "subject": { "reference": "#n" } });
        assert_eq!(belongs("Observation", &newborn), at("Observation.subject"));
        let within = json!({ "contained": [{ "resourceType": "Patient", "id": "n" }] });
        assert_eq!(belongs("DetectedIssue", &within), at("DetectedIssue.contained"));
    }

    #[test]
    fn a_patient_or_relative_who_is_named_anywhere_decides() {
        let patient = |id: &str| Belongs::Patient(Reference::parse(&format!("Patient/{id}")));
        let device = json!({ "subject": { "reference": "Device/1" }, "focus": [{ "reference": "Patient/7" }] });
        assert_eq!(belongs("Observation", &device), patient("7"));
        let entry = |id: &str| json!({ "item": { "reference": format!("Patient/{id}") } });
        assert_eq!(belongs("List", &json!({ "entry": [entry("7"), entry("7")] })), patient("7"));
        // A ward's list is about no one of them, and what lies with the organisation is handed to nobody.
        assert_eq!(belongs("List", &json!({ "entry": [entry("7"), entry("8")] })), Belongs::Organization);
        let sent = json!({ "sender": { "reference": "RelatedPerson/3" }, "recipient": [{ "reference": "Device/1" }] });
        assert_eq!(belongs("Communication", &sent), Belongs::Related(Reference::parse("RelatedPerson/3")));
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
