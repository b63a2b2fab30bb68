//! E: a session, reading other hospitals' records, and what stays closed; an upload within the session.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vouchsafe_gateway::fhir::systems;

use super::{
    consent::refused,
    register::{Cast, Records, created, of_type},
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    exit::Outcome,
    wallet::client::{Client, Extra, parameters},
};

/// A session that is open and what was read in it.
pub(super) struct Session {
    pub(super) id: String,
    /// A record of the laboratory, under its local id at hospital B.
    pub(super) result: String,
    /// The report that the doctor uploaded, a record of hospital B.
    pub(super) report: String,
}

/// How long custodians may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Dr Bauer's visit.
pub(super) async fn session(
    story: &mut Story,
    world: &World,
    cast: &Cast,
    records: &Records,
    grant: &str,
) -> Outcome<Session> {
    let at_b = cast.bauer.at(world, "hospital-b");
    let began = Instant::now();
    let id = story
        .step("E", "dr-bauer opens the session", async {
            let path = format!("Consent/{grant}/$open-session");
            let answer =
                cast.bauer.person.act(&at_b, &path, &parameters(Vec::new()), of_type("vouchsafe/open")).await?;
            let body = answer.ok("$open-session")?;
            let id = session_of(&body);
            let Some(id) = id else { return wrong(format!("no session in {body}")) };
            Ok((format!("session {id}"), id))
        })
        .await?;
    let result = story
        .step("E", "the laboratory's HbA1c is found before it is ordered again", async {
            let path = format!("Observation?patient={}&code=http://loinc.org|4548-4", cast.lindsey_at_b);
            let found = found_within(&at_b, &path, &id, 1).await?;
            let value = found[0]["valueQuantity"]["value"].to_string();
            must(value == "6.10", || format!("the laboratory sent 6.10, read {value}"))?;
            let subject = found[0]["subject"]["reference"].as_str().unwrap_or_default().to_owned();
            must(subject.ends_with(&cast.lindsey_at_b), || format!("subject {subject} is not the local chart"))?;
            Ok(("6.10 % of 2026-11-10, so no second test".into(), reference(&found[0])))
        })
        .await?;
    story.figure("open_to_first_foreign_record", began.elapsed().as_secs_f64(), "s");
    reading(story, world, cast, records, &id, &result).await?;
    let report = story
        .step("E", "dr-bauer uploads a report within the session", async {
            let answer = at_b.post_with("DiagnosticReport", &report(&cast.lindsey_at_b), &Extra::session(&id)).await?;
            let report = created(&answer, "DiagnosticReport")?;
            Ok((format!("{report}, a record of hospital-b"), report))
        })
        .await?;
    Ok(Session { id, result, report })
}

async fn reading(
    story: &mut Story,
    world: &World,
    cast: &Cast,
    records: &Records,
    session: &str,
    result: &str,
) -> Outcome {
    let at_b = cast.bauer.at(world, "hospital-b");
    story
        .step("E", "a foreign record is read by its local id", async {
            let answer = within(&at_b, result, session).await?;
            let body = answer.ok("reading the result")?;
            must(reference(&body) == *result, || format!("asked for {result}, got {}", reference(&body)))?;
            Ok((result.to_owned(), ()))
        })
        .await?;
    story
        .step("E", "hospital-a's problems are there, and no mental health", async {
            let all = found_within(&at_b, &format!("Condition?patient={}", cast.lindsey_at_b), session, 1).await?;
            let sensitive = all.iter().any(|c| c["code"]["coding"][0]["code"] == "370143000");
            must(!sensitive, || "a category that was not granted is visible".into())?;
            Ok((format!("{} of hospital-a's {} records are problems", all.len(), records.loaded), ()))
        })
        .await?;
    story
        .step("E", "dr-bauer turns to nicholas's chart with lindsey's session", async {
            let path = format!("Condition?patient={}", cast.nicholas_at_b);
            Ok((refused(&within(&at_b, &path, session).await?, 403, "not-granted")?, ()))
        })
        .await?;
    story
        .step("E", "dr-chen, of the same hospital, uses dr-bauer's session", async {
            let at_b = cast.chen.at(world, "hospital-b");
            let path = format!("Condition?patient={}", cast.lindsey_at_b);
            let answer = within(&at_b, &path, session).await?;
            must(answer.status.as_u16() == 403, || format!("expected 403, got {}", answer.outcome()))?;
            Ok((format!("refused, 403 {}", answer.code()), ()))
        })
        .await
}

/// The session that a Consent names.
pub(crate) fn session_of(consent: &Value) -> Option<String> {
    let identifiers = consent["identifier"].as_array()?;
    let named = identifiers.iter().find(|i| i["system"] == systems::SESSION)?;
    named["value"].as_str().map(str::to_owned)
}

/// A GET that names a session.
pub(crate) async fn within(at: &Client, path: &str, session: &str) -> Outcome<crate::wallet::client::Answer> {
    at.call(reqwest::Method::GET, path, None, &Extra::session(session)).await
}

/// The matches of a search in a session; asked again until custodians have answered with at least `least`.
pub(super) async fn found_within(at: &Client, path: &str, session: &str, least: usize) -> Outcome<Vec<Value>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let body = within(at, path, session).await?.ok(path)?;
        let found = matches(&body);
        if found.len() >= least {
            return Ok(found);
        }
        if Instant::now() >= until {
            return wrong(format!("{path}: {} found after {PATIENCE:?}, expected {least}", found.len()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The resources of a searchset that match, without outcomes.
pub(super) fn matches(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
    let is_match = |e: &&Value| e["search"]["mode"].as_str().unwrap_or("match") == "match";
    entries.iter().filter(is_match).map(|e| e["resource"].clone()).collect()
}

fn reference(resource: &Value) -> String {
    let member = |m: &str| resource[m].as_str().unwrap_or_default();
    format!("{}/{}", member("resourceType"), member("id"))
}

fn report(patient: &str) -> Value {
    json!({ "resourceType": "DiagnosticReport", "status": "final", "subject": { "reference": patient },
        "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB" }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": "11502-2", "display": "Laboratory report" }] },
        "effectiveDateTime": "2026-11-22T10:00:00Z",
        "conclusion": "HbA1c of 2026-11-10 is current; not ordered again." })
}
