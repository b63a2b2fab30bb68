//! `Prefer: respond-async`: taken now, done later, once (<https://hl7.org/fhir/R4/async.html>).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use vouchsafe_types::RecordId;

use super::{Consortium, FOUNDERS, bundle, count, delete, hospital, post, statuses, ward};
use crate::support::{Answer, Client};

const LATER: (&str, &str) = ("prefer", "respond-async");

/// The address below the base at which the answer is asked for.
fn place(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.text().as_str()), (202, ""));
    answer.header("content-location").split_once("/fhir/").unwrap().1.to_owned()
}

/// Asks until the answer is there.
async fn answer(client: &Client, place: &str) -> Value {
    for _ in 0..600 {
        let status = client.get(place).await;
        if status.status == 200 {
            return status.json();
        }
        assert_eq!(status.status, 202, "{}", status.text());
        assert!(!status.header("x-progress").is_empty() && !status.header("retry-after").is_empty());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_taken_done_and_answered_to_its_client_alone() {
    let (c, ehr) = hospital().await;
    let taken = ehr.post_with("Location", &ward("1"), &[LATER]).await;
    let at = place(&taken);
    let done = answer(&ehr, &at).await;
    vouchsafe_fhir_structure::check("Bundle", done.to_string().as_bytes()).unwrap();
    let entry = &done["entry"][0];
    assert_eq!((&done["type"], &entry["response"]["status"]), (&json!("batch-response"), &json!("201")));
    assert_eq!(entry["resource"]["meta"]["versionId"], "1");
    assert_eq!(count(&ehr, "Location").await, "1");
    // For everybody else it is not there, like what never was.
    let desk = c.desk("hospital-a");
    let nothing = desk.get("async/00000000000000000000000000000000").await;
    assert_eq!(nothing.refusal(), (404, "not-found".into()));
    for method in [Method::GET, Method::DELETE] {
        let hidden = desk.call(method, &at, None, &[]).await;
        assert_eq!((hidden.status, hidden.text()), (404, nothing.text()));
    }
    assert_eq!(delete(&ehr, &at, &[]).await.status, 202);
    assert_eq!(ehr.get(&at).await.refusal().0, 404, "a forgotten answer is not there");
    // A refusal is an answer as well.
    let mut wrong = ward("1");
    wrong["colour"] = json!("red");
    let refused = answer(&ehr, &place(&ehr.post_with("Location", &wrong, &[LATER]).await)).await;
    assert_eq!(refused["entry"][0]["response"]["status"], "422");
    assert_eq!(refused["entry"][0]["response"]["outcome"]["resourceType"], "OperationOutcome");
    let many = bundle("transaction", &[post(&ward("2")), post(&ward("3"))]);
    let whole = answer(&ehr, &place(&ehr.post_with("", &many, &[LATER]).await)).await;
    assert_eq!(statuses(&whole["entry"][0]["resource"]), ["201", "201"]);
    // What reads is answered at once: an answer that lies about would outlive the right to it.
    let reads = bundle("batch", &[post(&ward("4")), json!({ "request": { "method": "GET", "url": "Location" } })]);
    assert_eq!(statuses(&ehr.post_with("", &reads, &[LATER]).await.expect(200)), ["201", "200"]);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_ledger_is_stale_writes_are_refused_or_wait() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("1")).await.created();
    c.chain.clone().stop().await;
    c.advance_alone(11_000);
    let refused = ehr.post("Location", &ward("2")).await;
    assert_eq!(refused.refusal(), (503, "unavailable".into()));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(ehr.get(&format!("Location/{id}")).await.status, 200, "the own chart is read all the same");
    let at = place(&ehr.post_with("Location", &ward("2"), &[LATER]).await);
    let given_up = place(&ehr.post_with("Location", &ward("3"), &[LATER]).await);
    assert_eq!(delete(&ehr, &given_up, &[]).await.status, 202);
    assert_eq!(ehr.get(&at).await.status, 202);
    // It waits through a restart.
    let c = c.restarted().await;
    ehr.forget();
    let done = answer(&ehr, &at).await;
    assert_eq!(done["entry"][0]["response"]["status"], "201");
    assert_eq!(count(&ehr, "Location").await, "2", "what was taken back is not done");
    c.end().await;
}

/// The clocks are apart, and the ledger would take the write all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_ledger_takes_no_write_though_it_would() {
    let c = Consortium::beating(&FOUNDERS[..2], Duration::from_secs(3_600)).await;
    let ehr = c.system("hospital-a");
    ehr.post("Location", &ward("1")).await.created();
    // What is audited is anchored within seconds, and would bring a block of the new time.
    c.gateway("hospital-a").audit.flush().await.unwrap();
    c.advance_alone(11_000);
    assert_eq!(ehr.post("Location", &ward("2")).await.refusal(), (503, "unavailable".into()));
    let bundles = ["transaction", "batch"].map(|kind| bundle(kind, &[post(&ward("2"))]));
    assert_eq!(ehr.post("", &bundles[0]).await.refusal(), (503, "unavailable".into()));
    assert_eq!(statuses(&ehr.post("", &bundles[1]).await.expect(200)), ["503"]);
    assert_eq!(count(&ehr, "Location").await, "1");
    c.end().await;
}

/// A crash between the anchor and the answer leaves the request in the queue: it is served again, and nothing is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_served_twice_is_done_once() {
    let (c, ehr) = hospital().await;
    c.chain.clone().stop().await;
    c.advance_alone(11_000);
    let at = place(&ehr.post_with("Location", &ward("1"), &[LATER]).await);
    let id: RecordId = at.trim_start_matches("async/").parse().unwrap();
    let rows = {
        let db = &c.gateway("hospital-a").db;
        ["later", "later-request"].map(|table| (table, db.get(table, &id.0).unwrap().unwrap().to_vec()))
    };
    let mut c = c.restarted().await;
    ehr.forget();
    let first = answer(&ehr, &at).await;
    for (table, value) in rows {
        c.gateway("hospital-a").db.put(table, &id.0, &value).await.unwrap();
    }
    c.stop("hospital-a").await;
    c.launch("hospital-a").await;
    ehr.forget();
    let again = answer(&ehr, &at).await;
    assert_eq!(first["entry"][0]["response"], again["entry"][0]["response"]);
    assert_eq!(count(&ehr, "Location").await, "1");
    c.end().await;
}
