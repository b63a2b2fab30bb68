//! References (<https://hl7.org/fhir/R4/search.html#reference>).

use serde_json::Value;
use vouchsafe_fhir_structure::is_resource_type;

use super::convert::{Out, text};
use crate::Fact;

/// The type that a Reference leads to, when its text or its `type` says it.
pub(super) fn refers_to(reference: &Value) -> Option<&str> {
    let literal = text(reference, "reference").and_then(|url| parts(without_version(url)));
    literal.map(|(kind, _, _)| kind).or_else(|| text(reference, "type"))
}

/// A Reference: what it says, and the identifier of the resource it means.
pub(super) fn reference(element: &Value, out: &mut Out<'_>) {
    if let Some(url) = text(element, "reference") {
        literal(url, text(element, "type"), out);
    }
    if let Some(identifier) = element.get("identifier")
        && let Some(value) = text(identifier, "value")
    {
        out.push(Fact::ReferenceIdentifier { system: text(identifier, "system"), value });
    }
}

/// An address that is a reference. One to a contained resource leads nowhere outside and is passed over.
fn literal(url: &str, declared: Option<&str>, out: &mut Out<'_>) {
    let url = without_version(url);
    if url.is_empty() || url.starts_with('#') {
        return;
    }
    let declared = declared.filter(|name| is_resource_type(name));
    let fact = match parts(url) {
        None => Fact::Reference { resource_type: declared, id: None, url },
        Some((kind, id, before)) => {
            let local = before.is_empty() || before == out.base.strip_suffix('/').unwrap_or(out.base);
            Fact::Reference { resource_type: Some(kind), id: local.then_some(id), url }
        }
    };
    out.push(fact);
}

/// A canonical address, found with its version and without.
pub(super) fn canonical(element: &Value, out: &mut Out<'_>) {
    let Some(url) = element.as_str() else { return };
    if let Some((plain, _)) = url.split_once('|') {
        literal(plain, None, out);
    }
    literal(url, None, out);
}

/// A resource of one of these types that is itself where a reference would be: in a Bundle.
pub(super) fn resource(element: &Value, targets: &[&str], out: &mut Out<'_>) {
    let (Some(kind), Some(id)) = (text(element, "resourceType"), text(element, "id")) else { return };
    if targets.contains(&kind) && is_id(id) {
        out.push(Fact::Reference { resource_type: Some(kind), id: Some(id), url: &format!("{kind}/{id}") });
    }
}

fn without_version(url: &str) -> &str {
    url.find("/_history/").map_or(url, |at| &url[..at])
}

/// The type and the id that an address ends in, and what stands before them.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (rest, id) = url.rsplit_once('/')?;
    let (before, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
    (is_resource_type(kind) && is_id(id)).then_some((kind, id, before))
}

/// True for R4's `id`: 1 to 64 of `A-Z a-z 0-9 - .`
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}
