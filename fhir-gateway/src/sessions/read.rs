//! One foreign record, by its local id.

use std::sync::Arc;

use vouchsafe_types::{AccountId, Code};

use super::{
    Foreign, Live, about,
    foreign::{NotShown, local_id},
    grantee, index,
    manifest::ManifestRow,
    named_session,
    receipts::{self, Deed},
    served,
    universe::ForeignKey,
    view::{self, universe},
};
use crate::{audit::Slot, auth::Caller, fhir::audit::AuditKind, gateway::Gateway, http::Fault};

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
        let Some((custodian, row)) = live.find(id).filter(|(_, row)| row.resource_type == resource_type) else {
            continue;
        };
        if version.is_some_and(|v| v != row.version.0) {
            continue;
        }
        match grantee::check(gw, caller, &live).await {
            Ok(_) => return read_row(gw, caller, &live, custodian, &row).await,
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
    custodian: AccountId,
    row: &ManifestRow,
) -> Result<Foreign, Fault> {
    live.touch((gw.clock)());
    let slot = gw.audit.reserve().await.map_err(|_| Fault::unavailable("the audit log cannot write"))?;
    let slot = slot.about(about(caller, live));
    let outcome = match opened(gw, caller, live, custodian, row).await {
        Ok(outcome) => outcome,
        Err(fault) => {
            slot.release();
            return Err(fault);
        }
    };
    let id = local_id(gw, &custodian, &row.record);
    let what = match &outcome {
        Some(Ok(resource)) => resource.reference(),
        _ => format!("{}/{id}/_history/{}", row.resource_type, row.version),
    };
    let told = |slot: Slot, failed| {
        let what = std::slice::from_ref(&what);
        receipts::access(gw, caller, live, slot, &Deed { kind: AuditKind::Read, what, query: None, failed });
    };
    match outcome {
        Some(Ok(resource)) => {
            served::remember(gw, live.doctor, std::iter::once(&resource)).await?;
            told(slot, None);
            Ok(resource)
        }
        None => {
            slot.release();
            Err(Fault::not_found())
        }
        Some(Err(not_shown)) => {
            if let NotShown::Integrity(why) = &not_shown {
                tracing::error!(custodian = %custodian, why, "a foreign record is not what was anchored and is not served");
            }
            told(slot, Some(if matches!(not_shown, NotShown::Integrity(_)) { "integrity" } else { "not-shown" }));
            Err(not_shown.into())
        }
    }
}

/// The record, or why it cannot be shown; none when the caller may not know of it.
async fn opened(
    gw: &Arc<Gateway>,
    caller: &Caller,
    live: &Arc<Live>,
    custodian: AccountId,
    row: &ManifestRow,
) -> Result<Option<Result<Foreign, NotShown>>, Fault> {
    let snapshot = index::current(gw, live).await;
    let session = grantee::check(gw, caller, live).await?;
    let found = universe(gw, caller, live, &session, &snapshot);
    let key: Option<ForeignKey> = found.doc(custodian, row.record).map(|doc| doc.key);
    let outcome = match key {
        Some(key) => view::open(gw, caller, live, &[key]).await?.0.remove(&key),
        None => snapshot.faults.get(&(custodian, row.record)).cloned().map(Err),
    };
    // Judged after the work: nothing leaves at or above the height of a revocation that came meanwhile.
    grantee::check(gw, caller, live).await?;
    Ok(outcome)
}
