//! delete (<https://hl7.org/fhir/R4/http.html#delete>): a version that says that the record is deleted. Its older versions
//! stay, as the custodian's duty to keep records demands.

use super::if_match;
use crate::http::{
    Fault, Reply,
    call::Call,
    writing::{self, Criteria, What, Wish},
};

/// `DELETE /{type}/{id}`.
pub(crate) async fn delete(call: Call) -> Result<Reply, Fault> {
    let what = What::Delete { id: call.id()?.to_owned(), if_match: if_match(&call)? };
    serve(&call, what).await
}

/// `DELETE /{type}?…` (<https://hl7.org/fhir/R4/http.html#2.21.0.13.1>): the one that is found, or none.
pub(crate) async fn conditional(call: Call) -> Result<Reply, Fault> {
    let criteria = Criteria::of(&call.gw, call.resource_type(), call.query.clone())?;
    serve(&call, What::DeleteWhere { criteria }).await
}

async fn serve(call: &Call, what: What) -> Result<Reply, Fault> {
    writing::serve(call, Wish { resource_type: call.resource_type().to_owned(), what, resource: None }).await
}
