//! What a write is answered with (<https://hl7.org/fhir/R4/http.html#create>, `#update`, `#delete`).

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{Aim, Kept, once::REPLAYED};
use crate::{
    auth::Caller,
    fhir::{audit::AuditKind, outcome},
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        interactions::may_read,
        prefer::{Prefer, Return},
        render,
    },
    policy::Permit,
    records::{Opened, RecordRow, Written},
};

/// What was written, and how it is answered.
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) written: Written,
    /// The bytes that were sealed; empty when they are not at hand.
    pub(crate) sealed_form: Bytes,
}

/// The address of a version.
pub(crate) fn location(call: &Call, row: &RecordRow) -> String {
    format!("{}/{}", call.gw.fhir_base(), disclose::reference(row))
}

/// Status and headers of something written.
pub(crate) fn written(call: &Call, status: u16, row: &RecordRow) -> Reply {
    let reply = Reply::bytes(status, Vec::new()).header("etag", render::etag(row.version.0));
    if status == 204 {
        return reply;
    }
    reply.header("last-modified", render::http_date(row.last_updated.0)).header("location", location(call, row))
}

/// The answer to a write that was done.
pub(super) fn of_written(call: &Call, outcome: &Outcome) -> Result<Reply, Fault> {
    let row = &outcome.written.row;
    let mut reply = written(call, outcome.status, row);
    if outcome.status == 204 {
        return Ok(reply);
    }
    reply.body = match Prefer::of(call)?.answer.unwrap_or_default() {
        Return::Minimal => Vec::new(),
        Return::Outcome => outcome::done("The record was written and anchored.").to_bytes(),
        Return::Representation => {
            let opened = Opened::written(Zeroizing::new(outcome.sealed_form.to_vec()), row.clone());
            render::bytes(&opened).to_vec()
        }
    };
    Ok(reply)
}

/// The answer to a request that was done before.
pub(super) async fn again(call: &Call, caller: &Caller, kept: Option<&Kept>) -> Result<Reply, Fault> {
    let reply = match kept {
        None | Some(Kept::Nothing) => Reply::bytes(204, Vec::new()),
        Some(Kept::Row { status: 204, row }) => written(call, 204, row),
        Some(Kept::Row { status, row }) => Reply { status: *status, ..found(call, caller, row).await? },
    };
    Ok(reply.header(REPLAYED, "true"))
}

/// The answer when there was nothing to be written.
pub(super) async fn unwritten(call: &Call, caller: &Caller, aim: &Aim) -> Result<Reply, Fault> {
    match aim {
        Aim::Found(row) => found(call, caller, row).await,
        _ => Ok(Reply::bytes(204, Vec::new())),
    }
}

/// What telling of a record that a condition found rests on, and is: that it is there, and which, goes to the client, and so
/// into the audit log.
///
/// # Errors
/// 403 or 404 when the caller may not read it.
pub(crate) fn telling(call: &Call, caller: &Caller, row: &RecordRow) -> Result<(Permit, Deed), Fault> {
    let (permit, chart) = may_read(&call.gw, caller, row)?;
    let deed = Deed {
        kind: Some(AuditKind::Read),
        chart: Some(row.chart),
        patient: chart.and_then(|chart| chart.account),
        what: vec![disclose::reference(row)],
        ..Deed::default()
    };
    Ok((permit, deed))
}

/// The answer to a conditional create that found one: that one, which is thereby disclosed.
async fn found(call: &Call, caller: &Caller, row: &RecordRow) -> Result<Reply, Fault> {
    let answer = Prefer::of(call)?.answer.unwrap_or_default();
    let mut reply = written(call, 200, row);
    let (permit, deed) = telling(call, caller, row)?;
    reply.body = match answer {
        Return::Representation => {
            let opened = disclose::open(&call.gw, caller, &permit, std::slice::from_ref(row), deed).await?;
            opened.first().map(|one| render::bytes(one).to_vec()).unwrap_or_default()
        }
        other => {
            // That there is one, and which, is told all the same.
            disclose::note(&call.gw, caller, &deed).await?;
            match other {
                Return::Outcome => outcome::done("There is one already; nothing was written.").to_bytes(),
                _ => Vec::new(),
            }
        }
    };
    Ok(reply)
}
