//! Sessions: what lets a doctor read other custodians' records of one patient, from both ends.
//!
//! **Architecture invariant:** whether a session lives is asked of the ledger at each act, never of memory; memory only
//! has the keys, and loses them with the session.

pub mod custodian;
pub mod grantee;
pub mod manifest;
pub mod receipts;

mod admission;
mod foreign;
mod served;
mod watch;

use std::sync::Arc;

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vouchsafe_types::{AccountId, Code, RequestId, SessionId, state::Session};

use self::{
    foreign::{Indexed, NotShown, ServeFault},
    receipts::Deed,
};
use crate::{
    audit::About,
    audit::Recorded,
    auth::Caller,
    consents,
    fhir::{
        audit::AuditKind,
        date::{DateRange, instant},
        search::Query,
    },
    gateway::Gateway,
    http::Fault,
};

pub use admission::Admission;
pub use foreign::{Foreign, local_id};
pub use grantee::Live;

/// How many foreign records are opened at the same time.
const AT_ONCE: usize = 16;

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

/// What a search over foreign records found. Every resource in it has been opened, verified and audited.
pub struct Found {
    /// All matches, newest first; whoever asked makes pages of them.
    pub resources: Vec<Foreign>,
    /// OperationOutcomes to put into the Bundle with search mode `outcome`: "limited by consent" always, and which
    /// sources are missing.
    pub outcomes: Vec<Value>,
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

/// Searches the foreign records of a session.
///
/// # Errors
/// 400 for an unknown parameter, 403 when the session ended meanwhile, 503 when the ledger is stale.
pub async fn search(
    gw: &Arc<Gateway>,
    caller: &Caller,
    live: &Arc<Live>,
    resource_type: &str,
    parameters: &[(String, String)],
) -> Result<Found, Fault> {
    let session = grantee::check(gw, caller, live).await?;
    let mut query = Query::parse(resource_type, parameters)
        .map_err(|f| Fault::new(f.status, "structure", f.what).at(f.expression))?;
    narrow_to_patient(gw, live, &mut query).await;
    let rows: Vec<_> = live.rows().into_iter().filter(|(_, row)| row.resource_type == resource_type).collect();
    // Boxed before they are streamed: the compiler cannot show a stream of borrowing futures to be Send.
    let jobs: Vec<BoxFuture<'_, _>> = rows
        .into_iter()
        .map(|(custodian, row)| async move { foreign::index(gw, live, custodian, &row).await }.boxed())
        .collect();
    let indexed: Vec<_> = stream::iter(jobs).buffered(AT_ONCE).collect().await;
    let mut spoiled = 0;
    let mut matches: Vec<Arc<Indexed>> = Vec::new();
    for one in indexed {
        match one {
            Ok(one) if one.admitted && fits(&query, &one) => matches.push(one),
            Ok(_) | Err(NotShown::Deleted) => {}
            Err(NotShown::Later(_)) => spoiled += 1,
            Err(NotShown::Integrity(why)) => {
                tracing::error!(why, "a foreign record is not what was anchored and is not shown");
                spoiled += 1;
            }
        }
    }
    matches.sort_by_key(|one| std::cmp::Reverse(one.row.last_updated));
    let slot = gw.audit.reserve().await.map_err(|_| Fault::unavailable("the audit log cannot write"))?;
    let slot = slot.about(about(caller, live));
    let session = &session;
    let jobs: Vec<BoxFuture<'_, _>> =
        matches.iter().map(|one| foreign::serve(gw, caller, live, session, one).boxed()).collect();
    let served: Vec<_> = stream::iter(jobs).buffered(AT_ONCE).collect().await;
    // Judged again after the work: nothing leaves at or above the height of a revocation that came meanwhile.
    if let Err(fault) = grantee::check(gw, caller, live).await {
        slot.release();
        return Err(fault);
    }
    let mut resources = Vec::new();
    for one in served {
        match one {
            Ok(resource) => resources.push(resource),
            Err(ServeFault::Denied(code)) => tracing::debug!(code = code.name(), "a record is not permitted"),
            Err(ServeFault::NotShown(_)) => spoiled += 1,
        }
    }
    let what: Vec<_> = resources.iter().map(reference).collect();
    served::remember(gw, live.doctor, &resources).await?;
    let text = query_text(resource_type, parameters);
    let failed = (spoiled > 0).then_some("integrity");
    receipts::access(gw, caller, live, slot, &Deed { kind: AuditKind::Query, what: &what, query: Some(&text), failed });
    Ok(Found { resources, outcomes: outcomes(live.missing(), spoiled) })
}

/// Whoever is named by any of the ids that the session's patient has here is the session's patient.
async fn narrow_to_patient(gw: &Gateway, live: &Live, query: &mut Query) {
    let mut left = Vec::new();
    for any in std::mem::take(&mut query.patients) {
        let mut same = false;
        for one in &any {
            same |= consents::patient_account(gw, one).await.is_ok_and(|account| account == live.patient);
        }
        if !same {
            left.push(any);
        }
    }
    query.patients = left;
}

fn fits(query: &Query, one: &Indexed) -> bool {
    let updated = DateRange::parse(&instant(one.row.last_updated));
    query.matches(&one.id, &one.facts) && updated.is_some_and(|range| query.matches_last_updated(&range))
}

fn reference(one: &Foreign) -> String {
    format!("{}/{}/_history/{}", one.resource_type, one.id, one.version)
}

fn query_text(resource_type: &str, parameters: &[(String, String)]) -> String {
    let pairs: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{resource_type}?{}", pairs.join("&"))
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

/// Reads one foreign record by its local id; call it when no own record has the id.
///
/// # Errors
/// 403 when the named session is not live, or for an instance that this person was served before; else 404.
pub async fn read(
    gw: &Arc<Gateway>,
    caller: &Caller,
    named: Option<&str>,
    resource_type: &str,
    id: &str,
    version: Option<u64>,
) -> Result<Foreign, Fault> {
    let candidates = match (named, grantee::doctor_of(caller)) {
        (Some(named), _) => vec![named_session(gw, caller, named).await?],
        (None, Some(doctor)) => gw.sessions.grantee.of_doctor(doctor),
        (None, None) => return Err(Fault::not_found()),
    };
    for live in candidates {
        let row = live
            .rows()
            .into_iter()
            .find(|(custodian, row)| row.resource_type == resource_type && local_id(gw, custodian, &row.record) == id);
        let Some((custodian, row)) = row else { continue };
        if version.is_some_and(|v| v != row.version.0) {
            continue;
        }
        match grantee::check(gw, caller, &live).await {
            Ok(session) => return read_row(gw, caller, &live, &session, custodian, row).await,
            Err(fault) if fault.status == 403 => {}
            Err(fault) => return Err(fault),
        }
    }
    let served = match grantee::doctor_of(caller) {
        Some(doctor) => served::was_served(gw, doctor, resource_type, id)?,
        None => false,
    };
    if served {
        return Err(Fault::forbidden(Code::SessionNotLive.name(), "there is no live session for this record"));
    }
    Err(Fault::not_found())
}

async fn read_row(
    gw: &Arc<Gateway>,
    caller: &Caller,
    live: &Arc<Live>,
    session: &Session,
    custodian: AccountId,
    row: Arc<manifest::ManifestRow>,
) -> Result<Foreign, Fault> {
    let slot = gw.audit.reserve().await.map_err(|_| Fault::unavailable("the audit log cannot write"))?;
    let slot = slot.about(about(caller, live));
    let what =
        vec![format!("{}/{}/_history/{}", row.resource_type, local_id(gw, &custodian, &row.record), row.version)];
    let outcome = match foreign::index(gw, live, custodian, &row).await {
        Ok(indexed) => foreign::serve(gw, caller, live, session, &indexed).await,
        Err(not_shown) => Err(ServeFault::NotShown(not_shown)),
    };
    let deed = |failed| Deed { kind: AuditKind::Read, what: &what, query: None, failed };
    match outcome {
        Ok(resource) => {
            if let Err(fault) = grantee::check(gw, caller, live).await {
                slot.release();
                return Err(fault);
            }
            served::remember(gw, live.doctor, std::slice::from_ref(&resource)).await?;
            receipts::access(gw, caller, live, slot, &deed(None));
            Ok(resource)
        }
        Err(ServeFault::Denied(_)) => {
            slot.release();
            Err(Fault::not_found())
        }
        Err(ServeFault::NotShown(not_shown)) => {
            if let NotShown::Integrity(why) = &not_shown {
                tracing::error!(custodian = %custodian, why, "a foreign record is not what was anchored and is not served");
            }
            let failed = if matches!(not_shown, NotShown::Integrity(_)) { "integrity" } else { "not-shown" };
            receipts::access(gw, caller, live, slot, &deed(Some(failed)));
            Err(not_shown.into())
        }
    }
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

/// How many custodians have not answered a session of this gateway yet; none when it is not one, or is over.
pub fn missing(gw: &Gateway, session: &SessionId) -> Option<usize> {
    gw.sessions.grantee.get(session).map(|live| live.missing())
}
