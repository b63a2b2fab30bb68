//! The examples of <https://hl7.org/fhir/R4/search.html>, kind by kind.

use serde_json::json;

use super::*;

fn dated(id: &str, element: &Value) -> Value {
    let mut resource = json!({"resourceType": "Procedure", "id": id});
    resource.as_object_mut().unwrap().extend(element.as_object().unwrap().clone());
    resource
}

fn at(id: &str, time: &str) -> Value {
    dated(id, &json!({ "performedDateTime": time }))
}

#[test]
fn dates() {
    let period = |id: &str, period: Value| dated(id, &json!({ "performedPeriod": period }));
    let resources = [
        at("midnight", "2013-01-14T00:00:00Z"),
        at("ten", "2013-01-14T10:00:00Z"),
        at("next", "2013-01-15T00:00:00Z"),
        at("day", "2013-01-14"),
        period("onwards", json!({"start": "2013-01-21"})),
        period("until", json!({"end": "2013-01-21"})),
        at("march", "2013-03-14"),
        at("later", "2013-03-15"),
    ];
    check(
        &resources,
        &[
            ("Procedure?date=eq2013-01-14", "midnight ten day"),
            ("Procedure?date=2013-01-14", "midnight ten day"),
            ("Procedure?date=ne2013-01-14", "next onwards until march later"),
            ("Procedure?date=lt2013-01-14T10:00:00Z", "midnight day until"),
            ("Procedure?date=gt2013-01-14T10:00:00Z", "next day onwards until march later"),
            ("Procedure?date=ge2013-03-14", "onwards march later"),
            ("Procedure?date=le2013-03-14", "midnight ten next day onwards until march"),
            ("Procedure?date=sa2013-03-14", "later"),
            ("Procedure?date=eb2013-03-14", "midnight ten next day until"),
            ("Procedure?date=2013", "midnight ten next day march later"),
            ("Procedure?date=2013-01", "midnight ten next day"),
            ("Procedure?date=ge2013-01-14&date=lt2013-01-15", "midnight ten day until"),
            ("Procedure?date=2013-01-15,2013-03-14", "next march"),
            ("Procedure?date=2013-01-14T11:00:00+01:00", "ten"),
            // As it comes when the `+` was not escaped.
            ("Procedure?date=2013-01-14T11:00:00 01:00", "ten"),
            ("Procedure?date:missing=true", ""),
        ],
    );
}

#[test]
fn dates_that_are_near() {
    // It is June 2026: a tenth of the time since is seven months in 2020 and four days in May.
    let resources = [
        at("a", "2020-01-01"),
        at("b", "2020-07-01"),
        at("c", "2026-05-01"),
        at("d", "2026-05-03"),
        at("e", "2026-05-10"),
    ];
    check(
        &resources,
        &[
            ("Procedure?date=ap2020-01-01", "a b"),
            ("Procedure?date=ap2026-05-01", "c d"),
            ("Procedure?date=ap2020", "a b"),
        ],
    );
}

