//! Which caller may see or act on which consent, and how a consent reads here.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, RequestId, TimeMs,
    state::{ConsentState, Request, Session},
};

use super::{SealedDetail, ledger_fault};
use crate::{
    auth::{Caller, Who},
    fhir::{
        compartment::Reference,
        consent::{self, ConsentView},
        date::instant,
    },
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::{self, View},
};

/// A request as the ledger holds it, with the last session under it.
pub(super) struct Found {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) session: Option<Session>,
}

impl Found {
    /// Its state now.
    pub(super) fn state(&self, now: TimeMs) -> ConsentState {
        self.request.state_at(now, self.session.as_ref())
    }

    /// The detail that counts: what was granted, else what was asked.
    pub(super) async fn detail(&self, gw: &Arc<Gateway>) -> Option<Arc<SealedDetail>> {
        let granted = self.request.decision.as_ref().and_then(|d| d.granted.as_ref());
        match granted {
            Some(terms) => match super::detail(gw, self.id, terms.detail).await {
                Some(detail) => Some(detail),
                None => super::detail(gw, self.id, self.request.asked.detail).await,
            },
            None => super::detail(gw, self.id, self.request.asked.detail).await,
        }
    }

    /// FHIR's version: each act on the ledger makes one.
    fn version(&self) -> u64 {
        let decision = self.request.decision.as_ref();
        1 + u64::from(decision.is_some())
            + decision.map_or(0, |d| u64::from(d.session.is_some()) + u64::from(d.revoked.is_some()))
            + u64::from(self.session.as_ref().is_some_and(|s| s.ended.is_some()))
    }
}

/// Looks a request up on the ledger.
pub(super) async fn find(gw: &Gateway, id: RequestId) -> Result<Found, Fault> {
    let view = View(&*gw.ledger);
    let request = view.request(&id).await.map_err(ledger_fault)?.ok_or_else(Fault::not_found)?;
    let session = match request.decision.as_ref().and_then(|d| d.session) {
        Some(session) => view.session(&session).await.map_err(ledger_fault)?,
        None => None,
    };
    Ok(Found { id, request, session })
}

/// True when this caller may see the consent: its parties, and the systems of organisations that can open its detail.
pub(super) fn may_see(caller: &Caller, request: &Request) -> bool {
    match &caller.who {
        Who::Patient { account } => *account == request.patient,
        Who::Practitioner { account, .. } => *account == request.doctor,
        Who::System => true,
        Who::Authority { .. } => false,
    }
}

/// The patient's reference here: the chart that is linked to the account, else the account.
pub(super) fn patient_reference(gw: &Gateway, patient: AccountId) -> String {
    match gw.charts.by_account(&patient).first() {
        Some(chart) => format!("Patient/{}", chart.id),
        None => format!("Patient/{patient}"),
    }
}

/// The account that a reference to a Patient names: of a chart here, or the account itself.
pub(crate) async fn patient_account(gw: &Gateway, reference: &Reference) -> Result<AccountId, Fault> {
    let unknown = || {
        Fault::invalid("the patient has no account, or no chart here is linked to it")
            .at("Consent.patient")
            .code("no-account")
    };
    let id = reference.id.as_deref().unwrap_or_default();
    if let Some(chart) = id.parse().ok().and_then(|id| gw.charts.by_id(&id)) {
        return chart.account.ok_or_else(unknown);
    }
    let account: AccountId = id.parse().map_err(|_| unknown())?;
    View(&*gw.ledger).account(&account).await.map_err(ledger_fault)?.map(|_| account).ok_or_else(unknown)
}

/// The patient who was asked.
///
/// # Errors
/// 404 when the ledger has no such request.
pub(crate) async fn patient_of(gw: &Gateway, id: RequestId) -> Result<AccountId, Fault> {
    let request = View(&*gw.ledger).request(&id).await.map_err(ledger_fault)?;
    request.map(|r| r.patient).ok_or_else(Fault::not_found)
}

/// The consent as FHIR, from the ledger's state and the detail.
pub(super) fn render(gw: &Gateway, found: &Found, detail: Option<&SealedDetail>) -> Value {
    let request = &found.request;
    let terms = request.decision.as_ref().and_then(|d| d.granted.as_ref()).unwrap_or(&request.asked);
    let patient = patient_reference(gw, request.patient);
    let performer = request
        .decision
        .as_ref()
        .map(|d| if d.custodial { "Organization/".to_owned() + &gw.org.to_string() } else { patient.clone() });
    let at = request.decision.as_ref().map_or(request.at, |d| d.revoked.unwrap_or(d.at));
    let mut out = consent::render(&ConsentView {
        id: found.id,
        patient: &patient,
        practitioner: &format!("Practitioner/{}", request.doctor),
        practitioner_display: None,
        organization: Some(&format!("Organization/{}", request.organization)),
        performer: performer.as_deref(),
        detail: detail.map(|d| &d.detail),
        state: found.state(ledger::now(&*gw.ledger, &gw.clock)),
        at,
        valid_until: terms.valid_until,
        answer_by: request.answer_by,
        session_ms: terms.session_ms,
        standing: terms.standing,
        write: terms.write,
        session: request.decision.as_ref().and_then(|d| d.session),
    });
    out["meta"] = json!({ "versionId": found.version().to_string(), "lastUpdated": instant(at) });
    out
}

/// The consent as an answer.
pub(super) async fn reply(gw: &Arc<Gateway>, status: u16, id: RequestId) -> Result<Reply, Fault> {
    let found = find(gw, id).await?;
    let detail = found.detail(gw).await;
    let mut reply = Reply::resource(status, &render(gw, &found, detail.as_deref()));
    reply = reply.header("etag", format!("W/\"{}\"", found.version()));
    if status == 201 {
        reply = reply.header("location", format!("{}/Consent/{id}", gw.fhir_base()));
    }
    if let Some(session) = found.request.decision.and_then(|d| d.session) {
        reply = reply.header("vouchsafe-session", session.to_string());
    }
    Ok(reply)
}
