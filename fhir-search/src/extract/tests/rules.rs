//! R4's rules one by one, and what does not keep to them.

use proptest::prelude::*;
use serde_json::json;

use super::{golden::written_out, *};
use crate::{DateRange, Decimal, Fact, param};

/// The lines of one parameter, without its name.
fn of(resource_type: &str, code: &str, resource: &Value) -> Vec<String> {
    let start = format!("  {code}: ");
    written_out(resource_type, resource).lines().filter_map(|l| l.strip_prefix(&start)).map(str::to_owned).collect()
}

/// Of an Observation whose member is this, the parameter's facts.
fn observation(member: &str, value: impl Into<Value>, code: &str) -> Vec<String> {
    of("Observation", code, &json!({"resourceType": "Observation", "code": {"text": "c"}, member: value.into()}))
}

#[test]
fn references_lose_their_version_and_know_what_is_here() {
    for (reference, expected) in [
        ("Patient/1", "[Patient/1 Patient/1]"),
        ("Patient/1/_history/3", "[Patient/1 Patient/1]"),
        ("https://ehr.example/fhir/Patient/1", "[Patient/1 https://ehr.example/fhir/Patient/1]"),
        ("https://ehr.example/fhir/Patient/1/_history/2", "[Patient/1 https://ehr.example/fhir/Patient/1]"),
        ("https://other.example/fhir/Patient/1", "[Patient/- https://other.example/fhir/Patient/1]"),
        ("https://ehr.example/fhir/x/Patient/1", "[Patient/- https://ehr.example/fhir/x/Patient/1]"),
        ("urn:uuid:0d1b", "[-/- urn:uuid:0d1b]"),
        ("Nothing/1", "[-/- Nothing/1]"),
        ("Patient/a b", "[-/- Patient/a b]"),
    ] {
        assert_eq!(observation("subject", json!({"reference": reference}), "subject"), [expected], "{reference}");
    }
    for reference in ["#p1", "", "#"] {
        assert!(observation("subject", json!({"reference": reference}), "subject").is_empty(), "{reference}");
    }
    let typed = json!({"reference": "urn:uuid:0d1b", "type": "Patient"});
    assert_eq!(observation("subject", typed.clone(), "subject"), ["[Patient/- urn:uuid:0d1b]"]);
    assert_eq!(observation("subject", typed, "patient"), ["[Patient/- urn:uuid:0d1b]"]);
    let identified = json!({"type": "Patient", "identifier": {"system": "s", "value": "v"}, "display": "Mrs V"});
    assert_eq!(observation("subject", identified, "patient"), ["[identifier s|v]"]);
    assert!(observation("subject", json!({"reference": "Group/1"}), "patient").is_empty());
    assert!(observation("subject", json!({"display": "Mrs V"}), "subject").is_empty());
}

#[test]
fn a_base_may_end_in_a_slash() {
    let resource = json!({"resourceType": "Observation", "subject": {"reference": "http://h/fhir/Patient/1"}});
    let subject = param("Observation", "subject").unwrap().number;
    for (base, here) in [("http://h/fhir", true), ("http://h/fhir/", true), ("http://h/fhi", false), ("", false)] {
        let facts = extract("Observation", &resource, base);
        let id = facts.as_ref().of(subject).find_map(|fact| match fact {
            Fact::Reference { id, .. } => id,
            _ => None,
        });
        assert_eq!(id.is_some(), here, "{base}");
    }
}

#[test]
fn canonical_addresses_are_found_with_their_version_and_without() {
    let meta = json!({"resourceType": "Patient", "meta": {"profile": ["http://p|1.0", "http://q"]}});
    assert_eq!(of("Patient", "_profile", &meta), ["<http://p> <http://p|1.0> <http://q>"]);
    let answers = json!({"resourceType": "QuestionnaireResponse", "questionnaire": "http://q|2"});
    assert_eq!(of("QuestionnaireResponse", "questionnaire", &answers), ["[-/- http://q] [-/- http://q|2]"]);
    let own =
        json!({"resourceType": "QuestionnaireResponse", "questionnaire": "https://ehr.example/fhir/Questionnaire/7|2"});
    let both =
        "[Questionnaire/7 https://ehr.example/fhir/Questionnaire/7] [-/- https://ehr.example/fhir/Questionnaire/7|2]";
    assert_eq!(of("QuestionnaireResponse", "questionnaire", &own), [both]);
}

