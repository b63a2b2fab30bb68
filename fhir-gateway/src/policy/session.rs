//! Who may open what by a session, and what the custodian's own machinery may.

use vouchsafe_types::{AccountId, Code, RequestId, SessionId, state::Session};

use super::permit::{Basis, Permit};
use crate::auth::{Caller, Who};

/// What must be known to judge the opening of another custodian's record.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// The session, which the ledger says is live.
    pub session: &'a Session,
    /// Its id.
    pub id: SessionId,
    /// The organisation of this gateway.
    pub organization: AccountId,
    /// The patient whose record it is.
    pub patient: AccountId,
    /// Does the grant's committed detail admit the record?
    pub admitted: bool,
    /// Is it of a sensitive category?
    pub sensitive: bool,
}

/// Judges the opening of another custodian's record: the session's own doctor, at the session's own organisation, for
/// the session's own patient, and only what the grant admits; what is sensitive by the doctor's own device.
///
/// # Errors
/// The code of what is not so.
pub fn foreign(caller: &Caller, facts: &SessionFacts<'_>) -> Result<Permit, Code> {
    let Who::Practitioner { account, agent, .. } = &caller.who else { return Err(Code::NotTheDoctor) };
    if *account != facts.session.doctor || facts.session.organization != facts.organization {
        return Err(Code::NotTheDoctor);
    }
    if facts.session.patient != facts.patient || !facts.admitted {
        return Err(Code::NotGranted);
    }
    if facts.sensitive && agent.is_some() {
        return Err(Code::DeviceKeyNeeded);
    }
    Ok(Permit::new(Basis::Session { session: facts.id, grant: facts.session.grant }))
}

/// The gateway's own machinery, which looks into a record and discloses nothing of it: to tell which grant admits an
/// own record, and to index what a session was handed.
pub const fn machinery(grant: Option<(SessionId, RequestId)>) -> Permit {
    match grant {
        Some((session, grant)) => Permit::new(Basis::Session { session, grant }),
        None => Permit::new(Basis::Custodian),
    }
}