#[test]
fn numbers_and_quantities() {
    let risk = |id: &str, value: Value| json!({"resourceType": "RiskAssessment", "id": id, "prediction": [{"probabilityDecimal": value}]});
    let number = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    check(
        &["99.4", "99.5", "100", "100.004", "100.4", "100.5", "0.0054"].map(|text| risk(text, number(text))),
        &[
            ("RiskAssessment?probability=100", "99.5 100 100.004 100.4"),
            ("RiskAssessment?probability=100.00", "100 100.004"),
            ("RiskAssessment?probability=1e2", "99.4 99.5 100 100.004 100.4 100.5"),
            ("RiskAssessment?probability=lt100", "99.4 99.5 0.0054"),
            ("RiskAssessment?probability=le100", "99.4 99.5 100 0.0054"),
            ("RiskAssessment?probability=gt100", "100.004 100.4 100.5"),
            ("RiskAssessment?probability=ge100", "100 100.004 100.4 100.5"),
            ("RiskAssessment?probability=ne100", "99.4 100.5 0.0054"),
            ("RiskAssessment?probability=sa100", "100.004 100.4 100.5"),
            ("RiskAssessment?probability=eb100", "99.4 99.5 0.0054"),
            ("RiskAssessment?probability=ap100", "99.4 99.5 100 100.004 100.4 100.5"),
            ("RiskAssessment?probability=5.40e-3", "0.0054"),
        ],
    );
    let quantity =
        |id: &str, quantity: Value| json!({"resourceType": "Observation", "id": id, "valueQuantity": quantity});
    let ucum = "http://unitsofmeasure.org";
    check(
        &[
            quantity("coded", json!({"value": 5.4, "system": ucum, "code": "mg", "unit": "milligram"})),
            quantity("written", json!({"value": 5.44, "unit": "mg"})),
            quantity("other", json!({"value": 5.4, "system": ucum, "code": "g", "unit": "g"})),
            quantity("bare", json!({"value": 5.4})),
            quantity("below", json!({"value": 5.4, "comparator": "<", "unit": "mg"})),
        ],
        &[
            ("Observation?value-quantity=5.4|http://unitsofmeasure.org|mg", "coded"),
            ("Observation?value-quantity=5.4||mg", "coded written"),
            ("Observation?value-quantity=5.4||milligram", "coded"),
            ("Observation?value-quantity=5.4", "coded written other bare"),
            ("Observation?value-quantity=5.40e0", "coded other bare"),
            ("Observation?value-quantity=ap5.4|http://unitsofmeasure.org|mg", "coded"),
            ("Observation?value-quantity=lt5||mg", "below"),
            ("Observation?value-quantity=le5.4|http://unitsofmeasure.org|", "coded other"),
        ],
    );
}

#[test]
fn strings() {
    let named = |id: &str, family: &str| json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]});
    check(
        &[named("eve", "Eve"), named("evelyn", "Evelyn"), named("severine", "Séverine"), named("comma", "Even, Odd")],
        &[
            ("Patient?family=eve", "eve evelyn comma"),
            ("Patient?family:contains=EVE", "eve evelyn severine comma"),
            ("Patient?family:exact=Eve", "eve"),
            ("Patient?family:exact=eve", ""),
            ("Patient?family=severine", "severine"),
            ("Patient?family:contains=vérí", "severine"),
            (r"Patient?family=Even\, Odd", "comma"),
            ("Patient?family=Even, Odd", "comma"),
            ("Patient?family=evelyn,severine", "evelyn severine"),
            ("Patient?family=eve&family=evelyn", "evelyn"),
            ("Patient?family=se", "severine"),
            ("Patient?given:missing=true&family=eve", "eve evelyn comma"),
            ("Patient?family:missing=true", ""),
            ("Patient?family:missing=false", "eve evelyn severine comma"),
        ],
    );
}

