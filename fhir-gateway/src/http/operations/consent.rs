//! The operations on a Consent (interfaces.md, C to H): decided in `consents`.

use futures::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;
use vouchsafe_types::RequestId;

use crate::{
    auth::Caller,
    consents,
    fhir::audit::AuditKind,
    gateway::Gateway,
    http::{Fault, Reply, call::Call, interactions::consent::audited},
};

type Answer<'a> = BoxFuture<'a, Result<Reply, Fault>>;
type Operation = for<'a> fn(&'a Arc<Gateway>, &'a Caller, RequestId, &'a Value, Option<String>, bool) -> Answer<'a>;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident, $prepare:ident = $of:path;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(call: Call) -> Result<Reply, Fault> {
            pass(&call, |gw, caller, id, body, tx, prepare| Box::pin($of(gw, caller, id, body, tx, prepare)), false).await
        }

        /// What is to be signed for it.
        pub(crate) async fn $prepare(call: Call) -> Result<Reply, Fault> {
            pass(&call, |gw, caller, id, body, tx, prepare| Box::pin($of(gw, caller, id, body, tx, prepare)), true).await
        }
    )*};
}

operations! {
    /// `POST /Consent/{id}/$approve`.
    approve, prepare_approve = consents::approve;
    /// `POST /Consent/{id}/$deny`.
    deny, prepare_deny = consents::deny;
    /// `POST /Consent/{id}/$open-session`.
    open_session, prepare_open_session = consents::open_session;
    /// `POST /Consent/{id}/$end-session`.
    end_session, prepare_end_session = consents::end_session;
    /// `POST /Consent/{id}/$revoke`.
    revoke, prepare_revoke = consents::revoke;
}

async fn pass(call: &Call, operation: Operation, prepare: bool) -> Result<Reply, Fault> {
    let id = call.request()?;
    let document = call.parameters()?;
    if document.resource_type() != Some("Parameters") {
        return Err(Fault::malformed("an operation takes a Parameters resource").at("resourceType"));
    }
    vouchsafe_fhir_structure::check("Parameters", document.bytes()).map_err(|e| Fault::from(&e))?;
    let (caller, tx) = (call.caller()?, call.tx()?);
    let act = operation(&call.gw, caller, id, document.value(), tx, prepare);
    if prepare {
        return act.await;
    }
    audited(call, AuditKind::Operation, Some(id), act).await
}
