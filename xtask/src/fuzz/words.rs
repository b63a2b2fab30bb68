//! Search queries that nobody means well by, of the grammar that R4 gives (<https://hl7.org/fhir/R4/search.html>) and of what
//! lies just beside it: real names in unreal places, values of another kind, too many, too deep, too long, not quite text.

use super::rng::Rng;

/// What a server says that it can be searched by: the name and kind of every parameter of each resource type.
pub(crate) struct Vocabulary {
    pub(crate) types: Vec<(String, Vec<(String, String)>)>,
    /// Ids that are there.
    pub(crate) ids: Vec<String>,
}

/// A search: a type or none, and its decoded parameters.
pub(crate) type Search = (Option<String>, Vec<(String, String)>);

const MODIFIERS: &[&str] = &[
    "missing",
    "exact",
    "contains",
    "text",
    "not",
    "in",
    "not-in",
    "above",
    "below",
    "of-type",
    "identifier",
    "iterate",
    "recurse",
    "Patient",
    "Observation",
    "Nothing",
    "",
    ":",
    "exact:exact",
    "EXACT",
    "\u{202e}",
];

const CONTROLS: &[&str] = &[
    "_sort",
    "_count",
    "_total",
    "_summary",
    "_elements",
    "_lastUpdated",
    "_tag",
    "_profile",
    "_security",
    "_id",
    "_text",
    "_content",
    "_filter",
    "_query",
    "_type",
    "_format",
    "_pretty",
    "_page",
    "_contained",
    "_containedType",
    "_list",
    "_source",
    "_include",
    "_revinclude",
    "_include:iterate",
    "_revinclude:iterate",
    "_has",
    "_count:exact",
    "_id:missing",
];

const PREFIXES: &[&str] = &["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap", "xx", "EQ", "ge ", "gege"];

const ODD: &[&str] = &[
    "",
    " ",
    "\u{0}",
    "\u{feff}",
    "\u{202e}abc",
    "\u{301}",
    "e\u{301}\u{301}\u{301}",
    "ﷺ",
    "ẞ",
    "İ",
    "\u{10ffff}",
    "\u{1f468}\u{200d}\u{1f469}",
    "\\",
    "\\\\",
    "\\,",
    "\\$",
    "\\|",
    "a\\",
    ",",
    ",,",
    "|",
    "||",
    "|||",
    "$",
    "$$",
    "*",
    "%",
    "%00",
    "+",
    "&",
    "=",
    "#",
    "?",
    "/",
    "//",
    "../..",
    ":",
    "::",
    ".",
    "..",
    "-",
    "--",
    "null",
    "undefined",
    "NaN",
    "Infinity",
    "true",
    "TRUE",
    "0x10",
    "1_000",
    "١٢٣",
    "'",
    "\"",
    ";",
    "{}",
    "[]",
    "<script>",
    "\r\n",
    "\t",
    "Patient/",
    "/Patient",
    "Patient/Patient/1",
    "Patient?name=x",
    "#1",
    "urn:uuid:",
    "urn:uuid:00000000-0000-0000-0000-000000000000",
    "http://",
    "http://a/b/c/Patient/1/_history/1/_history/2",
];

const NUMBERS: &[&str] = &[
    "0",
    "-0",
    "1",
    "1.50",
    "100",
    "1e3",
    "1E-3",
    "1e999999",
    "-1e999999",
    "1e-999999",
    "1e9223372036854775808",
    "1e+",
    "1e",
    ".5",
    "5.",
    "-",
    "00",
    "+1",
    "99999999999999999999999999999999999999999999",
    "0.000000000000000000000000000000000000000000000001",
    "170141183460469231731687303715884105727",
    "-170141183460469231731687303715884105728",
    "9223372036854775807",
    "-9223372036854775809",
    "18446744073709551616",
    "4294967296",
    "2147483648",
];

const DATES: &[&str] = &[
    "2020",
    "2020-02",
    "2020-02-29",
    "2021-02-29",
    "2020-13",
    "2020-00-00",
    "0000",
    "0001-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59.999999999Z",
    "10000",
    "-2020",
    "2020-1-1",
    "2020-01-01T",
    "2020-01-01T10",
    "2020-01-01T10:00",
    "2020-01-01T24:00:00",
    "2020-01-01T23:59:60Z",
    "2020-01-01T10:00:00+14:00",
    "2020-01-01T10:00:00+99:99",
    "2020-01-01T10:00:00-00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2020-01-01T10:00:00.0000000000000000000001Z",
    "2020-01-01 10:00",
    "20200101",
    "today",
    "2020-W01",
];

