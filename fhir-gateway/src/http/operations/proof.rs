//! `$proof` (interfaces.md, F): what a third party needs to check a record version, or an audit entry, against the ledger
//! without trusting this gateway.

use vouchsafe_types::RecordId;

use crate::{
    fhir::{audit::AuditKind, date},
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        interactions::{audit_event, deleted, may_read, own_row},
    },
    proof::{RecordProof, Splice, to_parameters},
};

/// `GET /{type}/{id}/$proof`: of the latest version, or of the one that `version` names.
pub(crate) async fn proof(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let mut version = None;
    for (name, value) in &call.query {
        if name != "version" {
            return Err(Fault::malformed("$proof takes one parameter, version").at("version"));
        }
        version = Some(value.parse::<u64>().map_err(|_| Fault::malformed("no version's number").at("version"))?);
    }
    let row = own_row(&call, version)?.ok_or_else(Fault::not_found)?;
    let (permit, chart) = may_read(gw, caller, &row)?;
    if row.tombstone {
        return Err(deleted());
    }
    let deed = Deed {
        kind: Some(AuditKind::Read),
        chart: Some(row.chart),
        patient: chart.and_then(|c| c.account),
        what: vec![disclose::reference(&row)],
        query: Some(format!("{}/{}/$proof", row.resource_type, row.id)),
        ..Deed::default()
    };
    let slot = disclose::reserve(gw).await?.about(disclose::about(caller, &deed));
    let proved = gw.records.proof(&permit, &row).await;
    let failed = if proved.is_err() { Some("not-proved") } else { None };
    gw.audit.record(slot, disclose::entry(gw, caller, &Deed { failed, ..deed }));
    let parts = proved.map_err(|e| disclose::refused(&row, &e))?;
    let splice = Splice {
        id: row.id.to_string(),
        version_id: row.version.to_string(),
        last_updated: date::instant(row.last_updated),
    };
    let proof = RecordProof::new(parts, splice).map_err(|e| {
        tracing::error!(error = %e, "a proof cannot be put together");
        Fault::internal("the proof cannot be put together")
    })?;
    Ok(Reply::resource(200, &to_parameters(&proof, gw.ledger.genesis())))
}

/// `GET /AuditEvent/{id}/$proof`: that the entry is in the log whose root the ledger holds.
pub(crate) async fn of_event(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let id: RecordId = call.id()?.parse().map_err(|_| Fault::not_found())?;
    let away = |e: crate::audit::AuditError| Fault::unavailable(e.to_string());
    let entry = gw.audit.by_id(&id).map_err(away)?.filter(|e| audit_event::may_see(gw, caller, e));
    let entry = entry.ok_or_else(Fault::not_found)?;
    let deed = Deed {
        kind: Some(AuditKind::Read),
        chart: entry.chart,
        patient: entry.account,
        what: vec![format!("AuditEvent/{id}")],
        query: Some(format!("AuditEvent/{id}/$proof")),
        ..Deed::default()
    };
    disclose::note(gw, caller, &deed).await?;
    let Some(proof) = gw.audit.proof(&id).await.map_err(away)? else {
        return Err(Fault::unavailable("the entry is not anchored yet"));
    };
    Ok(Reply::resource(200, &to_parameters(&proof, gw.ledger.genesis())))
}
