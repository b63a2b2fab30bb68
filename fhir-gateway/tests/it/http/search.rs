//! What searching over HTTP serves: in the address and by a form, of a type, of all and of a compartment, in whole and in
//! part, with what comes along.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Consortium, FOUNDERS, below, ids, link, observation, resources, total};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn form(client: &Client, path: &str, body: &str) -> Answer {
    client.call(Method::POST, path, Some(body.as_bytes().to_vec()), &[FORM]).await
}

fn reference(kind: &str, id: &str) -> Value {
    json!({ "reference": format!("{kind}/{id}") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_is_the_same_by_address_and_by_form() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Form").await;
    let mut made = Vec::new();
    for (code, date) in [("4548-4", "2026-01-01"), ("718-7", "2026-02-01"), ("4548-4", "2026-03-01")] {
        made.push(ehr.post("Observation", &observation(&patient, code, date)).await.created());
    }
    let wanted = vec![made[0].clone(), made[2].clone()];
    let by_address = ehr.get(&format!("Observation?patient={patient}&code=4548-4")).await.expect(200);
    assert_eq!((ids(&by_address, "match"), total(&by_address)), (wanted.clone(), Some(2)));
    assert_eq!(by_address["entry"][0]["fullUrl"], json!(format!("{}/fhir/Observation/{}", ehr.base, made[0])));

    let patient_only = format!("patient={patient}");
    for (path, body) in [
        ("Observation/_search".to_owned(), format!("{patient_only}&code=4548-4")),
        (format!("Observation/_search?{patient_only}"), "code=http%3A%2F%2Floinc.org%7C4548-4".to_owned()),
        (format!("Observation/_search?{patient_only}&code=4548-4"), String::new()),
        ("_search".to_owned(), format!("_type=Observation&{patient_only}&code=4548-4&_format=json")),
        (format!("Patient/{patient}/Observation/_search"), "code=4548-4".to_owned()),
    ] {
        let found = form(&ehr, &path, &body).await.expect(200);
        if body.contains("_type") {
            // `patient` is no parameter of all types, `_type` with one type makes it that type's.
            assert_eq!(ids(&found, "match"), wanted, "{path} {body}");
            continue;
        }
        assert_eq!(ids(&found, "match"), wanted, "{path} {body}");
        // The link to itself asks for the same again.
        let again = ehr.get(&below(&link(&found, "self").unwrap())).await.expect(200);
        assert_eq!(ids(&again, "match"), wanted, "{again}");
    }
    let json = ehr.post("Observation/_search", &json!({ "patient": patient })).await;
    assert_eq!(json.refusal().0, 415);
    let broken = form(&ehr, "Observation/_search", "code=%zz").await;
    assert_eq!(broken.refusal().0, 400);
    assert_eq!(ehr.get("Observation?_format=xml").await.refusal().0, 406);
    assert_eq!(ehr.get("Observation?_format=application/fhir%2Bjson&_pretty=true").await.status, 200);
    let consents = form(&ehr, "Consent/_search", "status=proposed").await.expect(200);
    assert_eq!(total(&consents), Some(0));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_types_and_compartments_are_searched() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let (one, other) = (c.chart("hospital-a", "One").await, c.chart("hospital-a", "Other").await);
    let doctor = ehr.post("Practitioner", &json!({ "resourceType": "Practitioner", "active": true })).await.created();
    let encounter = |patient: &str| {
        json!({ "resourceType": "Encounter", "status": "finished", "class": { "code": "AMB" },
            "subject": reference("Patient", patient) })
    };
    let visit = ehr.post("Encounter", &encounter(&one)).await.created();
    ehr.post("Encounter", &encounter(&other)).await.created();
    let mut first = observation(&one, "4548-4", "2026-01-01");
    first["encounter"] = reference("Encounter", &visit);
    first["performer"] = json!([reference("Practitioner", &doctor)]);
    let first = ehr.post("Observation", &first).await.created();
    let second = ehr.post("Observation", &observation(&other, "4548-4", "2026-01-02")).await.created();
    // Of another patient's chart, and performed by the first: R4's compartment has both.
    let mut third = observation(&other, "718-7", "2026-01-03");
    third["performer"] = json!([reference("Patient", &one)]);
    let third = ehr.post("Observation", &third).await.created();

    let found = async |path: &str| ids(&ehr.get(path).await.expect(200), "match");
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    let all = [first.clone(), second, third.clone()].to_vec();
    assert_eq!(sorted(found("?_type=Observation").await), sorted(all.clone()));
    assert_eq!(found("?_type=Encounter,Observation&_count=100").await.len(), 5);
    assert_eq!(found(&format!("?_id={first}")).await, std::slice::from_ref(&first));

    assert_eq!(sorted(found(&format!("Patient/{one}/Observation")).await), sorted(vec![first.clone(), third]));
    assert_eq!(found(&format!("Patient/{one}/Observation?code=4548-4")).await, std::slice::from_ref(&first));
    assert_eq!(found(&format!("Encounter/{visit}/Observation")).await, std::slice::from_ref(&first));
    assert_eq!(found(&format!("Practitioner/{doctor}/Observation")).await, std::slice::from_ref(&first));
    assert!(found(&format!("Device/{doctor}/Observation")).await.is_empty());
    assert!(found(&format!("RelatedPerson/{doctor}/Patient")).await.is_empty());
    let everything = found(&format!("Patient/{one}/*")).await;
    assert!([&one, &visit, &first].iter().all(|id| everything.contains(id)), "{everything:?}");
    assert!(!everything.contains(&other) && !everything.contains(&doctor), "{everything:?}");
    // What is outside of a compartment comes along all the same, when it is asked for.
    let path = format!("Patient/{one}/Observation?code=4548-4&_include=Observation:performer");
    assert_eq!(ids(&ehr.get(&path).await.expect(200), "include"), [doctor]);
    assert_eq!(ehr.get(&format!("Observation/{first}/Patient")).await.refusal().0, 404);
    assert_eq!(ehr.get(&format!("Patient/{one}/Nonsense")).await.refusal().0, 404);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_along_and_what_is_left_out() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Along").await;
    let doctor = ehr.post("Practitioner", &json!({ "resourceType": "Practitioner", "active": true })).await.created();
    let mut panel = observation(&patient, "4548-4", "2026-01-01");
    panel["performer"] = json!([reference("Practitioner", &doctor)]);
    panel["text"] = json!({ "status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>" });
    panel["note"] = json!([{ "text": "a note" }]);
    let member = ehr.post("Observation", &panel).await.created();
    let mut panel = observation(&patient, "24331-1", "2026-01-02");
    panel["hasMember"] = json!([reference("Observation", &member)]);
    let panel = ehr.post("Observation", &panel).await.created();

    let get = async |path: &str| ehr.get(path).await.expect(200);
    let found = get("Observation?code=24331-1&_include=Observation:has-member").await;
    assert_eq!((ids(&found, "match"), ids(&found, "include")), (vec![panel.clone()], vec![member.clone()]));
    assert_eq!(total(&found), Some(1), "what comes along is not counted");
    let further = "Observation?code=24331-1&_include=Observation:has-member&_include:iterate=Observation:performer";
    assert_eq!(ids(&get(further).await, "include"), [member.clone(), doctor.clone()]);
    let back = get(&format!("Practitioner?_id={doctor}&_revinclude=Observation:performer")).await;
    assert_eq!((ids(&back, "match"), ids(&back, "include")), (vec![doctor.clone()], vec![member.clone()]));
    let chained = get("Observation?has-member.code=4548-4").await;
    assert_eq!(ids(&chained, "match"), std::slice::from_ref(&panel));
    let reverse = get("Observation?_has:Observation:has-member:code=24331-1").await;
    assert_eq!(ids(&reverse, "match"), std::slice::from_ref(&member));

    let one = async |rest: &str| {
        let found = get(&format!("Observation?_id={member}&{rest}")).await;
        (resources(&found, "match")[0].clone(), found)
    };
    let subsetted = |resource: &Value| resource["meta"]["tag"].to_string().contains("SUBSETTED");
    let (part, _) = one("_elements=valueQuantity").await;
    let names: Vec<&str> = part.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["resourceType", "id", "meta", "status", "code", "valueQuantity"], "mandatory ones stay");
    assert!(subsetted(&part));
    let (part, _) = one("_summary=true").await;
    assert!(part.get("effectiveDateTime").is_some() && part.get("note").is_none() && subsetted(&part), "{part}");
    let (part, _) = one("_summary=text").await;
    assert!(part.get("text").is_some() && part.get("effectiveDateTime").is_none() && subsetted(&part), "{part}");
    let (part, _) = one("_summary=data").await;
    assert!(part.get("text").is_none() && part.get("note").is_some() && subsetted(&part), "{part}");
    let (whole, _) = one("_summary=false").await;
    assert!(whole.get("text").is_some() && !subsetted(&whole), "{whole}");
    for count in ["_summary=count", "_count=0"] {
        let found = get(&format!("Observation?{count}")).await;
        assert_eq!((total(&found), found.get("entry")), (Some(2), None), "{found}");
        assert!(link(&found, "next").is_none());
    }
    let none = get("Observation?_total=none").await;
    assert_eq!((total(&none), ids(&none, "match").len()), (None, 2));
    let newest = get("Observation?_sort=-date").await;
    assert_eq!(ids(&newest, "match"), [panel, member]);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_parameter_is_a_fault_or_told() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Lenient").await;
    ehr.post("Observation", &observation(&patient, "4548-4", "2026-01-01")).await.created();
    let path = format!("Observation?patient={patient}&colour=red");
    for strict in [None, Some("handling=strict"), Some("return=minimal")] {
        let headers: Vec<(&str, &str)> = strict.map(|text| ("prefer", text)).into_iter().collect();
        let answer = ehr.get_with(&path, &headers).await;
        assert_eq!(answer.refusal().0, 400);
        assert_eq!(answer.json()["issue"][0]["expression"], json!(["http.colour"]));
        assert!(!answer.text().contains("red"), "a fault never repeats a value");
    }
    let answer = ehr.get_with(&path, &[("prefer", "return=minimal, handling=lenient")]).await;
    let found = answer.expect(200);
    vouchsafe_fhir_structure::check("Bundle", &answer.body).unwrap();
    assert_eq!(total(&found), Some(1));
    let told = &resources(&found, "outcome")[0]["issue"][0];
    assert_eq!((&told["severity"], &told["expression"]), (&json!("warning"), &json!(["http.colour"])));
    let own = link(&found, "self").unwrap();
    assert!(own.ends_with(&format!("/fhir/Observation?patient={patient}")), "{own}");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_stands_for_what_is_linked_with_it() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let (patient, chart) = c.patient("hospital-a", "Account").await;
    let (other, other_chart) = c.patient("hospital-a", "Another").await;
    let (doctor, record) = c.doctor("hospital-a").await;
    let ehr = c.system("hospital-a");
    let made = ehr.post("Observation", &observation(&chart, "4548-4", "2026-01-01")).await.created();
    let by = |account: &dyn std::fmt::Display| format!("https://vouchsafe.example/sid/account|{account}");
    let found = async |client: &Client, path: &str| ids(&client.get(path).await.expect(200), "match");
    assert_eq!(
        found(&ehr, &format!("Patient?identifier={}", by(&patient.account))).await,
        std::slice::from_ref(&chart)
    );
    assert_eq!(found(&ehr, &format!("Practitioner?identifier={}", by(&doctor.account))).await, [record]);
    let both = format!("{},{}", by(&patient.account), by(&other.account));
    assert_eq!(found(&ehr, &format!("Patient?identifier={both}")).await.len(), 2);
    assert_eq!(found(&ehr, &format!("Observation?subject:Patient.identifier={}", by(&patient.account))).await, [made]);
    assert!(found(&ehr, &format!("Patient?identifier={}", by(&"0".repeat(32)))).await.is_empty());
    let listed = ehr.get(&format!("Patient?identifier={},x|1", by(&patient.account))).await;
    assert_eq!(listed.refusal().0, 400);
    let own = ehr.get(&format!("Patient?identifier={}", by(&patient.account))).await.expect(200);
    assert!(link(&own, "self").unwrap().contains("identifier="), "as it was asked for: {own}");

    // A patient finds the own chart so, and is told nothing of who else has one.
    let client = c.person(&patient, "hospital-a");
    assert_eq!(found(&client, &format!("Patient?identifier={}", by(&patient.account))).await, [chart]);
    for path in ["Patient?identifier=", "Observation?patient.identifier=", "Observation?subject:Patient.identifier="] {
        let known = client.get(&format!("{path}{}", by(&other.account))).await;
        let nobody = client.get(&format!("{path}{}", by(&"0".repeat(32)))).await;
        assert_eq!(known.refusal(), (403, "not-the-patient".into()));
        assert_eq!(known.text(), nobody.text());
    }
    assert!(!other_chart.is_empty());
    c.end().await;
}
