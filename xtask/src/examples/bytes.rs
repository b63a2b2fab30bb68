//! JSON by its bytes: what was sent is compared with what is served, and references are replaced, without writing anything
//! anew. Everything here is written without a look at the gateway's own code for it, which it is to check.

use std::ops::Range;

/// A member of an object or an element of an array: where it begins, and its value.
struct Item {
    name: String,
    start: usize,
    value: Range<usize>,
}

/// A text that serde_json read; so the grammar needs no checking here, only following.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn space(&self, mut at: usize) -> usize {
        while self.0.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    }

    /// The offset behind the string that begins here.
    fn string(&self, at: usize) -> usize {
        let mut at = at + 1;
        while let Some(byte) = self.0.get(at) {
            match byte {
                b'"' => return at + 1,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        at
    }

    /// The offset behind the value that begins here.
    fn value(&self, mut at: usize) -> usize {
        let mut depth = 0_usize;
        while let Some(byte) = self.0.get(at) {
            match byte {
                b'"' => {
                    at = self.string(at);
                    if depth == 0 {
                        return at;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return at + 1;
                    }
                }
                // A number or a word ends where something else begins.
                _ if depth == 0 => {
                    while self.0.get(at).is_some_and(|b| !matches!(b, b',' | b'}' | b']') && !b.is_ascii_whitespace()) {
                        at += 1;
                    }
                    return at;
                }
                _ => {}
            }
            at += 1;
        }
        at
    }

    fn plain(&self, range: Range<usize>) -> String {
        serde_json::from_slice(&self.0[range]).unwrap_or_default()
    }

    /// What the object or array that begins at `open` holds, and where its closing bracket is.
    fn items(&self, open: usize) -> (Vec<Item>, usize) {
        let keyed = self.0.get(open) == Some(&b'{');
        let mut items = Vec::new();
        let mut at = self.space(open + 1);
        while self.0.get(at).is_some_and(|b| !matches!(b, b'}' | b']')) {
            let start = at;
            let mut name = String::new();
            if keyed {
                let end = self.string(at);
                name = self.plain(at..end);
                at = self.space(self.space(end) + 1);
            }
            let end = self.value(at);
            items.push(Item { name, start, value: at..end });
            at = self.space(end);
            if self.0.get(at) == Some(&b',') {
                at = self.space(at + 1);
            }
        }
        (items, at)
    }
}

/// The code system of the labels that the gateway computes.
const LABELS: &str = "https://vouchsafe.example/CodeSystem/category";

/// A resource's bytes without what the server says about it: `id`, `meta.versionId`, `meta.lastUpdated`, the computed labels in
/// `meta.security`, and `meta` and `meta.security` themselves where nothing else is in them. With a member goes what stands
/// between it and the one before; what then comes first keeps the space before it and loses the comma.
pub(crate) fn without_the_servers(bytes: &[u8]) -> Vec<u8> {
    let text = Text(bytes);
    let open = text.space(0);
    let kept = thinned(&text, open, &|item| match item.name.as_str() {
        "id" => None,
        "meta" => member(&text, item, thinned(&text, item.value.start, &|item| in_meta(&text, item))),
        _ => Some(bytes[item.start..item.value.end].to_vec()),
    });
    let end = text.value(open);
    [&bytes[..open], &kept.unwrap_or_else(|| b"{}".to_vec()), &bytes[end..]].concat()
}

fn in_meta(text: &Text<'_>, item: &Item) -> Option<Vec<u8>> {
    match item.name.as_str() {
        "versionId" | "lastUpdated" => None,
        "security" if text.0[item.value.start] == b'[' => {
            let label = |coding: &Item| {
                let (members, _) = text.items(coding.value.start);
                members.iter().any(|m| m.name == "system" && text.plain(m.value.clone()) == LABELS)
            };
            let kept = thinned(text, item.value.start, &|coding| {
                (!label(coding)).then(|| text.0[coding.value.clone()].to_vec())
            });
            member(text, item, kept)
        }
        _ => Some(text.0[item.start..item.value.end].to_vec()),
    }
}

fn member(text: &Text<'_>, item: &Item, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    Some([&text.0[item.start..item.value.start], &value?].concat())
}

/// The object or array at `open`, each item replaced or left out; none when nothing is left.
fn thinned(text: &Text<'_>, open: usize, keep: &dyn Fn(&Item) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (items, close) = text.items(open);
    let mut out = vec![text.0[open]];
    let mut before = open + 1;
    let mut first = true;
    for (n, item) in items.iter().enumerate() {
        if let Some(kept) = keep(item) {
            let between = &text.0[before..item.start];
            let comma = between.iter().position(|b| *b == b',').filter(|_| first && n > 0);
            out.extend(&between[comma.map_or(0, |at| at + 1)..]);
            out.extend(kept);
            first = false;
        }
        before = item.value.end;
    }
    out.extend(&text.0[before..=close]);
    (!first).then_some(out)
}

/// The bytes with each `reference` replaced for which `with` gives another text, and how many those were.
pub(crate) fn with_references(bytes: &[u8], with: &dyn Fn(&str) -> Option<String>) -> (Vec<u8>, usize) {
    let text = Text(bytes);
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut from, mut replaced) = (0, 0, 0);
    while at < bytes.len() {
        if bytes[at] != b'"' {
            at += 1;
            continue;
        }
        let end = text.string(at);
        let colon = text.space(end);
        let value = text.space(colon + 1);
        let reference = bytes.get(colon) == Some(&b':') && &bytes[at..end] == b"\"reference\"";
        if reference && bytes.get(value) == Some(&b'"') {
            let value_end = text.string(value);
            if let Some(new) = with(&text.plain(value..value_end)) {
                out.extend(&bytes[from..value]);
                out.extend(format!("\"{new}\"").bytes());
                from = value_end;
                replaced += 1;
            }
            at = value_end;
        } else {
            at = end;
        }
    }
    out.extend(&bytes[from..]);
    (out, replaced)
}

