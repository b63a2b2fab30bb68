use super::*;

fn fault(json: &str) -> (String, String) {
    let kind: Value = serde_json::from_str(json).unwrap();
    let e = check(kind["resourceType"].as_str().unwrap(), json.as_bytes()).unwrap_err();
    (e.expression, e.diagnostics)
}

fn place(json: &str) -> String {
    fault(json).0
}

#[test]
fn r4_has_146_concrete_types() {
    assert_eq!(RESOURCE_TYPES.len(), 146);
    assert!(RESOURCE_TYPES.windows(2).all(|w| w[0] < w[1]));
    assert!(!is_resource_type("Resource") && !is_resource_type("DomainResource") && is_resource_type("Patient"));
}

#[test]
fn whole_resources_pass() {
    let good = [
        r#"{"resourceType":"Patient","_birthDate":{"extension":[{"url":"http://x.example","valueDateTime":"1970-01-01T00:00:00Z"}]},"birthDate":"1970-01-01"}"#,
        r#"{"resourceType":"Patient","name":[{"given":["a",null],"_given":[null,{"id":"x"}]}]}"#,
        r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.50}}"#,
        r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","contained":[{"resourceType":"Organization","name":"x"}]}}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"x","part":[{"name":"y","valueBoolean":true}]}]}"#,
        r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"group","item":[{"linkId":"2","type":"string"}]}]}"#,
    ];
    for json in good {
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(check(value["resourceType"].as_str().unwrap(), json.as_bytes()), Ok(()), "{json}");
    }
}

/// R4's patterns are those of XML Schema, where white space is four characters: HL7's own CodeSystem v2-0550 has a code that
/// ends in a no-break space.
#[test]
fn a_no_break_space_is_no_space() {
    let concept = |code: &str| {
        let one = serde_json::json!({ "code": code });
        let system = serde_json::json!({ "resourceType": "CodeSystem", "status": "active", "content": "complete", "concept": [one] });
        check("CodeSystem", system.to_string().as_bytes()).map_err(|e| e.expression)
    };
    assert_eq!(concept("CHEST\u{a0}"), Ok(()));
    for spaced in ["CHEST ", " CHEST", "A  B", "A\tB", "A\n"] {
        assert_eq!(concept(spaced), Err("CodeSystem.concept[0].code".to_owned()), "{spaced:?}");
    }
}

