//! One record at a time: create, update, delete, and how a client prefers to be answered.

use serde_json::json;

use super::{bundle, delete, hospital, statuses, ward};
use crate::support::observation;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_record_is_gone_keeps_its_versions_and_comes_back_by_an_update() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let path = format!("Location/{id}");
    assert_eq!(delete(&ehr, &path, &[("if-match", "W/\"7\"")]).await.refusal(), (412, "version-conflict".into()));
    let deleted = delete(&ehr, &path, &[("if-match", "W/\"1\"")]).await;
    assert_eq!((deleted.status, deleted.text().as_str(), deleted.header("etag")), (204, "", "W/\"2\""));
    assert_eq!(ehr.get(&path).await.refusal(), (410, "deleted".into()));
    assert_eq!(ehr.get(&format!("{path}/_history/2")).await.refusal().0, 410);
    assert_eq!(ehr.get(&format!("{path}/_history/1")).await.expect(200)["meta"]["versionId"], "1");
    assert_eq!(ehr.get("Location").await.expect(200)["total"].to_string(), "0");
    // What is not there, or not any more, is as deleted as it can be.
    assert_eq!(delete(&ehr, &path, &[]).await.status, 204);
    assert_eq!(delete(&ehr, "Location/00000000000000000000000000000000", &[]).await.status, 204);
    assert_eq!(delete(&ehr, "Location/nobody", &[]).await.status, 204);
    let history = ehr.get(&format!("{path}/_history")).await.expect(200);
    assert_eq!(history["total"].to_string(), "2", "deleting twice makes no further version");
    let mut again = ward("1");
    again["id"] = json!(id);
    let revived = ehr.put(&path, &again, &[("if-match", "W/\"2\"")]).await;
    assert_eq!(revived.expect(201)["meta"]["versionId"], "3");
    assert_eq!(ehr.get(&path).await.expect(200)["meta"]["versionId"], "3");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_is_deleted_last_and_nothing_is_written_after() {
    let (c, ehr) = hospital().await;
    let chart = c.chart("hospital-a", "Walker").await;
    let body = observation(&chart, "4548-4", "2026-01-01");
    let id = ehr.post("Observation", &body).await.created();
    let (patient, observed) = (format!("Patient/{chart}"), format!("Observation/{id}"));
    assert_eq!(delete(&ehr, &patient, &[]).await.refusal(), (409, "chart-not-empty".into()));
    // Together they go, in whatever order they stand.
    let gone = |url: &str| json!({ "request": { "method": "DELETE", "url": url } });
    let both = bundle("transaction", &[gone(&patient), gone(&observed)]);
    assert_eq!(statuses(&ehr.post("", &both).await.expect(200)), ["204", "204"]);
    assert_eq!(ehr.post("Observation", &body).await.refusal(), (422, "patient-deleted".into()));
    assert_eq!(ehr.get(&patient).await.status, 410);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_answered_as_it_prefers() {
    let (c, ehr) = hospital().await;
    let minimal = ehr.post_with("Location", &ward("1"), &[("prefer", "return=minimal")]).await;
    assert_eq!((minimal.status, minimal.text().as_str()), (201, ""));
    assert!(!minimal.header("location").is_empty() && minimal.header("etag") == "W/\"1\"");
    let outcome = ehr.post_with("Location", &ward("1"), &[("prefer", "return=OperationOutcome")]).await;
    assert_eq!(outcome.expect(201)["issue"][0]["severity"], "information");
    let whole = ehr.post_with("Location", &ward("1"), &[("prefer", "return=representation")]).await.expect(201);
    assert_eq!((&whole["resourceType"], &whole["meta"]["versionId"]), (&json!("Location"), &json!("1")));
    // What the server says is the server's, whatever the client sends.
    let mut claims = ward("1");
    claims["id"] = json!("mine");
    claims["meta"] = json!({ "versionId": "9", "lastUpdated": "2001-01-01T00:00:00Z", "tag": [{ "code": "t" }] });
    let created = ehr.post("Location", &claims).await.expect(201);
    assert_eq!((&created["meta"]["versionId"], &created["meta"]["tag"][0]["code"]), (&json!("1"), &json!("t")));
    assert!(created["id"] != "mine" && !created["meta"]["lastUpdated"].as_str().unwrap().starts_with("2001"));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_the_version_gets_no_second_copy() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let path = format!("Location/{id}");
    let first = ehr.get(&path).await;
    let (tag, date) = (first.header("etag").to_owned(), first.header("last-modified").to_owned());
    let same = ehr.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.text().as_str(), same.header("etag")), (304, "", tag.as_str()));
    assert_eq!(ehr.get_with(&path, &[("if-modified-since", &date)]).await.status, 304);
    assert_eq!(ehr.get_with(&path, &[("if-modified-since", "Thu, 01 Jan 2026 00:00:00 GMT")]).await.status, 200);
    assert_eq!(ehr.get_with(&path, &[("if-modified-since", "yesterday")]).await.status, 200);
    let mut second = ward("2");
    second["id"] = json!(id);
    ehr.put(&path, &second, &[]).await.expect(200);
    assert_eq!(ehr.get_with(&path, &[("if-none-match", &tag)]).await.status, 200);
    // A deleted record is gone, whatever the client has of it, and one that is not there is not there.
    delete(&ehr, &path, &[]).await;
    assert_eq!(ehr.get_with(&path, &[("if-none-match", "W/\"3\"")]).await.status, 410);
    assert_eq!(ehr.get_with("Location/nobody", &[("if-none-match", "*")]).await.status, 404);
    c.end().await;
}
