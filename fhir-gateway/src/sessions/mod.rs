//! Sessions: what lets a doctor read other custodians' records of one patient, from both ends.
//!
//! **Architecture invariant:** whether a session lives is asked of the ledger at each act, never of memory; memory only
//! has the keys, and loses them with the session.

pub mod custodian;
pub mod evidence;
pub mod grantee;
pub mod manifest;
pub mod receipts;

mod admission;
mod foreign;
mod index;
mod live;
mod prepared;
mod read;
mod served;
mod universe;
mod view;
mod watch;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vouchsafe_types::{AccountId, Code, RequestId, SessionId};

use crate::{audit::About, audit::Recorded, auth::Caller, consents, gateway::Gateway, http::Fault};

pub use admission::Admission;
pub use foreign::{Foreign, local_id};
pub use live::Live;
pub use read::read;
pub use universe::{ForeignKey, ForeignUniverse};
pub use view::{Shown, View, view};

/// The sessions that this gateway has opened, and what it released to others'.
#[derive(Default)]
pub struct Sessions {
    pub(crate) custodian: custodian::Custodian,
    pub(crate) grantee: grantee::Grantee,
}

impl Sessions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A session is over: its keys go.
    pub(crate) fn ended(&self, id: &SessionId) {
        self.grantee.forget(id);
        self.custodian.forget_session(id);
    }

    /// A grant is over: the keys of all its sessions go.
    pub(crate) fn revoked(&self, gw: &Gateway, grant: &RequestId) {
        self.grantee.forget_grant(grant);
        custodian::revoked(gw, *grant);
    }
}

/// Starts what runs by itself; the caller aborts the tasks when the gateway stops.
pub fn spawn(gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    consents::make_spare(gw);
    watch::spawn(gw)
}

/// The session for a call by a practitioner: the one named in `Vouchsafe-Session`, which must be live and this
/// caller's (403 before any look-up), else the newest live one of this practitioner for the patient.
///
/// # Errors
/// 403 `session-not-live` and the like when one is named; 503 when the ledger is stale.
pub async fn judge(
    gw: &Arc<Gateway>,
    caller: &Caller,
    named: Option<&str>,
    patient: Option<AccountId>,
) -> Result<Option<Arc<Live>>, Fault> {
    if let Some(named) = named {
        let live = named_session(gw, caller, named).await?;
        if patient.is_some_and(|patient| patient != live.patient) {
            return Err(Fault::forbidden(Code::NotGranted.name(), "the session is for another patient"));
        }
        return Ok(Some(live));
    }
    let Some(doctor) = grantee::doctor_of(caller) else { return Ok(None) };
    for live in gw.sessions.grantee.of_doctor(doctor) {
        if patient.is_some_and(|patient| patient != live.patient) {
            continue;
        }
        match grantee::check(gw, caller, &live).await {
            Ok(_) => return Ok(Some(live)),
            Err(fault) if fault.status == 403 => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(None)
}

async fn named_session(gw: &Arc<Gateway>, caller: &Caller, named: &str) -> Result<Arc<Live>, Fault> {
    let not_live = || Fault::forbidden(Code::SessionNotLive.name(), "the session is not live");
    if grantee::doctor_of(caller).is_none() {
        return Err(Fault::forbidden(Code::NotTheDoctor.name(), "only a doctor has a session"));
    }
    let id: SessionId = named.parse().map_err(|_| not_live())?;
    grantee::judge_id(gw, &id).await?;
    let live = gw.sessions.grantee.get(&id).ok_or_else(not_live)?;
    grantee::check(gw, caller, &live).await?;
    Ok(live)
}

/// What is shown of a session, in case that no entry comes.
fn about(caller: &Caller, live: &Live) -> About {
    let account = caller.account().map_or_else(|| caller.client_id.clone(), |account| account.to_string());
    About { chart: None, account: Some(live.patient), session: Some(live.id), caller: Some(account) }
}

/// What a search says that asked nobody else, because the ledger could not be judged by.
pub fn nobody_asked() -> Vec<Value> {
    outcomes(1, 0)
}

/// The constant outcome, which never tells whether something was left out, and what is missing for other reasons.
fn outcomes(missing: usize, spoiled: usize) -> Vec<Value> {
    let outcome = |severity: &str, code: &str, text: String, detail: &str| {
        json!({ "resourceType": "OperationOutcome", "issue": [{
            "severity": severity, "code": code, "diagnostics": text,
            "details": { "coding": [{ "system": crate::http::fault::CODE_SYSTEM, "code": detail }] },
        }] })
    };
    let mut out = vec![outcome("information", "suppressed", "limited by consent".to_owned(), "limited-by-consent")];
    if missing > 0 {
        out.push(outcome("warning", "incomplete", format!("sources missing: {missing}"), "sources-missing"));
    }
    if spoiled > 0 {
        let text = format!("{spoiled} records could not be verified, or not opened now, and are not shown");
        out.push(outcome("warning", "incomplete", text, "not-verified"));
    }
    out
}

/// Judges an upload in a session that is named: live, this caller's, for this patient, and allowed to write.
///
/// # Errors
/// 403 with the ledger's code.
pub async fn upload(gw: &Arc<Gateway>, caller: &Caller, named: &str, patient: AccountId) -> Result<SessionId, Fault> {
    let live = named_session(gw, caller, named).await?;
    if live.patient != patient {
        return Err(Fault::forbidden(Code::NotGranted.name(), "the session is for another patient"));
    }
    let session = grantee::check(gw, caller, &live).await?;
    if !session.write {
        return Err(Fault::forbidden(Code::ReadOnly.name(), "the grant does not allow writing"));
    }
    Ok(live.id)
}

/// Sends the patient a receipt of an upload that was anchored in a session, from the entry that the audit log has of it.
pub fn uploaded(gw: &Arc<Gateway>, patient: AccountId, session: SessionId, recorded: Recorded) {
    receipts::send(gw, patient, session, recorded);
}

/// The receipts that other organisations sent for a patient whose home this is: AuditEvents.
///
/// # Errors
/// When the store is not readable.
pub fn receipts(gw: &Arc<Gateway>, patient: AccountId) -> Result<Vec<Value>, Fault> {
    receipts::events_of(gw, patient)
}

/// How many keys and how many documents of a session are in memory now; none when it is none of this gateway, or is over.
pub fn in_memory(gw: &Gateway, session: &SessionId) -> Option<(usize, usize)> {
    gw.sessions.grantee.get(session).map(|live| live.in_memory())
}

/// How many rows a session of this gateway was handed; none when it is not one, or is over.
pub fn handed(gw: &Gateway, session: &SessionId) -> Option<usize> {
    gw.sessions.grantee.get(session).map(|live| live.rows().1.len())
}

/// How many custodians have not answered a session of this gateway yet; none when it is not one, or is over.
pub fn missing(gw: &Gateway, session: &SessionId) -> Option<usize> {
    gw.sessions.grantee.get(session).map(|live| live.missing())
}
