//! Searching in a session: own and other custodians' records of the one patient by one search, and nothing that the grant
//! does not admit to be told from what is not there.

use reqwest::Method;
use serde_json::{Value, json};

use super::steps::{Visit, Wish, nothing, until};
use crate::support::{Client, below, ids, link, observation, pages, resources, told_by, total};

fn limited(bundle: &Value) -> bool {
    let told: Vec<Value> = resources(bundle, "outcome");
    told.iter().filter(|one| one.to_string().contains("limited-by-consent")).count() == 1
}

/// A visit with one own result and two of another hospital's, in a live session.
async fn visit() -> (Visit, String, String) {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let a = v.c.system("hospital-a");
    let doctor = json!({ "resourceType": "Practitioner", "name": [{ "family": "Labor" }] });
    let doctor = a.post("Practitioner", &doctor).await.created();
    let mut body = observation(&v.at_a, "718-7", "2024-05-03");
    body["performer"] = json!([{ "reference": format!("Practitioner/{doctor}") }]);
    a.post("Observation", &body).await.created();
    let own =
        v.c.system("hospital-b").post("Observation", &observation(&v.at_b, "4548-4", "2024-05-02")).await.created();
    let (_, session) = v.session(&Wish::default()).await;
    (v, own, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn own_and_foreign_records_are_one_search() {
    let (v, own, session) = visit().await;
    let doctors = v.doctors();
    let named = [("vouchsafe-session", session.as_str())];
    let of_patient = format!("Observation?patient={}", v.at_b);
    // With the session named or not, as it is the newest for the one patient who is named.
    for headers in [&named[..], &[]] {
        let found = doctors.get_with(&of_patient, headers).await.expect(200);
        assert_eq!((ids(&found, "match").len(), total(&found), limited(&found)), (3, Some(3), true), "{found}");
    }
    let date = |resource: &Value| resource["effectiveDateTime"].as_str().unwrap().to_owned();
    let sorted = doctors.get_with(&format!("{of_patient}&_sort=-date"), &named).await.expect(200);
    let dates: Vec<String> = resources(&sorted, "match").iter().map(date).collect();
    assert_eq!(dates, ["2024-05-03", "2024-05-02", "2024-05-01"], "in one order, whoever has them");
    assert_eq!(ids(&sorted, "match")[1], own);

    // Each once, on pages of one, by links that know the session.
    for order in ["", "&_sort=date"] {
        let all = pages(&doctors, &format!("{of_patient}&_count=1{order}"), &named).await;
        let mut found: Vec<String> = all.iter().flat_map(|page| ids(page, "match")).collect();
        found.sort();
        found.dedup();
        assert_eq!((all.len(), found.len()), (3, 3), "{order}");
        assert!(all.iter().all(limited), "said on every page");
    }
    let one = |path: &str| format!("{path}{}", v.at_b);
    for (path, matches) in [
        (format!("{of_patient}&date=ge2024-05-02"), 2),
        (format!("{of_patient}&code=718-7"), 1),
        (format!("{of_patient}&performer:Practitioner.family=labor"), 1),
        (format!("{of_patient}&_summary=count"), 0),
        (format!("{of_patient}&code=nothing"), 0),
        (one("?_type=Observation&subject=Patient/"), 3),
        (format!("Patient/{}/Observation", v.at_b), 3),
        (format!("Patient/{}/Observation?code=718-7", v.at_b), 1),
        (
            format!(
                "Observation?subject:Patient.identifier=https://vouchsafe.example/sid/account|{}",
                v.patient.account
            ),
            3,
        ),
        (one("Patient?_has:Observation:patient:code=718-7&_id="), 1),
    ] {
        let found = doctors.get_with(&path, &named).await.expect(200);
        assert_eq!(ids(&found, "match").len(), matches, "{path}: {found}");
        assert!(limited(&found), "{path}");
    }
    let along =
        doctors.get_with(&format!("{of_patient}&code=718-7&_include=Observation:performer"), &named).await.expect(200);
    assert_eq!(resources(&along, "include")[0]["name"][0]["family"], "Labor");
    let back =
        doctors.get_with(&format!("Patient?_id={}&_revinclude=Observation:patient", v.at_b), &named).await.expect(200);
    assert_eq!((ids(&back, "match").len(), ids(&back, "include").len()), (1, 3), "{back}");
    let form = [("content-type", "application/x-www-form-urlencoded"), named[0]];
    let body = format!("patient={}", v.at_b).into_bytes();
    let by_form = doctors.call(Method::POST, "Observation/_search", Some(body), &form).await.expect(200);
    assert_eq!(ids(&by_form, "match").len(), 3);
    let part = doctors.get_with(&format!("{of_patient}&_elements=code"), &named).await.expect(200);
    assert!(resources(&part, "match").iter().all(|r| r.get("effectiveDateTime").is_none()));
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_organisations_systems_find_own_records_only() {
    let (v, own, session) = visit().await;
    let of_patient = format!("Observation?patient={}", v.at_b);
    let system = v.c.system("hospital-b");
    for path in [&of_patient, "Observation", "?_type=Observation", &format!("Patient/{}/Observation", v.at_b)] {
        let found = system.get(path).await.expect(200);
        assert_eq!(
            (ids(&found, "match"), total(&found), limited(&found)),
            (vec![own.clone()], Some(1), false),
            "{path}"
        );
    }
    let named = system.get_with(&of_patient, &[("vouchsafe-session", &session)]).await;
    assert_eq!(named.refusal(), (403, "not-the-doctor".into()));
    // Nor does the doctor, where no session is named and no patient.
    let found = v.doctors().get("Observation").await.expect(200);
    assert_eq!(ids(&found, "match"), [own]);
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_takes_its_further_pages_with_it() {
    let (v, own, session) = visit().await;
    let doctors = v.doctors();
    let path = format!("Observation?patient={}&_count=1&_sort=-date", v.at_b);
    let (colleague, _) = v.c.doctor("hospital-b").await;
    let colleague = v.c.person(&colleague, "hospital-b");
    let next = |bundle: &Value| below(&link(bundle, "next").unwrap());
    let first = doctors.get_with(&path, &[("vouchsafe-session", &session)]).await.expect(200);
    assert_eq!(total(&first), Some(3));
    let second = next(&first);
    assert_eq!(colleague.get(&second).await.refusal(), (410, "page-gone".into()));
    doctors.get(&second).await.expect(200);
    let consent = v.patients().get(&format!("Consent?patient={}", v.at_a)).await.expect(200);
    let consent = ids(&consent, "match")[0].clone();
    v.doctor.act(&doctors, &format!("Consent/{consent}/$end-session"), &nothing()).await.expect(200);
    assert_eq!(doctors.get(&second).await.refusal(), (403, "session-not-live".into()));
    let now = doctors.get(&path).await.expect(200);
    assert_eq!((ids(&now, "match"), total(&now), link(&now, "next")), (vec![own], Some(1), None), "{now}");

    // A page that was begun without a session does not join one that is opened later.
    for date in ["2024-06-01", "2024-06-02"] {
        v.c.system("hospital-b").post("Observation", &observation(&v.at_b, "4548-4", date)).await.created();
    }
    let first = doctors.get(&path).await.expect(200);
    let (revoked, _) = v.session(&Wish { standing: true, ..Wish::default() }).await;
    let mut page = doctors.get(&next(&first)).await.expect(200);
    let mut found = 2;
    while link(&page, "next").is_some() {
        page = doctors.get(&next(&page)).await.expect(200);
        found += 1;
    }
    assert_eq!((found, limited(&page)), (3, false));

    // A consent that is taken back.
    let first = doctors.get(&path).await.expect(200);
    assert_eq!(total(&first), Some(5));
    v.patient.act(&v.patients(), &format!("Consent/{revoked}/$revoke"), &nothing()).await.expect(200);
    assert_eq!(doctors.get(&next(&first)).await.refusal(), (403, "grant-revoked".into()));
    v.c.end().await;
}

/// What a doctor searches with whom something is hidden from.
fn searches(at_b: &str) -> Vec<String> {
    [
        "Observation?patient={}&_total=accurate",
        "Observation?patient={}&_summary=count",
        "Observation?patient={}&_count=1",
        "Observation?patient={}&_count=1&_sort=-date",
        "Observation?patient={}&_sort=date",
        "Observation?patient={}&date=lt2020",
        "Observation?patient={}&code=75622-1",
        "Observation?patient={}&has-member.code=75622-1",
        "Observation?patient={}&_include=Observation:has-member",
        "Observation?patient={}&_include=*&_include:iterate=*",
        "Patient?_id={}&_revinclude=Observation:patient",
        "Patient?_id={}&_has:Observation:patient:code=75622-1",
        "Patient?_id={}&_has:Observation:patient:date=lt2020",
        "AllergyIntolerance?patient={}",
        "?_type=Observation,AllergyIntolerance&patient=Patient/{}",
        "Patient/{}/Observation",
        "Patient/{}/*",
        "Observation?patient={}&colour=red",
        "Observation?patient={}&date=yesterday",
    ]
    .iter()
    .map(|search| search.replace("{}", at_b))
    .collect()
}

/// An HIV test's result.
fn hiv(patient: &str) -> Value {
    observation(patient, "75622-1", "2024-05-04")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_grant_leaves_out_cannot_be_told_from_what_is_not_there() {
    let (v, _, session) = visit().await;
    let doctors = v.doctors();
    let named = [("vouchsafe-session", session.as_str())];
    let searches = searches(&v.at_b);
    let before = told_by(&doctors, &searches, &named).await;
    assert!(before[0].contains("\"total\":3"), "{}", before[0]);

    // Of another category, sensitive, of another patient; then one that is admitted, behind which they were handed over
    // if they ever were.
    let a = v.c.system("hospital-a");
    let allergy = json!({
        "resourceType": "AllergyIntolerance", "patient": { "reference": format!("Patient/{}", v.at_a) },
        "code": { "text": "Penicillin" }, "onsetDateTime": "2024-05-01",
    });
    a.post("AllergyIntolerance", &allergy).await.created();
    a.post("Observation", &hiv(&v.at_a)).await.created();
    let other = v.c.chart("hospital-a", "Andere").await;
    a.post("Observation", &observation(&other, "4548-4", "2024-05-01")).await.created();
    let report = json!({
        "resourceType": "DiagnosticReport", "status": "final", "code": { "text": "marker" },
        "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB" }] }],
        "subject": { "reference": format!("Patient/{}", v.at_a) }, "effectiveDateTime": "2024-05-01",
    });
    a.post("DiagnosticReport", &report).await.created();
    let marker = format!("DiagnosticReport?patient={}", v.at_b);
    until("what is admitted is handed over", || async { v.found(&session, &marker).await.len() == 1 }).await;
    let without_marker: Vec<usize> = (0..searches.len()).filter(|at| !searches[*at].ends_with("/*")).collect();
    let after = told_by(&doctors, &searches, &named).await;
    for at in without_marker {
        assert_eq!(after[at], before[at]);
    }
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_of_the_dates_granted_cannot_be_told_from_what_is_not_there() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let wish = Wish { period: Some(("2024-01-01", "2024-12-31")), ..Wish::default() };
    let (_, session) = v.session(&wish).await;
    let named = [("vouchsafe-session", session.as_str())];
    let (doctors, searches) = (v.doctors(), searches(&v.at_b));
    let before = told_by(&doctors, &searches, &named).await;
    let early = v.observed("718-7", "2019-05-01").await;
    // One that is admitted and refers to one that is not: it is found, and leads nowhere.
    let mut panel = observation(&v.at_a, "24331-1", "2024-06-01");
    panel["hasMember"] = json!([{ "reference": format!("Observation/{early}") }]);
    v.c.system("hospital-a").post("Observation", &panel).await.created();
    let search = format!("Observation?patient={}", v.at_b);
    until("what is admitted is handed over", || async { v.found(&session, &search).await.len() == 2 }).await;
    let along = format!("{search}&code=24331-1&_include=Observation:has-member");
    let found = doctors.get_with(&along, &named).await.expect(200);
    assert_eq!((ids(&found, "match").len(), ids(&found, "include").len()), (1, 0), "{found}");
    for none in ["has-member.code=718-7", "date=lt2024", "code=718-7"] {
        let found = doctors.get_with(&format!("{search}&{none}"), &named).await.expect(200);
        assert_eq!((ids(&found, "match").len(), total(&found)), (0, Some(0)), "{none}");
    }
    assert!(before[0].contains("\"total\":1"), "{}", before[0]);
    v.c.end().await;
}

/// By the hospital's system under a mandate nothing sensitive is opened, and nothing of it is told either.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_cannot_be_told_by_an_agent_from_what_is_not_there() {
    let (v, _, _) = visit().await;
    v.c.mandate(&v.doctor, "hospital-b").await;
    let agent: Client = v.c.on_behalf(v.doctor.account, "hospital-b");
    let mut panel = observation(&v.at_a, "24331-1", "2024-06-01");
    let wish = Wish { categories: vec!["laboratory", "hiv"], ..Wish::default() };
    let (_, session) = v.session(&wish).await;
    let named = [("vouchsafe-session", session.as_str())];
    let searches = searches(&v.at_b);
    let before = told_by(&agent, &searches, &named).await;
    let sensitive = v.c.system("hospital-a").post("Observation", &hiv(&v.at_a)).await.created();
    let of_patient = format!("Observation?patient={}", v.at_b);
    until("what is sensitive is handed over", || async { v.found(&session, &of_patient).await.len() == 4 }).await;
    assert_eq!(told_by(&agent, &searches, &named).await, before);
    panel["hasMember"] = json!([{ "reference": format!("Observation/{sensitive}") }]);
    v.c.system("hospital-a").post("Observation", &panel).await.created();
    until("what refers to it is handed over", || async { v.found(&session, &of_patient).await.len() == 5 }).await;
    let along = format!("{of_patient}&code=24331-1&_include=Observation:has-member");
    let by_agent = agent.get_with(&along, &named).await.expect(200);
    let by_doctor = v.doctors().get_with(&along, &named).await.expect(200);
    assert_eq!((ids(&by_agent, "include").len(), ids(&by_doctor, "include").len()), (0, 1), "{by_agent}");
    v.c.end().await;
}
