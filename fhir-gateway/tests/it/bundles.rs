//! Writing own records: alone, on a condition, together in a Bundle, once, later; and what becomes of a record.

mod batch;
mod conditional;
mod history;
mod later;
mod once;
mod pressure;
mod single;
mod transaction;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Consortium, FOUNDERS};

/// A hospital beside an authority.
async fn hospital() -> (Consortium, Client) {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    (c, ehr)
}

/// A record of the organisation's own, with an identifier by which it is found.
fn ward(identifier: &str) -> Value {
    json!({
        "resourceType": "Location", "name": "Ward",
        "identifier": [{ "system": "urn:test", "value": identifier }],
    })
}

fn if_none(identifier: &str) -> String {
    format!("identifier=urn:test|{identifier}")
}

async fn delete(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.call(Method::DELETE, path, None, headers).await
}

/// How many records of a type there are.
async fn count(client: &Client, search: &str) -> String {
    client.get(search).await.expect(200)["total"].to_string()
}

fn bundle(kind: &str, entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

fn post(resource: &Value) -> Value {
    let name = resource["resourceType"].as_str().unwrap();
    json!({ "resource": resource, "request": { "method": "POST", "url": name } })
}

/// The statuses of a Bundle's entries, in order.
fn statuses(answer: &Value) -> Vec<String> {
    let status = |entry: &Value| entry["response"]["status"].as_str().unwrap()[..3].to_owned();
    answer["entry"].as_array().unwrap().iter().map(status).collect()
}

/// The relative reference `Type/id` in a location.
fn reference(location: &str) -> String {
    let (_, below) = location.split_once("/fhir/").unwrap();
    below.split_once("/_history/").map_or(below, |(before, _)| before).to_owned()
}
