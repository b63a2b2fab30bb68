//! Writes that rest on a search (<https://hl7.org/fhir/R4/http.html#ccreate>), and on a version.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{count, delete, hospital, if_none, ward};
use crate::support::observation;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_create_makes_one_finds_one_and_refuses_several() {
    let (c, ehr) = hospital().await;
    let unless = if_none("1");
    let first = ehr.post_with("Location", &ward("1"), &[("if-none-exist", &unless)]).await;
    let id = first.created();
    let again = ehr.post_with("Location", &ward("1"), &[("if-none-exist", &unless)]).await;
    assert_eq!(again.expect(200)["id"], json!(id), "the one that is there is answered");
    assert_eq!(again.header("location"), first.header("location"));
    let minimal = [("if-none-exist", unless.as_str()), ("prefer", "return=minimal")];
    assert_eq!(ehr.post_with("Location", &ward("1"), &minimal).await.text(), "");
    assert_eq!(count(&ehr, "Location").await, "1");
    ehr.post("Location", &ward("1")).await.created();
    let several = ehr.post_with("Location", &ward("1"), &[("if-none-exist", &unless)]).await;
    assert_eq!(several.refusal(), (412, "multiple-matches".into()));
    // A deleted record is found no more.
    let other = ehr.post_with("Location", &ward("2"), &[("if-none-exist", &if_none("2"))]).await.created();
    delete(&ehr, &format!("Location/{other}"), &[]).await;
    assert_eq!(ehr.post_with("Location", &ward("2"), &[("if-none-exist", &if_none("2"))]).await.status, 201);
    for (bad, status) in [("", 412), ("colour=red", 400), ("identifier=1&_count=1", 400), ("_sort=identifier", 400)] {
        let refused = ehr.post_with("Location", &ward("1"), &[("if-none-exist", bad)]).await;
        assert_eq!(refused.refusal().0, status, "{bad}");
    }
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_update_follows_the_one_it_finds_or_creates() {
    let (c, ehr) = hospital().await;
    let path = format!("Location?{}", if_none("1"));
    let created = ehr.put(&path, &ward("1"), &[]).await;
    let id = created.created();
    assert_eq!(ehr.put(&path, &ward("1"), &[]).await.expect(200)["meta"]["versionId"], "2");
    let mut named = ward("1");
    named["id"] = json!(id);
    assert_eq!(ehr.put(&path, &named, &[("if-match", "W/\"2\"")]).await.expect(200)["meta"]["versionId"], "3");
    assert_eq!(ehr.put(&path, &named, &[("if-match", "W/\"2\"")]).await.refusal().0, 412);
    named["id"] = json!("another");
    assert_eq!(ehr.put(&path, &named, &[]).await.refusal().0, 400);
    let nothing = format!("Location?{}", if_none("3"));
    assert_eq!(ehr.put(&nothing, &named, &[]).await.refusal(), (405, "no-update-as-create".into()));
    assert_eq!(ehr.put(&nothing, &ward("3"), &[("if-match", "W/\"1\"")]).await.refusal().0, 412);
    ehr.post("Location", &ward("1")).await.created();
    assert_eq!(ehr.put(&path, &ward("1"), &[]).await.refusal(), (412, "multiple-matches".into()));
    assert_eq!(ehr.put("Location", &ward("1"), &[]).await.refusal(), (412, "not-selective".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conditional_delete_takes_one_or_none() {
    let (c, ehr) = hospital().await;
    let path = format!("Location?{}", if_none("1"));
    assert_eq!(delete(&ehr, &path, &[]).await.status, 204);
    let id = ehr.post("Location", &ward("1")).await.created();
    assert_eq!(delete(&ehr, &path, &[]).await.status, 204);
    assert_eq!(ehr.get(&format!("Location/{id}")).await.status, 410);
    for _ in 0..2 {
        ehr.post("Location", &ward("1")).await.created();
    }
    assert_eq!(delete(&ehr, &path, &[]).await.refusal(), (412, "multiple-matches".into()));
    assert_eq!(count(&ehr, "Location").await, "2");
    assert_eq!(delete(&ehr, "Location", &[]).await.refusal(), (412, "not-selective".into()));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_make_one() {
    let (c, ehr) = hospital().await;
    let unless = if_none("1");
    let body = ward("1");
    let headers = [("if-none-exist", unless.as_str())];
    let answers = join_all((0..8).map(|_| ehr.post_with("Location", &body, &headers))).await;
    let made: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(made.iter().filter(|status| **status == 201).count(), 1, "{made:?}");
    assert!(made.iter().all(|status| matches!(status, 200 | 201)), "{made:?}");
    let ids: std::collections::BTreeSet<String> = answers.iter().map(|a| a.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(count(&ehr, "Location").await, "1");
    // Conditional updates of what is not there are creations just as well.
    let path = format!("Location?{}", if_none("2"));
    let second = ward("2");
    let answers = join_all((0..8).map(|_| ehr.put(&path, &second, &[]))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(count(&ehr, "Location").await, "2");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_let_one_win() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let path = format!("Location/{id}");
    let mut body = ward("1");
    body["id"] = json!(id);
    let answers = join_all((0..8).map(|_| ehr.put(&path, &body, &[("if-match", "W/\"1\"")]))).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    let lost = answers.iter().filter(|answer| answer.status == 412).count();
    assert_eq!((won, lost), (1, 7));
    assert_eq!(ehr.get(&path).await.expect(200)["meta"]["versionId"], "2");
    c.end().await;
}

/// What a condition finds is own records only, and a conditional create that finds one is audited as a reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_condition_discloses_is_in_the_audit_log() {
    let (c, ehr) = hospital().await;
    let patient = c.chart("hospital-a", "Walker").await;
    let mut body = observation(&patient, "4548-4", "2026-01-01");
    body["identifier"] = json!([{ "system": "urn:test", "value": "o" }]);
    let unless = if_none("o");
    ehr.post_with("Observation", &body, &[("if-none-exist", &unless)]).await.created();
    let events = format!("AuditEvent?patient={patient}");
    let subtypes = |answer: &serde_json::Value| -> Vec<String> {
        let entries = answer["entry"].as_array().unwrap().iter();
        entries.map(|e| e["resource"]["subtype"][0]["code"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let before = subtypes(&ehr.get(&events).await.expect(200));
    assert_eq!(before.iter().filter(|code| *code == "create").count(), 2, "{before:?}");
    ehr.post_with("Observation", &body, &[("if-none-exist", &unless), ("prefer", "return=minimal")]).await.expect(200);
    let after = subtypes(&ehr.get(&events).await.expect(200));
    assert_eq!(after.iter().filter(|code| *code == "read").count(), 1, "{after:?}");
    let deleted = ehr.call(Method::DELETE, &format!("Observation?{unless}"), None, &[]).await;
    assert_eq!(deleted.status, 204);
    let last = subtypes(&ehr.get(&events).await.expect(200));
    assert_eq!(last.iter().filter(|code| *code == "delete").count(), 1, "{last:?}");
    c.end().await;
}
