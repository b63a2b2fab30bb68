//! Simple element paths: members by name, arrays flattened, as FHIR's search parameters mostly need.

use serde_json::Value;

/// Every value at a dotted path, such as `participant.actor`.
pub fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    flatten(value, &mut found);
    for name in path.split('.') {
        let mut next = Vec::new();
        for value in found {
            if let Some(member) = value.get(name) {
                flatten(member, &mut next);
            }
        }
        found = next;
    }
    found
}

/// Every string at a dotted path.
pub fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    at(value, path).into_iter().filter_map(Value::as_str).collect()
}

/// The first string at a dotted path.
pub fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path).into_iter().find_map(Value::as_str)
}

/// The `system` and `code` of every coding below a path that leads to CodeableConcepts, Codings or codes.
pub fn codes(value: &Value, path: &str) -> Vec<(Option<String>, String)> {
    let mut out = Vec::new();
    for concept in at(value, path) {
        if let Some(code) = concept.as_str() {
            out.push((None, code.to_owned()));
        }
        for coding in at(concept, "coding").into_iter().chain([concept]) {
            if let Some(code) = coding.get("code").and_then(Value::as_str) {
                out.push((coding.get("system").and_then(Value::as_str).map(str::to_owned), code.to_owned()));
            }
        }
    }
    out
}

fn flatten<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|i| flatten(i, out)),
        other => out.push(other),
    }
}