#[test]
fn an_unknown_member_is_named_with_its_place() {
    assert_eq!(place(r#"{"resourceType":"Patient","birthdate":"1970"}"#), "Patient.birthdate");
    assert_eq!(place(r#"{"resourceType":"Patient","name":[{},{"x":1}]}"#), "Patient.name[0]");
    assert_eq!(place(r#"{"resourceType":"Patient","name":[{"text":"a"},{"x":1}]}"#), "Patient.name[1].x");
    assert_eq!(
        place(
            r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","nom":"x"}}]}"#
        ),
        "Bundle.entry[0].resource.nom"
    );
    assert_eq!(place(r#"{"resourceType":"Patient","_name":[{"id":"x"}]}"#), "Patient._name");
    assert_eq!(
        place(r#"{"resourceType":"Patient","contained":[{"resourceType":"Nothing"}]}"#),
        "Patient.contained[0].resourceType"
    );
}

#[test]
fn wrong_json_types_are_refused() {
    for (json, at) in [
        (r#"{"resourceType":"Patient","active":"true"}"#, "Patient.active"),
        (r#"{"resourceType":"Patient","multipleBirthInteger":"1"}"#, "Patient.multipleBirthInteger"),
        (r#"{"resourceType":"Patient","name":{"text":"x"}}"#, "Patient.name"),
        (r#"{"resourceType":"Patient","maritalStatus":[{"text":"x"}]}"#, "Patient.maritalStatus"),
        (r#"{"resourceType":"Patient","gender":1}"#, "Patient.gender"),
        (r#"{"resourceType":"Patient","gender":null}"#, "Patient.gender"),
        (r#"{"resourceType":"Patient","name":[]}"#, "Patient.name"),
        (r#"{"resourceType":"Patient","name":[null]}"#, "Patient.name[0]"),
        (r#"{"resourceType":"Patient","name":[{"given":[null]}]}"#, "Patient.name[0].given[0]"),
        (r#"{"resourceType":"Patient","gender":""}"#, "Patient.gender"),
        (r#"{"resourceType":"Patient","birthDate":"22.11.1970"}"#, "Patient.birthDate"),
        (
            r#"{"resourceType":"Patient","identifier":[{"period":{"start":"soon"}}]}"#,
            "Patient.identifier[0].period.start",
        ),
        (r#"{"resourceType":"Patient","telecom":[{"rank":0}]}"#, "Patient.telecom[0].rank"),
        (
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":"1"}}"#,
            "Observation.valueQuantity.value",
        ),
    ] {
        assert_eq!(place(json), at, "{json}");
    }
}

#[test]
fn what_is_missing_is_named_with_its_place() {
    assert_eq!(
        fault(r#"{"resourceType":"Observation","code":{"text":"x"}}"#),
        ("Observation.status".to_owned(), "is missing".to_owned())
    );
    assert_eq!(
        place(
            r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"component":[{"code":{"text":"a"}},{"valueString":"b"}]}"#
        ),
        "Observation.component[1].code"
    );
    let contained = r#"{"resourceType":"Patient","contained":[{"resourceType":"Observation","status":"final"}]}"#;
    assert_eq!(place(contained), "Patient.contained[0].code");
}

#[test]
fn a_choice_stands_once() {
    let (at, what) = fault(r#"{"resourceType":"Patient","deceasedBoolean":true,"deceasedDateTime":"2026"}"#);
    assert!(at.starts_with("Patient"), "{at}");
    assert_eq!(what, "may stand here only once");
}

#[test]
fn the_type_must_be_the_one_expected() {
    let json = br#"{"resourceType":"Patient"}"#;
    assert_eq!(check("Observation", json).unwrap_err().expression, "resourceType");
    assert_eq!(check("DomainResource", json).unwrap_err().expression, "resourceType");
    assert!(check("Patient", b"[]").is_err() && check("Patient", b"{").is_err());
}

#[test]
fn an_error_never_quotes_a_value() {
    for json in [
        r#"{"resourceType":"Patient","birthDate":"SECRET"}"#,
        r#"{"resourceType":"Patient","active":"SECRET"}"#,
        r#"{"resourceType":"Patient","multipleBirthInteger":"SECRET"}"#,
        r#"{"resourceType":"Patient","link":[{"other":{"display":"SECRET"}}]}"#,
    ] {
        let (at, what) = fault(json);
        assert!(!at.contains("SECRET") && !what.contains("SECRET"), "{at}: {what}");
    }
}

#[test]
fn what_stands_where_is_told() {
    assert_eq!(kind_of("Observation", "subject"), Some(Kind::Block("Reference")));
    assert_eq!(kind_of("Observation", "component"), Some(Kind::Block("Observation.component")));
    assert_eq!(kind_of("Observation.component", "valueString"), Some(Kind::Primitive("string")));
    assert_eq!(kind_of("Reference", "reference"), Some(Kind::Primitive("string")));
    assert_eq!(kind_of("Attachment", "url"), Some(Kind::Primitive("url")));
    assert_eq!(kind_of("Meta", "profile"), Some(Kind::Primitive("canonical")));
    assert_eq!(kind_of("Narrative", "div"), Some(Kind::Primitive("xhtml")));
    assert_eq!(kind_of("Patient", "contained"), Some(Kind::Resource));
    assert_eq!(kind_of("Patient", "birthdate"), None);
}

#[test]
fn an_element_has_a_member_for_each_of_its_types() {
    let names =
        |block, element| members_of(block, element).into_iter().map(|m| (m.name, m.type_name)).collect::<Vec<_>>();
    let text = |pairs: &[(&str, &'static str)]| pairs.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect::<Vec<_>>();
    assert_eq!(names("Patient", "birthDate"), text(&[("birthDate", "date")]));
    assert_eq!(names("Patient", "deceased"), text(&[("deceasedBoolean", "boolean"), ("deceasedDateTime", "dateTime")]));
    assert_eq!(names("Observation", "component"), text(&[("component", "Observation.component")]));
    assert_eq!(names("Observation", "subject"), text(&[("subject", "Reference")]));
    assert_eq!(names("Observation", "valueQuantity"), []);
    assert_eq!(names("Nothing", "id"), []);
    for (block, element) in [("Observation", "value"), ("Extension", "value"), ("Timing.repeat", "bounds")] {
        for member in members_of(block, element) {
            assert_eq!(kind_of(block, &member.name), Some(member.kind), "{block}.{}", member.name);
        }
    }
}
