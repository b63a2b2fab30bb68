//! create (<https://hl7.org/fhir/R4/http.html#create>): a new record of the custodian's own, acknowledged when its anchor
//! is in a block; with `If-None-Exist` only when there is none like it.

use super::submitted;
use crate::http::{
    Fault, Reply,
    call::Call,
    writing::{self, Criteria, What, Wish},
};

/// `POST /{type}`.
pub(crate) async fn create(call: Call) -> Result<Reply, Fault> {
    let resource_type = call.resource_type().to_owned();
    let unless = call.header("if-none-exist")?.map(|text| Criteria::read(&call.gw, &resource_type, text));
    let unless = unless.transpose().map_err(|fault| fault.within("If-None-Exist"))?;
    let resource = submitted(&call)?;
    writing::serve(&call, Wish { resource_type, what: What::Create { unless }, resource: Some(resource) }).await
}
