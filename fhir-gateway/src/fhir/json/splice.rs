//! What the server says about a resource, taken out of its bytes and put into them.

use std::ops::Range;

use serde_json::{Value, json};

use super::scan::{Event, Scanner, decode};
use crate::fhir::systems;

/// What the server says about a record version, none of which is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splice<'a> {
    /// The resource's id on this server.
    pub id: &'a str,
    /// `meta.versionId`
    pub version: &'a str,
    /// `meta.lastUpdated`, an instant.
    pub last_updated: &'a str,
    /// Codes of the category code system, as `meta.security`.
    pub labels: &'a [&'a str],
    /// Reference to the organisation that a foreign record comes from, as an extension of `meta`.
    pub source: Option<&'a str>,
}

/// A member of an object, or an element of an array (with an empty name).
pub(crate) struct Item {
    pub(crate) name: String,
    /// From the name, or the value where there is none, to the end of the value.
    pub(crate) whole: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// An object or array: its items and where its brackets are.
pub(crate) struct Level {
    pub(super) open: usize,
    pub(super) close: usize,
    pub(crate) items: Vec<Item>,
}

impl Level {
    /// The member of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Item> {
        self.items.iter().find(|i| i.name == name)
    }

    /// The bytes of this level, items mapped: `None` takes one out. `None` altogether when nothing remains.
    /// What stands between two items belongs to the later one, and what stands before the bracket to the bracket.
    pub(crate) fn map(&self, bytes: &[u8], keep: impl Fn(&Item) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
        let mut out = vec![bytes[self.open]];
        let mut first = true;
        let mut before = self.open + 1;
        for (n, item) in self.items.iter().enumerate() {
            if let Some(text) = keep(item) {
                let between = &bytes[before..item.whole.start];
                // The first that is kept loses the comma of those taken out before it, not the space after.
                match between.iter().position(|b| *b == b',') {
                    Some(comma) if first && n > 0 => out.extend(&between[comma + 1..]),
                    _ => out.extend(between),
                }
                out.extend(text);
                first = false;
            }
            before = item.whole.end;
        }
        out.extend(&bytes[before..=self.close]);
        (!first).then_some(out)
    }

    /// The offset after the last item, where a further one may be written, and whether it needs a comma.
    pub(super) fn end(&self) -> (usize, bool) {
        self.items.last().map_or((self.open + 1, false), |i| (i.whole.end, true))
    }
}

/// The items of the object or array that `bytes[range]` is; `None` when it is neither.
pub(crate) fn level(bytes: &[u8], range: &Range<usize>) -> Option<Level> {
    let mut scanner = Scanner::new(&bytes[range.clone()]).ok()?;
    let base = range.start;
    let (open, keyed) = match scanner.next().ok()?? {
        Event::ObjectStart(at) => (at + base, true),
        Event::ArrayStart(at) => (at + base, false),
        _ => return None,
    };
    let mut items = Vec::new();
    let mut name: Option<(String, usize)> = None;
    let mut depth = 0_usize;
    let mut value_start = 0;
    loop {
        let (start, end) = match scanner.next().ok()?? {
            Event::Key(key, range) => {
                if depth == 0 && keyed {
                    name = Some((key.into_owned(), range.start + base));
                }
                continue;
            }
            Event::ObjectStart(at) | Event::ArrayStart(at) => {
                if depth == 0 {
                    value_start = at;
                }
                depth += 1;
                continue;
            }
            Event::ObjectEnd(at) | Event::ArrayEnd(at) => {
                if depth == 0 {
                    return Some(Level { open, close: at + base, items });
                }
                depth -= 1;
                (value_start, at + 1)
            }
            Event::Text(range) | Event::Scalar(range) => (range.start, range.end),
        };
        if depth == 0 {
            let value = start + base..end + base;
            let (name, from) = name.take().unwrap_or_else(|| (String::new(), value.start));
            items.push(Item { name, whole: from..value.end, value });
        }
    }
}

