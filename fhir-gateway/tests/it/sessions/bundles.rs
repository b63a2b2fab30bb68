//! Uploads in a session by Bundles: of the session's patient alone, with a receipt, and nothing when it may not write.

use serde_json::{Value, json};

use super::steps::{Visit, Wish, until};
use crate::support::observation;

fn bundle(kind: &str, resources: &[Value]) -> Value {
    let entry = |resource: &Value| json!({ "resource": resource, "request": { "method": "POST", "url": resource["resourceType"] } });
    let entries: Vec<Value> = resources.iter().map(entry).collect();
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_in_a_session_is_of_its_patient_and_gives_a_receipt() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let (_, session) = v.session(&Wish { write: true, ..Wish::default() }).await;
    let named = [("vouchsafe-session", session.as_str())];
    let (_, other) = v.c.patient("hospital-b", "Andere").await;
    let mine = observation(&v.at_b, "2345-7", "2026-11-22");
    let theirs = observation(&other, "2345-7", "2026-11-22");
    let doctors = v.doctors();
    let mixed = [mine.clone(), theirs];
    let refused = doctors.post_with("", &bundle("transaction", &mixed), &named).await;
    assert_eq!(refused.refusal().0, 403);
    let apart = doctors.post_with("", &bundle("batch", &mixed), &named).await.expect(200);
    let status = |n: usize| apart["entry"][n]["response"]["status"].as_str().unwrap()[..3].to_owned();
    assert_eq!((status(0), status(1)), ("201".into(), "403".into()));
    let whole = doctors.post_with("", &bundle("transaction", &[mine.clone(), mine.clone()]), &named).await.expect(200);
    let location = whole["entry"][1]["response"]["location"].as_str().unwrap();
    let reference = location.split_once("/fhir/").unwrap().1.to_owned();
    until("the patient has a receipt that names what was uploaded", || async {
        let events = v.patients().get(&format!("AuditEvent?patient={}", v.at_a)).await.expect(200);
        events.to_string().contains(&reference)
    })
    .await;
    // The organisation's own records are no patient's.
    let ward = json!({ "resourceType": "Location", "name": "Ward" });
    let own = doctors.post_with("", &bundle("transaction", &[mine, ward]), &named).await;
    assert_eq!(own.refusal(), (403, "not-the-patient".into()));
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_may_not_write_takes_no_bundle() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let (_, session) = v.session(&Wish::default()).await;
    let named = [("vouchsafe-session", session.as_str())];
    let entries = [observation(&v.at_b, "2345-7", "2026-11-22")];
    let refused = v.doctors().post_with("", &bundle("transaction", &entries), &named).await;
    assert_eq!(refused.refusal(), (403, "read-only".into()));
    let batch = v.doctors().post_with("", &bundle("batch", &entries), &named).await.expect(200);
    assert!(batch["entry"][0]["response"]["status"].as_str().unwrap().starts_with("403"));
    // What is written later is judged later, and refused just as well.
    let later = [("vouchsafe-session", session.as_str()), ("prefer", "respond-async")];
    let taken = v.doctors().post_with("", &bundle("transaction", &entries), &later).await;
    let place = taken.header("content-location").split_once("/fhir/").unwrap().1.to_owned();
    until("the answer is there", || async { v.doctors().get(&place).await.status == 200 }).await;
    let answer = v.doctors().get(&place).await.expect(200);
    assert_eq!(answer["entry"][0]["response"]["status"], "403");
    let found = v.c.system("hospital-b").get(&format!("Observation?patient={}", v.at_b)).await.expect(200);
    assert_eq!(found["total"].to_string(), "0");
    v.c.end().await;
}
