use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fhir::systems;

fn fault(bytes: &[u8]) -> (FaultKind, String) {
    let fault = parse(bytes).unwrap_err();
    (fault.what, fault.expression)
}

#[test]
fn exact_bytes_and_decimals_survive() {
    let bytes = br#"{ "resourceType" : "Observation",
  "valueQuantity":{"value":1.50, "_value":{"id":"x"}},"n":1E+2,"u":"\u00e9 \uD83D\uDE00"}"#;
    let document = parse(bytes).unwrap();
    assert_eq!(document.bytes(), bytes);
    assert_eq!(document.value()["valueQuantity"]["value"].to_string(), "1.50");
    assert_eq!(document.resource_type(), Some("Observation"));
}

#[test]
fn hostile_inputs_are_refused_by_name() {
    let deep = |n: usize| [br#"{"a":"#.to_vec(), vec![b'['; n], vec![b']'; n], b"}".to_vec()].concat();
    assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
    assert_eq!(fault(&deep(MAX_DEPTH)).0, FaultKind::TooDeep);
    assert_eq!(fault(&deep(10_000)).0, FaultKind::TooDeep);
    assert_eq!(fault(&vec![b'['; 10_000_000]).0, FaultKind::TooDeep);
    assert_eq!(fault(br#"{"a":1,"a":1}"#).0, FaultKind::Duplicate);
    assert_eq!(fault(br#"{"a":1,"\u0061":1}"#).0, FaultKind::Duplicate);
    assert_eq!(fault(br#"{"v":{"$serde_json::private::Number":"7"}}"#).0, FaultKind::PrivateNumber);
    assert_eq!(fault(br#"{"v":{"\u0024serde_json::private::Number":"7"}}"#).0, FaultKind::PrivateNumber);
    assert_eq!(fault(br#"{"a":"\u0000"}"#).0, FaultKind::Nul);
    assert_eq!(fault(b"{\"a\":\"\0\"}").0, FaultKind::Nul);
    assert_eq!(fault(b"{\"a\":\"\xff\"}").0, FaultKind::NotUtf8);
    assert_eq!(fault(b"{\"a\":\"\xed\xa0\x80\"}").0, FaultKind::NotUtf8);
}

#[test]
fn what_readers_understand_differently_is_no_json() {
    let bad = [
        "",
        " ",
        "[]",
        "1",
        "\"x\"",
        "null",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{\"a\":[1,]}",
        "{\"a\":1}x",
        "{\"a\":1}{}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":NaN}",
        "{\"a\":tru}",
        "{\"a\":\"\u{1}\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\u+123\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"",
        "\u{feff}{}",
        "{\"a\":1]",
        "{\"a\":[1}",
        "{\"a\":1 \"b\":2}",
        "{]",
        "{\"a\":[}]}",
        "// x\n{}",
    ];
    for text in bad {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn a_fault_says_where() {
    let e = parse("{\"resourceType\":\"Patient\",\n \"name\":[{},{\"given\":[\"é\", x]}]}".as_bytes()).unwrap_err();
    assert_eq!((e.line, e.column, e.expression.as_str()), (2, 28, "Patient.name[1].given[1]"));
    assert_eq!(fault(br#"{"resourceType":"Patient","gender":"m","gender":"f"}"#).1, "Patient.gender");
}

#[test]
fn many_members_cost_no_square() {
    let members: Vec<String> = (0..200_000).map(|n| format!("\"m{n}\":1")).collect();
    assert!(parse(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
    assert_eq!(fault(format!("{{{},\"m7\":1}}", members.join(",")).as_bytes()).0, FaultKind::Duplicate);
}

const ADD: Splice<'_> = Splice {
    id: "abc",
    version: "3",
    last_updated: "2026-11-22T21:00:00.000Z",
    labels: &["laboratory"],
    source: Some("Organization/1"),
};

#[test]
fn the_sealed_form_takes_out_what_the_server_says_and_nothing_else() {
    let cases = [
        (r#"{"resourceType":"Patient","id":"1","active":true}"#, r#"{"resourceType":"Patient","active":true}"#),
        (
            "{\n  \"resourceType\": \"Patient\",\n  \"id\": \"1\",\n  \"active\": true\n}",
            "{\n  \"resourceType\": \"Patient\",\n  \"active\": true\n}",
        ),
        (r#"{ "id":"1", "resourceType":"Patient" }"#, r#"{ "resourceType":"Patient" }"#),
        (
            r#"{"resourceType":"P","meta":{"versionId":"1","lastUpdated":"x"},"a":1.0}"#,
            r#"{"resourceType":"P","a":1.0}"#,
        ),
        (
            r#"{"resourceType":"P","meta":{"versionId":"1","profile":["p"]}}"#,
            r#"{"resourceType":"P","meta":{"profile":["p"]}}"#,
        ),
        (
            r#"{"resourceType":"P","meta":{"security":[{"system":"https://vouchsafe.example/CodeSystem/category","code":"x"},{"system":"s","code":"R"}]}}"#,
            r#"{"resourceType":"P","meta":{"security":[{"system":"s","code":"R"}]}}"#,
        ),
        (
            r#"{"resourceType":"P","contained":[{"id":"c","meta":{"versionId":"9"}}]}"#,
            r#"{"resourceType":"P","contained":[{"id":"c","meta":{"versionId":"9"}}]}"#,
        ),
        (r#"{"id":"1"}"#, "{}"),
    ];
    for (given, sealed) in cases {
        assert_eq!(String::from_utf8(sealed_form(given.as_bytes())).unwrap(), sealed);
        let mut tree = parse(given.as_bytes()).unwrap().value().clone();
        strip(&mut tree);
        assert_eq!(tree, parse(sealed.as_bytes()).unwrap().value().clone());
    }
}

#[test]
fn a_splice_reads_as_fhir_and_comes_out_again() {
    for sealed in [
        r#"{"resourceType":"Patient"}"#,
        r#"{ "active" : true , "resourceType" : "Patient" , "z" : 1.50 }"#,
        r#"{"resourceType":"Patient","meta":{ "profile":["p"], "security":[ {"system":"s","code":"R"} ] }}"#,
        r#"{"meta":{"tag":[{"code":"x"}],"extension":[{"url":"u","valueCode":"c"}]},"resourceType":"Patient"}"#,
    ] {
        let read = splice(sealed.as_bytes(), &ADD);
        let value = parse(&read).unwrap().value().clone();
        assert_eq!((&value["id"], &value["meta"]["versionId"]), (&json!("abc"), &json!("3")));
        assert_eq!(value["meta"]["lastUpdated"], ADD.last_updated);
        let labels = value["meta"]["security"].as_array().unwrap();
        assert_eq!(labels.last().unwrap(), &json!({ "system": systems::CATEGORY, "code": "laboratory" }));
        let extension = value["meta"]["extension"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(extension["valueReference"]["reference"], "Organization/1");
        assert_eq!(String::from_utf8(sealed_form(&read)).unwrap(), sealed);
    }
}

#[test]
fn only_references_are_rewritten_and_all_other_bytes_stay() {
    let text = r#"{ "subject" : { "reference" : "Patient/1" ,"display":"Patient/1"},"a":1.50,"reference":["Patient/1"],
      "x":[{"reference":"Patient\/1"},{"reference":"Patient/2"},{"reference":{"reference":"Patient/1"}}]}"#;
    let with = |old: &str| (old == "Patient/1").then(|| "Patient/\"new\"".to_owned());
    let expected = r#"{ "subject" : { "reference" : "Patient/\"new\"" ,"display":"Patient/1"},"a":1.50,"reference":["Patient/1"],
      "x":[{"reference":"Patient/\"new\""},{"reference":"Patient/2"},{"reference":{"reference":"Patient/\"new\""}}]}"#;
    assert_eq!(String::from_utf8(rewrite_references(text.as_bytes(), &with)).unwrap(), expected);
    assert_eq!(rewrite_references(text.as_bytes(), &|_| None), text.as_bytes());
}

#[test]
fn debug_shows_no_content() {
    assert!(!format!("{:?}", parse(br#"{"a":"SECRET"}"#).unwrap()).contains("SECRET"));
}

/// JSON texts with odd spacing, escapes and numbers.
fn text(depth: u32) -> BoxedStrategy<String> {
    let space = prop_oneof![Just(""), Just(" "), Just("\n  "), Just("\t")];
    let leaf = prop_oneof![
        Just("1.50".to_owned()),
        Just("-0".to_owned()),
        Just("1E+400".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<String>().prop_map(|s| json!(s.replace('\0', "")).to_string()),
        Just(r#""\u00e9\/\ud83d\ude00""#.to_owned()),
    ];
    leaf.prop_recursive(depth, 40, 5, move |inner| {
        let space = space.clone();
        let array = (prop::collection::vec(inner.clone(), 0..4), space.clone())
            .prop_map(|(items, s)| format!("[{s}{}{s}]", items.join(&format!("{s},{s}"))));
        let object = (prop::collection::btree_map("[a-z]{1,3}", inner, 0..4), space).prop_map(|(members, s)| {
            let all: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\"{s}:{s}{v}")).collect();
            format!("{{{s}{}{s}}}", all.join(&format!("{s},{s}")))
        });
        prop_oneof![array, object]
    })
    .boxed()
}

/// Resources whose members, `meta` and all, stand in any order and spacing.
fn resource() -> impl Strategy<Value = String> {
    let server = prop_oneof![
        Just(r#""versionId":"1""#.to_owned()),
        Just(r#""lastUpdated" : "2026-01-01T00:00:00Z""#.to_owned()),
        Just(r#""profile":["p"]"#.to_owned()),
        Just(r#""security":[]"#.to_owned()),
        Just(r#""security" : [ {"system":"s","code":"R"} ]"#.to_owned()),
        Just(format!(r#""security":[{{"code":"x","system":"{}"}},{{"code":"N"}}]"#, systems::CATEGORY)),
        Just(format!(r#""extension":[{{"url":"{}"}} ]"#, systems::SOURCE_EXTENSION)),
        Just(r#""tag":[{"code":"x"}]"#.to_owned()),
    ];
    let named = |member: &String| member.split('"').nth(1).unwrap().to_owned();
    let meta = prop::collection::vec(server, 0..6).prop_map(move |mut members| {
        let mut seen = std::collections::HashSet::new();
        members.retain(|m| seen.insert(named(m)));
        format!("\"meta\":{{{}}}", members.join(" , "))
    });
    let rest = prop::collection::vec(text(3), 0..4);
    (meta, rest, any::<bool>(), any::<bool>(), prop_oneof![Just(","), Just(" ,\n "), Just(", ")], any::<u64>())
        .prop_map(|(meta, rest, with_id, with_meta, comma, seed)| {
            let mut members = vec![r#""resourceType":"Patient""#.to_owned()];
            members.extend(with_id.then(|| r#""id" : "old""#.to_owned()));
            members.extend(with_meta.then_some(meta));
            members.extend(rest.iter().enumerate().map(|(n, v)| format!("\"m{n}\": {v}")));
            let turn = usize::try_from(seed % 7).unwrap() % members.len();
            members.rotate_left(turn);
            format!("{{ {} }}", members.join(comma))
        })
}

proptest! {
    #[test]
    fn the_scanner_accepts_no_more_than_serde_json(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if parse(&bytes).is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&bytes).is_ok());
        }
    }

    #[test]
    fn texts_are_read_and_kept(text in text(4)) {
        let whole = format!("{{\"a\":{text}}}");
        let document = parse(whole.as_bytes()).unwrap();
        prop_assert_eq!(document.bytes(), whole.as_bytes());
        prop_assert_eq!(document.value(), &serde_json::from_str::<Value>(&whole).unwrap());
    }

    #[test]
    fn splice_and_sealed_form_are_inverse(text in resource()) {
        parse(text.as_bytes()).unwrap();
        let sealed = sealed_form(text.as_bytes());
        parse(&sealed).unwrap();
        let read = splice(&sealed, &ADD);
        let value = parse(&read).unwrap().value().clone();
        prop_assert_eq!(&value["id"], "abc");
        prop_assert_eq!(String::from_utf8(sealed_form(&read)).unwrap(), String::from_utf8(sealed.clone()).unwrap());
        let mut tree = value;
        strip(&mut tree);
        prop_assert_eq!(tree.to_string(), parse(&sealed).unwrap().value().to_string());
        prop_assert_eq!(sealed_form(&sealed), sealed);
    }

    #[test]
    fn any_bytes_pass_through_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        sealed_form(&bytes);
        splice(&bytes, &ADD);
        rewrite_references(&bytes, &|_| Some("x".to_owned()));
    }
}