/// The submitted bytes without what the server says: the resource's `id`, `meta.versionId`, `meta.lastUpdated`, the
/// computed labels in `meta.security` and the source extension of `meta`, and without what is empty then. Everything
/// else stays byte for byte. Bytes that are no JSON object come back as they are.
pub fn sealed_form(bytes: &[u8]) -> Vec<u8> {
    let all = 0..bytes.len();
    let Some(top) = level(bytes, &all) else { return bytes.to_vec() };
    let stripped = top.map(bytes, |item| match item.name.as_str() {
        "id" => None,
        "meta" => replaced(bytes, item, strip_meta(bytes, &item.value)),
        _ => Some(bytes[item.whole.clone()].to_vec()),
    });
    let mut out = bytes[..top.open].to_vec();
    out.extend(stripped.unwrap_or_else(|| b"{}".to_vec()));
    out.extend(&bytes[top.close + 1..]);
    out
}

/// Takes the same out of a resource's tree: `strip` of a document's tree is the tree of its `sealed_form`.
pub fn strip(resource: &mut Value) {
    let Some(members) = resource.as_object_mut() else { return };
    members.shift_remove("id");
    let Some(Value::Object(meta)) = members.get_mut("meta") else { return };
    meta.shift_remove("versionId");
    meta.shift_remove("lastUpdated");
    for (name, key, text) in
        [("security", "system", systems::CATEGORY), ("extension", "url", systems::SOURCE_EXTENSION)]
    {
        if let Some(Value::Array(elements)) = meta.get_mut(name) {
            elements.retain(|element| element.get(key).and_then(Value::as_str) != Some(text));
            if elements.is_empty() {
                meta.shift_remove(name);
            }
        }
    }
    if meta.is_empty() {
        members.shift_remove("meta");
    }
}

/// The item with another value in place of its own.
fn replaced(bytes: &[u8], item: &Item, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = bytes[item.whole.start..item.value.start].to_vec();
    out.extend(value?);
    Some(out)
}

fn strip_meta(bytes: &[u8], range: &Range<usize>) -> Option<Vec<u8>> {
    let Some(meta) = level(bytes, range) else { return Some(bytes[range.clone()].to_vec()) };
    meta.map(bytes, |item| match item.name.as_str() {
        "versionId" | "lastUpdated" => None,
        "security" => replaced(bytes, item, strip_array(bytes, &item.value, "system", systems::CATEGORY)),
        "extension" => replaced(bytes, item, strip_array(bytes, &item.value, "url", systems::SOURCE_EXTENSION)),
        _ => Some(bytes[item.whole.clone()].to_vec()),
    })
}

/// The array without the elements whose member `name` is `text`.
fn strip_array(bytes: &[u8], range: &Range<usize>, name: &str, text: &str) -> Option<Vec<u8>> {
    let Some(array) = level(bytes, range) else { return Some(bytes[range.clone()].to_vec()) };
    array.map(bytes, |item| {
        let ours = level(bytes, &item.value).is_some_and(|element| {
            element.find(name).is_some_and(|m| string_at(bytes, &m.value).as_deref() == Some(text))
        });
        (!ours).then(|| bytes[item.whole.clone()].to_vec())
    })
}

/// The text of the string that `bytes[range]` is.
pub(crate) fn string_at(bytes: &[u8], range: &Range<usize>) -> Option<String> {
    let text = std::str::from_utf8(&bytes[range.clone()]).ok()?;
    text.starts_with('"').then(|| decode(text).into_owned())
}

/// The type of the resource whose object begins at an offset, as R4 names it.
pub(super) fn resource_type_at(bytes: &[u8], at: usize) -> Option<&'static str> {
    let object = level(bytes, &(at..bytes.len()))?;
    let name = string_at(bytes, &object.find("resourceType")?.value)?;
    let types = vouchsafe_fhir_structure::RESOURCE_TYPES;
    types.binary_search(&name.as_str()).ok().map(|n| types[n])
}

