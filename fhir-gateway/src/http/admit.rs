//! Whether a caller may use a route at all, and a doctor act here, by what the ledger says at this moment.

use vouchsafe_types::{AccountId, Code, Rejection};

use super::Fault;
use crate::{
    auth::{Caller, Who},
    fhir::capability::RouteRow,
    gateway::Gateway,
    ledger::{self, View},
    policy::{self, StaffFacts},
};

/// Admits a caller to a route. A token was given out at most some minutes ago; what it stood for then may have fallen
/// since, so a doctor's standing is asked of the ledger each time.
///
/// # Errors
/// 403 with the ledger's code for what is missing, 503 when the ledger cannot be read.
pub(crate) async fn admit(gw: &Gateway, caller: &Caller, row: &RouteRow) -> Result<(), Fault> {
    policy::may_use(row.permission, caller)?;
    if let Some(device) = &caller.device {
        let known = View(&*gw.ledger).key(device).await.map_err(Fault::from)?;
        if known.is_none_or(|key| key.ended.is_some()) {
            return Err(Rejection::new(Code::KeyEnded, "the device that signed in was ended").into());
        }
    }
    match &caller.who {
        Who::Practitioner { account, agent, .. } => {
            let mut facts = doctor_facts(gw, account).await?;
            let view = View(&*gw.ledger);
            facts.organization = organization_credential(gw).await?;
            facts.affiliation = view.affiliation(account, &gw.org).await.map_err(Fault::from)?;
            facts.agent = match agent {
                None => None,
                Some(kid) => Some(view.key(kid).await.map_err(Fault::from)?),
            };
            let now = ledger::now(&*gw.ledger, &gw.clock);
            Ok(policy::staff(&facts, account, &gw.org, now)?)
        }
        Who::System | Who::Authority { .. } | Who::Patient { .. } => Ok(()),
    }
}

async fn doctor_facts(gw: &Gateway, doctor: &AccountId) -> Result<StaffFacts, Fault> {
    let view = View(&*gw.ledger);
    let account = view.account(doctor).await.map_err(Fault::from)?;
    let credential = match account.as_ref().and_then(|a| a.credential) {
        Some(id) => view.credential(doctor, &id).await.map_err(Fault::from)?,
        None => None,
    };
    Ok(StaffFacts { account, credential, ..StaffFacts::default() })
}

async fn organization_credential(gw: &Gateway) -> Result<Option<vouchsafe_types::state::Credential>, Fault> {
    let view = View(&*gw.ledger);
    let Some(account) = view.account(&gw.org).await.map_err(Fault::from)? else { return Ok(None) };
    match account.credential {
        Some(id) => view.credential(&gw.org, &id).await.map_err(Fault::from),
        None => Ok(None),
    }
}
