//! What a resource can be found by: HL7's expressions, applied.
//!
//! The expressions of all parameters of a type are put together into one tree (`plan`), along which the resource is walked
//! once (`walk`); what is found is converted by its type and the parameter's kind (`convert`, `reference`, `number`). Nothing
//! is allocated for a step, and no step depends on how deep the input is.

mod convert;
mod number;
mod plan;
mod reference;
#[cfg(test)]
mod tests;
mod walk;

use serde_json::Value;

use crate::{Facts, FactsBuilder};

/// What this resource can be found by. References below `base`, the server's FHIR base, count as local.
/// What an expression finds that is not of R4's form is passed over. There are no facts of `_id` and `_lastUpdated`, which a
/// store knows by itself.
///
/// Where R4 leaves it open:
///
/// - a canonical address with a version is found with and without it;
/// - `near` has one tuple for each position: the latitude as its first component, the longitude as its second;
/// - a range without one of its ends, and a quantity with a comparator, reach to the end of all numbers.
pub fn extract(resource_type: &str, resource: &Value, base: &str) -> Facts {
    let mut facts = FactsBuilder::default();
    if let Some(plan) = plan::plan(resource_type) {
        walk::walk(plan, resource, base, &mut facts);
    }
    facts.finish()
}
