//! The Bundle that answers one: an entry for each, in the order of the request.

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    fhir::{bundle::Kind, date, outcome},
    http::{
        Fault, Reply,
        call::Call,
        disclose,
        prefer::{Prefer, Return},
        render,
        writing::Kept,
    },
    records::{Opened, RecordRow, Records},
};

/// How an entry ended.
pub(super) enum Ended {
    /// A version was written, or one like it was there; the bytes that were sealed are empty when they are not at hand.
    Row { status: u16, row: Box<RecordRow>, sealed_form: Bytes },
    /// There was nothing to be done.
    Nothing,
    /// Something was served.
    Served(Reply),
    /// It was refused.
    Refused(Fault),
}

impl From<Kept> for Ended {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Row { status, row } => Self::Row { status, row, sealed_form: Bytes::new() },
            Kept::Nothing => Self::Nothing,
        }
    }
}

/// So many bytes of resources go into one answer.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// The answer to the whole.
pub(super) fn bundle(call: &Call, kind: Kind, ended: Vec<Ended>) -> Result<Reply, Fault> {
    let prefers = Prefer::of(call)?.answer.unwrap_or(Return::Minimal);
    let head = json!({
        "resourceType": "Bundle",
        "id": Records::new_id().to_string(),
        "meta": { "lastUpdated": date::instant((call.gw.clock)()) },
        "type": match kind { Kind::Transaction => "transaction-response", Kind::Batch => "batch-response" },
    });
    let entries = ended.into_iter().map(|one| entry(call, prefers, one));
    Ok(Reply::bytes(200, render::bundle(&head, entries)))
}

fn entry(call: &Call, prefers: Return, ended: Ended) -> (Value, Option<Vec<u8>>) {
    match ended {
        Ended::Row { status, row, sealed_form } => of_row(call, prefers, status, *row, &sealed_form),
        Ended::Nothing => (json!({ "response": { "status": status_text(204) } }), None),
        Ended::Refused(fault) => {
            (json!({ "response": { "status": status_text(fault.status), "outcome": fault.outcome } }), None)
        }
        Ended::Served(reply) => of_reply(reply),
    }
}

fn of_row(call: &Call, prefers: Return, status: u16, row: RecordRow, sealed_form: &Bytes) -> (Value, Option<Vec<u8>>) {
    let mut response = json!({
        "status": status_text(status),
        "etag": render::etag(row.version.0),
        "lastModified": date::instant(row.last_updated),
    });
    if status == 204 {
        return (json!({ "response": response }), None);
    }
    response["location"] = format!("{}/{}", call.gw.fhir_base(), disclose::reference(&row)).into();
    if prefers == Return::Outcome {
        response["outcome"] = outcome::done("The record was written and anchored.").to_value();
    }
    let entry = json!({
        "fullUrl": format!("{}/{}/{}", call.gw.fhir_base(), row.resource_type, row.id), "response": response,
    });
    let wanted = prefers == Return::Representation && !sealed_form.is_empty();
    let resource = wanted.then(|| {
        let opened = Opened::written(Zeroizing::new(sealed_form.to_vec()), row);
        render::bytes(&opened).to_vec()
    });
    (entry, resource)
}

fn of_reply(reply: Reply) -> (Value, Option<Vec<u8>>) {
    let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let response = render::entry_response(&status_text(reply.status), headers);
    (json!({ "response": response }), Some(reply.body).filter(|body| !body.is_empty()))
}

/// R4 has the status as HTTP's line has it: `201 Created`.
fn status_text(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or_default();
    format!("{status} {name}").trim_end().to_owned()
}
