//! What the audit log keeps of searches: each patient's part of each search once, and of nobody else.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Client, Consortium, FOUNDERS, Person, ids, link, observation, resources};

/// The searches that a patient's log tells, the newest first.
async fn searches(client: &Client, chart: &str) -> Vec<Value> {
    let log = client.get(&format!("AuditEvent?patient={chart}&_count=500")).await.expect(200);
    let by_system =
        |event: &Value| event["subtype"].to_string().contains("search") && event.to_string().contains("ehr-hospital-a");
    resources(&log, "match").into_iter().filter(by_system).collect()
}

fn query(event: &Value) -> String {
    let entities = event["entity"].as_array().unwrap();
    let query = entities.iter().find_map(|e| e["query"].as_str()).unwrap();
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(query).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_in_each_patients_log_once_and_names_nobody_else() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let doctor = ehr.post("Practitioner", &json!({ "resourceType": "Practitioner", "active": true })).await.created();
    let mut people: Vec<(Person, String)> = Vec::new();
    let mut made = Vec::new();
    for name in ["Eins", "Zwei"] {
        let (person, chart) = c.patient("hospital-a", name).await;
        for n in 1..=5 {
            let mut body = observation(&chart, "4548-4", &format!("2026-01-0{n}"));
            body["performer"] = json!([{ "reference": format!("Practitioner/{doctor}") }]);
            made.push(ehr.post("Observation", &body).await.created());
        }
        people.push((person, chart));
    }
    let (one, two) = (people[0].1.clone(), people[1].1.clone());
    let client = c.person(&people[0].0, "hospital-a");
    assert!(searches(&client, &one).await.is_empty());

    // Of one patient: one entry, with each record that was shown and the query as it was. Again from memory: another one.
    for n in 1..=2 {
        let path = format!("Observation?patient={one}&_count=3&_include=Observation:performer");
        let found = ehr.get(&path).await.expect(200);
        let told = searches(&client, &one).await;
        assert_eq!(told.len(), n);
        assert_eq!(query(&told[0]), path);
        let text = told[0].to_string();
        for id in &made {
            assert_eq!(text.contains(id), ids(&found, "match").contains(id), "what was shown, and nothing else");
        }
        assert!(!text.contains(&doctor), "what is the organisation's is in the organisation's entry");
    }
    // Of two patients: one entry for each, which names the own records and not the other patient.
    let found = ehr.get(&format!("Observation?patient={one},{two}&code=4548-4&family:missing=true")).await;
    assert_eq!(found.status, 400);
    let found = ehr.get(&format!("Observation?patient={one},{two}&code=4548-4")).await.expect(200);
    assert_eq!(ids(&found, "match").len(), 10);
    let told = searches(&client, &one).await;
    assert_eq!(told.len(), 3);
    let text = told[0].to_string();
    assert_eq!(made.iter().map(|id| text.contains(id)).collect::<Vec<_>>(), [[true; 5], [false; 5]].concat());
    assert!(!text.contains(&two), "{text}");
    assert_eq!(query(&told[0]), "Observation?patient=&code=4548-4");
    // A count and an empty page are told to the one patient who is named.
    ehr.get(&format!("Observation?patient={one}&_summary=count")).await.expect(200);
    ehr.get(&format!("Observation?patient={one}&code=none")).await.expect(200);
    assert_eq!(searches(&client, &one).await.len(), 5);
    // Nothing was possibly disclosed: each slot has its entry.
    let all = ehr.get("AuditEvent?_count=1000").await.expect(200).to_string();
    assert!(!all.contains("possibly disclosed"));
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_large_records_ends_early_and_goes_on() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let chart = c.chart("hospital-a", "Large").await;
    let data = "QUJD".repeat(400_000);
    for n in 0..7 {
        let body = json!({
            "resourceType": "DocumentReference", "status": "current", "subject": { "reference": format!("Patient/{chart}") },
            "content": [{ "attachment": { "contentType": "text/plain", "title": n.to_string(), "data": data } }],
        });
        ehr.post("DocumentReference", &body).await.created();
    }
    let all = crate::support::pages(&ehr, &format!("DocumentReference?patient={chart}&_count=7"), &[]).await;
    let sizes: Vec<usize> = all.iter().map(|page| ids(page, "match").len()).collect();
    assert_eq!(sizes, [6, 1], "a page ends behind eight mebibytes");
    assert!(link(&all[1], "next").is_none());
    c.end().await;
}