/// The sealed bytes with what the server says put in: `id` after `resourceType`, the rest at the end of `meta`. Every
/// other byte stays, so `sealed_form(splice(x)) == x` for every `x` that `sealed_form` made.
pub fn splice(sealed: &[u8], add: &Splice<'_>) -> Vec<u8> {
    let Some(top) = level(sealed, &(0..sealed.len())) else { return sealed.to_vec() };
    let anchor = top.find("resourceType").map_or_else(|| top.end().0, |i| i.whole.end);
    let comma = if top.items.is_empty() { "" } else { "," };
    let mut inserts: Vec<(usize, String)> = vec![(anchor, format!("{comma}\"id\":{}", json!(add.id)))];
    match top.find("meta").map(|item| level(sealed, &item.value)) {
        Some(Some(meta)) => into_meta(sealed, &meta, add, &mut inserts),
        // A meta that is no object is no FHIR; a second one would make it no JSON either.
        Some(None) => {}
        None => inserts.push((anchor, format!(",\"meta\":{{{}}}", meta_members(add, true, true).join(",")))),
    }
    // Stable, so that what goes to one place stays in order.
    inserts.sort_by_key(|(at, _)| *at);
    let mut out = Vec::with_capacity(sealed.len() + 256);
    let mut from = 0;
    for (at, text) in inserts {
        out.extend(&sealed[from..at]);
        out.extend(text.as_bytes());
        from = at;
    }
    out.extend(&sealed[from..]);
    out
}

fn into_meta(sealed: &[u8], meta: &Level, add: &Splice<'_>, inserts: &mut Vec<(usize, String)>) {
    let array = |name: &str| meta.find(name).and_then(|item| level(sealed, &item.value));
    let security = array("security");
    let extension = array("extension");
    let members = meta_members(add, security.is_none(), extension.is_none());
    let mut put = |level: &Level, texts: Vec<String>| {
        let (at, after) = level.end();
        if !texts.is_empty() {
            inserts.push((at, format!("{}{}", if after { "," } else { "" }, texts.join(","))));
        }
    };
    if let Some(level) = &security {
        put(level, labels(add));
    }
    if let Some(level) = &extension {
        put(level, source(add));
    }
    put(meta, members);
}

fn labels(add: &Splice<'_>) -> Vec<String> {
    add.labels.iter().map(|code| json!({ "system": systems::CATEGORY, "code": code }).to_string()).collect()
}

fn source(add: &Splice<'_>) -> Vec<String> {
    let one = |reference: &str| {
        json!({ "url": systems::SOURCE_EXTENSION, "valueReference": { "reference": reference } }).to_string()
    };
    add.source.map(one).into_iter().collect()
}

fn meta_members(add: &Splice<'_>, with_security: bool, with_extension: bool) -> Vec<String> {
    let mut out =
        vec![format!("\"versionId\":{}", json!(add.version)), format!("\"lastUpdated\":{}", json!(add.last_updated))];
    let labels = labels(add);
    if with_security && !labels.is_empty() {
        out.push(format!("\"security\":[{}]", labels.join(",")));
    }
    let source = source(add);
    if with_extension && !source.is_empty() {
        out.push(format!("\"extension\":[{}]", source.join(",")));
    }
    out
}

/// The bytes with the string values of members called `reference` replaced where `with` gives another; all other
/// bytes stay. Bytes that are no JSON come back as they are.
pub fn rewrite_references(bytes: &[u8], with: &dyn Fn(&str) -> Option<String>) -> Vec<u8> {
    let Ok(mut scanner) = Scanner::new(bytes) else { return bytes.to_vec() };
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    let mut is_reference = false;
    loop {
        match scanner.next() {
            Ok(Some(Event::Key(name, _))) => is_reference = name == "reference",
            Ok(Some(Event::Text(range))) => {
                let new = string_at(bytes, &range).filter(|_| is_reference).and_then(|old| with(&old));
                if let Some(new) = new {
                    out.extend(&bytes[from..range.start]);
                    out.extend(json!(new).to_string().as_bytes());
                    from = range.end;
                }
                is_reference = false;
            }
            Ok(Some(_)) => is_reference = false,
            Ok(None) => break,
            Err(_) => return bytes.to_vec(),
        }
    }
    out.extend(&bytes[from..]);
    out
}
