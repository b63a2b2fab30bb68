//! Whether a resource is of R4's structure: known elements only, their JSON types and formats, their cardinality.
//!
//! **Architecture invariant:** this crate knows R4's structure, as a table made from HL7's definitions, and nothing of
//! gateways, storage or consent. No code is written or generated for any one resource type.

mod primitive;
mod table;
mod walk;

use serde_json::Value;

pub use table::Kind;

/// Where and how a resource departs from R4. It names elements, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expression}: {diagnostics}")]
pub struct StructureError {
    /// The element as a FHIRPath, such as `Patient.birthDate`.
    pub expression: String,
    /// What is wrong with it.
    pub diagnostics: String,
}

/// True when R4 has a resource type of this name; the abstract ones are none.
pub fn is_resource_type(name: &str) -> bool {
    RESOURCE_TYPES.binary_search(&name).is_ok()
}

/// Checks that `json` is a resource of this type and of R4's structure.
///
/// # Errors
/// The first departure.
pub fn check(resource_type: &str, json: &[u8]) -> Result<(), StructureError> {
    match serde_json::from_slice(json) {
        Ok(value) => check_value(resource_type, &value),
        Err(_) => Err(StructureError {
            expression: resource_type.to_owned(),
            diagnostics: "not JSON that can be read".to_owned(),
        }),
    }
}

/// Checks that `value` is a resource of this type and of R4's structure.
///
/// # Errors
/// The first departure.
pub fn check_value(resource_type: &str, value: &Value) -> Result<(), StructureError> {
    let fail = |what: String| Err(StructureError { expression: "resourceType".to_owned(), diagnostics: what });
    if !is_resource_type(resource_type) {
        return fail("not a resource type of R4".to_owned());
    }
    if value.get("resourceType").and_then(Value::as_str) != Some(resource_type) {
        return fail(format!("must be {resource_type:?}"));
    }
    walk::check(value)
}

/// What R4 has at a member of a block: of a resource or data type by its name, or of a block within one, as `Kind` names it.
pub fn kind_of(block: &str, member: &str) -> Option<Kind> {
    table::table().block(block)?.iter().find_map(|element| element.kind_of(member))
}

/// One member under which JSON may hold an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The name of its type; a block within a type goes by its path.
    pub type_name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// The members under which JSON may hold an element of a block: one, or for a choice, which is named without its `[x]`, one
/// for each of its types. Empty when R4 has no such element there.
pub fn members_of(block: &str, element: &str) -> Vec<Member> {
    let elements = table::table().block(block).unwrap_or_default();
    elements.iter().find(|e| e.name == element).map(table::Element::members).unwrap_or_default()
}

/// The resource types of R4 (4.0.1), without the abstract Resource and DomainResource, ascending.
pub const RESOURCE_TYPES: &[&str] = &[
    "Account",
    "ActivityDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceDefinition",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "InsurancePlan",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionOrder",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "OperationOutcome",
    "Organization",
    "OrganizationAffiliation",
    "Parameters",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RelatedPerson",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "Substance",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

#[cfg(test)]
mod tests;
