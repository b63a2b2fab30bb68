//! What becomes of records: of one, of a type, of all (<https://hl7.org/fhir/R4/http.html#history>).

use serde_json::{Value, json};

use super::{delete, hospital, ward};
use crate::support::{Client, observation};

/// Method and version of each entry, the newest first.
fn told(history: &Value) -> Vec<(String, String)> {
    let entries = history["entry"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    entries.map(|e| (text(&e["request"]["method"]), text(&e["response"]["etag"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_tells_what_became_of_it() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let path = format!("Location/{id}");
    let mut body = ward("2");
    body["id"] = json!(id);
    ehr.put(&path, &body, &[]).await.expect(200);
    delete(&ehr, &path, &[]).await;
    let history = ehr.get(&format!("{path}/_history")).await.expect(200);
    vouchsafe_fhir_structure::check("Bundle", history.to_string().as_bytes()).unwrap();
    assert_eq!((&history["type"], history["total"].to_string()), (&json!("history"), "3".into()));
    let pair = |method: &str, version: &str| (method.to_owned(), format!("W/\"{version}\""));
    assert_eq!(told(&history), [pair("DELETE", "3"), pair("PUT", "2"), pair("POST", "1")]);
    let entries = history["entry"].as_array().unwrap();
    assert!(entries[0].get("resource").is_none(), "a deletion has no resource");
    assert_eq!(entries[1]["resource"]["identifier"][0]["value"], "2");
    assert_eq!(entries[2]["resource"]["meta"]["versionId"], "1");
    assert_eq!(entries[2]["response"]["status"], "201");
    for unknown in ["Location/00000000000000000000000000000000/_history", "Location/x/_history"] {
        assert_eq!(ehr.get(unknown).await.refusal(), (404, "not-found".into()));
    }
    c.end().await;
}

/// Every page of a history, by its links.
async fn pages(client: &Client, path: &str) -> (Vec<(String, String)>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = client.get(&path).await.expect(200);
        all.extend(told(&page));
        pages += 1;
        let link = page["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
        next = link.map(|link| link["url"].as_str().unwrap().split_once("/fhir/").unwrap().1.to_owned());
    }
    (all, pages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_history_are_whole_and_their_links_are_the_callers() {
    let (c, ehr) = hospital().await;
    for n in 0..7 {
        ehr.post("Location", &ward(&n.to_string())).await.created();
    }
    let chart = c.chart("hospital-a", "Walker").await;
    let (of_type, n) = pages(&ehr, "Location/_history?_count=3").await;
    assert_eq!((of_type.len(), n), (7, 3));
    let (all, _) = pages(&ehr, "_history?_count=3").await;
    assert_eq!(all.len(), 8);
    let first = ehr.get("Location/_history?_count=3").await.expect(200);
    let link = first["link"][1]["url"].as_str().unwrap().split_once("/fhir/").unwrap().1.to_owned();
    // Another caller, another address, another text.
    assert_eq!(c.desk("hospital-a").get(&link).await.refusal().0, 400);
    assert_eq!(ehr.get(&link.replace("Location/_history", "_history")).await.refusal().0, 400);
    assert_eq!(ehr.get("Location/_history?_page=AAAA").await.refusal().0, 400);
    for bad in ["_count=0", "_count=x", "_since=yesterday", "_at=2026-01-01", "_sort=_id", "code=1"] {
        assert_eq!(ehr.get(&format!("Location/_history?{bad}")).await.refusal().0, 400, "{bad}");
    }
    assert!(told(&ehr.get("_history?_count=1000000000").await.expect(200)).len() == 8);
    let version = ehr.get(&format!("Patient/{chart}")).await.expect(200);
    let since = version["meta"]["lastUpdated"].as_str().unwrap().to_owned();
    let late = ehr.get(&format!("_history?_since={since}")).await.expect(200);
    assert!(told(&late).len() < 8 && late["entry"][0]["resource"]["id"] == json!(chart));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_has_a_history_of_the_own_chart_alone() {
    let (c, ehr) = hospital().await;
    let (patient, mine) = c.patient("hospital-a", "Own").await;
    let other = c.chart("hospital-a", "Other").await;
    let ours = ehr.post("Observation", &observation(&mine, "4548-4", "2026-01-01")).await.created();
    let theirs = ehr.post("Observation", &observation(&other, "4548-4", "2026-01-01")).await.created();
    let client = c.person(&patient, "hospital-a");
    let ids = |history: &Value| -> Vec<String> {
        let entries = history["entry"].as_array().into_iter().flatten();
        entries.map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&client.get("Observation/_history").await.expect(200)), std::slice::from_ref(&ours));
    assert_eq!(ids(&client.get("_history").await.expect(200)), [ours.clone(), mine.clone()]);
    assert_eq!(ids(&client.get(&format!("Observation/{ours}/_history")).await.expect(200)), [ours]);
    let hidden = client.get(&format!("Observation/{theirs}/_history")).await;
    let absent = client.get("Observation/00000000000000000000000000000000/_history").await;
    assert_eq!((hidden.status, hidden.text()), (404, absent.text()));
    let events = ehr.get(&format!("AuditEvent?patient={mine}")).await.expect(200);
    let read = events["entry"].as_array().unwrap().iter().filter(|e| e["resource"]["subtype"][0]["code"] == "history");
    assert_eq!(read.count(), 3, "each reading of the history is in the log");
    c.end().await;
}
