//! Where a record lies: nothing about a patient with the organisation, and nothing refused that is about nobody.

use serde_json::{Value, json};

use crate::support::{Client, Consortium, FOUNDERS, observation};

async fn create(ehr: &Client, resource: &Value) -> String {
    let kind = resource["resourceType"].as_str().unwrap();
    ehr.post(kind, resource).await.created()
}

/// The status and the code of a create that is refused, and the element at fault.
async fn refused(ehr: &Client, resource: &Value) -> (u16, String, String) {
    let answer = ehr.post(resource["resourceType"].as_str().unwrap(), resource).await;
    let (status, code) = answer.refusal();
    (status, code, answer.json()["issue"][0]["expression"][0].as_str().unwrap_or_default().to_owned())
}

/// How many of a type lie in a chart: by the patient's erasure, audit and grants, which go by charts, not by compartments.
fn in_chart(c: &Consortium, chart: &str, kind: &str) -> usize {
    let rows = c.gateway("hospital-a").records.list(&chart.parse().unwrap(), Some(kind)).unwrap();
    rows.iter().filter(|row| !row.tombstone).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_about_nobody_is_the_organisations_and_what_may_be_about_somebody_is_refused() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Places").await;
    let own = c.gateway("hospital-a").charts.organization_chart().id.to_string();
    let about = |subject: Value| {
        let mut body = observation(&patient, "8302-2", "2026-01-01");
        body["subject"] = subject;
        body
    };
    // A fridge's temperature is nobody's.
    create(&ehr, &about(json!({ "reference": "Location/fridge" }))).await;
    create(&ehr, &about(json!({ "display": "the fridge", "type": "Location" }))).await;
    assert_eq!((in_chart(&c, &own, "Observation"), in_chart(&c, &patient, "Observation")), (2, 0));
    let no_chart = |element: &str| (422, "no-chart".to_owned(), element.to_owned());
    assert_eq!(refused(&ehr, &about(json!({ "display": "Jane Doe" }))).await, no_chart("Observation.subject"));
    let mut newborn = about(json!({ "reference": "#n" }));
    newborn["contained"] = json!([{ "resourceType": "Patient", "id": "n" }]);
    assert_eq!(refused(&ehr, &newborn).await, no_chart("Observation.subject"));
    // What names the patient beside the compartment's elements is hers all the same.
    let mut device = about(json!({ "reference": "Device/pump" }));
    device["focus"] = json!([{ "reference": format!("Patient/{patient}") }]);
    create(&ehr, &device).await;
    assert_eq!((in_chart(&c, &own, "Observation"), in_chart(&c, &patient, "Observation")), (2, 1));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relative_leads_to_the_patients_chart_and_an_update_does_not_leave_it() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Child").await;
    let other = c.chart("hospital-a", "Other").await;
    let mother = json!({ "resourceType": "RelatedPerson", "patient": { "reference": format!("Patient/{patient}") } });
    let mother = create(&ehr, &mother).await;
    let letter = |sender: String| json!({ "resourceType": "Communication", "status": "completed", "sender": { "reference": sender } });
    assert_eq!(refused(&ehr, &letter("RelatedPerson/nobody".to_owned())).await.1, "no-chart");
    let id = create(&ehr, &letter(format!("RelatedPerson/{mother}"))).await;
    assert_eq!(in_chart(&c, &patient, "Communication"), 1);
    let mut next = json!({ "resourceType": "Communication", "id": id, "status": "completed" });
    ehr.put(&format!("Communication/{id}"), &next, &[]).await.expect(200);
    assert_eq!(in_chart(&c, &patient, "Communication"), 1, "it stays where it lay");
    next["subject"] = json!({ "reference": format!("Patient/{other}") });
    assert_eq!(ehr.put(&format!("Communication/{id}"), &next, &[]).await.refusal(), (422, "another-chart".to_owned()));
    c.end().await;
}