/// The bytes with the reference in a member of the resource, such as `subject`, made to name somebody; none when it has no such
/// member. A list's first element is meant.
pub(crate) fn with_somebody(bytes: &[u8], member: &str, who: &str) -> Option<Vec<u8>> {
    let text = Text(bytes);
    let (items, _) = text.items(text.space(0));
    let mut open = items.iter().find(|item| item.name == member)?.value.start;
    if bytes[open] == b'[' {
        open = text.space(open + 1);
    }
    let (inner, _) = text.items(open);
    let who = format!("\"{who}\"").into_bytes();
    Some(match inner.iter().find(|item| item.name == "reference") {
        Some(found) => [&bytes[..found.value.start], &who, &bytes[found.value.end..]].concat(),
        None => [&bytes[..=open], b"\"reference\":".as_slice(), &who, b",", &bytes[open + 1..]].concat(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(text: &str) -> String {
        String::from_utf8(without_the_servers(text.as_bytes())).unwrap()
    }

    #[test]
    fn what_the_server_says_goes_and_every_other_byte_stays() {
        let sent = "{\r\n \"resourceType\" : \"Basic\",\r\n \"id\": \"a\",\r\n \"x\": [1.50, \"\\\"},\"]\n}";
        let served = "{\r\n \"resourceType\" : \"Basic\",\"id\":\"9\",\"meta\":{\"versionId\":\"1\",\"lastUpdated\":\"t\"},\r\n \"x\": [1.50, \"\\\"},\"]\n}";
        assert_eq!(stripped(sent), stripped(served));
        assert_ne!(stripped(sent), stripped(&served.replace("1.50", "1.5")));
        assert_ne!(stripped(sent), stripped(&served.replace("[1.50, ", "[1.50,")));
    }

    #[test]
    fn a_meta_keeps_what_is_not_the_servers() {
        let sent = r#"{ "id": "a", "meta": { "lastUpdated": "x", "profile": ["p"] }, "resourceType": "Basic" }"#;
        assert_eq!(stripped(sent), r#"{ "meta": { "profile": ["p"] }, "resourceType": "Basic" }"#);
        let label = format!(r#"{{"meta":{{"security":[{{"code":"R"}},{{"system":"{LABELS}","code":"other"}}]}}}}"#);
        assert_eq!(stripped(&label), r#"{"meta":{"security":[{"code":"R"}]}}"#);
        let only = format!(r#"{{"meta":{{"security":[{{"system":"{LABELS}","code":"other"}}]}},"a":1}}"#);
        assert_eq!(stripped(&only), r#"{"a":1}"#);
    }

    #[test]
    fn references_are_replaced_and_nothing_else() {
        let text = r#"{"a":{ "reference" : "Patient/1","display":"Patient/1"},"reference":["Patient/1"]}"#;
        let (new, count) =
            with_references(text.as_bytes(), &|old| (old == "Patient/1").then(|| "Patient/9".to_owned()));
        let new = String::from_utf8(new).unwrap();
        assert_eq!(count, 1);
        assert_eq!(new, r#"{"a":{ "reference" : "Patient/9","display":"Patient/1"},"reference":["Patient/1"]}"#);
    }

    #[test]
    fn somebody_is_named_where_nobody_was() {
        let named = |text: &str| with_somebody(text.as_bytes(), "subject", "Patient/9").map(String::from_utf8);
        let words = named(r#"{"subject":{ "display":"Jane"}}"#).unwrap().unwrap();
        assert_eq!(words, r#"{"subject":{"reference":"Patient/9", "display":"Jane"}}"#);
        assert_eq!(
            named("{\"subject\":[{\"reference\":\"#p\"}]}").unwrap().unwrap(),
            r#"{"subject":[{"reference":"Patient/9"}]}"#
        );
        assert!(named("{}").is_none());
    }
}
