use super::*;

fn bundle(kind: &str, entries: &str) -> String {
    format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{entries}]}}"#)
}

fn first_fault(text: &str) -> (u16, String) {
    let fault = match read(text.as_bytes(), 3) {
        Err(fault) => fault,
        Ok(bundle) => bundle.entries.into_iter().find_map(Result::err).unwrap(),
    };
    (fault.status, fault.expression)
}

#[test]
fn entries_keep_the_exact_bytes_of_their_resources() {
    let text = bundle(
        "transaction",
        r#"{"fullUrl":"urn:uuid:1", "resource" : { "resourceType":"Basic" , "x":1.50 },
            "request":{"method":"POST","url":"Basic","ifNoneExist":"identifier=a|b"}},
           {"request":{"url":"Patient/1","method":"DELETE","ifMatch":"W/\"2\""}}"#,
    );
    let bundle = read(text.as_bytes(), 3).unwrap();
    assert_eq!(bundle.kind, Kind::Transaction);
    let [first, second] = &bundle.entries[..] else { panic!() };
    let (first, second) = (first.clone().ok().unwrap(), second.clone().ok().unwrap());
    assert_eq!(&text[first.resource.unwrap()], r#"{ "resourceType":"Basic" , "x":1.50 }"#);
    assert_eq!(first.full_url.as_deref(), Some("urn:uuid:1"));
    assert_eq!(first.request.if_none_exist.as_deref(), Some("identifier=a|b"));
    assert!(second.resource.is_none());
    assert!(second.request.method == Method::Delete && second.request.if_match.as_deref() == Some("W/\"2\""));
}

#[test]
fn faults_name_the_entry() {
    let good = r#"{"request":{"method":"GET","url":"Patient"}}"#;
    for (entry, status, at) in [
        (r#"{"resource":{"resourceType":"Basic"}}"#, 400, "Bundle.entry[1].request"),
        (r#"{"request":{"method":"PATCH","url":"Patient/1"}}"#, 405, "Bundle.entry[1].request.method"),
        (r#"{"request":{"method":"FETCH","url":"Patient/1"}}"#, 405, "Bundle.entry[1].request.method"),
        (r#"{"request":{"method":"GET"}}"#, 422, "Bundle.entry[1].request.url"),
        (r#"{"request":{"method":"GET","url":1}}"#, 422, "Bundle.entry[1].request.url"),
        (r#"{"request":[],"fullUrl":"x"}"#, 422, "Bundle.entry[1].request"),
        (r#"{"nonsense":1,"request":{"method":"GET","url":"x"}}"#, 422, "Bundle.entry[1].nonsense"),
        (r#"{"resource":[],"request":{"method":"POST","url":"x"}}"#, 422, "Bundle.entry[1].resource"),
        ("7", 422, "Bundle.entry[1]"),
        ("[]", 422, "Bundle.entry[1]"),
    ] {
        assert_eq!(first_fault(&bundle("batch", &format!("{good},{entry}"))), (status, at.to_owned()), "{entry}");
    }
}

#[test]
fn bundles_of_another_kind_or_size_are_refused() {
    let good = r#"{"request":{"method":"GET","url":"Patient"}}"#;
    assert_eq!(first_fault(&bundle("collection", "")), (400, "Bundle.type".into()));
    assert_eq!(first_fault(r#"{"resourceType":"Bundle"}"#), (422, "Bundle.type".into()));
    assert_eq!(first_fault(r#"{"resourceType":"Patient"}"#), (400, "resourceType".into()));
    assert_eq!(first_fault("[]"), (400, "resourceType".into()));
    assert_eq!(first_fault(r#"{"resourceType":"Bundle","type":"batch","x":1}"#), (422, "Bundle.x".into()));
    assert_eq!(first_fault(r#"{"resourceType":"Bundle","type":"batch","entry":{}}"#), (422, "Bundle.entry".into()));
    assert_eq!(first_fault(&bundle("batch", &[good; 4].join(","))), (413, "Bundle.entry".into()));
    assert!(read(bundle("batch", &[good; 3].join(",")).as_bytes(), 3).is_ok());
    assert!(read(br#"{"resourceType":"Bundle","type":"batch"}"#, 3).unwrap().entries.is_empty());
}

#[test]
fn names_are_resolved_as_r4_says() {
    let mut names = Names::default();
    names.add(0, "urn:uuid:1", "Patient/a".into()).unwrap();
    names.add(1, "https://x.example/fhir/Patient/7", "Patient/b".into()).unwrap();
    let from = Some("https://x.example/fhir/Observation/9");
    let entry = |text: &str| Target::Entry(text.into());
    assert_eq!(names.target(None, "urn:uuid:1"), entry("Patient/a"));
    assert_eq!(names.target(None, "urn:uuid:1#x"), entry("Patient/a#x"));
    assert_eq!(names.target(None, "https://x.example/fhir/Patient/7"), entry("Patient/b"));
    assert_eq!(names.target(from, "Patient/7"), entry("Patient/b"));
    assert_eq!(names.target(Some("urn:uuid:1"), "Patient/7"), Target::Elsewhere);
    assert_eq!(names.target(from, "Patient/8"), Target::Elsewhere);
    assert_eq!(names.target(from, "#contained"), Target::Elsewhere);
    assert_eq!(names.target(None, "urn:uuid:2"), Target::Absent);
    assert_eq!(names.target(None, "Patient?identifier=x"), Target::Search("Patient".into(), "identifier=x".into()));
    assert_eq!(names.target(None, "Nothing?identifier=x"), Target::Elsewhere);
    assert_eq!(names.add(2, "urn:uuid:1", "Patient/c".into()).unwrap_err().expression, "Bundle.entry[2].fullUrl");
}

proptest::proptest! {
    #[test]
    fn any_bundle_is_read_without_a_panic(parts in proptest::collection::vec(0..12_usize, 0..40)) {
        const PARTS: [&str; 12] = ["{", "}", "[", "]", ",", ":", "\"entry\"", "\"request\"", "\"resource\"", "1",
            "\"resourceType\":\"Bundle\"", "\"type\":\"batch\""];
        let text: String = parts.iter().map(|n| PARTS[*n]).collect();
        let _ = read(text.as_bytes(), 3);
    }
}
