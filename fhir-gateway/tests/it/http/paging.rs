//! Pages: each match once, by links that name nobody and serve nobody but whom they were given to.

use serde_json::json;

use crate::support::{Consortium, FOUNDERS, below, ids, link, observation, pages, total};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_give_each_match_once_while_records_are_added() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let (one, other) = (c.chart("hospital-a", "Pages").await, c.chart("hospital-a", "Further").await);
    let mut made = Vec::new();
    for n in 1..=7 {
        let chart = if n % 3 == 0 { &other } else { &one };
        let date = format!("2026-01-{:02}", 10 - n);
        made.push(ehr.post("Observation", &observation(chart, "4548-4", &date)).await.created());
    }
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    for path in
        ["Observation?_count=2", "Observation?_count=3&_sort=date", "?_type=Observation&_count=2&_sort=-_lastUpdated"]
    {
        let all = pages(&ehr, path, &[]).await;
        let found: Vec<String> = all.iter().flat_map(|page| ids(page, "match")).collect();
        assert_eq!(sorted(found.clone()), sorted(made.clone()), "{path}");
        if path.contains("_sort=date") {
            let mut by_date = made.clone();
            by_date.reverse();
            assert_eq!(found, by_date);
        }
    }
    // Between the pages something is added before and after their place, and something changed.
    for path in ["Observation?_count=3", "Observation?_count=3&_sort=date"] {
        let first = ehr.get(path).await.expect(200);
        let mut found = ids(&first, "match");
        let changed = made[usize::from(path.contains("_sort"))].clone();
        let mut body = observation(&one, "4548-4", "2026-01-09");
        body["id"] = json!(changed);
        body["note"] = json!([{ "text": "changed" }]);
        ehr.put(&format!("Observation/{changed}"), &body, &[]).await.expect(200);
        for (chart, date) in [(&one, "2025-01-01"), (&other, "2027-01-01")] {
            ehr.post("Observation", &observation(chart, "4548-4", date)).await.created();
        }
        let mut next = link(&first, "next");
        while let Some(url) = next {
            let page = ehr.get(&below(&url)).await.expect(200);
            assert!(total(&page) == total(&first), "the first page's total stands on all");
            found.extend(ids(&page, "match"));
            next = link(&page, "next");
        }
        for id in &made {
            assert_eq!(found.iter().filter(|f| *f == id).count(), 1, "{path}: {id}");
        }
    }
    c.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_names_nobody_and_serves_nobody_else() {
    let mut c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let (patient, chart) = c.patient("hospital-a", "Link").await;
    for n in 1..=3 {
        ehr.post("Observation", &observation(&chart, "4548-4", &format!("2026-01-0{n}"))).await.created();
    }
    let first = ehr.get(&format!("Observation?patient={chart}&code=4548-4&_count=1")).await.expect(200);
    let next = link(&first, "next").unwrap();
    let token = next.split_once("?_page=").unwrap().1.to_owned();
    assert!(next.starts_with(&format!("{}/fhir?_page=", ehr.base)), "{next}");
    for named in [chart.as_str(), "Observation", "4548-4", "patient"] {
        assert!(!next.contains(named), "{next}");
    }
    assert_ne!(
        link(&ehr.get(&format!("Observation?patient={chart}&code=4548-4&_count=1")).await.expect(200), "next"),
        Some(next.clone())
    );
    let path = below(&next);
    ehr.get(&path).await.expect(200);
    // The same, whoever and whatever it is that it does not serve.
    let (doctor, _) = c.doctor("hospital-a").await;
    let desk = c.desk("hospital-a");
    let doctors = c.person(&doctor, "hospital-a");
    let patients = c.person(&patient, "hospital-a");
    let mut refusals = Vec::new();
    for client in [&desk, &doctors, &patients] {
        refusals.push(client.get(&path).await);
    }
    for token in ["", "x", &token[1..], &format!("{}A", &token[..token.len() - 1]), "%00"] {
        if token != "%00" {
            refusals.push(ehr.get(&format!("?_page={token}")).await);
        }
    }
    for answer in &refusals {
        assert_eq!(answer.refusal(), (410, "page-gone".into()));
        assert_eq!(answer.text(), refusals[0].text());
    }
    let beside = ehr.get(&format!("?_page={token}&_count=1000")).await;
    assert_eq!(beside.refusal().0, 400);
    // It ends after an hour, and with the process that made it.
    c.advance(3_600_000).await;
    ehr.forget();
    assert_eq!(ehr.get(&path).await.refusal(), (410, "page-gone".into()));
    let again = ehr.get("Observation?_count=1").await.expect(200);
    let path = below(&link(&again, "next").unwrap());
    ehr.get(&path).await.expect(200);
    c.stop("hospital-a").await;
    c.launch("hospital-a").await;
    let ehr = c.system("hospital-a");
    assert_eq!(ehr.get(&path).await.refusal(), (410, "page-gone".into()));
    c.end().await;
}
