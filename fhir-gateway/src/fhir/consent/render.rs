//! To the resource.

use serde_json::{Value, json};
use vouchsafe_types::{Count, RequestId, SessionId, TimeMs, state::ConsentState};

use super::ConsentDetail;
use crate::fhir::{category::Category, date, date::DateRange, systems};

/// What a Consent is made from: the ledger's state, and the sealed detail where the reader has it.
#[derive(Clone, Debug)]
pub struct ConsentView<'a> {
    /// The request's id, which is the Consent's.
    pub id: RequestId,
    /// Reference to the patient.
    pub patient: &'a str,
    /// Reference to the practitioner.
    pub practitioner: &'a str,
    /// The practitioner's name, where known.
    pub practitioner_display: Option<&'a str>,
    /// Reference to the practitioner's organisation.
    pub organization: Option<&'a str>,
    /// Reference to who decided: the patient, or the organisation of a custodial account.
    pub performer: Option<&'a str>,
    /// The detail; `None` when this reader cannot open it.
    pub detail: Option<&'a ConsentDetail>,
    /// What the ledger says.
    pub state: ConsentState,
    /// When it was asked or decided.
    pub at: TimeMs,
    /// When the grant runs out.
    pub valid_until: TimeMs,
    /// Until when the patient may answer.
    pub answer_by: TimeMs,
    /// How long a session may last, in milliseconds.
    pub session_ms: Count,
    /// Does it stay until revoked?
    pub standing: bool,
    /// May it write?
    pub write: bool,
    /// The last session opened under it.
    pub session: Option<SessionId>,
}

/// The R4 status of a ledger state. Not answered, expired, revoked and ended are all `inactive`; the extension
/// ledgerState tells them apart.
pub fn status(state: ConsentState) -> &'static str {
    match state {
        ConsentState::Requested => "proposed",
        ConsentState::Granted => "active",
        ConsentState::Denied => "rejected",
        ConsentState::Lapsed | ConsentState::Expired | ConsentState::Revoked | ConsentState::Ended => "inactive",
    }
}

/// The Consent, valid R4. `meta` is not in it: versions are spliced in as for any record.
pub fn render(view: &ConsentView<'_>) -> Value {
    let mut out = json!({
        "resourceType": "Consent",
        "id": view.id.to_string(),
        "extension": extensions(view),
        "identifier": identifiers(view),
        "status": status(view.state),
        "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [concept("http://loinc.org", "59284-0")],
        "patient": { "reference": view.patient },
        "dateTime": date::instant(view.at),
    });
    if let Some(performer) = view.performer {
        out["performer"] = json!([{ "reference": performer }]);
    }
    if let Some(organization) = view.organization {
        out["organization"] = json!([{ "reference": organization }]);
    }
    out["policyRule"] = concept("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN");
    out["provision"] = provision(view);
    out
}

fn concept(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code }] })
}

fn extensions(view: &ConsentView<'_>) -> Value {
    let mut out = vec![
        json!({ "url": systems::ANSWER_BY, "valueDateTime": date::instant(view.answer_by) }),
        json!({ "url": systems::SESSION_DURATION, "valueDuration": {
            "value": view.session_ms.0, "unit": "ms", "system": "http://unitsofmeasure.org", "code": "ms"
        } }),
        json!({ "url": systems::STANDING, "valueBoolean": view.standing }),
        json!({ "url": systems::LEDGER_STATE, "valueCode": view.state }),
    ];
    if let Some(reason) = view.detail.and_then(|d| d.reason.as_ref()) {
        out.push(json!({ "url": systems::REASON, "valueString": reason }));
    }
    out.into()
}

fn identifiers(view: &ConsentView<'_>) -> Value {
    let mut out = vec![json!({ "system": systems::REQUEST, "value": view.id.to_string() })];
    if let Some(session) = view.session {
        out.push(json!({ "system": systems::SESSION, "value": session.to_string() }));
    }
    out.into()
}

fn provision(view: &ConsentView<'_>) -> Value {
    const ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
    let mut actor = json!({ "reference": view.practitioner });
    if let Some(display) = view.practitioner_display {
        actor["display"] = display.into();
    }
    let role = concept("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP");
    let mut action = vec![concept(ACTION, "access")];
    if view.write {
        action.push(concept(ACTION, "collect"));
    }
    let mut out = json!({
        "type": "permit",
        "period": { "end": date::instant(view.valid_until) },
        "actor": [{ "role": role, "reference": actor }],
        "action": action,
    });
    if let Some(detail) = view.detail {
        out["purpose"] = detail.purpose.iter().map(super::Coding::to_json).collect();
        out["class"] = codings(&detail.categories);
        if let Some(period) = &detail.data_period {
            out["dataPeriod"] = data_period(period);
        }
        if !detail.excluded.is_empty() {
            out["provision"] = json!([{ "type": "deny", "class": codings(&detail.excluded) }]);
        }
    }
    out
}

fn codings(categories: &[Category]) -> Value {
    categories.iter().map(|c| c.coding().to_json()).collect()
}

/// Open ends stay open.
fn data_period(range: &DateRange) -> Value {
    let mut out = json!({});
    if range.start > DateRange::ALWAYS.start {
        out["start"] = date::instant_of(range.start).into();
    }
    if range.end < DateRange::ALWAYS.end || range.start <= DateRange::ALWAYS.start {
        out["end"] = date::instant_of(range.end).into();
    }
    out
}
