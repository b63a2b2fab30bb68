//! read and vread (<https://hl7.org/fhir/R4/http.html#read>): an own record, or another custodian's in a session.

use super::{deleted, may_read, own_row};
use crate::{
    auth::Who,
    fhir::audit::AuditKind,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        ids, render,
    },
    sessions,
};
use vouchsafe_types::TimeMs;

/// `GET /{type}/{id}`.
pub(crate) async fn read(call: Call) -> Result<Reply, Fault> {
    serve(&call, None).await
}

/// `GET /{type}/{id}/_history/{vid}`.
pub(crate) async fn vread(call: Call) -> Result<Reply, Fault> {
    call.id()?;
    let version = ids::check(call.param("vid"), "vid")?.parse().map_err(|_| Fault::not_found())?;
    serve(&call, Some(version)).await
}

async fn serve(call: &Call, version: Option<u64>) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let id = call.id()?;
    let named = named_session(call).await?;
    let Some(row) = own_row(call, version)? else {
        if !matches!(caller.who, Who::Practitioner { .. }) {
            return Err(Fault::not_found());
        }
        let found = sessions::read(gw, caller, named.as_deref(), call.resource_type(), id, version).await?;
        if unchanged(call, found.version, found.last_updated)? {
            return Ok(not_modified(found.version, found.last_updated));
        }
        return Ok(Reply::bytes(200, found.bytes)
            .header("etag", render::etag(found.version))
            .header("last-modified", render::http_date(found.last_updated.0)));
    };
    let (permit, chart) = may_read(gw, caller, &row)?;
    if row.tombstone {
        return Err(deleted());
    }
    if unchanged(call, row.version.0, row.last_updated)? {
        // Nothing is opened, and the client, which may read it, learns nothing that it does not have.
        return Ok(not_modified(row.version.0, row.last_updated));
    }
    let deed = Deed {
        kind: Some(if version.is_some() { AuditKind::Vread } else { AuditKind::Read }),
        chart: Some(row.chart),
        patient: chart.and_then(|c| c.account),
        what: vec![disclose::reference(&row)],
        ..Deed::default()
    };
    let opened = disclose::open(gw, caller, &permit, &[row], deed).await?;
    opened.first().map(|one| render::reply(200, one)).ok_or_else(Fault::not_found)
}

/// Whether the client has this version already (<https://hl7.org/fhir/R4/http.html#cread>). Where both are said, the entity
/// tag counts, as RFC 9110 section 13.1.3 has it.
fn unchanged(call: &Call, version: u64, last_updated: TimeMs) -> Result<bool, Fault> {
    if let Some(tags) = call.header("if-none-match")? {
        return Ok(tags.trim() == "*" || tags.split(',').any(|tag| render::version_in_etag(tag) == Some(version)));
    }
    let Some(since) = call.header("if-modified-since")? else { return Ok(false) };
    // A date that is none is passed over (RFC 9110 section 13.1.3). Its seconds are whole, ours are not.
    Ok(render::parse_http_date(since).is_some_and(|since| last_updated.0 / 1000 <= since.0 / 1000))
}

/// 304, with what tells the version.
fn not_modified(version: u64, last_updated: TimeMs) -> Reply {
    Reply::bytes(304, Vec::new())
        .header("etag", render::etag(version))
        .header("last-modified", render::http_date(last_updated.0))
}

/// The session that a call names, judged before any look-up.
///
/// # Errors
/// 403 when it is not a live one of this caller.
pub(crate) async fn named_session(call: &Call) -> Result<Option<String>, Fault> {
    let Some(named) = call.session()? else { return Ok(None) };
    let caller = call.caller()?;
    if !matches!(caller.who, Who::Practitioner { .. }) {
        return Err(Fault::forbidden("not-the-doctor", "only a practitioner acts in a session"));
    }
    let named = named.to_string();
    sessions::judge(&call.gw, caller, Some(&named), None).await?;
    Ok(Some(named))
}