/// One search.
pub(crate) fn search(rng: &mut Rng, words: &Vocabulary) -> Search {
    let kind = match rng.below(20) {
        0 => None,
        1 => Some(rng.pick(ODD).to_owned()),
        _ => Some(any_type(rng, words).to_owned()),
    };
    let count = match rng.below(40) {
        0 => 0,
        1 => 50 + rng.below(400),
        _ => 1 + rng.below(4),
    };
    let pairs = (0..count).map(|_| pair(rng, words, kind.as_deref().unwrap_or("Patient"))).collect();
    (kind, pairs)
}

fn any_type<'a>(rng: &mut Rng, words: &'a Vocabulary) -> &'a str {
    // What has most parameters has most to go wrong.
    if rng.one_in(2) {
        let known =
            ["Observation", "Patient", "Encounter", "Condition", "MedicationRequest", "Location", "Task", "Group"];
        let name = rng.pick(&known);
        if let Some((kind, _)) = words.types.iter().find(|(kind, _)| kind == name) {
            return kind;
        }
    }
    &words.types[rng.below(words.types.len())].0
}

/// A parameter of a type: its name, and its kind.
fn param<'a>(rng: &mut Rng, words: &'a Vocabulary, of: &str, kind: Option<&str>) -> (&'a str, &'a str) {
    let params = words.types.iter().find(|(name, _)| name == of).map_or(&[][..], |(_, params)| params.as_slice());
    let fitting: Vec<&(String, String)> = params.iter().filter(|(_, k)| kind.is_none_or(|kind| kind == k)).collect();
    if fitting.is_empty() {
        return ("_id", "token");
    }
    let (name, kind) = fitting[rng.below(fitting.len())];
    (name, kind)
}

fn pair(rng: &mut Rng, words: &Vocabulary, of: &str) -> (String, String) {
    let (mut name, kind) = name(rng, words, of);
    let mut value = values(rng, words, &kind);
    if rng.one_in(30) {
        name = spoiled(rng, &name);
    }
    if rng.one_in(10) {
        value = spoiled(rng, &value);
    }
    (name, value)
}

fn name(rng: &mut Rng, words: &Vocabulary, of: &str) -> (String, String) {
    match rng.below(20) {
        0..=6 => {
            let (name, kind) = param(rng, words, of, None);
            (name.to_owned(), kind.to_owned())
        }
        7..=9 => {
            let (name, kind) = param(rng, words, of, None);
            (format!("{name}:{}", rng.pick(MODIFIERS)), kind.to_owned())
        }
        10..=12 => chain(rng, words, of),
        13 | 14 => has(rng, words),
        15 | 16 => {
            let control = ["_include", "_revinclude", "_include:iterate", "_revinclude:iterate", "_sort", "_elements"];
            (rng.pick(&control).to_owned(), "param".to_owned())
        }
        17 | 18 => (rng.pick(CONTROLS).to_owned(), "control".to_owned()),
        _ => (rng.pick(ODD).to_owned(), "string".to_owned()),
    }
}

fn depth(rng: &mut Rng) -> usize {
    if rng.one_in(12) { 3 + rng.below(60) } else { 1 + rng.below(3) }
}

fn chain(rng: &mut Rng, words: &Vocabulary, of: &str) -> (String, String) {
    let mut out = String::new();
    let mut of = of.to_owned();
    for _ in 0..depth(rng) {
        out.push_str(param(rng, words, &of, Some("reference")).0);
        any_type(rng, words).clone_into(&mut of);
        if rng.one_in(2) {
            out.push(':');
            out.push_str(&of);
        }
        out.push('.');
    }
    let (last, kind) = param(rng, words, &of, None);
    out.push_str(last);
    (out, kind.to_owned())
}

fn has(rng: &mut Rng, words: &Vocabulary) -> (String, String) {
    let mut out = String::new();
    let mut of = String::new();
    for _ in 0..depth(rng) {
        any_type(rng, words).clone_into(&mut of);
        out.push_str(&format!("_has:{of}:{}:", param(rng, words, &of, Some("reference")).0));
    }
    let (last, kind) = param(rng, words, &of, None);
    out.push_str(last);
    (out, kind.to_owned())
}

