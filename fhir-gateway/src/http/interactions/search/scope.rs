//! Who may search what: judged before any look-up, by the patients that a search names and by the session it is made in.

use std::sync::Arc;

use vouchsafe_fhir_search::Query;
use vouchsafe_types::{AccountId, Code, RecordId, SessionId};

use crate::{
    auth::{Caller, Who},
    gateway::Gateway,
    http::Fault,
    policy::{self, Act},
    records::Chart,
    sessions::{self, Live, View},
};

/// What a search goes through.
pub(super) struct Scope {
    /// The own charts; none for all.
    pub(super) charts: Option<Vec<RecordId>>,
    /// The session whose foreign records are looked through as well.
    pub(super) session: Option<InSession>,
    /// The one patient's chart that is named, or the caller's own.
    pub(super) one_chart: Option<Chart>,
    /// True when other organisations would have been asked, and could not be.
    pub(super) nobody_asked: bool,
}

/// A live session of the caller.
pub(super) struct InSession {
    pub(super) live: Arc<Live>,
    pub(super) view: View,
}

/// In which session a search is made.
pub(super) enum Which {
    /// The one that the call names, if it names one; else the newest live one for the one patient that the search names.
    Named(Option<SessionId>),
    /// The one that the first page was made in, if it was in one.
    Same(Option<SessionId>),
}

/// Judges a search: the patients that it names, and its session.
///
/// # Errors
/// 403 for a patient whom the caller may not name, and for a session that is not a live one of the caller for the patients
/// named; 503 when a session is named and the ledger is stale.
pub(super) async fn judge(
    gw: &Arc<Gateway>,
    caller: &Caller,
    query: &Query,
    accounts: &[AccountId],
    which: Which,
) -> Result<Scope, Fault> {
    let (named, charts) = named(gw, caller, query, accounts)?;
    let own = match &caller.who {
        Who::Patient { account } => Some(gw.charts.by_account(account)),
        Who::System | Who::Authority { .. } | Who::Practitioner { .. } => None,
    };
    let one_chart = match (own.as_deref(), charts.as_slice()) {
        (_, [one]) | (Some([one]), []) => Some(one.clone()),
        _ => None,
    };
    let charts = own.map(|own| own.iter().map(|chart| chart.id).collect());
    let mut scope = Scope { charts, session: None, one_chart, nobody_asked: false };
    if !matches!(caller.who, Who::Practitioner { .. }) {
        return Ok(scope);
    }
    let live = match which {
        Which::Same(None) => None,
        Which::Named(Some(id)) | Which::Same(Some(id)) => {
            let live = sessions::judge(gw, caller, Some(&id.to_string()), None).await?;
            if live.as_ref().is_some_and(|live| named.iter().flatten().any(|account| *account != live.patient)) {
                return Err(Fault::forbidden(Code::NotGranted.name(), "the session is for another patient"));
            }
            live
        }
        Which::Named(None) => match of_one_patient(gw, caller, &named).await {
            // The own part does not wait for a ledger that is away: the answer says that sources are missing.
            Err(fault) if fault.status == 503 => {
                scope.nobody_asked = true;
                None
            }
            other => other?,
        },
    };
    if let Some(live) = live {
        let view = sessions::view(gw, caller, &live).await?;
        scope.session = Some(InSession { live, view });
    }
    Ok(scope)
}

/// The newest live session for the patient, when all that are named are one.
async fn of_one_patient(
    gw: &Arc<Gateway>,
    caller: &Caller,
    named: &[Option<AccountId>],
) -> Result<Option<Arc<Live>>, Fault> {
    let Some(Some(first)) = named.first() else { return Ok(None) };
    if named.iter().any(|account| *account != Some(*first)) {
        return Ok(None);
    }
    sessions::judge(gw, caller, None, Some(*first)).await
}

/// The accounts of the patients that a search names, none for one who has no chart here or has not linked it, and their
/// charts.
fn named(
    gw: &Gateway,
    caller: &Caller,
    query: &Query,
    accounts: &[AccountId],
) -> Result<(Vec<Option<AccountId>>, Vec<Chart>), Fault> {
    let mut named: Vec<Option<AccountId>> = accounts.iter().map(|account| Some(*account)).collect();
    // Judged first: what an account stands for here is nobody's business who may not name it.
    for patient in &named {
        policy::decide(caller, &Act::NamePatient { patient: *patient })?;
    }
    let mut charts: Vec<Chart> = Vec::new();
    for id in query.named_patients() {
        let chart = id.parse().ok().and_then(|id: RecordId| gw.charts.by_id(&id));
        let patient = chart.as_ref().and_then(|chart| chart.account);
        policy::decide(caller, &Act::NamePatient { patient })?;
        named.push(patient);
        charts.extend(chart.filter(|chart| charts.iter().all(|known| known.id != chart.id)));
    }
    Ok((named, charts))
}
