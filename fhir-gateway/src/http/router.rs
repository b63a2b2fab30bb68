//! From a request's method and path to the row of the table that serves it.

use super::{Fault, call::Route, ids};
use crate::fhir::capability::{COMPARTMENTS, Method};

/// The row found, and the values of its path's `{…}` segments.
pub(crate) struct Found {
    pub(crate) route: &'static Route,
    pub(crate) params: Vec<(&'static str, String)>,
}

/// Finds the row for a path below the FHIR base. Rows are tried in the table's order, so literal segments stand before
/// `{type}` and `{id}`.
///
/// # Errors
/// 400 for a path that is not percent-encoded UTF-8, 404 for one that no row has, 405 with the methods that it has.
pub(crate) fn find(table: &'static [Route], method: Option<Method>, path: &str) -> Result<Found, (Fault, String)> {
    let none = |fault| (fault, String::new());
    let trimmed = path.strip_prefix('/').unwrap_or(path);
    if trimmed.len() > 512 {
        return Err(none(Fault::new(400, "too-long", "the path is longer than any that is served")));
    }
    let mut segments = Vec::new();
    for raw in trimmed.split('/') {
        let decoded = ids::percent_decode(raw, false).filter(|s| !s.contains('\0'));
        let Some(decoded) = decoded else {
            return Err(none(Fault::malformed("the path is not percent-encoded UTF-8 without NUL")));
        };
        segments.push(decoded);
    }
    let mut allowed: Vec<Method> = Vec::new();
    for route in table {
        let Some(params) = matches(route.row.path, &segments) else { continue };
        if params.iter().any(|(n, name)| *n == "compartment" && !COMPARTMENTS.contains(&name.as_str())) {
            continue;
        }
        if let Some((_, name)) = params.iter().find(|(n, _)| *n == "type")
            && !route.row.types.contains(name)
        {
            continue;
        }
        if Some(route.row.method) == method {
            return Ok(Found { route, params });
        }
        if !allowed.contains(&route.row.method) {
            allowed.push(route.row.method);
        }
    }
    if allowed.is_empty() {
        return Err(none(unknown(&segments)));
    }
    let allow = allowed.iter().map(|m| name(*m)).collect::<Vec<_>>().join(", ");
    let fault = Fault::new(405, "not-supported", format!("this address takes {allow}")).code("method-not-allowed");
    Err((fault, allow))
}

/// A path that no row has: an id of a wrong form and an unknown type are told, the rest is just not there.
fn unknown(segments: &[String]) -> Fault {
    let Some(first) = segments.first() else { return Fault::not_found() };
    let looks_like_type = first.starts_with(|c: char| c.is_ascii_uppercase());
    if looks_like_type && !vouchsafe_fhir_structure::is_resource_type(first) {
        return Fault::new(404, "not-supported", "R4 has no resource type of this name").code("unknown-type");
    }
    if let Some(id) = segments.get(1).filter(|s| looks_like_type && !s.starts_with(['$', '_']))
        && let Err(fault) = ids::check(id, "id")
    {
        return fault;
    }
    Fault::new(404, "not-found", "no such address").code("no-such-address")
}

fn matches(pattern: &'static str, segments: &[String]) -> Option<Vec<(&'static str, String)>> {
    let parts = pattern.strip_prefix('/').unwrap_or(pattern).split('/');
    if parts.clone().count() != segments.len() {
        return None;
    }
    let mut params = Vec::new();
    for (part, segment) in parts.zip(segments) {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            // An operation or a history is a word of its own, never somebody's id.
            Some(_) if segment.starts_with(['$', '_']) => return None,
            Some(name) => params.push((name, segment.clone())),
            None if part == segment => {}
            None => return None,
        }
    }
    Some(params)
}

/// HTTP's name of a method.
pub(crate) const fn name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

/// The method that a request names, when any row can have it.
pub(crate) fn method(name: &axum::http::Method) -> Option<Method> {
    [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete]
        .into_iter()
        .find(|m| self::name(*m) == name.as_str())
}
