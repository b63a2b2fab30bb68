//! update (<https://hl7.org/fhir/R4/http.html#update>): the next version of an own record, if the latest is the one that
//! `If-Match` names. The record is named, or found (<https://hl7.org/fhir/R4/http.html#cond-update>).

use super::{if_match, submitted};
use crate::http::{
    Fault, Reply,
    call::Call,
    writing::{self, Criteria, What, Wish},
};

/// `PUT /{type}/{id}`.
pub(crate) async fn update(call: Call) -> Result<Reply, Fault> {
    let what = What::Update { id: call.id()?.to_owned(), if_match: if_match(&call)? };
    serve(&call, what).await
}

/// `PUT /{type}?…`.
pub(crate) async fn conditional(call: Call) -> Result<Reply, Fault> {
    let criteria = Criteria::of(&call.gw, call.resource_type(), call.query.clone())?;
    let what = What::UpdateWhere { criteria, if_match: if_match(&call)? };
    serve(&call, what).await
}

async fn serve(call: &Call, what: What) -> Result<Reply, Fault> {
    let resource = submitted(call)?;
    writing::serve(call, Wish { resource_type: call.resource_type().to_owned(), what, resource: Some(resource) }).await
}
