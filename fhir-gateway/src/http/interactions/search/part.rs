//! How much of each resource is shown: `_summary` and `_elements` (<https://hl7.org/fhir/R4/search.html#summary>).

use vouchsafe_fhir_search::{Query, Summary, mandatory_elements, summary_elements};

use crate::fhir::json::subset;

/// What changes the meaning of the rest is never left out.
const MODIFIERS: &[&str] = &["implicitRules", "modifierExtension"];

/// The part of a resource that a search asks for; none when it asks for all.
pub(super) fn part(query: &Query, resource_type: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let always = |name: &str| MODIFIERS.contains(&name) || mandatory_elements(resource_type).contains(&name);
    let elements = query.elements();
    if !elements.is_empty() {
        return Some(subset(bytes, &|name| {
            always(name) || elements.iter().any(|asked| is_of(asked, resource_type, name))
        }));
    }
    match query.summary() {
        Summary::False | Summary::Count => None,
        Summary::True => Some(subset(bytes, &|name| always(name) || summary_elements(resource_type).contains(&name))),
        Summary::Text => Some(subset(bytes, &|name| always(name) || name == "text")),
        Summary::Data => Some(subset(bytes, &|name| name != "text")),
    }
}

/// True when a member is an element that was asked for: `birthDate`, `Patient.birthDate`, or `value` for `valueQuantity`.
fn is_of(asked: &str, resource_type: &str, name: &str) -> bool {
    let asked = match asked.split_once('.') {
        Some((of, element)) if of == resource_type => element,
        Some(_) => return false,
        None => asked,
    };
    name.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || CHOICES.contains(&rest))
}

/// The types by which R4's choices at the top of a resource are named.
const CHOICES: &[&str] = &[
    "Age",
    "Address",
    "Attachment",
    "Boolean",
    "Canonical",
    "CodeableConcept",
    "Coding",
    "Date",
    "DateTime",
    "Decimal",
    "Duration",
    "Expression",
    "Identifier",
    "Instant",
    "Integer",
    "Markdown",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "String",
    "Time",
    "Timing",
    "Uri",
    "Url",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_named_by_its_element() {
        for (asked, name) in [
            ("value", "valueQuantity"),
            ("valueQuantity", "valueQuantity"),
            ("Observation.code", "code"),
            ("effective", "effectiveDateTime"),
        ] {
            assert!(is_of(asked, "Observation", name), "{asked} {name}");
        }
        for (asked, name) in [("Patient.code", "code"), ("val", "valueQuantity"), ("code", "codeFilter"), ("", "code")]
        {
            assert!(!is_of(asked, "Observation", name), "{asked} {name}");
        }
    }
}
