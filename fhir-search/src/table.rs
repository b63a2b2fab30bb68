//! HL7's definitions of R4's search parameters (<https://hl7.org/fhir/R4/searchparameter-registry.html>).

use crate::Param;

/// The search parameters of a resource type, those that all types have among them, by their codes.
pub fn params(resource_type: &str) -> &'static [&'static Param] {
    let _ = resource_type;
    unimplemented!("written in the next commits")
}

/// The search parameter of a type with this code.
pub fn param(resource_type: &str, code: &str) -> Option<&'static Param> {
    let all = params(resource_type);
    all.binary_search_by(|p| p.code.cmp(code)).ok().map(|at| all[at])
}

/// The parameters by which a resource of a type belongs to a compartment (<https://hl7.org/fhir/R4/compartmentdefinition.html>):
/// `Patient`, `Encounter`, `RelatedPerson`, `Practitioner` or `Device`. None when the type is in no such compartment; empty
/// when it is the compartment's own type alone.
pub fn compartment(compartment: &str, resource_type: &str) -> Option<&'static [&'static Param]> {
    let _ = (compartment, resource_type);
    unimplemented!("written in the next commits")
}
