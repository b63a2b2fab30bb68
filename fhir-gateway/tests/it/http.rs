//! The gateway from outside: tokens, own records, registration, and what it refuses.

mod costly;
mod hidden;
mod hostile;
mod paging;
mod places;
mod refusals;
mod search;
mod service;
mod speed;
mod tokens;
mod told;

use reqwest::Method;
use serde_json::json;

use crate::support::{Consortium, observation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_created_read_and_found() {
    let c = Consortium::start().await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Walker").await;
    let text = format!(
        r#"{{ "resourceType":"Observation","status":"final","code":{{"text":"x"}},
            "subject":{{"reference":"Patient/{patient}"}},  "valueQuantity":{{"value":1.50}} }}"#
    );
    let created = ehr.call(Method::POST, "Observation", Some(text.into_bytes()), &[]).await;
    let id = created.created();
    assert_eq!(created.header("etag"), "W/\"1\"");
    assert_eq!(created.header("location"), format!("{}/fhir/Observation/{id}/_history/1", ehr.base));
    let read = ehr.get(&format!("Observation/{id}")).await;
    assert_eq!(read.expect(200)["meta"]["versionId"], "1");
    assert!(read.text().contains("{\"value\":1.50}"), "the decimal keeps its text: {}", read.text());
    let found = ehr.get(&format!("Observation?patient={patient}")).await.expect(200);
    assert_eq!((found["total"].to_string(), &found["entry"][0]["resource"]["id"]), ("1".into(), &json!(id)));
    let other = c.chart("hospital-a", "Other").await;
    let none = ehr.get(&format!("Observation?patient={other}")).await.expect(200);
    assert_eq!(none["total"].to_string(), "0");
    let mut second = observation(&patient, "4548-4", "2026-01-01");
    second["id"] = json!(id);
    let updated = ehr.put(&format!("Observation/{id}"), &second, &[("if-match", "W/\"1\"")]).await;
    assert_eq!(updated.expect(200)["meta"]["versionId"], "2");
    assert_eq!(ehr.put(&format!("Observation/{id}"), &second, &[("if-match", "W/\"1\"")]).await.refusal().0, 412);
    assert!(ehr.get(&format!("Observation/{id}/_history/1")).await.text().contains("1.50"));
    c.end().await;
}
