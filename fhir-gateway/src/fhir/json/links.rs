//! Links within a resource, by R4's types: references, addresses and what a narrative points at, replaced in the exact bytes.

use std::ops::Range;

use serde_json::json;
use vouchsafe_fhir_structure::{Kind, kind_of};

use super::{
    scan::{Event, Scanner, decode},
    splice::resource_type_at,
};

/// How a resource points at something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// `Reference.reference`
    Reference,
    /// A value of type uri, url, oid or uuid; a canonical names a definition and is none.
    Address,
    /// An `href` or `src` in a narrative.
    Narrative,
}

/// One link as it stands, and where.
pub struct Found<'a> {
    /// What kind.
    pub link: Link,
    /// The text.
    pub text: &'a str,
    place: &'a dyn Fn() -> String,
}

impl Found<'_> {
    /// The element as a FHIRPath.
    pub fn expression(&self) -> String {
        (self.place)()
    }
}

/// What the objects and arrays that the scanner is in are.
#[derive(Clone, Copy)]
enum Inside<'a> {
    /// A block of this name.
    Block(&'a str),
    /// Something whose members are no links, or that R4 does not have.
    Other,
}

/// The bytes of a resource of a known structure with its links replaced where `with` gives another text; all other bytes
/// stay. Bytes that are no JSON come back as they are.
pub fn rewrite_links(bytes: &[u8], with: &mut dyn FnMut(&Found<'_>) -> Option<String>) -> Vec<u8> {
    let Ok(mut scanner) = Scanner::new(bytes) else { return bytes.to_vec() };
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    let mut stack: Vec<Inside<'static>> = Vec::new();
    // What the member under way is: the kind by the table, kept for all elements of an array.
    let mut kinds: Vec<Option<Kind>> = Vec::new();
    let mut next = Some(Kind::Resource);
    loop {
        match scanner.next() {
            Ok(Some(Event::Key(name, _))) => {
                next = match stack.last() {
                    Some(Inside::Block(block)) => kind_of(block, &name).map(|kind| reference(block, &name, kind)),
                    _ => None,
                };
            }
            Ok(Some(Event::ObjectStart(at))) => {
                stack.push(inside(bytes, at, next));
                kinds.push(next);
            }
            Ok(Some(Event::ArrayStart(_))) => {
                stack.push(Inside::Other);
                kinds.push(next);
            }
            Ok(Some(Event::ObjectEnd(_) | Event::ArrayEnd(_))) => {
                stack.pop();
                // Within an array the next element is of the kind that this one was of.
                next = kinds.pop().flatten();
            }
            Ok(Some(Event::Text(range))) => {
                if let Some(new) = replaced(bytes, &range, next, &scanner, with) {
                    out.extend(&bytes[from..range.start]);
                    out.extend(json!(new).to_string().as_bytes());
                    from = range.end;
                }
            }
            Ok(Some(Event::Scalar(_))) => {}
            Ok(None) => break,
            Err(_) => return bytes.to_vec(),
        }
    }
    out.extend(&bytes[from..]);
    out
}

/// The one string that is a link although its type is not.
const REFERENCE: Kind = Kind::Primitive("Reference.reference");

fn reference(block: &str, name: &str, kind: Kind) -> Kind {
    if block == "Reference" && name == "reference" { REFERENCE } else { kind }
}

fn inside(bytes: &[u8], at: usize, kind: Option<Kind>) -> Inside<'static> {
    match kind {
        Some(Kind::Block(name)) => Inside::Block(name),
        Some(Kind::Resource) => resource_type_at(bytes, at).map_or(Inside::Other, Inside::Block),
        _ => Inside::Other,
    }
}

