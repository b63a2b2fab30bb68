//! One file per FHIR interaction.

pub(crate) mod audit_event;
pub(crate) mod consent;
pub(crate) mod create;
pub(crate) mod metadata;
pub(crate) mod provenance;
pub(crate) mod read;
pub(crate) mod search;
pub(crate) mod update;

use std::sync::Arc;

use serde_json::Value;
use vouchsafe_types::{AccountId, RecordId, SessionId};

use super::{Fault, call::Call};
use crate::{
    auth::{Caller, Who},
    fhir::{
        compartment::{Reference, ResourceClass, class_of_resource, patient_of},
        json::{self, Document},
    },
    gateway::Gateway,
    policy::{self, Act, Permit},
    records::{Actor, Chart, OpenError, RecordRow},
    sessions,
};

/// A resource that was submitted: strict JSON, of the path's type, of R4's structure.
pub(crate) fn submitted(call: &Call) -> Result<Document, Fault> {
    let document = call.document()?;
    let expected = call.resource_type();
    match document.resource_type() {
        Some(got) if got == expected => {}
        Some(_) => return Err(Fault::malformed(format!("this address takes a {expected}")).at("resourceType")),
        None => return Err(Fault::malformed("resourceType is missing, or no string").at("resourceType")),
    }
    vouchsafe_fhir_structure::check(expected, document.bytes()).map_err(|e| Fault::from(&e))?;
    Ok(document)
}

/// What is sealed of a submission, and the same parsed.
pub(crate) fn sealed(document: &Document) -> Result<(bytes::Bytes, Arc<Value>), Fault> {
    let form = json::sealed_form(document.bytes());
    let parsed = json::parse(&form).map_err(|e| Fault::from(&e))?;
    Ok((form.into(), Arc::new(parsed.value().clone())))
}

/// The chart that a resource belongs to: its patient's, or the organisation's own.
///
/// # Errors
/// 422 when it names no patient whose chart is here.
pub(crate) fn chart_of(gw: &Gateway, resource_type: &str, value: &Value) -> Result<Chart, Fault> {
    if class_of_resource(resource_type, value) != ResourceClass::Patient {
        return Ok(gw.charts.organization_chart());
    }
    let missing = |what: &str| Fault::invalid(format!("a {resource_type} belongs to a patient's chart: {what}"));
    let Some(reference) = patient_of(resource_type, value) else {
        return Err(missing("it refers to no Patient").at(format!("{resource_type}.subject")));
    };
    let id = local_patient(gw, &reference).ok_or_else(|| missing("it refers to a Patient elsewhere"))?;
    gw.charts.by_id(&id).ok_or_else(|| missing("the Patient it refers to is not here"))
}

/// The own Patient that a reference names, relative or under this gateway's base.
pub(crate) fn local_patient(gw: &Gateway, reference: &Reference) -> Option<RecordId> {
    if !reference.is_local() && !reference.text.starts_with(&format!("{}/", gw.fhir_base())) {
        return None;
    }
    reference.id.as_deref()?.parse().ok()
}

/// Who writes, as the row keeps it.
pub(crate) fn actor(caller: &Caller) -> Actor {
    let (account, agent) = match &caller.who {
        Who::Practitioner { account, agent, .. } => (Some(*account), *agent),
        Who::Patient { account } => (Some(*account), None),
        Who::System | Who::Authority { .. } => (None, None),
    };
    Actor { client: caller.client_id.clone(), account, agent }
}

/// The session that a write names, judged for the patient of the chart written to.
///
/// # Errors
/// 403 when it is not a live one of this caller, for this patient, that allows writing.
pub(crate) async fn upload_session(call: &Call, patient: Option<AccountId>) -> Result<Option<SessionId>, Fault> {
    let Some(named) = call.session()? else { return Ok(None) };
    let caller = call.caller()?;
    if !matches!(caller.who, Who::Practitioner { .. }) {
        return Err(Fault::forbidden("not-the-doctor", "only a practitioner acts in a session"));
    }
    let Some(patient) = patient else {
        return Err(Fault::forbidden("not-the-patient", "the session is not for the patient of this chart"));
    };
    sessions::upload(&call.gw, caller, &named.to_string(), patient).await.map(Some)
}

/// The chart of a row.
pub(crate) fn chart_of_row(gw: &Gateway, row: &RecordRow) -> Option<Chart> {
    let own = gw.charts.organization_chart();
    if own.id == row.chart { Some(own) } else { gw.charts.by_id(&row.chart) }
}

/// The permit to read an own record.
///
/// # Errors
/// 404 when this caller may not even know of it.
pub(crate) fn may_read(gw: &Gateway, caller: &Caller, row: &RecordRow) -> Result<(Permit, Option<Chart>), Fault> {
    let chart = chart_of_row(gw, row);
    let patient = chart.as_ref().and_then(|c| c.account);
    Ok((policy::decide(caller, &Act::ReadOwn { patient })?, chart))
}

/// The own version that the address names.
pub(crate) fn own_row(call: &Call, version: Option<u64>) -> Result<Option<RecordRow>, Fault> {
    let Some(id) = call.record()? else { return Ok(None) };
    let row = call.gw.records.row(&id, version).map_err(|e| unreadable(&e))?;
    Ok(row.filter(|r| r.resource_type == call.resource_type()))
}

/// A row that the index does not give.
pub(crate) fn unreadable(error: &OpenError) -> Fault {
    tracing::error!(%error, "the index does not give a row");
    match error {
        OpenError::Integrity(_) => Fault::internal("the index is not what was written").code("integrity"),
        OpenError::Unavailable(_) => Fault::unavailable("the index cannot be read now"),
    }
}

/// 410 for a record whose latest version says that it is deleted.
pub(crate) fn deleted() -> Fault {
    Fault::new(410, "deleted", "the record is deleted").code("deleted")
}
