//! All or none (<https://hl7.org/fhir/R4/http.html#trules>).

use reqwest::Method;
use serde_json::{Value, json};

use super::{bundle, count, hospital, if_none, post, reference, statuses, ward};
use crate::support::{Client, observation};

const PATIENT: &str = "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a";

fn named(full_url: &str, mut entry: Value) -> Value {
    entry["fullUrl"] = json!(full_url);
    entry
}

fn patient() -> Value {
    let mut body = json!({
        "resourceType": "Patient", "name": [{ "family": "Walker" }],
        "identifier": [{ "system": "urn:test", "value": "p" }],
    });
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><a href=\"{PATIENT}\">{PATIENT}</a></div>");
    body["text"] = json!({ "status": "generated", "div": div });
    body
}

fn about(subject: &str) -> Value {
    let mut body = observation("x", "4548-4", "2026-01-01");
    body["subject"]["reference"] = json!(subject);
    body
}

async fn transact(client: &Client, entries: &[Value]) -> crate::support::Answer {
    client.post("", &bundle("transaction", entries)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_refer_to_each_other_and_become_one_ledger_transaction() {
    let (c, ehr) = hospital().await;
    let head = c.chain.head().height;
    let absolute = "https://ehr.example/fhir/Encounter/7";
    let encounter = json!({
        "resourceType": "Encounter", "status": "finished", "class": { "code": "AMB" },
        "subject": { "reference": PATIENT },
    });
    let mut relative = about(PATIENT);
    relative["encounter"] = json!({ "reference": "Encounter/7" });
    let entries = [
        // What is referred to stands last: the order of the entries means nothing.
        named("https://ehr.example/fhir/Observation/9", post(&relative)),
        named(absolute, post(&encounter)),
        named(PATIENT, post(&patient())),
    ];
    let answer = transact(&ehr, &entries).await.expect(200);
    vouchsafe_fhir_structure::check("Bundle", answer.to_string().as_bytes()).unwrap();
    assert_eq!(answer["type"], "transaction-response");
    assert_eq!(statuses(&answer), ["201", "201", "201"]);
    let at = |n: usize| reference(answer["entry"][n]["response"]["location"].as_str().unwrap());
    assert!(at(0).starts_with("Observation/") && at(1).starts_with("Encounter/") && at(2).starts_with("Patient/"));
    let read = ehr.get(&at(0)).await;
    assert!(read.text().contains("{\"unit\":\"%\",\"value\":6.1}") || read.text().contains("\"value\":6.1"));
    let read = read.json();
    assert_eq!((&read["subject"]["reference"], &read["encounter"]["reference"]), (&json!(at(2)), &json!(at(1))));
    let div = ehr.get(&at(2)).await.json()["text"]["div"].as_str().unwrap().to_owned();
    assert!(div.contains(&format!("href=\"{}\"", at(2))) && div.contains(&format!(">{PATIENT}<")), "{div}");
    assert_eq!(answer["entry"][0]["response"]["etag"], "W/\"1\"");
    assert_eq!(answer["entry"][0]["response"]["lastModified"], read["meta"]["lastUpdated"]);
    // One anchor holds them all.
    assert_eq!(c.anchors_since(head).await, 1);
    let events = ehr.get(&format!("AuditEvent?patient={}", &at(2)["Patient/".len()..])).await.expect(200);
    let subtype = |e: &Value| e["resource"]["subtype"][0]["code"].as_str().unwrap_or_default().to_owned();
    let of_kind = events["entry"].as_array().unwrap().iter().filter(|e| subtype(e) == "transaction").count();
    assert_eq!(of_kind, 1, "one event for the patient, not one for each record");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_entry_stops_all_and_is_named() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("old")).await.created();
    let good = post(&ward("new"));
    let put = |body: &Value, url: &str, if_match: &str| json!({ "resource": body, "request": { "method": "PUT", "url": url, "ifMatch": if_match } });
    let mut old = ward("old");
    old["id"] = json!(id);
    let mut wrong = ward("new");
    wrong["colour"] = json!("red");
    let url = format!("Location/{id}");
    let delete = json!({ "request": { "method": "DELETE", "url": url } });
    for (entry, status, place) in [
        (post(&wrong), 422, "Bundle.entry[1].resource.colour"),
        (post(&about("Patient/none")), 422, "Bundle.entry[1]"),
        (post(&about("urn:uuid:nobody")), 400, "Bundle.entry[1].resource.subject.reference"),
        (put(&old, &url, "W/\"9\""), 412, "Bundle.entry[1]"),
        (put(&old, &url, "9"), 400, "Bundle.entry[1].request.ifMatch"),
        (put(&ward("x"), "Location/nobody", "W/\"1\""), 405, "Bundle.entry[1]"),
        (json!({ "resource": ward("x"), "request": { "method": "POST", "url": "Patient" } }), 400, "Bundle.entry[1]"),
        (json!({ "request": { "method": "POST", "url": "Location" } }), 400, "Bundle.entry[1].resource"),
        (json!({ "request": { "method": "GET", "url": "Nothing/1" } }), 404, "Bundle.entry[1].request.url"),
        (
            json!({ "resource": bundle("batch", &[]), "request": { "method": "POST", "url": "/" } }),
            400,
            "Bundle.entry[1]",
        ),
        (json!({ "request": { "method": "POST", "url": "Patient/1/$register" } }), 400, "Bundle.entry[1].request"),
        (json!({ "request": { "method": "GET", "url": "https://other.example/Patient" } }), 400, "Bundle.entry[1]"),
    ] {
        let refused = transact(&ehr, &[good.clone(), entry.clone(), good.clone()]).await;
        assert_eq!(refused.refusal().0, status, "{entry}: {}", refused.text());
        let at = refused.json()["issue"][0]["expression"][0].as_str().unwrap_or_default().to_owned();
        assert!(at.starts_with(place), "{entry}: {at}");
        assert_eq!(count(&ehr, "Location").await, "1", "{entry}");
    }
    // One record is written once.
    let twice = transact(&ehr, &[put(&old, &url, "W/\"1\""), delete]).await;
    assert_eq!(twice.refusal(), (400, "twice".into()));
    let same = [named("urn:uuid:1", good.clone()), named("urn:uuid:1", good)];
    assert_eq!(transact(&ehr, &same).await.refusal().0, 400);
    assert_eq!(count(&ehr, "Location").await, "1");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_come_first_and_reads_last() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    let unless = if_none("1");
    let mut create = post(&ward("1"));
    create["request"]["ifNoneExist"] = json!(unless);
    let entries = [
        json!({ "request": { "method": "GET", "url": format!("Location?{unless}") } }),
        json!({ "request": { "method": "GET", "url": format!("Location/{id}") } }),
        create,
        json!({ "request": { "method": "DELETE", "url": format!("Location/{id}"), "ifMatch": "W/\"1\"" } }),
    ];
    let answer = transact(&ehr, &entries).await.expect(200);
    assert_eq!(statuses(&answer), ["200", "410", "201", "204"]);
    let found = &answer["entry"][0]["resource"];
    assert_eq!((&found["type"], found["total"].to_string()), (&json!("searchset"), "1".into()));
    let location = answer["entry"][2]["response"]["location"].as_str().unwrap();
    assert_eq!(reference(location), format!("Location/{}", found["entry"][0]["resource"]["id"].as_str().unwrap()));
    assert_eq!(answer["entry"][1]["response"]["outcome"]["resourceType"], "OperationOutcome");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditional_references_and_creates_find_exactly_one() {
    let (c, ehr) = hospital().await;
    let chart = ehr.post("Patient", &patient()).await.created();
    let subject = format!("Patient?{}", if_none("p"));
    let mut existing = named(PATIENT, post(&patient()));
    existing["request"]["ifNoneExist"] = json!(if_none("p"));
    let answer = transact(&ehr, &[post(&about(&subject)), existing.clone(), post(&about(PATIENT))]).await.expect(200);
    assert_eq!(statuses(&answer), ["201", "200", "201"]);
    for n in [0, 2] {
        let at = reference(answer["entry"][n]["response"]["location"].as_str().unwrap());
        assert_eq!(ehr.get(&at).await.expect(200)["subject"]["reference"], json!(format!("Patient/{chart}")));
    }
    let none = transact(&ehr, &[post(&about(&format!("Patient?{}", if_none("q"))))]).await;
    assert_eq!(none.refusal(), (412, "no-match".into()));
    assert_eq!(none.json()["issue"][0]["expression"][0], "Bundle.entry[0].resource.subject.reference");
    // Two with one condition are one.
    let mut twin = post(&ward("t"));
    twin["request"]["ifNoneExist"] = json!(if_none("t"));
    let twins = transact(&ehr, &[twin.clone(), twin]).await.expect(200);
    assert_eq!(statuses(&twins), ["201", "200"]);
    assert_eq!(twins["entry"][0]["response"]["location"], twins["entry"][1]["response"]["location"]);
    assert_eq!(count(&ehr, "Location").await, "1");
    ehr.post("Patient", &patient()).await.created();
    assert_eq!(transact(&ehr, &[post(&about(&subject))]).await.refusal(), (412, "multiple-matches".into()));
    assert_eq!(transact(&ehr, &[existing]).await.refusal(), (412, "multiple-matches".into()));
    assert_eq!(count(&ehr, "Observation").await, "2");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_transactions_at_once_share_what_they_create_on_a_condition() {
    let (c, ehr) = hospital().await;
    let mut shared = named(PATIENT, post(&patient()));
    shared["request"]["ifNoneExist"] = json!(if_none("p"));
    let entries = [shared, post(&about(PATIENT))];
    let answers = futures::future::join_all((0..8).map(|_| transact(&ehr, &entries))).await;
    let made: Vec<Vec<String>> = answers.iter().map(|answer| statuses(&answer.expect(200))).collect();
    assert_eq!(made.iter().filter(|statuses| statuses[0] == "201").count(), 1, "{made:?}");
    assert_eq!(count(&ehr, "Patient").await, "1");
    assert_eq!(count(&ehr, "Observation").await, "8");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_beyond_the_bounds_are_refused_and_leave_nothing() {
    let (c, ehr) = hospital().await;
    let many: Vec<Value> = (0..1_001).map(|n| post(&ward(&n.to_string()))).collect();
    let refused = transact(&ehr, &many).await;
    assert_eq!(refused.refusal().0, 413);
    assert!(refused.text().contains("bundle_entries"), "{}", refused.text());
    let deep = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"a":{}1{}}}]}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let post_raw = |body: Vec<u8>| ehr.call(Method::POST, "", Some(body), &[]);
    assert_eq!(post_raw(deep.into_bytes()).await.refusal().0, 400);
    let double = r#"{"resourceType":"Bundle","type":"transaction","type":"batch"}"#;
    assert_eq!(post_raw(double.as_bytes().to_vec()).await.refusal().0, 400);
    for other in [json!({ "resourceType": "Patient" }), bundle("collection", &[]), bundle("message", &[])] {
        assert_eq!(ehr.post("", &other).await.refusal().0, 400);
    }
    assert_eq!(statuses(&transact(&ehr, &[post(&ward("1"))]).await.expect(200)), ["201"]);
    assert!(
        ehr.post("", &json!({ "resourceType": "Bundle", "type": "transaction" })).await.expect(200)["entry"].is_null()
    );
    assert_eq!(count(&ehr, "Location").await, "1");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_reads_by_bundles_and_writes_nothing() {
    let (c, ehr) = hospital().await;
    let (person, mine) = c.patient("hospital-a", "Own").await;
    let other = c.chart("hospital-a", "Other").await;
    let client = c.person(&person, "hospital-a");
    let get = |id: &str| json!({ "request": { "method": "GET", "url": format!("Patient/{id}") } });
    let read = transact(&client, &[get(&mine), get(&other)]).await.expect(200);
    assert_eq!(statuses(&read), ["200", "404"]);
    let write = [get(&mine), post(&about(&format!("Patient/{mine}")))];
    assert_eq!(transact(&client, &write).await.refusal(), (403, "not-allowed".into()));
    let batch = client.post("", &bundle("batch", &write)).await.expect(200);
    assert_eq!(statuses(&batch), ["200", "403"]);
    assert_eq!(count(&ehr, "Observation").await, "0");
    c.end().await;
}

/// Prints what transactions of a thousand records cost; nothing is asserted of time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is there to print")]
async fn measure_transactions_of_a_thousand_records() {
    let (c, ehr) = hospital().await;
    for kind in ["transaction", "batch"] {
        let mut entries = vec![named(PATIENT, post(&patient()))];
        let subject = if kind == "batch" {
            format!("Patient/{}", c.chart("hospital-a", "Walker").await)
        } else {
            PATIENT.to_owned()
        };
        entries.extend((1..1_000).map(|_| post(&about(&subject))));
        let body = bundle(kind, &entries);
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            let answer = ehr.post("", &body).await.expect(200);
            let took = begun.elapsed().as_secs_f64();
            assert!(statuses(&answer).iter().all(|status| status == "201"));
            println!("{kind}: {:.0} resources/s", 1_000.0 / took);
        }
    }
    c.end().await;
}
