//! Resources that nobody means well by: good ones with something wrong in a place of JSON's own, or beside it.

use std::ops::Range;

use super::rng::Rng;

/// What stands where a value stood.
const VALUES: &[&str] = &[
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "[null]",
    "[[]]",
    "0",
    "-0",
    "-0.0",
    "1e999999",
    "-1e-999999",
    "1E400",
    "1.50",
    "0.1e1",
    "01",
    "+1",
    "1.",
    ".5",
    "NaN",
    "99999999999999999999999999999999999999999999999999",
    "0.00000000000000000000000000000000000000000000000001",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\u202e\"",
    "\"\u{feff}\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\u{1}\"",
    "\"\u{7f}\"",
    "{\"$serde_json::private::Number\":\"7\"}",
    "{\"$serde_json::private::RawValue\":\"7\"}",
    "{\"\\u0024serde_json::private::Number\":\"1e5\"}",
    "\"2020-02-30\"",
    "\"9999-12-31T23:59:60Z\"",
    "\"0000-00-00\"",
    "\"Patient/\"",
    "\"#\"",
    "\"urn:uuid:1\"",
    "\"Patient?identifier=x|y\"",
    "{\"reference\":\"Patient/1\"}",
    "{\"reference\":{\"reference\":\"#\"}}",
    "{\"resourceType\":\"Patient\"}",
    "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{}]}",
    "{\"extension\":[{\"url\":\"x\"}]}",
    "\"<div xmlns='x'><script/></div>\"",
];

/// What a member may be called instead.
const NAMES: &[&str] = &[
    "id",
    "meta",
    "resourceType",
    "contained",
    "extension",
    "_id",
    "_",
    "",
    "text",
    "reference",
    "\\u0069d",
    "valueQuantity",
    "\\u0000",
    "$serde_json::private::Number",
    "versionId",
    "lastUpdated",
    "security",
    "fhir_comments",
    "\u{202e}",
    "__proto__",
];

/// Where a value is, and with its name when it has one.
struct Spot {
    whole: Range<usize>,
    value: Range<usize>,
}

/// One of the seeds with some things wrong.
pub(crate) fn mutated(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.below(seeds.len())].clone();
    let times = if rng.one_in(4) { 1 + rng.below(12) } else { 1 + rng.below(2) };
    for _ in 0..times {
        let other = &seeds[rng.below(seeds.len())];
        bytes = once(rng, &bytes, other);
        // What doubles again and again would only fill the memory.
        if bytes.len() > 4 << 20 {
            break;
        }
    }
    bytes
}

fn once(rng: &mut Rng, bytes: &[u8], other: &[u8]) -> Vec<u8> {
    let spots = spots(bytes);
    if spots.is_empty() {
        return rng.pick(VALUES).as_bytes().to_vec();
    }
    let spot = &spots[rng.below(spots.len())];
    let put = |range: &Range<usize>, new: &[u8]| [&bytes[..range.start], new, &bytes[range.end..]].concat();
    let whole = &bytes[spot.whole.clone()];
    match rng.below(16) {
        0..=3 => put(&spot.value, rng.pick(VALUES).as_bytes()),
        4 => put(&spot.whole, &[whole, b",", whole].concat()),
        5 => {
            // What is not the member of an object is doubled in its array, a thousand times at most.
            let most = if spot.whole == spot.value && whole.len() < 1000 { 1000 } else { 2 };
            put(&spot.whole, &vec![whole; 1 + rng.below(most)].join(&b','))
        }
        6 => put(&spot.whole, b""),
        7 => {
            let theirs = self::spots(other);
            let value = theirs.get(rng.below(theirs.len())).map_or(&b"1"[..], |spot| &other[spot.value.clone()]);
            put(&spot.value, value)
        }
        8 => bytes[..rng.below(bytes.len())].to_vec(),
        9 => {
            let at = rng.below(bytes.len());
            let byte = [u8::try_from(rng.below(256)).unwrap_or(0)];
            put(&(at..at + rng.below(2)), &byte)
        }
        10 => nested(rng, &spot.value, bytes),
        11 if spot.whole.start < spot.value.start => {
            let end = bytes[spot.whole.clone()].iter().position(|b| *b == b':').unwrap_or(0) + spot.whole.start;
            put(&(spot.whole.start..end), format!("\"{}\"", rng.pick(NAMES)).as_bytes())
        }
        12 => put(
            &(spot.value.start..spot.value.start),
            rng.pick(&[" ", "\t\r\n", "\u{feff}", "\u{a0}", "/**/", ",", "\u{0}"]).as_bytes(),
        ),
        13 => {
            let long = "x".repeat(1 + rng.below(200_000));
            put(&spot.value, format!("\"{long}\"").as_bytes())
        }
        14 => put(&spot.value, "9".repeat(1 + rng.below(20_000)).as_bytes()),
        _ => {
            let name = rng.pick(NAMES);
            put(&(spot.whole.start..spot.whole.start), format!("\"{name}\":{},", rng.pick(VALUES)).as_bytes())
        }
    }
}

fn nested(rng: &mut Rng, value: &Range<usize>, bytes: &[u8]) -> Vec<u8> {
    let most = if rng.one_in(4) { 20_000 } else { 150 };
    let depth = 1 + rng.below(most);
    let forms = [
        ("[", "]"),
        ("{\"extension\":[", "]}"),
        ("{\"a\":", "}"),
        ("{\"contained\":[{\"resourceType\":\"Basic\",\"x\":", "}]}"),
    ];
    let (open, close) = forms[rng.below(forms.len())];
    let mut out = bytes[..value.start].to_vec();
    out.extend(open.repeat(depth).bytes());
    out.extend(&bytes[value.clone()]);
    // Left open now and then: the end of the text comes first.
    if !rng.one_in(5) {
        out.extend(close.repeat(depth).bytes());
    }
    out.extend(&bytes[value.end..]);
    out
}

/// Every value in a text that is JSON, or was before something went wrong in it; then some are missed, and that does no harm.
fn spots(bytes: &[u8]) -> Vec<Spot> {
    let mut found: Vec<Spot> = Vec::new();
    // The places of the values whose ends are still to come.
    let mut open: Vec<usize> = Vec::new();
    let mut name: Option<usize> = None;
    let mut at = 0;
    while at < bytes.len() && found.len() < 20_000 {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                let colon = bytes[at..].iter().position(|b| !b.is_ascii_whitespace()).map(|n| at + n);
                if let Some(colon) = colon.filter(|n| bytes[*n] == b':') {
                    name = Some(start);
                    at = colon + 1;
                    continue;
                }
                found.push(Spot { whole: name.take().unwrap_or(start)..at, value: start..at });
                continue;
            }
            b'{' | b'[' => {
                found.push(Spot { whole: name.take().unwrap_or(start)..start + 1, value: start..start + 1 });
                open.push(found.len() - 1);
            }
            b'}' | b']' => {
                if let Some(spot) = open.pop() {
                    found[spot].whole.end = at + 1;
                    found[spot].value.end = at + 1;
                }
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || matches!(bytes[at], b'-' | b'+' | b'.'))
                {
                    at += 1;
                }
                found.push(Spot { whole: name.take().unwrap_or(start)..at, value: start..at });
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}
