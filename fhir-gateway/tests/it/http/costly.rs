//! Searches that are made to cost much, or to break something: bounded, with the right status, and an expression that
//! points at the fault.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{Consortium, FOUNDERS, ids, observation};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_searches_are_bounded_and_point_at_the_fault() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Costly").await;
    for n in 1..=3 {
        ehr.post("Observation", &observation(&patient, "4548-4", &format!("2026-01-0{n}"))).await.created();
    }
    let chain = |length: usize| format!("Observation?{}code=x", "has-member.".repeat(length));
    let has = |length: usize| format!("Observation?{}code=x", "_has:Observation:has-member:".repeat(length));
    let many = "a=1&".repeat(10_000);
    let sorts = vec!["date"; 500].join(",");
    let dates = vec!["2026"; 6_000].join(",");
    let types = vec!["Observation"; 2_000].join(",");
    let huge = "9".repeat(15_000);
    let cases: Vec<(String, &str)> = vec![
        (chain(10), "http.has-member"),
        (has(10), "http._has"),
        ("Observation?date=eq".into(), "http.date"),
        ("Observation?date=ge2026-13-01".into(), "http.date"),
        ("Observation?date=ge2026-02-30".into(), "http.date"),
        ("Observation?date=xx2026-01-01".into(), "http.date"),
        ("Observation?date=gege2026".into(), "http.date"),
        ("Observation?date=2026-01-01T25:00:00Z".into(), "http.date"),
        ("Observation?date=".into(), "http.date"),
        ("Observation?value-quantity=lots".into(), "http.value-quantity"),
        (format!("Observation?value-quantity={huge}"), "http.value-quantity"),
        ("Observation?_lastUpdated=le".into(), "http._lastUpdated"),
        ("Observation?_count=-1".into(), "http._count"),
        ("Observation?_count=many".into(), "http._count"),
        ("Observation?_summary=maybe".into(), "http._summary"),
        ("Observation?_total=perhaps".into(), "http._total"),
        ("Observation?_sort=colour".into(), "http._sort"),
        (format!("Observation?_sort={sorts}"), "http._sort"),
        (format!("Observation?date={dates}"), "http.date"),
        (format!("?_type={types}"), "http._type"),
        ("?_type=Nonsense".into(), "http._type"),
        ("?_type=Observation,Consent".into(), "http._type"),
        ("Observation?_include=Observation".into(), "http._include"),
        ("Observation?_include=Observation:nothing".into(), "http._include"),
        ("Observation?code:nonsense=x".into(), "http.code:nonsense"),
        ("Observation?subject:Nothing.name=x".into(), "http.subject:Nothing"),
        ("Observation?subject.nothing=x".into(), "http.subject.nothing"),
        ("Observation?_has:Nothing:patient:code=x".into(), "http._has:Nothing"),
        ("Observation?code-value-quantity=x".into(), "http.code-value-quantity"),
        (format!("Observation?{many}"), "http.a"),
        (format!("Observation?code={}", "x".repeat(20_000)), "http.code"),
        (format!("Observation?{}=x", "y".repeat(5_000)), "http.yyyy"),
    ];
    let mut wrong = Vec::new();
    for (path, expression) in cases {
        let begun = Instant::now();
        let answer = ehr.get(&path).await;
        let shown: String = path.chars().take(80).collect();
        let value = answer.json();
        let at = value["issue"][0]["expression"][0].as_str().unwrap_or_default().to_owned();
        let bounded = at.chars().count() <= 64 + 5 && answer.body.len() < 1_000;
        if answer.status != 400 || !at.starts_with(expression) || !bounded {
            wrong.push(format!("{shown}: {} at {at:?}, not {expression}", answer.status));
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{shown}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "code=x&".repeat(10_000).into_bytes();
    let answer = ehr.call(Method::POST, "Observation/_search", Some(body), &form).await;
    assert_eq!((answer.refusal().0, answer.json()["issue"][0]["expression"][0].clone()), (400, json!("http.code")));
    // Both together are not more than one alone may be.
    let path = format!("Observation/_search?{}", "code=x&".repeat(150));
    let answer = ehr.call(Method::POST, &path, Some("status=final&".repeat(150).into_bytes()), &form).await;
    assert_eq!((answer.refusal().0, answer.json()["issue"][0]["expression"][0].clone()), (400, json!("http.status")));

    for path in
        ["_count=1000000000", "_count=99999999999999999999999999", "_revinclude=*&_include=*&_include:iterate=*"]
    {
        let most = ehr.get(&format!("Observation?{path}")).await.expect(200);
        assert_eq!(ids(&most, "match").len(), 3);
    }
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_of_includes_ends() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let patient = c.chart("hospital-a", "Cycle").await;
    let first = ehr.post("Observation", &observation(&patient, "1", "2026-01-01")).await.created();
    let mut second = observation(&patient, "2", "2026-01-01");
    second["hasMember"] = json!([{ "reference": format!("Observation/{first}") }]);
    let second = ehr.post("Observation", &second).await.created();
    let mut body = observation(&patient, "1", "2026-01-01");
    body["id"] = json!(first);
    body["hasMember"] = json!([{ "reference": format!("Observation/{second}") }]);
    ehr.put(&format!("Observation/{first}"), &body, &[]).await.expect(200);
    for path in [
        "_include=Observation:has-member&_include:iterate=Observation:has-member",
        "_revinclude=Observation:has-member&_revinclude:iterate=Observation:has-member",
        "_include:iterate=*&_include=*",
    ] {
        let found = ehr.get(&format!("Observation?_id={first}&{path}")).await.expect(200);
        assert_eq!(ids(&found, "match"), std::slice::from_ref(&first), "{path}");
        assert!(ids(&found, "include").contains(&second), "{path}");
        assert!(!ids(&found, "include").contains(&first), "{path}: each once");
    }
    c.end().await;
}
