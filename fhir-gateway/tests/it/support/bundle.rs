//! What a searchset says, for tests.

use serde_json::Value;

use super::{Answer, Client};

/// The resources of a searchset that have this mode.
pub(crate) fn resources(bundle: &Value, mode: &str) -> Vec<Value> {
    let all = bundle["entry"].as_array().into_iter().flatten();
    all.filter(|e| e["search"]["mode"] == mode).map(|e| e["resource"].clone()).collect()
}

/// The ids of the resources of a searchset that have this mode, in their order.
pub(crate) fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    resources(bundle, mode).iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
}

/// A link of a searchset.
pub(crate) fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    let one = links.iter().find(|link| link["relation"] == relation)?;
    Some(one["url"].as_str()?.to_owned())
}

/// The total that a searchset tells.
pub(crate) fn total(bundle: &Value) -> Option<u64> {
    bundle["total"].to_string().parse().ok()
}

/// The part of a link behind the FHIR base.
pub(crate) fn below(url: &str) -> String {
    let below = url.split_once("/fhir").unwrap().1;
    below.strip_prefix('/').unwrap_or(below).to_owned()
}

/// All pages of a search, by their links.
pub(crate) async fn pages(client: &Client, path: &str, headers: &[(&str, &str)]) -> Vec<Value> {
    let mut pages = vec![client.get_with(path, headers).await.expect(200)];
    while let Some(next) = link(pages.last().unwrap(), "next") {
        pages.push(client.get(&below(&next)).await.expect(200));
        assert!(pages.len() < 100, "pages without end");
    }
    pages
}

/// Everything that an answer tells, without what differs from one answer to the next: the Bundle's id and time, and the
/// sealed text of links.
fn told(answer: &Answer) -> String {
    let mut value = answer.json();
    if value["resourceType"] == "Bundle" {
        let bundle = value.as_object_mut().unwrap();
        bundle.remove("id");
        bundle.remove("meta");
        for link in bundle.get_mut("link").into_iter().flat_map(|l| l.as_array_mut().unwrap()) {
            let url = link["url"].as_str().unwrap().split("_page=").next().unwrap().to_owned();
            link["url"] = url.into();
        }
    }
    format!("{} {value}", answer.status)
}

/// What a client is told by each of these searches, all pages of it.
pub(crate) async fn told_by(client: &Client, searches: &[String], headers: &[(&str, &str)]) -> Vec<String> {
    let mut out = Vec::new();
    for search in searches {
        let mut answer = client.get_with(search, headers).await;
        let mut text = format!("{search}: {}", told(&answer));
        while let Some(next) = link(&answer.json(), "next") {
            answer = client.get(&below(&next)).await;
            text += &format!("\n then {}", told(&answer));
        }
        out.push(text);
    }
    out
}