#[test]
fn decimals_keep_all_their_places() {
    let value = |text: &str| serde_json::from_str::<Value>(&format!(r#"{{"value": {text}, "code": "mg"}}"#)).unwrap();
    for (text, kept) in
        [("1.50", "1.5"), ("0.1", "0.1"), ("123456789.123456789", "123456789.123456789"), ("1e-3", "0.001")]
    {
        assert_eq!(observation("valueQuantity", value(text), "value-quantity"), [format!("[{kept} -|mg -]")], "{text}");
    }
    let third = value("0.333333333333333333");
    assert_eq!(observation("valueQuantity", third, "value-quantity"), ["[0.333333333333333 -|mg -]"]);
    assert!(observation("valueQuantity", json!({"value": "5"}), "value-quantity").is_empty());
}

#[test]
fn a_comparator_reaches_to_the_end_of_all_numbers() {
    let bounds = |comparator: &str| {
        let resource = json!({"resourceType": "Observation", "valueQuantity": {"value": 5, "comparator": comparator}});
        let facts = extract("Observation", &resource, "");
        let number = param("Observation", "value-quantity").unwrap().number;
        let Some(Fact::Quantity { range, .. }) = facts.as_ref().of(number).next() else { panic!("no quantity") };
        (range.low, range.high)
    };
    let five = Decimal::parse("5").unwrap();
    assert_eq!(bounds("<"), (Decimal::MIN, Decimal(five.0 - 1)));
    assert_eq!(bounds("<="), (Decimal::MIN, five));
    assert_eq!(bounds(">"), (Decimal(five.0 + 1), Decimal::MAX));
    assert_eq!(bounds(">="), (five, Decimal::MAX));
    assert_eq!(bounds("?"), (five, five));
}

#[test]
fn ranges_may_be_open() {
    let age = |range: Value| of("Condition", "onset-age", &json!({"resourceType": "Condition", "onsetRange": range}));
    assert_eq!(age(json!({"low": {"value": 1}, "high": {"value": 2, "code": "a"}})), ["[1…2 -|- -]"]);
    assert_eq!(age(json!({"high": {"value": 2, "code": "a"}})), ["[-∞…2 -|a -]"]);
    assert_eq!(age(json!({"low": {"value": 1, "unit": "years"}})), ["[1…∞ -|- years]"]);
    assert!(age(json!({"low": {"unit": "years"}})).is_empty());
}

#[test]
fn sampled_data_are_found_by_their_bounds() {
    let sampled = |data: &str| {
        let data = json!({"origin": {"value": 10, "code": "mV"}, "factor": -2, "lowerLimit": -5, "upperLimit": 7, "data": data});
        observation("valueSampledData", data, "value-quantity")
    };
    assert_eq!(sampled("1 2 E 3.5"), ["[3…8 -|mV -]"]);
    assert_eq!(sampled("L 1"), ["[8…20 -|mV -]"]);
    assert_eq!(sampled("U"), ["[-4 -|mV -]"]);
    assert!(sampled("E").is_empty());
}

#[test]
fn dates_keep_their_precision() {
    let effective = |member: &str, value: Value| observation(member, value, "date");
    let day = "2026-11-22T00:00:00.000Z…2026-11-22T23:59:59.999Z";
    assert_eq!(effective("effectiveDateTime", json!("2026-11-22")), [day]);
    assert_eq!(effective("effectiveDateTime", json!("2026")), ["2026-01-01T00:00:00.000Z…2026-12-31T23:59:59.999Z"]);
    let second = "2026-11-22T19:54:03.000Z…2026-11-22T19:54:03.999Z";
    assert_eq!(effective("effectiveInstant", json!("2026-11-22T20:54:03+01:00")), [second]);
    let open = effective("effectivePeriod", json!({"start": "2026-11"}));
    assert_eq!(open, [format!("2026-11-01T00:00:00.000Z…{}", crate::date::instant_of(DateRange::ALWAYS.end))]);
    let timing = json!({"event": ["2026-02-01", "2026-01-01"], "repeat": {"boundsPeriod": {"start": "2026-01-15", "end": "2026-03"}}});
    assert_eq!(effective("effectiveTiming", timing), ["2026-01-01T00:00:00.000Z…2026-03-31T23:59:59.999Z"]);
    assert!(effective("effectiveTiming", json!({"repeat": {"count": 3}})).is_empty());
    assert!(effective("effectiveDateTime", json!("last week")).is_empty());
}

#[test]
fn who_is_not_said_to_be_dead_is_not() {
    let deceased = |resource: Value| of("Patient", "deceased", &resource);
    assert_eq!(deceased(json!({"resourceType": "Patient"})), ["[-|false -]"]);
    assert_eq!(deceased(json!({"resourceType": "Patient", "deceasedBoolean": false})), ["[-|false -]"]);
    assert_eq!(deceased(json!({"resourceType": "Patient", "deceasedBoolean": true})), ["[-|true -]"]);
    let dead = json!({"resourceType": "Patient", "deceasedDateTime": "2020-01"});
    assert_eq!(deceased(dead.clone()), ["[-|true -]"]);
    assert_eq!(of("Patient", "death-date", &dead), ["2020-01-01T00:00:00.000Z…2020-01-31T23:59:59.999Z"]);
    let unknown =
        json!({"resourceType": "Patient", "_deceasedBoolean": {"extension": [{"url": "x", "valueCode": "unknown"}]}});
    assert!(deceased(unknown).is_empty());
}

#[test]
fn identifiers_are_found_by_their_types_too() {
    let identifier = json!([{
        "type": {"coding": [{"system": "t", "code": "MR"}, {"code": "no-system"}], "text": "Record"},
        "system": "s", "value": "7"
    }, {"value": "8"}, {"system": "s"}]);
    let patient = json!({"resourceType": "Patient", "identifier": identifier});
    assert_eq!(of("Patient", "identifier", &patient), ["[s|7 Record] [of-type t|MR|7] [-|8 -]"]);
}

#[test]
fn codes_have_their_texts() {
    let concept =
        json!({"coding": [{"system": "s", "code": "a", "display": "A"}, {"code": "b"}, {"system": "s"}], "text": "T"});
    let expected = "[s|a A] [-|b -] [-| T]";
    assert_eq!(observation("valueCodeableConcept", concept.clone(), "value-concept"), [expected]);
    assert_eq!(observation("valueCodeableConcept", concept, "value-string"), [r#""T""#]);
}

#[test]
fn telecoms_are_told_apart() {
    let telecom = json!([{"system": "phone", "value": "1"}, {"system": "email", "value": "a@b"}, {"value": "2"}]);
    let patient = json!({"resourceType": "Patient", "telecom": telecom});
    assert_eq!(of("Patient", "telecom", &patient), ["[-|1 -] [-|a@b -] [-|2 -]"]);
    assert_eq!(of("Patient", "phone", &patient), ["[-|1 -]"]);
    assert_eq!(of("Patient", "email", &patient), ["[-|a@b -]"]);
}

#[test]
fn only_the_first_entry_of_a_bundle_is_its_message_or_composition() {
    let entry = |kind: &str, id: &str| json!({"resource": {"resourceType": kind, "id": id}});
    let bundle = |entries: Value| json!({"resourceType": "Bundle", "entry": entries});
    let document = bundle(json!([entry("Composition", "c"), entry("MessageHeader", "m")]));
    assert_eq!(of("Bundle", "composition", &document), ["[Composition/c Composition/c]"]);
    assert!(of("Bundle", "message", &document).is_empty());
    assert!(of("Bundle", "composition", &bundle(json!([entry("Patient", "p")]))).is_empty());
}

#[test]
fn a_composite_needs_all_its_parts_of_one_element() {
    let observation = json!({"resourceType": "Observation", "component": [
        {"code": {"coding": [{"code": "a"}]}, "valueQuantity": {"value": 1}},
        {"code": {"coding": [{"code": "b"}]}},
        {"valueQuantity": {"value": 2}},
        {"code": {"coding": [{"code": "c"}]}, "valueQuantity": {"value": 3}}
    ]});
    let found = of("Observation", "component-code-value-quantity", &observation);
    assert_eq!(found, ["( 0= [-|a -] 1= [1 -|- -]", "( 0= [-|c -] 1= [3 -|- -]"]);
}

#[test]
fn what_is_said_in_every_tuple_does_not_multiply() {
    let sequence = |codings: usize, variants: usize| {
        let codings: Vec<_> = (0..codings).map(|n| json!({"code": n.to_string()})).collect();
        let variants: Vec<_> = (0..variants).map(|n| json!({"start": n, "end": n + 1})).collect();
        let seq = json!({"chromosome": {"coding": codings}, "windowStart": 1, "windowEnd": 2});
        json!({"resourceType": "MolecularSequence", "referenceSeq": [seq.clone(), seq], "variant": variants})
    };
    let tuples = of("MolecularSequence", "chromosome-variant-coordinate", &sequence(2, 2));
    assert_eq!(tuples, ["( 0= [-|0 -] [-|1 -] 1= 0 2= 1", "( 0= [-|0 -] [-|1 -] 1= 1 2= 2"]);
    let facts = |codings, variants| extract("MolecularSequence", &sequence(codings, variants), "").bytes().len();
    assert!(facts(1000, 1000) < 100_000, "{}", facts(1000, 1000));
    // Of one element's own values all are kept.
    let window = of("MolecularSequence", "chromosome-window-coordinate", &sequence(20, 0));
    assert_eq!(window[0].matches("[-|").count(), 20);
}

/// Any JSON, with R4's names of members more often than others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[-+0-9.eE:TZ#/|]{0,20}|.{0,12}|(Patient|Group)/[a-z]{0,3}(/_history/1)?".prop_map(Value::from),
    ];
    let names = "value(Quantity|SampledData|Period|CodeableConcept|Timing)?|code|coding|system|component|subject|reference|\
         identifier|type|data|origin|low|high|start|end|event|repeat|boundsPeriod|meta|tag|effectivePeriod|name|given|\
         telecom|address|position|deceasedBoolean|entry|resource|referenceSeq|variant|[a-z_]{1,6}";
    leaf.prop_recursive(6, 80, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..8).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_taken_without_a_panic(value in any_json(), of in 0..vouchsafe_fhir_structure::RESOURCE_TYPES.len()) {
        for name in [vouchsafe_fhir_structure::RESOURCE_TYPES[of], "Observation", "Patient", "Bundle", "MolecularSequence"] {
            let facts = extract(name, &value, "https://ehr.example/fhir");
            prop_assert!(facts.as_ref().all().all(|(number, _)| table().definitions[usize::from(number)].is_for(name)));
        }
    }
}
