//! Consent in FHIR terms: requests, decisions, sessions opened and ended, each signed by the actor's own key.

use std::sync::Arc;

use serde_json::Value;
use vouchsafe_types::RequestId;

use crate::{
    auth::Caller,
    gateway::Gateway,
    http::{Fault, Reply},
};

/// What the consent operations remember between `$prepare` and the signed call, and the details this gateway can open.
#[derive(Default)]
pub struct Consents;

impl Consents {
    /// Nothing prepared yet.
    pub const fn new() -> Self {
        Self
    }
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As an OperationOutcome.
        #[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
        pub async fn $name(
            _gw: &Arc<Gateway>,
            _caller: &Caller,
            _id: RequestId,
            _body: &Value,
            _tx: Option<String>,
            _prepare: bool,
        ) -> Result<Reply, Fault> {
            Err(Fault::unavailable("not built yet"))
        }
    )*};
}

operations! {
    /// `POST Consent/{id}/$approve`: body Parameters, or null for none.
    approve
    /// `POST Consent/{id}/$deny`.
    deny
    /// `POST Consent/{id}/$open-session`.
    open_session
    /// `POST Consent/{id}/$end-session`.
    end_session
    /// `POST Consent/{id}/$revoke`.
    revoke
}

/// `POST Consent` and `POST Consent/$prepare`.
///
/// # Errors
/// As an OperationOutcome.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn create(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _body: &Value,
    _tx: Option<String>,
    _prepare: bool,
) -> Result<Reply, Fault> {
    Err(Fault::unavailable("not built yet"))
}

/// `GET Consent/{id}`.
///
/// # Errors
/// As an OperationOutcome; 404 for a request that this gateway cannot open or that is none of the caller's.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn read(_gw: &Arc<Gateway>, _caller: &Caller, _id: RequestId) -> Result<Reply, Fault> {
    Err(Fault::unavailable("not built yet"))
}

/// `GET Consent?patient=…&status=…`: a searchset.
///
/// # Errors
/// As an OperationOutcome; 400 for a parameter that is not known.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn search(_gw: &Arc<Gateway>, _caller: &Caller, _parameters: &[(String, String)]) -> Result<Reply, Fault> {
    Err(Fault::unavailable("not built yet"))
}
