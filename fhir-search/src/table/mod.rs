//! HL7's definitions of R4's search parameters (<https://hl7.org/fhir/R4/searchparameter-registry.html>), of its compartments
//! and of its summaries, read once from `r4/`, which `r4/make.py` makes from HL7's files.

mod expression;
mod read;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use vouchsafe_fhir_structure::RESOURCE_TYPES;

use crate::Param;

pub(crate) use expression::{Branch, Root, Step};
pub(crate) use read::Definition;

type Params = &'static [&'static Param];

/// What is read from `r4/`. It stays as long as the program, so that all can be lent from it.
pub(crate) struct Table {
    /// HL7's definitions; the place of one is its number.
    pub(crate) definitions: Vec<Definition>,
    /// For each of R4's types, in the order of their names.
    types: Vec<OfType>,
    compartments: Vec<(&'static str, Vec<Option<Params>>)>,
}

struct OfType {
    /// By their codes.
    params: Params,
    summary: &'static [&'static str],
    mandatory: &'static [&'static str],
}

static TABLE: LazyLock<Table> = LazyLock::new(read::table);

/// The table, read when it is first asked for.
pub(crate) fn table() -> &'static Table {
    &TABLE
}

/// The search parameters of a resource type, those that all types have among them, by their codes. Empty when R4 has no
/// such type. Those that look at no element of a resource, as `_text` and `_query`, are not among them.
pub fn params(resource_type: &str) -> &'static [&'static Param] {
    of_type(resource_type).map_or(&[], |of| of.params)
}

/// The search parameter of a type with this code.
pub fn param(resource_type: &str, code: &str) -> Option<&'static Param> {
    let all = params(resource_type);
    all.binary_search_by(|p| p.code.cmp(code)).ok().map(|at| all[at])
}

/// The parameters by which a resource of a type belongs to a compartment (<https://hl7.org/fhir/R4/compartmentdefinition.html>):
/// `Patient`, `Encounter`, `RelatedPerson`, `Practitioner` or `Device`. None when the type is in no such compartment.
/// A resource of the compartment's own type belongs to it by its id as well, and mostly by nothing else: then the list is
/// empty.
pub fn compartment(compartment: &str, resource_type: &str) -> Option<&'static [&'static Param]> {
    let at = RESOURCE_TYPES.binary_search(&resource_type).ok()?;
    let (_, types) = table().compartments.iter().find(|(name, _)| *name == compartment)?;
    types[at]
}

/// The members that R4 marks as summary at the top of a resource of this type (<https://hl7.org/fhir/R4/search.html#summary>),
/// as JSON names them: a choice has one for each of its types. Empty when R4 has no such type.
pub fn summary_elements(resource_type: &str) -> &'static [&'static str] {
    of_type(resource_type).map_or(&[], |of| of.summary)
}

/// The members that a resource of this type must have at its top, as JSON names them: a choice has one for each of its types.
pub fn mandatory_elements(resource_type: &str) -> &'static [&'static str] {
    of_type(resource_type).map_or(&[], |of| of.mandatory)
}

fn of_type(name: &str) -> Option<&'static OfType> {
    RESOURCE_TYPES.binary_search(&name).ok().map(|at| &table().types[at])
}
