//! Each by itself (<https://hl7.org/fhir/R4/http.html#brules>).

use serde_json::{Value, json};

use super::{bundle, count, hospital, if_none, post, reference, statuses, ward};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entry_has_its_own_end() {
    let (c, ehr) = hospital().await;
    let id = ehr.post("Location", &ward("old")).await.created();
    let url = format!("Location/{id}");
    let mut old = ward("old");
    old["id"] = json!(id);
    let put =
        |if_match: &str| json!({ "resource": old, "request": { "method": "PUT", "url": url, "ifMatch": if_match } });
    let mut wrong = ward("new");
    wrong["colour"] = json!("red");
    let mut once = post(&ward("once"));
    once["request"]["ifNoneExist"] = json!(if_none("once"));
    let entries = [
        post(&ward("1")),
        post(&wrong),
        put("W/\"7\""),
        put("W/\"1\""),
        // It comes after the update before, which it is to see.
        put("W/\"2\""),
        once.clone(),
        once,
        json!({ "request": { "method": "DELETE", "url": "Location/nobody" } }),
        json!({ "request": { "method": "GET", "url": url } }),
        json!({ "request": { "method": "GET", "url": "Nothing" } }),
        json!({ "request": { "method": "PATCH", "url": url } }),
        json!({ "request": { "method": "POST", "url": "/" }, "resource": bundle("batch", &[]) }),
    ];
    let answer = ehr.post("", &bundle("batch", &entries)).await.expect(200);
    vouchsafe_fhir_structure::check("Bundle", answer.to_string().as_bytes()).unwrap();
    assert_eq!(answer["type"], "batch-response");
    let expected = ["201", "422", "412", "200", "200", "201", "200", "204", "200", "404", "405", "400"];
    assert_eq!(statuses(&answer), expected);
    assert_eq!(answer["entry"][8]["resource"]["meta"]["versionId"], "3", "what is read is read last");
    let place = &answer["entry"][1]["response"]["outcome"]["issue"][0]["expression"][0];
    assert_eq!(place, "Bundle.entry[1].resource.colour");
    assert_eq!(count(&ehr, "Location").await, "3");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_creates_cost_few_ledger_transactions() {
    let (c, ehr) = hospital().await;
    let chart = c.chart("hospital-a", "Walker").await;
    let head = c.chain.head().height;
    let mut entries: Vec<Value> = (0..499).map(|n| post(&ward(&n.to_string()))).collect();
    for entry in &mut entries[..100] {
        let value = entry["resource"]["identifier"][0]["value"].as_str().unwrap().to_owned();
        entry["request"]["ifNoneExist"] = json!(if_none(&value));
    }
    entries.push(post(&crate::support::observation(&chart, "4548-4", "2026-01-01")));
    let answer = ehr.post("", &bundle("batch", &entries)).await.expect(200);
    assert!(statuses(&answer).iter().all(|status| status == "201"));
    let anchors = c.anchors_since(head).await;
    assert!(anchors <= 2, "{anchors}");
    let at = reference(answer["entry"][499]["response"]["location"].as_str().unwrap());
    assert_eq!(ehr.get(&at).await.status, 200);
    let events = ehr.get(&format!("AuditEvent?patient={chart}")).await.expect(200);
    let of_kind = |e: &&Value| e["resource"]["subtype"][0]["code"] == "batch";
    assert_eq!(events["entry"].as_array().unwrap().iter().filter(of_kind).count(), 1);
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_preferred_holds_for_every_entry() {
    let (c, ehr) = hospital().await;
    let entries = [post(&ward("1"))];
    let whole = [("prefer", "return=representation")];
    let answer = ehr.post_with("", &bundle("batch", &entries), &whole).await.expect(200);
    assert_eq!(answer["entry"][0]["resource"]["meta"]["versionId"], "1");
    let outcome = [("prefer", "return=OperationOutcome")];
    let answer = ehr.post_with("", &bundle("transaction", &entries), &outcome).await.expect(200);
    assert_eq!(answer["entry"][0]["response"]["outcome"]["issue"][0]["severity"], "information");
    assert!(answer["entry"][0].get("resource").is_none());
    c.end().await;
}
