//! Tests of queries.

use super::*;

const CONTEXT: Context<'_> = Context { base: "https://vouchsafe.example/fhir", now: 1_795_000_000_000 };

fn parse(resource_type: Option<&str>, text: &str, handling: Handling) -> Result<Query, Fault> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    Query::parse(resource_type, &pairs.collect::<Vec<_>>(), &CONTEXT, handling)
}

fn strict(resource_type: &str, text: &str) -> Query {
    parse(Some(resource_type), text, Handling::Strict).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn fault(resource_type: &str, text: &str) -> Fault {
    match parse(Some(resource_type), text, Handling::Strict) {
        Ok(_) => panic!("{text} is read"),
        Err(fault) => fault,
    }
}

#[test]
fn what_is_at_fault_is_named_and_never_quoted() {
    use FaultKind::{Invalid, NotSupported, TooCostly};
    let long = format!("name={}", "x".repeat(3000));
    let many = format!("name={}", "secret,".repeat(300));
    let chain = "subject:Patient.link:Patient.link:Patient.link:Patient.link:Patient.name=secret";
    for (of, query, kind) in [
        ("Patient", "nome=secret", NotSupported),
        ("Patient", "name:sounds=secret", NotSupported),
        ("Patient", "name:of-type=secret", NotSupported),
        ("Patient", "birthdate:exact=secret", NotSupported),
        ("Patient", "birthdate=secret", Invalid),
        ("Patient", "birthdate=xx2020", Invalid),
        ("Patient", "birthdate=ge", Invalid),
        ("Patient", "birthdate=2020-02-30", Invalid),
        ("Patient", "birthdate=GE2020", Invalid),
        ("Patient", "name=", Invalid),
        ("Patient", "name=secret,,other", Invalid),
        ("Patient", "name=\u{301}", Invalid),
        ("Patient", "gender:missing=secret", Invalid),
        ("Patient", "_id:exact=secret", NotSupported),
        ("Patient", "identifier=|", Invalid),
        ("Patient", "identifier=a|b|secret", Invalid),
        ("Patient", "identifier:of-type=a|secret", Invalid),
        ("Patient", "_text=secret", NotSupported),
        ("Patient", "_content=secret", NotSupported),
        ("Patient", "_list=secret", NotSupported),
        ("Patient", "_filter=secret", NotSupported),
        ("Patient", "_query=secret", NotSupported),
        ("Patient", "_contained=true", NotSupported),
        ("Patient", "_containedType=secret", NotSupported),
        ("Patient", "_type=Patient", NotSupported),
        ("Patient", "_count=-1", Invalid),
        ("Patient", "_count=secret", Invalid),
        ("Patient", "_total=secret", Invalid),
        ("Patient", "_summary=secret", Invalid),
        ("Patient", "_elements=a b", Invalid),
        ("Patient", "_count=1&_count=2", Invalid),
        ("Patient", "_sort=secret", NotSupported),
        ("Patient", "_sort=", Invalid),
        ("Observation", "_sort=code-value-quantity", NotSupported),
        ("Observation", "code:in=secret", NotSupported),
        ("Observation", "code:not-in=secret", NotSupported),
        ("Observation", "code:above=secret", NotSupported),
        ("Observation", "code:below=secret", NotSupported),
        ("Observation", "subject:Secret=1", NotSupported),
        ("Observation", "subject:Patient=Group/1", Invalid),
        ("Observation", "code.text=secret", NotSupported),
        ("Observation", "subject:Practitioner.name=secret", NotSupported),
        ("Observation", "subject:Patient.nome=secret", NotSupported),
        ("Observation", "focus.name=secret", NotSupported),
        ("Observation", "value-quantity=5.4|mg", Invalid),
        ("Observation", "value-quantity=five", Invalid),
        ("Observation", "value-quantity=eqq5", Invalid),
        ("Observation", "code-value-quantity=8480-6", Invalid),
        ("Observation", "code-value-quantity=8480-6$", Invalid),
        ("Observation", "code-value-quantity=a$b$c", Invalid),
        ("Location", "near=secret", Invalid),
        ("Patient", "_has:Observation=secret", Invalid),
        ("Patient", "_has:Secret:patient:code=1", NotSupported),
        ("Patient", "_has:Observation:code:code=1", NotSupported),
        ("Patient", "_has:Observation:encounter:code=1", NotSupported),
        ("Patient", "_include=Patient", Invalid),
        ("Patient", "_include=Secret:x", NotSupported),
        ("Patient", "_include=Patient:name", NotSupported),
        ("Patient", "_include=Patient:a:b:c", Invalid),
        ("Patient", "_include:secret=Patient:link", NotSupported),
        ("Observation", chain, TooCostly),
        ("Patient", &long, TooCostly),
        ("Patient", &many, TooCostly),
    ] {
        let fault = fault(of, query);
        assert_eq!(fault.kind, kind, "{query}: {fault}");
        let given = query.split('&').next_back().unwrap().split('=').next().unwrap();
        assert_eq!(fault.parameter, given.chars().take(64).collect::<String>());
        assert!(!fault.what.to_lowercase().contains("secret"), "{query}: {fault}");
    }
}

#[test]
fn lenient_handling_passes_over_unknown_parameters_and_lists_them() {
    let query = parse(Some("Patient"), "nome=x&name=y&_text=z&link.foo=1&_sort=nome&_format=json", Handling::Lenient);
    let query = query.unwrap_or_else(|fault| panic!("{fault}"));
    let ignored = query.ignored().iter().map(|fault| fault.parameter.as_str()).collect::<Vec<_>>();
    assert_eq!(ignored, ["nome", "_text", "link.foo", "_sort"]);
    assert_eq!(query.applied(), [("name".to_owned(), "y".to_owned())]);
    // R4: an unsupported modifier is refused whatever the handling, and so is what cannot be read.
    for refused in ["name:sounds=x", "birthdate=x", "_count=x"] {
        assert!(parse(Some("Patient"), refused, Handling::Lenient).is_err(), "{refused}");
    }
}

#[test]
fn what_shapes_the_answer_is_read() {
    let query =
        strict("Patient", "_count=1000000000&_total=accurate&_summary=text&_elements=name,birthDate&_pretty=true");
    assert_eq!(query.count(), Some(Query::MAX_COUNT));
    assert_eq!((query.total(), query.summary()), (Total::Accurate, Summary::Text));
    assert_eq!(query.elements(), ["name", "birthDate"]);
    assert_eq!(query.applied().len(), 4);
    assert_eq!(strict("Patient", "_count=99999999999999999999999999").count(), Some(Query::MAX_COUNT));
    assert_eq!(strict("Patient", "_count=0").count(), Some(0));
    assert!(strict("Patient", "_revinclude:iterate=Provenance:target&_include=*").includes());
    assert!(strict("Patient", "_has:Observation:patient:code=1").uses_chain());
    assert!(!strict("Patient", "name=a").uses_chain());
    for narrow in ["_id=1", "identifier=x", "name=anna&gender=male", "general-practitioner=1"] {
        assert!(strict("Patient", narrow).is_narrow(), "{narrow}");
    }
    for wide in ["", "gender=male", "identifier:not=x", "name=an", "name:contains=anna", "birthdate=1970"] {
        assert!(!strict("Patient", wide).is_narrow(), "{wide}");
    }
}

#[test]
fn a_search_over_several_types_takes_what_all_of_them_have() {
    let over = |text| parse(None, text, Handling::Strict);
    let of = |text| over(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    assert_eq!(of("_type=Observation,Condition,Observation&patient=1").types(), ["Observation", "Condition"]);
    assert_eq!(of("_lastUpdated=gt2020").types().len(), vouchsafe_fhir_structure::RESOURCE_TYPES.len());
    assert_eq!(over("patient=1").err().unwrap().parameter, "patient");
    assert_eq!(over("_type=Secret").err().unwrap().parameter, "_type");
    assert_eq!(over("_type=Observation,Patient&code=1").err().unwrap().kind, FaultKind::NotSupported);
}

#[test]
fn every_spelling_of_a_patient_is_named() {
    for (of, query, named) in [
        ("Observation", "patient=1", &["1"][..]),
        ("Observation", "patient=Patient/1", &["1"]),
        ("Observation", "patient=Patient/1/_history/2", &["1"]),
        ("Observation", "patient:Patient=1", &["1"]),
        ("Observation", "patient=https://vouchsafe.example/fhir/Patient/1", &["1"]),
        ("Observation", "subject=1,Patient/2,Group/3", &["1", "2"]),
        ("Observation", "subject:Patient=1", &["1"]),
        ("Observation", "subject:Group=1", &[]),
        ("Observation", "subject=Group/1", &[]),
        ("Observation", "focus=1", &["1"]),
        ("Observation", "subject=https://elsewhere.example/fhir/Patient/1", &[]),
        ("Observation", "subject=urn:uuid:1", &[]),
        ("Observation", "patient=1&subject=Patient/2", &["1", "2"]),
        ("Observation", "patient._id=1", &["1"]),
        ("Observation", "subject:Patient._id=1,2", &["1", "2"]),
        ("Observation", "subject._id=1", &["1"]),
        ("Observation", "encounter.patient=1", &["1"]),
        ("Observation", "encounter.subject:Patient._id=1", &["1"]),
        ("Observation", "_has:Provenance:target:patient=1", &["1"]),
        ("Observation", "device.patient._id=1", &["1"]),
        ("Patient", "_id=1,2", &["1", "2"]),
        ("Patient", r"_id=1\,2", &["1,2"]),
        ("Patient", "link=Patient/2", &["2"]),
        ("Patient", "link=2", &["2"]),
        ("Patient", "_has:Observation:patient:subject=1", &["1"]),
        ("Patient", "_has:Observation:patient:subject:Patient._id=1", &["1"]),
        ("Patient", "general-practitioner=1", &[]),
        ("Patient", "general-practitioner=Patient/1", &["1"]),
        ("Encounter", "_id=1", &[]),
        ("AuditEvent", "entity=1", &["1"]),
        ("AuditEvent", "entity=Patient/1", &["1"]),
        ("Patient", "identifier=1", &[]),
    ] {
        assert_eq!(strict(of, query).named_patients(), named, "{query}");
    }
    let over_all = parse(None, "_id=1", Handling::Strict).map_err(|fault| panic!("{fault}")).unwrap();
    assert_eq!(over_all.named_patients(), ["1"]);
    let within = strict("Observation", "code=1").within("Patient", "7").map_err(|fault| panic!("{fault}")).unwrap();
    assert_eq!(within.named_patients(), ["7"]);
    let passed_over = parse(Some("Observation"), "subject:Patient.nome=1&nome=Patient/2", Handling::Lenient);
    assert!(passed_over.map_err(|fault| panic!("{fault}")).unwrap().named_patients().is_empty());
}

#[test]
fn a_compartment_leaves_out_types_that_are_not_in_it() {
    let all = parse(None, "", Handling::Strict).map_err(|fault| panic!("{fault}")).unwrap();
    let within = all.clone().within("Patient", "1").map_err(|fault| panic!("{fault}")).unwrap();
    assert!(within.types().contains(&"Observation") && within.types().contains(&"Patient"));
    assert!(!within.types().contains(&"Organization"));
    assert!(all.clone().within("Secret", "1").is_err() && all.within("Group", "1").is_err());
    assert!(strict("Organization", "").within("Patient", "1").is_err());
}