#[test]
fn tokens() {
    let condition = |id: &str, code: Value| json!({"resourceType": "Condition", "id": id, "code": code});
    let coding = |system: Value, code: &str| json!({"coding": [{"system": system, "code": code}]});
    check(
        &[
            condition("acme", coding(json!("http://acme.org/conditions/codes"), "ha125")),
            condition("other", coding(json!("http://other.org"), "HA125")),
            condition("none", json!({"coding": [{"code": "ha125"}]})),
            condition("text", json!({"text": "Severe Headache"})),
            json!({"resourceType": "Condition", "id": "empty"}),
        ],
        &[
            ("Condition?code=http://acme.org/conditions/codes|ha125", "acme"),
            ("Condition?code=ha125", "acme other none"),
            ("Condition?code=HA125", "acme other none"),
            ("Condition?code=|ha125", "none"),
            ("Condition?code=http://other.org|", "other"),
            ("Condition?code:text=headache", "text"),
            ("Condition?code:text=severe head", "text"),
            ("Condition?code:text=ache", ""),
            ("Condition?code:not=ha125", "text empty"),
            ("Condition?code:not=http://acme.org/conditions/codes|ha125", "other none text empty"),
            ("Condition?code:not=http://acme.org/conditions/codes|ha125,|ha125", "other text empty"),
            ("Condition?code:missing=true", "empty"),
        ],
    );
    let identified = |id: &str, value: &str, code: &str| {
        let kind = json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": code}]});
        let identifier = json!([{"system": "http://acme.org/patient", "value": value, "type": kind}]);
        json!({"resourceType": "Patient", "id": id, "identifier": identifier, "gender": "male", "active": true})
    };
    check(
        &[identified("mr", "446053", "MR"), identified("ss", "446053", "SS"), identified("cased", "aB", "MR")],
        &[
            ("Patient?identifier=http://acme.org/patient|446053", "mr ss"),
            ("Patient?identifier=446053", "mr ss"),
            ("Patient?identifier:of-type=http://terminology.hl7.org/CodeSystem/v2-0203|MR|446053", "mr"),
            // Identifiers of one system may differ in case alone, and If-None-Exist must tell them apart.
            ("Patient?identifier=ab", ""),
            ("Patient?identifier=aB", "cased"),
            ("Patient?gender=male", "mr ss cased"),
            ("Patient?gender:not=male", ""),
            ("Patient?active=true", "mr ss cased"),
        ],
    );
}

#[test]
fn references() {
    let subject = |id: &str, reference: Value| json!({"resourceType": "Observation", "id": id, "subject": reference});
    let to = |text: &str| json!({ "reference": text });
    check(
        &[
            subject("relative", to("Patient/23")),
            subject("absolute", to("https://vouchsafe.example/fhir/Patient/23")),
            subject("version", to("Patient/23/_history/4")),
            subject("elsewhere", to("http://acme.org/fhir/Patient/23")),
            subject("group", to("Group/23")),
            subject("urn", to("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0")),
            subject(
                "logical",
                json!({"identifier": {"system": "http://acme.org/fhir/identifier/mrn", "value": "123456"}}),
            ),
        ],
        &[
            ("Observation?subject=Patient/23", "relative absolute version"),
            ("Observation?subject:Patient=23", "relative absolute version"),
            ("Observation?subject=https://vouchsafe.example/fhir/Patient/23", "relative absolute version"),
            ("Observation?subject=23", "relative absolute version group"),
            ("Observation?subject=http://acme.org/fhir/Patient/23", "elsewhere"),
            ("Observation?subject=urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", "urn"),
            ("Observation?subject:identifier=http://acme.org/fhir/identifier/mrn|123456", "logical"),
            ("Observation?subject:identifier=123456", "logical"),
            ("Observation?subject:identifier=http://acme.org/fhir/identifier/mrn|", "logical"),
            ("Observation?subject:missing=true", ""),
            // `patient` leads to Patients alone.
            ("Observation?patient=23", "relative absolute version"),
        ],
    );
}

