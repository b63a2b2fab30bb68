//! Consent: every call goes to `consents`, which speaks with the ledger; here is only what HTTP adds.

use crate::{
    consents,
    http::{Fault, Reply, call::Call},
};

/// `GET /Consent/{id}`.
pub(crate) async fn read(call: Call) -> Result<Reply, Fault> {
    consents::read(&call.gw, call.caller()?, call.request()?).await
}

/// `GET /Consent`.
pub(crate) async fn search(call: Call) -> Result<Reply, Fault> {
    consents::search(&call.gw, call.caller()?, &call.query).await
}

/// `POST /Consent`, a proposed one.
pub(crate) async fn create(call: Call) -> Result<Reply, Fault> {
    propose(&call, false).await
}

/// `POST /Consent/$prepare`.
pub(crate) async fn prepare(call: Call) -> Result<Reply, Fault> {
    propose(&call, true).await
}

async fn propose(call: &Call, prepare: bool) -> Result<Reply, Fault> {
    let document = super::submitted(call)?;
    consents::create(&call.gw, call.caller()?, document.value(), call.tx()?, prepare).await
}
