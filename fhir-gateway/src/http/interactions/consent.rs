//! Consent: every call goes to `consents`, which speaks with the ledger; here is only what HTTP adds, and the audit log.

use vouchsafe_types::{AccountId, RequestId};

use crate::{
    auth::Who,
    consents,
    fhir::{audit::AuditKind, compartment::Reference},
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        render,
    },
};

/// `GET /Consent/{id}`.
pub(crate) async fn read(call: Call) -> Result<Reply, Fault> {
    let id = call.request()?;
    audited(&call, AuditKind::Read, Some(id), async { consents::read(&call.gw, call.caller()?, id).await }).await
}

/// `GET /Consent`.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    audited(&call, AuditKind::Query, None, async { consents::search(&call.gw, call.caller()?, &call.query).await })
        .await
}

/// `POST /Consent/_search`.
pub(crate) async fn search_by_form(call: Call) -> Result<Reply, Fault> {
    let query = super::search::pairs(&call)?;
    search(Call { query, ..call }).await
}

/// `POST /Consent`, a proposed one.
pub(crate) async fn create(call: Call) -> Result<Reply, Fault> {
    audited(&call, AuditKind::Create, None, propose(&call, false)).await
}

/// `POST /Consent/$prepare`.
pub(crate) async fn prepare(call: Call) -> Result<Reply, Fault> {
    propose(&call, true).await
}

async fn propose(call: &Call, prepare: bool) -> Result<Reply, Fault> {
    let resource = super::submitted(call)?;
    consents::create(&call.gw, call.caller()?, &resource.value, call.tx()?, prepare).await
}

/// Does something with a Consent when the log can keep it, and records it when it was done. What is only prepared
/// changes nothing, and its caller is told nothing new, so it is not recorded.
pub(crate) async fn audited(
    call: &Call,
    kind: AuditKind,
    id: Option<RequestId>,
    act: impl Future<Output = Result<Reply, Fault>>,
) -> Result<Reply, Fault> {
    let (gw, caller) = (&call.gw, call.caller()?);
    let slot = disclose::reserve(gw).await?;
    let reply = match act.await {
        Ok(reply) => reply,
        Err(fault) => {
            slot.release();
            return Err(fault);
        }
    };
    let said = |name: &str| reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str());
    let made = || said("location")?.rsplit('/').next()?.parse().ok();
    let grant = id.or_else(made);
    let patient = patient_of(call, grant).await;
    let version = said("etag").and_then(render::version_in_etag);
    let what = grant.map(|id| version.map_or(format!("Consent/{id}"), |v| format!("Consent/{id}/_history/{v}")));
    let deed = Deed {
        kind: Some(kind),
        chart: patient.and_then(|account| gw.charts.by_account(&account).first().map(|chart| chart.id)),
        patient,
        what: what.into_iter().collect(),
        query: (kind == AuditKind::Query).then(|| disclose::query_text(call)),
        session: said("vouchsafe-session").and_then(|text| text.parse().ok()),
        grant,
        ..Deed::default()
    };
    gw.audit.record(slot.about(disclose::about(caller, &deed)), disclose::entry(gw, caller, &deed));
    Ok(reply)
}

/// Whose consents are concerned: the request's patient, or the one that a search is by or for.
async fn patient_of(call: &Call, request: Option<RequestId>) -> Option<AccountId> {
    let gw = &call.gw;
    if let Some(id) = request {
        return consents::patient_of(gw, id).await.ok();
    }
    if let Ok(Who::Patient { account }) = call.caller().map(|caller| &caller.who) {
        return Some(*account);
    }
    let (_, named) = call.query.iter().find(|(name, _)| name == "patient")?;
    let full = if named.contains('/') { named.clone() } else { format!("Patient/{named}") };
    consents::patient_account(gw, &Reference::parse(&full)).await.ok()
}
