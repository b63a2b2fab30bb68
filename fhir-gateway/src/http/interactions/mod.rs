//! One file per FHIR interaction.

pub(crate) mod audit_event;
pub(crate) mod bundle;
pub(crate) mod consent;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod history;
pub(crate) mod metadata;
pub(crate) mod place;
pub(crate) mod provenance;
pub(crate) mod read;
pub(crate) mod search;
pub(crate) mod update;

use vouchsafe_types::RecordId;

use super::{Fault, call::Call, render, writing::Resource};
use crate::{
    auth::{Caller, Who},
    fhir::compartment::Reference,
    gateway::Gateway,
    policy::{self, Act, Permit},
    records::{Actor, Chart, OpenError, RecordRow},
};

/// A resource that was submitted: strict JSON, of the path's type, of R4's structure.
pub(crate) fn submitted(call: &Call) -> Result<Resource, Fault> {
    let document = call.document()?;
    let (bytes, value) = document.into_parts();
    Resource::read(call.resource_type(), &bytes, value)
}

/// The version that `If-Match` names.
///
/// # Errors
/// 400 when it is not one entity tag.
pub(crate) fn if_match(call: &Call) -> Result<Option<u64>, Fault> {
    call.header("if-match")?.map(version_named).transpose()
}

/// The version that the text of an `If-Match` names.
///
/// # Errors
/// 400 when it is not one entity tag.
pub(crate) fn version_named(text: &str) -> Result<u64, Fault> {
    let version = render::version_in_etag(text);
    version.ok_or_else(|| Fault::malformed("If-Match must be one entity tag, such as W/\"1\"").at("If-Match"))
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