fn values(rng: &mut Rng, words: &Vocabulary, kind: &str) -> String {
    let count = match rng.below(60) {
        0 => 300 + rng.below(3000),
        1..=9 => 2 + rng.below(4),
        _ => 1,
    };
    let mut out = String::new();
    for n in 0..count {
        if n > 0 {
            out.push(',');
        }
        out.push_str(&value(rng, words, kind));
    }
    out
}

fn value(rng: &mut Rng, words: &Vocabulary, kind: &str) -> String {
    // A value of another kind is as likely to be sent by mistake as one with a fault in it.
    let kinds = [
        "date",
        "number",
        "quantity",
        "token",
        "reference",
        "string",
        "uri",
        "composite",
        "special",
        "control",
        "param",
    ];
    let kind = if rng.one_in(8) { rng.pick(&kinds) } else { kind };
    let odd = rng.pick(ODD);
    match kind {
        "date" => format!("{}{}", rng.pick(PREFIXES), rng.pick(DATES)),
        "number" => format!("{}{}", rng.pick(PREFIXES), rng.pick(NUMBERS)),
        "quantity" => {
            let units =
                ["", "|", "||mg", "|http://unitsofmeasure.org|mg", "|http://unitsofmeasure.org", "|||", "||[arb'U]/mL"];
            format!("{}{}{}", rng.pick(PREFIXES), rng.pick(NUMBERS), rng.pick(&units))
        }
        "token" => {
            let systems = ["", "|", "http://loinc.org|", "urn:oid:1.2|", "http://snomed.info/sct|"];
            let codes = ["8302-2", "final", "true", "", odd, "a|b|c", "72166-2"];
            format!("{}{}", rng.pick(&systems), rng.pick(&codes))
        }
        "reference" => {
            let id = id(rng, words);
            match rng.below(5) {
                0 => id,
                1 => format!("http://a.example/fhir/Patient/{id}"),
                2 => format!("{}/{id}/_history/1", any_type(rng, words)),
                3 => odd.to_owned(),
                _ => format!("{}/{id}", any_type(rng, words)),
            }
        }
        "uri" => {
            rng.pick(&["http://hl7.org/fhir/ValueSet/x", "urn:oid:1.2.3", "http://a.example/|1.0", odd]).to_owned()
        }
        "composite" => format!("{}${}", value(rng, words, "token"), value(rng, words, "quantity")),
        "special" => rng
            .pick(&["42.2|-72.2|10|km", "90|180|1e9|km", "-91|0|1|mi_us", "42.2|-72.2", "|||", "1|1|-1|m", odd])
            .to_owned(),
        "control" => {
            let all = [
                "0",
                "1",
                "10",
                "1000000000",
                "-1",
                "none",
                "estimate",
                "accurate",
                "true",
                "data",
                "text",
                "count",
                "json",
                odd,
            ];
            rng.pick(&all).to_owned()
        }
        "param" => {
            let of = any_type(rng, words);
            let (name, _) = param(rng, words, of, None);
            match rng.below(6) {
                0 => "*".to_owned(),
                1 => format!("{of}:*"),
                2 => format!("-{name}"),
                3 => name.to_owned(),
                4 => format!("{of}:{name}:{}", any_type(rng, words)),
                _ => format!("{of}:{name}"),
            }
        }
        _ if rng.one_in(40) => odd.repeat(1 + rng.below(5000)),
        _ => format!("{}{odd}", rng.pick(&["Smith", "", "a", "São", "ana"])),
    }
}

fn id(rng: &mut Rng, words: &Vocabulary) -> String {
    if words.ids.is_empty() || rng.one_in(3) { "1".to_owned() } else { words.ids[rng.below(words.ids.len())].clone() }
}

/// The text with one thing wrong.
fn spoiled(rng: &mut Rng, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = rng.below(chars.len() + 1);
    match rng.below(4) {
        0 => chars.truncate(at),
        1 => chars.splice(at..at, rng.pick(ODD).chars()).for_each(drop),
        2 if at < chars.len() => drop(chars.remove(at)),
        _ => chars.extend_from_within(at..),
    }
    chars.into_iter().collect()
}
