//! Transaction and batch Bundles (<https://hl7.org/fhir/R4/http.html#transaction>) taken apart: each entry's resource as
//! its exact bytes, its request, and what its links to other entries become.

mod names;

use std::ops::Range;

use vouchsafe_fhir_structure::StructureError;

use super::{
    Fault,
    capability::Method,
    json::{Item, level, string_at},
};

pub use names::{Names, Target};

/// What is done with the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All or none.
    Transaction,
    /// Each by itself.
    Batch,
}

/// What one entry asks for. Headers are as HTTP has them; what they mean is for whoever serves the request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The address, relative to the base.
    pub url: String,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`, an instant.
    pub if_modified_since: Option<String>,
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Exist`, the query alone.
    pub if_none_exist: Option<String>,
}

/// One entry. Its resource is health data, so there is no Debug.
#[derive(Clone)]
pub struct Entry {
    /// The name by which other entries refer to it.
    pub full_url: Option<String>,
    /// Where its resource lies in the Bundle's bytes.
    pub resource: Option<Range<usize>>,
    /// What is asked for.
    pub request: Request,
}

/// A Bundle taken apart.
pub struct Bundle {
    /// What is done with the entries.
    pub kind: Kind,
    /// The entries; in a batch one may be wrong by itself.
    pub entries: Vec<Result<Entry, Fault>>,
}

/// The place of an entry, as a FHIRPath.
pub fn place(number: usize) -> String {
    format!("Bundle.entry[{number}]")
}

/// The place of something in an entry's resource, whose own expression begins with its type.
pub fn within(number: usize, expression: &str) -> String {
    match expression.split_once('.') {
        Some((_, rest)) => format!("{}.resource.{rest}", place(number)),
        None => format!("{}.resource", place(number)),
    }
}

/// Takes a Bundle apart whose bytes are acceptable JSON. The resources in it are not looked into.
///
/// # Errors
/// 413 for more entries than `most`, 422 for what is no Bundle of R4's structure, 400 for another type of Bundle.
pub fn read(bytes: &[u8], most: usize) -> Result<Bundle, Fault> {
    let all = 0..bytes.len();
    let Some(top) = level(bytes, &all) else { return Err(Fault::malformed("", "The body is no JSON object.")) };
    let text = |name: &str| top.find(name).and_then(|item| string_at(bytes, &item.value));
    if text("resourceType").as_deref() != Some("Bundle") {
        return Err(Fault::malformed("resourceType", "This address takes a Bundle."));
    }
    let envelope = top.map(bytes, |item| (item.name != "entry").then(|| bytes[item.whole.clone()].to_vec()));
    vouchsafe_fhir_structure::check("Bundle", &envelope.unwrap_or_default()).map_err(|e| structure(&e))?;
    let kind = match text("type").as_deref() {
        Some("transaction") => Kind::Transaction,
        Some("batch") => Kind::Batch,
        _ => return Err(Fault::malformed("Bundle.type", "This address takes a transaction or a batch.")),
    };
    let items = match top.find("entry") {
        None => Vec::new(),
        Some(entries) if bytes[entries.value.start] == b'[' => {
            level(bytes, &entries.value).map_or_else(Vec::new, |array| array.items)
        }
        Some(_) => return Err(Fault::invalid("Bundle.entry", "The entries must be an array.")),
    };
    if items.len() > most {
        let what = format!("A Bundle may have at most {most} entries (limits.bundle_entries); this one has more.");
        return Err(Fault { status: 413, expression: "Bundle.entry".into(), what });
    }
    let entries = items.iter().enumerate().map(|(number, item)| entry(bytes, number, item)).collect();
    Ok(Bundle { kind, entries })
}

fn structure(error: &StructureError) -> Fault {
    Fault::invalid(error.expression.as_str(), format!("The Bundle is not of R4's structure: {}.", error.diagnostics))
}

fn entry(bytes: &[u8], number: usize, item: &Item) -> Result<Entry, Fault> {
    let place = place(number);
    let members = level(bytes, &item.value).filter(|_| bytes[item.value.start] == b'{');
    let Some(members) = members else { return Err(Fault::invalid(place, "An entry must be an object.")) };
    let Some(asked) = members.find("request") else {
        return Err(Fault::malformed(format!("{place}.request"), "An entry must say what is asked for."));
    };
    // The resource is checked by itself; its place is then named by whoever checks it.
    let rest = members.map(bytes, |m| (m.name != "resource").then(|| bytes[m.whole.clone()].to_vec()));
    let mut alone = br#"{"resourceType":"Bundle","type":"batch","entry":["#.to_vec();
    alone.extend(rest.unwrap_or_default());
    alone.extend(b"]}");
    vouchsafe_fhir_structure::check("Bundle", &alone).map_err(|mut error| {
        error.expression = error.expression.replacen("Bundle.entry[0]", &place, 1);
        structure(&error)
    })?;
    let full_url = members.find("fullUrl").and_then(|m| string_at(bytes, &m.value));
    let resource = members.find("resource").map(|m| m.value.clone());
    if resource.as_ref().is_some_and(|r| bytes[r.start] != b'{') {
        return Err(Fault::invalid(format!("{place}.resource"), "A resource must be an object."));
    }
    Ok(Entry { full_url, resource, request: request(bytes, &place, &asked.value)? })
}

fn request(bytes: &[u8], place: &str, range: &Range<usize>) -> Result<Request, Fault> {
    let members = level(bytes, range);
    let text = |name: &str| members.as_ref()?.find(name).and_then(|m| string_at(bytes, &m.value));
    let method = match text("method").unwrap_or_default().as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        _ => {
            let what = "An entry's method is one of GET, POST, PUT and DELETE.".into();
            return Err(Fault { status: 405, expression: format!("{place}.request.method"), what });
        }
    };
    Ok(Request {
        method,
        url: text("url").unwrap_or_default(),
        if_none_match: text("ifNoneMatch"),
        if_modified_since: text("ifModifiedSince"),
        if_match: text("ifMatch"),
        if_none_exist: text("ifNoneExist"),
    })
}

#[cfg(test)]
mod tests;
