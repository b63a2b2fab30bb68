//! Loads a synthetic patient into a hospital, as its EHR would: one create a resource, many at once, references first.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::{
    exit::{Context, Failure, Kind, Outcome},
    wallet::client::Client,
};

/// How many creates are under way at once.
const AT_ONCE: usize = 16;

/// A synthetic patient: resources that refer to each other as `Type/id`.
pub(super) struct Synthetic {
    /// The Patient resource.
    pub(super) patient: Value,
    /// Everything else, in the order of the file.
    pub(super) others: Vec<Value>,
}

impl Synthetic {
    /// Unpacks a gzipped NDJSON file; the file is part of this program.
    pub(super) fn unpack(gzipped: &[u8]) -> Outcome<Self> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(gzipped)
            .read_to_string(&mut text)
            .doing(Kind::InvalidData, || "synthetic data".into())?;
        let mut resources = Vec::new();
        for line in text.lines().filter(|l| !l.is_empty()) {
            resources.push(serde_json::from_str::<Value>(line).doing(Kind::InvalidData, || "synthetic data".into())?);
        }
        let at = resources.iter().position(|r| r["resourceType"] == "Patient");
        let at = at.ok_or_else(|| Failure::new(Kind::InvalidData, "synthetic data without a Patient"))?;
        Ok(Self { patient: resources.remove(at), others: resources })
    }

    /// The patient's family name, which must be nowhere in plaintext.
    pub(super) fn family(&self) -> String {
        self.patient["name"][0]["family"].as_str().unwrap_or_default().to_owned()
    }

    /// The name that the source used for the Patient, `Patient/…`.
    fn patient_name(&self) -> String {
        name_of(&self.patient)
    }

    /// Creates at most `limit` of the other resources under the chart `chart` (`Patient/…`); gives their number.
    pub(super) async fn load(&self, ehr: &Client, chart: &str, limit: usize) -> Outcome<usize> {
        let mut known = BTreeMap::from([(self.patient_name(), chart.to_owned())]);
        let chosen: Vec<&Value> = self.others.iter().take(limit).collect();
        let all: BTreeSet<String> = chosen.iter().map(|r| name_of(r)).collect();
        let mut waiting = chosen;
        let mut loaded = 0;
        while !waiting.is_empty() {
            // What refers only to what exists already can be created at once with its like.
            let ready = |r: &&Value| references(r).iter().all(|t| known.contains_key(*t) || !all.contains(*t));
            let (now, later): (Vec<&Value>, Vec<&Value>) = waiting.into_iter().partition(ready);
            if now.is_empty() {
                return Err(Failure::new(Kind::InvalidData, "synthetic resources refer to each other in a circle"));
            }
            let created: Vec<(String, String)> = stream::iter(now.into_iter().map(|r| create(ehr, r, &known)))
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            loaded += created.len();
            known.extend(created);
            waiting = later;
        }
        Ok(loaded)
    }
}

async fn create(ehr: &Client, resource: &Value, known: &BTreeMap<String, String>) -> Outcome<(String, String)> {
    let mut body = resource.clone();
    renamed(&mut body, known);
    let kind = resource["resourceType"].as_str().unwrap_or_default().to_owned();
    let answer = ehr.post(&kind, &body).await?;
    let id = answer.id();
    answer.ok(&format!("creating {}", name_of(resource)))?;
    let id = id.ok_or_else(|| Failure::new(Kind::Error, format!("a {kind} was created without an id")))?;
    Ok((name_of(resource), format!("{kind}/{id}")))
}

/// `Type/id` as the source names a resource.
fn name_of(resource: &Value) -> String {
    format!("{}/{}", resource["resourceType"].as_str().unwrap_or("?"), resource["id"].as_str().unwrap_or("?"))
}

/// Every relative reference in a resource.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(k, v)| match v {
                Value::String(s) if k == "reference" => vec![s.as_str()],
                v => references(v),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Puts the server's names in place of the source's, and drops the source's id, which a create ignores.
fn renamed(value: &mut Value, known: &BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                match member {
                    Value::String(s) if key == "reference" => {
                        if let Some(to) = known.get(s.as_str()) {
                            s.clone_from(to);
                        }
                    }
                    other => renamed(other, known),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|i| renamed(i, known)),
        _ => {}
    }
}