fn replaced(
    bytes: &[u8],
    range: &Range<usize>,
    kind: Option<Kind>,
    scanner: &Scanner<'_>,
    with: &mut dyn FnMut(&Found<'_>) -> Option<String>,
) -> Option<String> {
    let link = match kind? {
        REFERENCE => Link::Reference,
        Kind::Primitive("uri" | "url" | "oid" | "uuid") => Link::Address,
        Kind::Primitive("xhtml") => Link::Narrative,
        _ => return None,
    };
    let text = decode(std::str::from_utf8(&bytes[range.clone()]).ok()?);
    let place = || scanner.expression();
    if link == Link::Narrative {
        return narrative(&text, &mut |text| with(&Found { link, text, place: &place }));
    }
    with(&Found { link, text: &text, place: &place })
}

/// The XHTML with its `href` and `src` values replaced; None when none is.
fn narrative(text: &str, with: &mut dyn FnMut(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut from = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find('=') {
        let equals = at + found;
        at = equals + 1;
        let before = text[..equals].trim_end();
        let named = ["href", "src"].iter().any(|name| {
            before.strip_suffix(name).is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_whitespace()))
        });
        let space = text[at..].len() - text[at..].trim_start().len();
        let Some(quote) = text[at + space..].chars().next().filter(|c| named && matches!(c, '"' | '\'')) else {
            continue;
        };
        let start = at + space + 1;
        let Some(length) = text[start..].find(quote) else { break };
        // An address that names an entry has nothing that XHTML would escape.
        if let Some(new) = with(&text[start..start + length]) {
            out.push_str(&text[from..start]);
            out.push_str(&new.replace('&', "&amp;").replace('"', "&quot;").replace('\'', "&#39;").replace('<', "&lt;"));
            from = start + length;
        }
        at = start + length + 1;
    }
    if from == 0 {
        return None;
    }
    out.push_str(&text[from..]);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> (String, Vec<(Link, String)>) {
        let mut seen = Vec::new();
        let out = rewrite_links(text.as_bytes(), &mut |found| {
            (found.text == "urn:uuid:1").then(|| {
                seen.push((found.link, found.expression()));
                "Patient/9".to_owned()
            })
        });
        (String::from_utf8(out).unwrap(), seen)
    }

    #[test]
    fn links_are_replaced_by_their_types_and_all_other_bytes_stay() {
        let text = r#"{ "contained":[{"id":"a","resourceType":"Provenance","target":[{"reference":"urn:uuid:1"}]}],
          "resourceType" : "DocumentReference","identifier":[{"system":"urn:uuid:1","value":"urn:uuid:1"}],
          "meta":{"profile":["urn:uuid:1"]}, "subject" : { "reference":"urn:uuid:1" , "display":"urn:uuid:1"},
          "content":[{"attachment":{"url":"urn:uuid:1","title":"urn:uuid:1"}}],"masterIdentifier":{"value":"a"},
          "extension":[{"url":"x","valueUri":"urn:uuid:1"},{"url":"x","valueString":"urn:uuid:1"},
            {"url":"x","valueDecimal":1.50}],
          "text":{"status":"generated","div":"<div><a href=\"urn:uuid:1\">urn:uuid:1</a><img src='urn:uuid:1'/></div>"}}"#;
        let expected = r#"{ "contained":[{"id":"a","resourceType":"Provenance","target":[{"reference":"Patient/9"}]}],
          "resourceType" : "DocumentReference","identifier":[{"system":"Patient/9","value":"urn:uuid:1"}],
          "meta":{"profile":["urn:uuid:1"]}, "subject" : { "reference":"Patient/9" , "display":"urn:uuid:1"},
          "content":[{"attachment":{"url":"Patient/9","title":"urn:uuid:1"}}],"masterIdentifier":{"value":"a"},
          "extension":[{"url":"x","valueUri":"Patient/9"},{"url":"x","valueString":"urn:uuid:1"},
            {"url":"x","valueDecimal":1.50}],
          "text":{"status":"generated","div":"<div><a href=\"Patient/9\">urn:uuid:1</a><img src='Patient/9'/></div>"}}"#;
        let (out, seen) = rewritten(text);
        assert_eq!(out, expected);
        assert_eq!(seen.len(), 7);
        assert_eq!(seen[0], (Link::Reference, "Resource.contained[0].target[0].reference".to_owned()));
        assert_eq!(seen[2], (Link::Reference, "DocumentReference.subject.reference".to_owned()));
    }

    #[test]
    fn what_is_no_link_or_no_json_stays() {
        for text in [r#"{"resourceType":"Patient","name":[{"text":"urn:uuid:1"}]}"#, "{", r#"{"a":"urn:uuid:1"}"#, "[]"]
        {
            assert_eq!(rewritten(text), (text.to_owned(), Vec::new()));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_narrative_is_read_without_a_panic(text in "(href|src| |=|\"|'|<a|ä|urn:uuid:1){0,30}") {
            let _ = narrative(&text, &mut |found| (found == "urn:uuid:1").then(|| "x".to_owned()));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            rewrite_links(&bytes, &mut |_| Some("x".to_owned()));
        }
    }
}
