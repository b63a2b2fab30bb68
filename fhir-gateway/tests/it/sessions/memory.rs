//! What a session holds in memory: the records as they are now and no longer than they are needed, and many of them.

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use vouchsafe_gateway::{
    records::{Act, Actor, Submission},
    sessions::{handed, in_memory},
};

use super::{
    refusals::shown_as,
    steps::{Visit, Wish, nothing, until},
};
use crate::support::{ids, observation, total};

/// Deletes an own record of hospital A.
async fn delete(v: &Visit, record: &str) {
    let records = &v.c.gateway("hospital-a").records;
    let row = records.row(&record.parse().unwrap(), None).unwrap().unwrap();
    let act = Act::delete(row.id, row.resource_type.clone(), row.chart, None);
    let by = Actor { client: "ehr".into(), account: None, agent: None };
    records.submit(Submission::new(vec![act], None, by)).await.unwrap();
}

/// The matches that a session shows of a type.
async fn found(v: &Visit, session: &str, search: &str) -> Vec<Value> {
    v.found(session, search).await
}

fn performed(v: &Visit, code: &str, practitioner: &str) -> Value {
    let mut body = observation(&v.at_a, code, "2024-05-01");
    body["performer"] = json!([{ "reference": format!("Practitioner/{practitioner}") }]);
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_custodian_deletes_or_amends_changes_in_a_live_session() {
    let v = Visit::start().await;
    let a = v.c.system("hospital-a");
    let practitioner = json!({ "resourceType": "Practitioner", "name": [{ "family": "Vorher" }] });
    let practitioner = a.post("Practitioner", &practitioner).await.created();
    let kept = v.observed("718-7", "2024-05-01").await;
    let deleted = a.post("Observation", &performed(&v, "4548-4", &practitioner)).await.created();
    let (id, session) = v.session(&Wish { standing: true, ..Wish::default() }).await;
    let observations = format!("Observation?patient={}", v.at_b);
    let practitioners = format!("Practitioner?_id={}", shown_as(&v, &practitioner));
    let path = format!("Observation/{}", shown_as(&v, &deleted));
    assert_eq!(found(&v, &session, &observations).await.len(), 2);
    assert_eq!(found(&v, &session, &practitioners).await.len(), 1);
    v.read(&session, &path).await.expect(200);

    // What a record leads to is amended.
    let mut amended = json!({ "resourceType": "Practitioner", "name": [{ "family": "Nachher" }] });
    amended["id"] = practitioner.as_str().into();
    a.put(&format!("Practitioner/{practitioner}"), &amended, &[]).await.expect(200);
    until("the amended practitioner is shown", || async {
        found(&v, &session, &practitioners).await.iter().any(|one| one["name"][0]["family"] == "Nachher")
    })
    .await;

    // The kept record is amended: it is found by what it says now, never by what it said.
    let mut amended = observation(&v.at_a, "2345-7", "2024-05-01");
    amended["id"] = kept.as_str().into();
    a.put(&format!("Observation/{kept}"), &amended, &[]).await.expect(200);
    assert!(found(&v, &session, &format!("{observations}&code=718-7")).await.is_empty());
    until("the amended record is found", || async {
        found(&v, &session, &format!("{observations}&code=2345-7")).await.len() == 1
    })
    .await;

    // Deleted: from the moment of its anchor it is in no answer, and neither is whom it alone led to.
    delete(&v, &deleted).await;
    assert_eq!(found(&v, &session, &observations).await.len(), 1);
    assert!(found(&v, &session, &practitioners).await.is_empty());
    assert_eq!(v.read(&session, &path).await.status, 410);
    let bundle = v.doctors().get_with(&observations, &[("vouchsafe-session", &session)]).await.expect(200);
    assert!(!bundle.to_string().contains("not-verified"), "nothing is missing: {bundle}");

    // A new session under the same grant is handed neither.
    v.doctor.act(&v.doctors(), &format!("Consent/{id}/$end-session"), &nothing()).await.expect(200);
    let opened = v.open(&id).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    v.handed(&session).await;
    assert_eq!(found(&v, &session, &observations).await.len(), 1);
    assert_eq!(in_memory(&v.c.gateway("hospital-b"), &session.parse().unwrap()), Some((1, 1)), "one key, one record");
    assert_eq!(v.read(&session, &path).await.refusal().0, 403, "it was served before");
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_in_memory_unused_or_after_the_end() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let (id, session) = v.session(&Wish::default()).await;
    let observations = format!("Observation?patient={}", v.at_b);
    let held = |v: &Visit| in_memory(&v.c.gateway("hospital-b"), &session.parse().unwrap());
    until("what was handed over is indexed before anybody asks", || async { held(&v) == Some((1, 1)) }).await;
    v.rested(&session).await;
    // A record that comes meanwhile wakes nothing.
    v.observed("718-7", "2024-05-02").await;
    let gateway = v.c.gateway("hospital-b");
    // What was made would go again with the next look at what is unused, so it is watched.
    let none = || assert_eq!(held(&v).map(|(_, documents)| documents), Some(0));
    until("it is handed over", || async {
        none();
        handed(&gateway, &session.parse().unwrap()) == Some(2)
    })
    .await;
    let last = gateway.ledger.head().height;
    until("blocks go by", || async {
        none();
        gateway.ledger.head().height > last + 3
    })
    .await;
    assert_eq!(found(&v, &session, &observations).await.len(), 2, "all is made again when it is needed");
    assert_eq!(held(&v), Some((1, 2)));
    v.doctor.act(&v.doctors(), &format!("Consent/{id}/$end-session"), &nothing()).await.expect(200);
    assert_eq!(held(&v), None);
    v.c.end().await;
}

/// A medicine tells as much as the diagnosis that it is for.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_is_handed_by_name_only_whoever_refers_to_it() {
    let v = Visit::start().await;
    let a = v.c.system("hospital-a");
    let label = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"
    }] });
    let medicine = json!({ "resourceType": "Medication", "meta": label, "code": { "text": "M" } });
    let medicine = a.post("Medication", &medicine).await.created();
    let order = json!({
        "resourceType": "MedicationRequest", "status": "active", "intent": "order",
        "subject": { "reference": format!("Patient/{}", v.at_a) },
        "medicationReference": { "reference": format!("Medication/{medicine}") }, "authoredOn": "2024-05-01",
    });
    a.post("MedicationRequest", &order).await.created();
    let search = format!("MedicationRequest?patient={}", v.at_b);
    for (categories, shown) in [(vec!["medications"], 0), (vec!["medications", "restricted"], 1)] {
        let (id, session) = v.session(&Wish { categories, ..Wish::default() }).await;
        assert_eq!(found(&v, &session, &search).await.len(), 1);
        let medicines = format!("Medication?_id={}", shown_as(&v, &medicine));
        assert_eq!(found(&v, &session, &medicines).await.len(), shown);
        let held = in_memory(&v.c.gateway("hospital-b"), &session.parse().unwrap());
        assert_eq!(held, Some((1, 1 + shown)), "its key is not even handed over");
        v.doctor.act(&v.doctors(), &format!("Consent/{id}/$end-session"), &nothing()).await.expect(200);
    }
    v.c.end().await;
}

/// More than a manifest has in one part.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_chart_comes_in_parts_and_is_found_whole() {
    let v = Visit::start().await;
    let a = v.c.system("hospital-a");
    let bodies = (0..1_040).map(|n| observation(&v.at_a, "4548-4", &format!("2024-05-{:02}", n % 28 + 1)));
    let write = |body: Value| {
        let a = &a;
        async move { a.post("Observation", &body).await.created() }
    };
    let written: Vec<String> = stream::iter(bodies).map(write).buffer_unordered(64).collect().await;
    let (_, session) = v.session(&Wish::default()).await;
    let search = format!("Observation?patient={}&_count=1000&_total=accurate", v.at_b);
    let bundle = v.doctors().get_with(&search, &[("vouchsafe-session", &session)]).await.expect(200);
    assert_eq!(total(&bundle), Some(1_040), "{:?}", bundle["entry"].as_array().map(Vec::len));
    assert_eq!(ids(&bundle, "match").len(), 1_000);
    assert_eq!(in_memory(&v.c.gateway("hospital-b"), &session.parse().unwrap()), Some((1, 1_040)), "one key for all");
    v.read(&session, &format!("Observation/{}", shown_as(&v, &written[17]))).await.expect(200);
    v.c.end().await;
}
