//! update (<https://hl7.org/fhir/R4/http.html#update>): the next version of an own record, if the latest is the one that
//! `If-Match` names.

use super::{actor, chart_of, create::committed, deleted, own_row, sealed, submitted, upload_session};
use crate::{
    fhir::audit::AuditKind,
    http::{Fault, Reply, call::Call, disclose, render},
    policy::{self, Act},
    records::Write,
};

/// `PUT /{type}/{id}`.
pub(crate) async fn update(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    policy::decide(caller, &Act::WriteOwn)?;
    let if_match = if_match(&call)?;
    let id = call.id()?;
    let document = submitted(&call)?;
    if document.id() != Some(id) {
        return Err(Fault::malformed("the body's id must be the address's").at(format!("{}.id", call.resource_type())));
    }
    let Some(row) = own_row(&call, None)? else {
        return Err(Fault::new(405, "not-supported", "an update does not create: ids are given by the server")
            .code("no-update-as-create"));
    };
    if row.tombstone {
        return Err(deleted());
    }
    let (sealed_form, value) = sealed(&document)?;
    let chart = if row.resource_type == "Patient" {
        super::chart_of_row(gw, &row).ok_or_else(Fault::not_found)?
    } else {
        chart_of(gw, &row.resource_type, &value)?
    };
    if chart.id != row.chart {
        return Err(Fault::invalid("a record does not move to another chart").code("another-chart"));
    }
    let session = upload_session(&call, chart.account).await?;
    let by = actor(caller);
    let resource_type = row.resource_type;
    let write = Write { resource_type, sealed_form: sealed_form.clone(), value, chart: chart.id, session, by };
    let slot = disclose::reserve(gw).await?;
    let written = gw.records.update(row.id, if_match, write).await;
    committed(&call, slot, AuditKind::Update, &sealed_form, written)
}

fn if_match(call: &Call) -> Result<Option<u64>, Fault> {
    let Some(text) = call.header("if-match")? else { return Ok(None) };
    let version = render::version_in_etag(text);
    version.map(Some).ok_or_else(|| Fault::malformed("If-Match must be one entity tag, such as W/\"1\"").at("If-Match"))
}
