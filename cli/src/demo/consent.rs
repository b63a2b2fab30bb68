//! C and D: a doctor asks, the patient looks, narrows, approves or denies; what is refused on the way.

use serde_json::{Value, json};
use vouchsafe_gateway::fhir::{date, systems};

use super::{
    audit,
    register::{self, Cast, Player, of_type},
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    exit::Outcome,
    wallet::{
        client::{Answer, Client, parameters},
        person,
    },
};

const HOUR: u64 = 3_600_000;

/// What a doctor asks for.
pub(crate) struct Ask<'a> {
    pub(crate) patient: &'a str,
    pub(crate) doctor: &'a str,
    pub(crate) categories: &'a [&'a str],
    pub(crate) write: bool,
    pub(crate) standing: bool,
    pub(crate) session_ms: u64,
}

impl Ask<'_> {
    /// As a proposed Consent.
    pub(super) fn consent(&self) -> Value {
        let now = person::now();
        let instant = |after| date::instant(now.plus(after));
        let mut action = vec![coded("http://terminology.hl7.org/CodeSystem/consentaction", "access")];
        if self.write {
            action.push(coded("http://terminology.hl7.org/CodeSystem/consentaction", "collect"));
        }
        let class: Vec<Value> =
            self.categories.iter().map(|c| json!({ "system": systems::CATEGORY, "code": c })).collect();
        json!({
            "resourceType": "Consent", "status": "proposed",
            "scope": coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
            "category": [coded("http://loinc.org", "59284-0")],
            "patient": { "reference": self.patient },
            "policyRule": coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
            "extension": [
                { "url": systems::ANSWER_BY, "valueDateTime": instant(HOUR) },
                { "url": systems::SESSION_DURATION, "valueDuration": {
                    "value": self.session_ms / 1000, "unit": "s", "system": "http://unitsofmeasure.org", "code": "s" } },
                { "url": systems::STANDING, "valueBoolean": self.standing },
            ],
            "provision": {
                "type": "permit",
                "period": { "start": instant(0), "end": instant(8 * HOUR) },
                "actor": [{ "role": coded("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"),
                    "reference": { "reference": self.doctor } }],
                "action": action,
                "purpose": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT" }],
                "class": class,
                "dataPeriod": { "start": "2000-01-01", "end": "2026-12-31" },
            }
        })
    }
}

fn coded(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code }] })
}

/// A doctor with her own device asks.
pub(crate) async fn ask(doctor: &Player, at: &Client, ask: &Ask<'_>) -> Outcome<Answer> {
    doctor.person.act(at, "Consent", &ask.consent(), of_type("vouchsafe/request")).await
}

/// The id of a request that must have been made.
pub(crate) fn requested(answer: &Answer) -> Outcome<String> {
    let id = answer.id();
    must(answer.status.as_u16() == 201, || format!("the request: {}", answer.outcome()))?;
    id.map_or_else(|| wrong("a request without an id"), Ok)
}

/// What was refused must have been refused for this reason.
pub(super) fn refused(answer: &Answer, status: u16, code: &str) -> Outcome<String> {
    let as_it_must_be = answer.status.as_u16() == status && answer.code() == code;
    must(as_it_must_be, || format!("expected {status} {code}, got {}", answer.outcome()))?;
    Ok(format!("refused, {status} {code}"))
}

/// The main visit: asked by Dr Bauer of hospital B, narrowed and approved by Lindsey.
pub(super) async fn ask_and_approve(story: &mut Story, world: &World, cast: &Cast) -> Outcome<String> {
    story
        .step(
            "B",
            "the authority suspends dr-diaz",
            register::judge(world, "Practitioner", cast.diaz.person.account, "suspend"),
        )
        .await?;
    let suspended = Ask {
        patient: &cast.lindsey.record,
        doctor: &cast.diaz.record,
        categories: &["laboratory"],
        write: false,
        standing: false,
        session_ms: HOUR,
    };
    story
        .step("C", "dr-diaz, suspended, asks", async {
            let answer = ask(&cast.diaz, &cast.diaz.at(world, "hospital-a"), &suspended).await?;
            Ok((refused(&answer, 403, "suspended")?, ()))
        })
        .await?;
    let asked = Ask {
        patient: &cast.lindsey_at_b,
        doctor: &cast.bauer.record,
        categories: &["laboratory", "vital-signs", "problems", "medications", "encounters", "mental-health"],
        write: true,
        standing: false,
        session_ms: HOUR,
    };
    let at_b = cast.bauer.at(world, "hospital-b");
    let id = story
        .step("C", "dr-bauer asks for lindsey's records, with her own device", async {
            let id = requested(&ask(&cast.bauer, &at_b, &asked).await?)?;
            Ok((format!("Consent/{id}"), id))
        })
        .await?;
    story
        .step("C", "dr-bauer opens a session before anyone answered", async {
            let answer = cast
                .bauer
                .person
                .act(&at_b, &format!("Consent/{id}/$open-session"), &parameters(Vec::new()), of_type("vouchsafe/open"))
                .await?;
            Ok((refused(&answer, 403, "not-granted")?, ()))
        })
        .await?;
    decide(story, world, cast, &id).await?;
    Ok(id)
}

async fn decide(story: &mut Story, world: &World, cast: &Cast, id: &str) -> Outcome {
    let home = cast.lindsey.at(world, "hospital-a");
    let proposed = story
        .step("D", "lindsey sees what waits for him", async {
            arrived(&home, id).await?;
            let path = format!("Consent?patient={}&status=proposed", cast.lindsey.record);
            let bundle = home.get(&path).await?.ok("looking for requests")?;
            let entry = bundle["entry"].as_array().cloned().unwrap_or_default();
            let found = entry.iter().find(|e| e["resource"]["id"] == *id).map(|e| e["resource"].clone());
            let Some(found) = found else { return wrong(format!("Consent/{id} is not among {} entries", entry.len())) };
            let classes = found["provision"]["class"].as_array().map_or(0, Vec::len);
            Ok((format!("{} request, {classes} categories", entry.len()), found))
        })
        .await?;
    story
        .step("D", "nicholas tries to approve in lindsey's place", async {
            let answer = cast.nicholas.person.approve(&cast.nicholas.at(world, "hospital-a"), id, None).await?;
            let status = answer.status.as_u16();
            must(status == 403 || status == 404, || format!("expected 403 or 404, got {}", answer.outcome()))?;
            Ok((format!("refused, {status}"), ()))
        })
        .await?;
    let mut narrower = proposed;
    if let Some(class) = narrower["provision"]["class"].as_array_mut() {
        class.retain(|c| c["code"] != "mental-health");
    }
    story
        .step("D", "lindsey leaves mental health out and approves", async {
            let answer = cast.lindsey.person.approve(&home, id, Some(&narrower)).await?.ok("$approve")?;
            must(answer["status"] == "active", || format!("not active: {answer}"))?;
            world.abreast().await?;
            Ok((format!("Consent/{id} active, signed by his own key"), ()))
        })
        .await
}

/// Waits until a request, which was made at another gateway, is known at the patient's.
pub(super) async fn arrived(home: &Client, id: &str) -> Outcome {
    let path = format!("Consent/{id}");
    audit::wait(|| async { Ok(home.get(&path).await?.status.is_success().then_some(())) }).await
}
