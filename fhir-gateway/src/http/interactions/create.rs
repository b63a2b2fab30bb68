//! create (<https://hl7.org/fhir/R4/http.html#create>): a new record of the custodian's own, acknowledged when its anchor
//! is in a block.

use zeroize::Zeroizing;

use super::{actor, chart_of, sealed, submitted, upload_session};
use crate::{
    audit::Slot,
    fhir::audit::AuditKind,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        render,
    },
    policy::{self, Act},
    records::{Opened, RecordRow, Records, Write, WriteError},
    sessions,
};

/// `POST /{type}`.
pub(crate) async fn create(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    policy::decide(caller, &Act::WriteOwn)?;
    if call.headers.contains_key("if-none-exist") {
        // Ignoring it would make the duplicate that it is meant to prevent.
        return Err(Fault::new(400, "not-supported", "conditional create is not supported").at("If-None-Exist"));
    }
    let document = submitted(&call)?;
    let resource_type = call.resource_type().to_owned();
    let (sealed_form, value) = sealed(&document)?;
    let id = Records::new_id();
    let (chart, patient) = if resource_type == "Patient" {
        (id, None)
    } else {
        let chart = chart_of(gw, &resource_type, &value)?;
        (chart.id, chart.account)
    };
    let session = upload_session(&call, patient).await?;
    let by = actor(caller);
    let write = Write { resource_type, sealed_form: sealed_form.clone(), value, chart, session, by };
    let slot = disclose::reserve(gw).await?;
    let written = gw.records.create_with_id(id, write).await;
    committed(&call, slot, AuditKind::Create, &sealed_form, written)
}

/// Audits a write whose anchor is in a block, in the slot that was reserved before it, tells the patient's side, and
/// answers with the record as it is now, unless the client wants none of it.
pub(crate) fn committed(
    call: &Call,
    slot: Slot,
    kind: AuditKind,
    sealed_form: &[u8],
    written: Result<RecordRow, WriteError>,
) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let row = match written {
        Ok(row) => row,
        Err(error) => {
            slot.release();
            return Err(error.into());
        }
    };
    let deed = Deed {
        kind: Some(kind),
        chart: Some(row.chart),
        patient: gw.charts.by_id(&row.chart).and_then(|c| c.account),
        what: vec![disclose::reference(&row)],
        session: row.session,
        ..Deed::default()
    };
    let entry = disclose::entry(gw, caller, &deed);
    let recorded = gw.audit.record(slot, entry);
    if let (Some(session), Some(patient)) = (row.session, deed.patient) {
        sessions::uploaded(gw, patient, session, recorded);
    }
    let location = format!("{}/{}", gw.fhir_base(), disclose::reference(&row));
    let opened = Opened::written(Zeroizing::new(sealed_form.to_vec()), row);
    let status = if opened.row.version.0 == 1 { 201 } else { 200 };
    let mut reply = render::reply(status, &opened).header("location", location);
    if call.header("prefer")?.is_some_and(|p| p.contains("return=minimal")) {
        reply.body.clear();
    }
    Ok(reply)
}
