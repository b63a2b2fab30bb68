//! A submission with its audit: slots before, one event for each patient after, receipts for uploads in a session.

use std::{collections::BTreeMap, sync::Arc};

use vouchsafe_types::{AccountId, RecordId, SessionId};

use crate::{
    audit::Slot,
    auth::{Caller, Who},
    fhir::audit::AuditKind,
    gateway::Gateway,
    http::{
        Fault,
        call::Call,
        disclose::{self, Deed},
    },
    ledger,
    records::{Submission, SubmitError, WriteError, Written},
    sessions,
};

/// Why a submission was not done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// What it rests on is not so any more: look anew.
    Raced,
    /// One act cannot be.
    Act(usize, Fault),
    /// The whole cannot be.
    Whole(Fault),
}

/// 503 while the ledger is stale: what is written now would be acknowledged who knows when.
fn fresh(gw: &Gateway) -> Result<(), Fault> {
    ledger::fresh(&*gw.ledger, &gw.clock).map(|_| ()).map_err(|stale| {
        tracing::warn!(%stale, "nothing is written while the ledger is stale");
        Fault::unavailable("the ledger is stale; nothing was stored (with Prefer: respond-async the request waits)")
    })
}

/// Does the acts of a submission, all of them or none, audited as one interaction with each patient's chart.
///
/// # Errors
/// `Refused`; 503 when the audit log cannot be written, and then nothing is.
pub(crate) async fn commit(
    gw: &Arc<Gateway>,
    caller: &Caller,
    kind: AuditKind,
    submission: Submission,
) -> Result<Vec<Written>, Refused> {
    fresh(gw).map_err(Refused::Whole)?;
    let mut slots: BTreeMap<RecordId, (Slot, Deed)> = BTreeMap::new();
    for act in &submission.acts {
        let what = format!("{}/{}", act.resource_type, act.id);
        if let Some((_, deed)) = slots.get_mut(&act.chart) {
            deed.what.push(what);
            continue;
        }
        let deed = Deed {
            kind: Some(kind),
            chart: Some(act.chart),
            patient: gw.charts.by_id(&act.chart).and_then(|chart| chart.account),
            what: vec![what],
            session: submission.session,
            ..Deed::default()
        };
        let slot = disclose::reserve(gw).await.map_err(Refused::Whole)?.about(disclose::about(caller, &deed));
        slots.insert(act.chart, (slot, deed));
    }
    match gw.records.submit(submission).await {
        // An earlier attempt of this very request, of which it was not known, came through meanwhile.
        Ok(written) if written.iter().any(|one| one.replayed) => {
            slots.into_values().for_each(|(slot, _)| slot.release());
            Err(Refused::Raced)
        }
        Ok(written) => {
            audited(gw, caller, slots, &written);
            Ok(written)
        }
        Err(error) => {
            unwritten(gw, caller, slots, &error);
            Err(refused(error))
        }
    }
}

/// Audits what was written, and tells the patients' side of what was uploaded in a session.
fn audited(gw: &Arc<Gateway>, caller: &Caller, slots: BTreeMap<RecordId, (Slot, Deed)>, written: &[Written]) {
    for (chart, (slot, mut deed)) in slots {
        let rows = written.iter().filter(|one| one.row.chart == chart).map(|one| &one.row);
        deed.what = rows.map(disclose::reference).collect();
        // A chart that was opened by this has its account, if any, only now.
        deed.patient = gw.charts.by_id(&chart).and_then(|chart| chart.account);
        let recorded = gw.audit.record(slot, disclose::entry(gw, caller, &deed));
        if let (Some(session), Some(patient)) = (deed.session, deed.patient) {
            sessions::uploaded(gw, patient, session, recorded);
        }
    }
}

/// Gives the slots back when nothing was written; when that is not known, the log says so.
fn unwritten(gw: &Gateway, caller: &Caller, slots: BTreeMap<RecordId, (Slot, Deed)>, error: &SubmitError) {
    let unknown = matches!(error, SubmitError::Whole(WriteError::Unavailable(_)));
    for (slot, deed) in slots.into_values() {
        if unknown {
            gw.audit.record(slot, disclose::entry(gw, caller, &Deed { failed: Some("unavailable"), ..deed }));
        } else {
            slot.release();
        }
    }
}

pub(super) fn refused(error: SubmitError) -> Refused {
    match error {
        // The record was there when it was looked at, or is new: what is not there is the Patient of its chart.
        SubmitError::Act { number, why: WriteError::NotFound } => {
            let fault = Fault::invalid("the Patient whose chart it belongs to is deleted").code("patient-deleted");
            Refused::Act(number, fault)
        }
        SubmitError::Act { number, why } => Refused::Act(number, why.into()),
        SubmitError::Raced { .. } => Refused::Raced,
        SubmitError::KeyReused => {
            let fault = Fault::invalid("another request had this Idempotency-Key").at("Idempotency-Key");
            Refused::Whole(fault.code("key-reused"))
        }
        SubmitError::Whole(why) => Refused::Whole(why.into()),
    }
}

/// The session that a call names, judged for the patients of everything that is written: there must be one patient.
///
/// # Errors
/// 403 when it is not a live one of this caller, for this patient, that allows writing.
pub(crate) async fn session_for(
    call: &Call,
    patients: impl IntoIterator<Item = Option<AccountId>>,
) -> Result<Option<SessionId>, Fault> {
    let Some(named) = call.session()? else { return Ok(None) };
    let caller = call.caller()?;
    if !matches!(caller.who, Who::Practitioner { .. }) {
        return Err(Fault::forbidden("not-the-doctor", "only a practitioner acts in a session"));
    }
    let mut judged = None;
    for patient in patients {
        let Some(patient) = patient else {
            return Err(Fault::forbidden("not-the-patient", "the session is not for the patient of this chart"));
        };
        if judged != Some(patient) {
            sessions::upload(&call.gw, caller, &named.to_string(), patient).await?;
            judged = Some(patient);
        }
    }
    Ok(judged.map(|_| named))
}
