//! What must work.

use std::time::Instant;

use serde_json::json;
use vouchsafe_gateway::fhir::systems;

use super::steps::{Visit, Wish, matches, until};
use crate::support::observation;

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_reads_what_the_patient_approved_and_nothing_after_the_end() {
    let v = Visit::start().await;
    let at = |code: &str| json!({ "resourceType": "Practitioner", "name": [{ "text": code }] });
    let performer = v.c.system("hospital-a").post("Practitioner", &at("Dr Labor")).await.created();
    let mut body = observation(&v.at_a, "4548-4", "2024-05-01");
    body["performer"] = json!([{ "reference": format!("Practitioner/{performer}") }]);
    v.c.system("hospital-a").post("Observation", &body).await.created();
    let search = format!("Observation?patient={}", v.at_b);
    assert!(matches(&v.doctors().get(&search).await.expect(200)).is_empty(), "without a session: the own chart");

    let (id, session) = v.session(&Wish::default()).await;
    let bundle = v.doctors().get_with(&search, &[("vouchsafe-session", &session)]).await.expect(200);
    let text = bundle.to_string();
    assert!(text.contains("limited-by-consent"), "{text}");
    let found = matches(&bundle);
    assert_eq!(found.len(), 1);
    let one = &found[0];
    let local = one["id"].as_str().unwrap();
    assert!(local.starts_with('f') && local.len() == 32);
    assert_eq!(one["subject"]["reference"], format!("Patient/{}", v.at_b));
    assert_eq!(one["meta"]["extension"][0]["url"], systems::SOURCE_EXTENSION);
    assert!(!text.contains(&v.at_a), "the custodian's own ids stay there");
    // The newest live session for the patient is taken when none is named.
    assert_eq!(matches(&v.doctors().get(&search).await.expect(200)).len(), 1);
    let read = v.read(&session, &format!("Observation/{local}")).await;
    assert!(read.text().contains("6.1"));
    assert_eq!(read.expect(200)["code"]["coding"][0]["code"], "4548-4");
    // What an admitted record refers to of the organisation's own is read too.
    let performer = one["performer"][0]["reference"].as_str().unwrap();
    assert_eq!(v.read(&session, performer).await.expect(200)["name"][0]["text"], "Dr Labor");

    // A record written under the live grant is added.
    v.observed("718-7", "2024-06-01").await;
    until("the new record is handed over", || async { v.found(&session, &search).await.len() == 2 }).await;

    v.doctor.act(&v.doctors(), &format!("Consent/{id}/$end-session"), &super::steps::nothing()).await.expect(200);
    assert_eq!(v.read(&session, &format!("Observation/{local}")).await.refusal(), (403, "session-not-live".into()));
    assert_eq!(v.doctors().get(&format!("Observation/{local}")).await.refusal(), (403, "session-not-live".into()));
    assert_eq!(v.read(&session, &search).await.refusal(), (403, "session-not-live".into()));
    assert!(matches(&v.doctors().get(&search).await.expect(200)).is_empty());
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patient_sees_the_request_narrows_it_and_sees_each_access() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    v.observed("718-7", "2019-05-01").await;
    let wish = Wish { categories: vec!["laboratory", "allergies"], ..Wish::default() };
    let id = v.ask(&wish).await;
    let proposed = v.patients().get(&format!("Consent?patient={}&status=proposed", v.at_a)).await.expect(200);
    assert_eq!(matches(&proposed)[0]["id"], id.as_str());
    let narrower = Wish { period: Some(("2024-01-01", "2024-12-31")), ..Wish::default() };
    let active = v.approve(&id, Some(&narrower)).await.expect(200);
    assert_eq!(active["status"], "active");
    assert_eq!(active["provision"]["class"].as_array().unwrap().len(), 1);
    assert_eq!(active["performer"][0]["reference"], format!("Patient/{}", v.at_a));

    let opened = v.open(&id).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    v.handed(&session).await;
    let found = v.found(&session, &format!("Observation?patient={}", v.at_b)).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["effectiveDateTime"], "2024-05-01");

    let local = format!("Observation/{}", found[0]["id"].as_str().unwrap());
    until("the patient has a receipt of the access", || async {
        let events = v.patients().get(&format!("AuditEvent?patient={}", v.at_a)).await.expect(200);
        events.to_string().contains(&local)
    })
    .await;
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_under_a_mandate_asks_opens_and_uploads_by_the_hospitals_system() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    v.c.mandate(&v.doctor, "hospital-b").await;
    let agent = v.c.on_behalf(v.doctor.account, "hospital-b");
    let wish = Wish { write: true, ..Wish::default() };
    let id = agent.post("Consent", &v.consent(&wish)).await.created();
    v.approve(&id, None).await.expect(200);
    let opened = agent.post(&format!("Consent/{id}/$open-session"), &super::steps::nothing()).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    v.handed(&session).await;
    let search = format!("Observation?patient={}", v.at_b);
    let bundle = agent.get_with(&search, &[("vouchsafe-session", &session)]).await.expect(200);
    assert_eq!(matches(&bundle).len(), 1);
    let upload = observation(&v.at_b, "2345-7", "2026-11-22");
    let made = agent.post_with("Observation", &upload, &[("vouchsafe-session", &session)]).await.created();
    until("the patient has a receipt of the upload", || async {
        let events = v.patients().get(&format!("AuditEvent?patient={}", v.at_a)).await.expect(200);
        events.to_string().contains(&format!("Observation/{made}"))
    })
    .await;
    v.c.end().await;
}

/// Printed, not asserted: a busy machine is not a broken one.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "the times are what this test tells")]
async fn from_approval_to_the_first_open_record() {
    let v = Visit::start().await;
    for n in 0..20 {
        v.observed("4548-4", &format!("2024-05-{:02}", n + 1)).await;
    }
    let id = v.ask(&Wish::default()).await;
    let began = Instant::now();
    v.approve(&id, None).await.expect(200);
    let approved = began.elapsed();
    let opened = v.open(&id).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    let opened = began.elapsed();
    v.handed(&session).await;
    let local = v.first(&session).await["id"].as_str().unwrap().to_owned();
    v.read(&session, &format!("Observation/{local}")).await.expect(200);
    println!("approved {approved:?}, opened {opened:?}, first open record {:?}", began.elapsed());
    v.c.end().await;
}
