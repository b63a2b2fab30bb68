//! Audit first: a slot of the audit log is durable before anything is opened, and filled with what was shown to whom.

use vouchsafe_types::{AccountId, RecordId, RequestId, SessionId};

use super::{Fault, call::Call};
use crate::{
    audit::{About, EventText, NewEntry, Recorded, Slot},
    auth::{Caller, Who},
    fhir::{
        Coding,
        audit::{self, AuditKind, User},
    },
    gateway::Gateway,
    ledger,
    policy::Permit,
    records::{OpenError, Opened, RecordRow, Records},
};

/// What one interaction does to one chart, as the audit log will have it.
#[derive(Clone, Default)]
pub(crate) struct Deed {
    pub(crate) kind: Option<AuditKind>,
    pub(crate) chart: Option<RecordId>,
    pub(crate) patient: Option<AccountId>,
    /// References to what was touched.
    pub(crate) what: Vec<String>,
    /// The query string of a search.
    pub(crate) query: Option<String>,
    pub(crate) session: Option<SessionId>,
    pub(crate) grant: Option<RequestId>,
    /// The code of what went wrong.
    pub(crate) failed: Option<&'static str>,
}

/// Opens own records for a caller, all of one chart, as one interaction.
///
/// # Errors
/// 500 `integrity` when one of them is not what was anchored: it is never served. 503 when something is away.
pub(crate) async fn open(
    gw: &Gateway,
    caller: &Caller,
    permit: &Permit,
    rows: &[RecordRow],
    deed: Deed,
) -> Result<Vec<Opened>, Fault> {
    let slot = reserve(gw).await?.about(about(caller, &deed));
    let opened = match gw.records.open_all(permit, rows).await {
        Ok(opened) => opened,
        Err((at, e)) => {
            let row = &rows[at];
            let failed = if matches!(e, OpenError::Integrity(_)) { "integrity" } else { "unavailable" };
            let what = vec![reference(row)];
            gw.audit.record(slot, entry(gw, caller, &Deed { what, failed: Some(failed), ..deed }));
            return Err(refused(row, &e));
        }
    };
    gw.audit.record(slot, entry(gw, caller, &deed));
    Ok(opened)
}

/// Records an interaction that opened nothing.
///
/// # Errors
/// 503 when the audit log cannot be written.
pub(crate) async fn note(gw: &Gateway, caller: &Caller, deed: &Deed) -> Result<Recorded, Fault> {
    let slot = reserve(gw).await?;
    Ok(gw.audit.record(slot, entry(gw, caller, deed)))
}

/// A slot for what is about to happen: when the log cannot be written, it does not happen.
///
/// # Errors
/// 503.
pub(crate) async fn reserve(gw: &Gateway) -> Result<Slot, Fault> {
    gw.audit.reserve().await.map_err(|e| Fault::unavailable(e.to_string()))
}

/// What a slot is about, so that its patient sees "possibly disclosed" when no entry comes.
pub(crate) fn about(caller: &Caller, deed: &Deed) -> About {
    About { chart: deed.chart, account: deed.patient, session: deed.session, caller: Some(caller.name()) }
}

/// What cannot be opened is answered without its reason, which may tell of the record; the log has the record's id.
pub(crate) fn refused(row: &RecordRow, error: &OpenError) -> Fault {
    match error {
        OpenError::Integrity(why) => {
            tracing::error!(record = %row.id, version = %row.version, why, "a record is not what was anchored");
            Fault::internal("the stored record is not what was anchored, so it is not served").code("integrity")
        }
        OpenError::Unavailable(why) => {
            tracing::warn!(record = %row.id, why, "a record cannot be opened now");
            Fault::unavailable("the record cannot be opened now")
        }
    }
}

/// `Type/id/_history/version`.
pub(crate) fn reference(row: &RecordRow) -> String {
    format!("{}/{}/_history/{}", row.resource_type, row.id, row.version)
}

/// The entry of the audit log for a deed.
pub(crate) fn entry(gw: &Gateway, caller: &Caller, deed: &Deed) -> NewEntry {
    let id = Records::new_id();
    let account = caller.account().map(|a| a.to_string());
    let person = match &caller.who {
        Who::System | Who::Authority { .. } => None,
        Who::Practitioner { record, .. } => Some(record.map(|r| format!("Practitioner/{r}"))),
        Who::Patient { .. } => Some(deed.chart.map(|c| format!("Patient/{c}"))),
    };
    let source = format!("Organization/{}", gw.org);
    let user = person.as_ref().map(|reference| User {
        reference: reference.as_deref(),
        account: account.as_deref(),
        name: None,
        organization: Some(&source),
        by_agent: matches!(caller.who, Who::Practitioner { agent: Some(_), .. }),
    });
    let purpose: Vec<Coding> = caller
        .purpose
        .iter()
        .map(|code| Coding::new("http://terminology.hl7.org/CodeSystem/v3-ActReason", code.as_str()))
        .collect();
    let patient = deed.chart.filter(|c| *c != gw.charts.organization_chart().id).map(|c| format!("Patient/{c}"));
    let head = gw.ledger.head();
    let text = id.to_string();
    let event = audit::Audit {
        kind: deed.kind.unwrap_or(AuditKind::Operation),
        at: ledger::now(&*gw.ledger, &gw.clock),
        success: deed.failed.is_none(),
        outcome: deed.failed,
        user,
        client: &caller.client_id,
        address: None,
        source: &source,
        base: &gw.fhir_base(),
        patient: patient.as_deref(),
        what: &deed.what,
        query: deed.query.as_deref(),
        purpose: &purpose,
        request_id: &text,
        grant: deed.grant,
        session: deed.session,
        height: Some(head.height),
    };
    let event = EventText::new(audit::render_text(&text, &event));
    NewEntry { id, event, chart: deed.chart, account: deed.patient, session: deed.session, caller: Some(caller.name()) }
}

/// The query string of a call, as it is audited.
pub(crate) fn query_text(call: &Call) -> String {
    query_text_without(call, &[])
}

/// Likewise without some parameters, whatever modifier or chain they have.
pub(crate) fn query_text_without(call: &Call, hidden: &[&str]) -> String {
    let shown = |name: &str| name.split([':', '.']).next().is_none_or(|base| !hidden.contains(&base));
    let pairs: Vec<String> = call.query.iter().filter(|(n, _)| shown(n)).map(|(n, v)| format!("{n}={v}")).collect();
    format!("{}?{}", call.resource_type(), pairs.join("&"))
}
