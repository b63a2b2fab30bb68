//! Bad input: 4xx with an OperationOutcome that says where, nothing stored, memory bounded.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Consortium, FOUNDERS, observation};

const FIFTY_MB: usize = 50 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// Posts bytes as an Observation; status and where the outcome says it is.
async fn post(ehr: &Client, body: impl Into<Vec<u8>>) -> (u16, String) {
    let answer = ehr.call(Method::POST, "Observation", Some(body.into()), &[]).await;
    let (status, _) = answer.refusal();
    let issue = answer.json()["issue"][0].clone();
    let place = issue["expression"][0].as_str().or(issue["diagnostics"].as_str()).unwrap_or_default();
    (status, place.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_are_refused_with_their_place_and_nothing_is_stored() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Bodies").await;
    let good = observation(&patient, "4548-4", "2026-01-01").to_string();
    let bodies: [(&str, Vec<u8>, u16, &str); 12] = [
        ("truncated", good.as_bytes()[..good.len() - 5].to_vec(), 400, ""),
        ("not JSON", b"<Observation/>".to_vec(), 400, ""),
        ("not an object", b"[1]".to_vec(), 400, ""),
        ("not UTF-8", [b"{\"a\":\"", [0xff, 0xfe].as_slice(), b"\"}"].concat(), 400, ""),
        ("NUL", good.replace("final", "fi\\u0000nal").into(), 400, "status"),
        ("duplicate", good.replacen('{', "{\"status\":\"final\",", 1).into(), 400, "status"),
        ("private number", good.replace("6.1", r#"{"$serde_json::private::Number":"7"}"#).into(), 400, "value"),
        ("unknown member", good.replacen('{', "{\"colour\":\"red\",", 1).into(), 422, "colour"),
        ("wrong type", good.replace("\"final\"", "7").into(), 422, "status"),
        ("another type", good.replace("\"Observation\"", "\"Condition\"").into(), 400, "resourceType"),
        ("no type", b"{\"status\":\"final\"}".to_vec(), 400, "resourceType"),
        ("nested", [vec![b'['; 10_000], vec![b']'; 10_000]].concat(), 400, ""),
    ];
    for (name, body, status, place) in bodies {
        let (got, at) = post(&ehr, body).await;
        assert_eq!(got, status, "{name}: {at}");
        assert!(at.contains(place), "{name}: {at}");
    }
    let deep =
        format!("{{\"resourceType\":\"Observation\",\"a\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(post(&ehr, deep).await.0, 400);
    let somebody = json!({ "display": "somebody" });
    for elsewhere in [somebody, json!({ "reference": "Patient/none" }), json!({ "reference": "http://a/Patient/1" })] {
        let mut body = observation(&patient, "4548-4", "2026-01-01");
        body["subject"] = elsewhere;
        assert_eq!(post(&ehr, body.to_string()).await.0, 422);
    }
    let text = ehr.call(Method::POST, "Observation", Some(good.into_bytes()), &[("content-type", "text/plain")]).await;
    assert_eq!(text.refusal().0, 415);
    let found = ehr.get("Observation").await.expect(200);
    assert_eq!(found["total"].to_string(), "0", "nothing was stored");
    c.end().await;
}

/// Sends fifty megabytes, of announced length or in chunks, until the server has enough; what was sent, and its answer.
fn pour(address: &str, token: &str, chunked: bool) -> (usize, Option<String>) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let length = if chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {FIFTY_MB}") };
    let head = format!(
        "POST /fhir/Observation HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/fhir+json\r\n{length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut piece = format!("{:x}\r\n", 64 << 10).into_bytes();
    piece.extend(vec![b' '; 64 << 10]);
    piece.extend(b"\r\n");
    let mut sent = 0;
    // What announces its length is answered unread; what does not is read up to the limit and no further.
    while chunked && sent < FIFTY_MB && socket.write_all(&piece).is_ok() {
        sent += 64 << 10;
    }
    let mut answer = [0; 256];
    // A server that closes while the client still sends may reset the connection; then nothing can be read.
    let read = socket.read(&mut answer).ok().filter(|n| *n > 0);
    (sent, read.map(|n| String::from_utf8_lossy(&answer[..n]).into_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_fifty_megabytes_is_refused_before_it_is_buffered() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let token = ehr.token().await;
    let address = ehr.base.strip_prefix("http://").unwrap().to_owned();
    for chunked in [false, true] {
        let (address, token) = (address.clone(), token.clone());
        let poured = tokio::task::spawn_blocking(move || pour(&address, &token, chunked)).await.unwrap();
        let (sent, answer) = poured;
        assert!(answer.is_some() || chunked);
        assert!(answer.as_ref().is_none_or(|text| text.starts_with("HTTP/1.1 413")), "{answer:?}");
        assert!(sent < FIFTY_MB, "the server took all");
    }
    assert_eq!(ehr.get("Observation").await.expect(200)["total"].to_string(), "0");
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_addresses_are_refused() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let long = "a".repeat(65);
    for id in ["%2e%2e%2f%2e%2e%2fetc%2fpasswd", "a%00b", "a%20b", "%ff", "a%2fb", long.as_str(), "..%2f"] {
        let answer = ehr.get(&format!("Observation/{id}")).await;
        assert_eq!(answer.refusal().0, 400, "{id}: {}", answer.text());
        let version = ehr.get(&format!("Observation/x/_history/{id}")).await;
        assert_eq!(version.refusal().0, 400, "{id}: {}", version.text());
    }
    let very_long = ehr.get(&format!("Observation/{}", "a".repeat(2_000))).await;
    assert_eq!(very_long.refusal().0, 400);
    assert_eq!(ehr.get("Nonsense/1").await.refusal(), (404, "unknown-type".into()));
    assert_eq!(ehr.get("Observation/1/2/3").await.refusal().0, 404);
    assert_eq!(ehr.get("Observation?colour=red").await.refusal().0, 400);
    assert_eq!(ehr.get("Observation?date=tomorrow").await.refusal().0, 400);
    assert_eq!(ehr.get("Observation?code=%ff").await.refusal().0, 400);
    let patch = ehr.call(Method::PATCH, "Observation/1", None, &[]).await;
    assert_eq!(patch.refusal(), (405, "method-not-allowed".into()));
    assert_eq!(patch.header("allow"), "GET, PUT, DELETE");
    let xml = ehr.get_with("metadata", &[("accept", "application/fhir+xml")]).await;
    assert_eq!(xml.refusal().0, 406);
    let mut body = json!({ "resourceType": "Basic", "id": "nobody", "code": { "text": "x" } });
    assert_eq!(ehr.put("Basic/nobody", &body, &[]).await.refusal(), (405, "no-update-as-create".into()));
    body["id"] = Value::from("other");
    assert_eq!(ehr.put("Basic/nobody", &body, &[]).await.refusal().0, 400);
    assert_eq!(ehr.put("Basic/nobody", &body, &[("if-match", "1")]).await.refusal().0, 400);
    let everything = ehr.post_with("Basic", &body, &[("if-none-exist", "")]).await;
    assert_eq!(everything.refusal(), (412, "not-selective".into()));
    let counted = ehr.post_with("Basic", &body, &[("if-none-exist", "identifier=1&_count=2")]).await;
    assert_eq!(counted.refusal().0, 400);
    c.end().await;
}