#[test]
fn addresses() {
    let set = |id: &str, url: &str| json!({"resourceType": "ValueSet", "id": id, "url": url, "status": "draft"});
    check(
        &[
            set("a", "http://acme.org/fhir/ValueSet/123"),
            set("b", "http://acme.org/fhir"),
            set("c", "urn:oid:1.2.3.4.5"),
        ],
        &[
            ("ValueSet?url=http://acme.org/fhir/ValueSet/123", "a"),
            ("ValueSet?url:below=http://acme.org/fhir/", "a"),
            ("ValueSet?url:below=http://acme.org/fhir", "a b"),
            ("ValueSet?url:above=http://acme.org/fhir/ValueSet/123/_history/5", "a b"),
            ("ValueSet?url:above=http://acme.org/fhirs", ""),
            ("ValueSet?url=urn:oid:1.2.3.4.5", "c"),
            ("ValueSet?url=URN:OID:1.2.3.4.5", ""),
        ],
    );
    let derived = |id: &str, url: &str| json!({"resourceType": "PlanDefinition", "id": id, "library": [url], "meta": {"profile": [url]}});
    check(
        &[derived("1", "http://acme.org/Library/x|1.0"), derived("2", "http://acme.org/Library/x|2.0")],
        &[
            ("PlanDefinition?depends-on=http://acme.org/Library/x", "1 2"),
            ("PlanDefinition?depends-on=http://acme.org/Library/x|2.0", "2"),
            ("PlanDefinition?_profile=http://acme.org/Library/x", "1 2"),
            ("PlanDefinition?_profile=http://acme.org/Library/x|1.0", "1"),
        ],
    );
}

#[test]
fn composites_are_of_one_element() {
    let component = |code: &str, value: f64| {
        json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "unit": "mmHg"}})
    };
    let pressure = |id: &str, systolic: f64, diastolic: f64| {
        json!({"resourceType": "Observation", "id": id, "code": {"coding": [{"code": "85354-9"}]},
            "component": [component("8480-6", systolic), component("8462-4", diastolic)]})
    };
    check(
        &[pressure("low", 100.0, 60.0), pressure("high", 150.0, 90.0)],
        &[
            ("Observation?component-code-value-quantity=http://loinc.org|8480-6$lt120", "low"),
            ("Observation?component-code-value-quantity=8480-6$gt80,8462-4$gt80", "low high"),
            ("Observation?component-code-value-quantity=8462-4$gt80", "high"),
            ("Observation?component-code-value-quantity=8480-6$150||mmHg", "high"),
            // Each is true of one component, but both are not true of the same.
            ("Observation?component-code-value-quantity=8480-6$90", ""),
        ],
    );
}

#[test]
fn what_all_resources_have() {
    let tagged = |id: &str, tag: &str| {
        let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]);
        json!({"resourceType": "Basic", "id": id, "meta": {"tag": [{"system": "http://acme.org/codes", "code": tag}],
            "security": label, "source": "http://acme.org/feed", "profile": ["http://acme.org/profile"]}})
    };
    // They were written at midnight of 2026 and a second later.
    check(
        &[tagged("a", "needs-review"), tagged("b", "done")],
        &[
            ("Basic?_tag=http://acme.org/codes|needs-review", "a"),
            ("Basic?_tag:not=needs-review", "b"),
            ("Basic?_security=R", "a b"),
            ("Basic?_source=http://acme.org/feed", "a b"),
            ("Basic?_profile=http://acme.org/profile", "a b"),
            ("Basic?_id=b", "b"),
            ("Basic?_id=b,c&_id=a,b", "b"),
            ("Basic?_id=b&_id=a", ""),
            ("Basic?_id:missing=true", ""),
            ("Basic?_lastUpdated=gt2026-01-01T00:00:00Z", "b"),
            ("Basic?_lastUpdated=2026-01-01T00:00:00.000Z", "a"),
            ("Basic?_lastUpdated=ge2027", ""),
            ("?_tag=done", "b"),
            ("?_id=a", "a"),
        ],
    );
}

#[test]
fn places_are_found_around_a_point() {
    let place = |id: &str, latitude: f64, longitude: f64| json!({"resourceType": "Location", "id": id, "position": {"latitude": latitude, "longitude": longitude}});
    check(
        &[
            place("boston", 42.3601, -71.0589),
            place("cambridge", 42.3736, -71.1097),
            json!({"resourceType": "Location", "id": "none"}),
        ],
        &[
            ("Location?near=42.36|-71.06|1|km", "boston"),
            ("Location?near=42.36|-71.06|11|km", "boston cambridge"),
            ("Location?near=0|0", ""),
            ("Location?near:missing=true", "none"),
        ],
    );
}
