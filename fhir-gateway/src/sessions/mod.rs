//! Sessions: what lets a doctor read other custodians' records of one patient, from both ends.

use std::sync::Arc;

use serde_json::Value;
use tokio::task::JoinHandle;
use vouchsafe_types::{AccountId, SessionId, TimeMs, ids::RecordId};

use crate::{auth::Caller, gateway::Gateway, http::Fault};

/// The sessions that this gateway has opened, and what it released to others'.
#[derive(Default)]
pub struct Sessions;

impl Sessions {
    /// None yet.
    pub const fn new() -> Self {
        Self
    }
}

/// A session judged live a moment ago.
pub struct Live;

/// One foreign resource as it is served: under its local id, references rewritten, the source in a meta extension.
pub struct Foreign {
    /// Its type.
    pub resource_type: String,
    /// Its local id.
    pub id: String,
    /// Its version at the custodian.
    pub version: u64,
    /// When the custodian wrote that version.
    pub last_updated: TimeMs,
    /// The bytes to serve.
    pub bytes: Vec<u8>,
}

/// What a search over foreign records found. Every resource in it has been opened, verified and audited.
pub struct Found {
    /// The matches, newest first.
    pub resources: Vec<Foreign>,
    /// OperationOutcomes to put into the Bundle with search mode `outcome`: "limited by consent" always, and which
    /// sources are missing.
    pub outcomes: Vec<Value>,
}

/// Starts what runs by itself; the caller aborts the tasks when the gateway stops.
pub fn spawn(_gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    Vec::new()
}

/// The session for a call by a practitioner: the one named in `Vouchsafe-Session`, which must be live and this
/// caller's (403 before any look-up), else the newest live one of this practitioner for the patient.
///
/// # Errors
/// 403 `session-not-live` and the like when one is named; 503 when the ledger is stale.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn judge(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _named: Option<&str>,
    _patient: Option<AccountId>,
) -> Result<Option<Arc<Live>>, Fault> {
    Ok(None)
}

/// Searches the foreign records of a session.
///
/// # Errors
/// 400 for an unknown parameter, 403 when the session ended meanwhile, 503 when the ledger is stale.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn search(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _live: &Arc<Live>,
    _resource_type: &str,
    _parameters: &[(String, String)],
) -> Result<Found, Fault> {
    Err(Fault::unavailable("not built yet"))
}

/// Reads one foreign record by its local id; call it when no own record has the id.
///
/// # Errors
/// 403 when the named session is not live, or for an instance that this person was served before; else 404.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn read(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _named: Option<&str>,
    _resource_type: &str,
    _id: &str,
    _version: Option<u64>,
) -> Result<Foreign, Fault> {
    Err(Fault::not_found())
}

/// Judges an upload in a session that is named: live, this caller's, for this patient, and allowed to write.
///
/// # Errors
/// 403 with the ledger's code.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn upload(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _named: &str,
    _patient: AccountId,
) -> Result<SessionId, Fault> {
    Err(Fault::unavailable("not built yet"))
}

/// Tells the patient's side of an upload that was anchored in a session.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn uploaded(
    _gw: &Arc<Gateway>,
    _caller: &Caller,
    _session: SessionId,
    _resource_type: &str,
    _id: RecordId,
    _version: u64,
) {
}

/// The receipts that other organisations sent for a patient whose home this is: AuditEvents.
///
/// # Errors
/// When the store is not readable.
#[allow(clippy::unused_async, reason = "the signature comes first, the body follows")]
pub async fn receipts(_gw: &Arc<Gateway>, _patient: AccountId) -> Result<Vec<Value>, Fault> {
    Ok(Vec::new())
}
