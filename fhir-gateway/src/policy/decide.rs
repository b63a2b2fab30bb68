//! The decision over own records and over the use of routes. Over other custodians' records decides `session`.

use vouchsafe_types::{AccountId, Code};

use super::{Basis, Denied, Permit};
use crate::{
    auth::{Caller, Who},
    fhir::capability::Permission,
};

/// What is asked for, with the facts that it is judged by.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// To read an own record of this custodian. The custodian's staff was judged by `staff` before.
    ReadOwn {
        /// The account that the record's chart is linked with; none for the organisation's own records, and for a
        /// chart that nobody has linked.
        patient: Option<AccountId>,
    },
    /// To write an own record of this custodian.
    WriteOwn,
    /// To name a patient in a search: judged before any look-up, so by the account alone.
    NamePatient {
        /// The account that the chart named is linked with, if there is such a chart.
        patient: Option<AccountId>,
    },
}

/// Decides. The one place where a permit for somebody's reading is made.
///
/// # Errors
/// `Denied`, with 404 where the existence of a record would be told.
pub fn decide(caller: &Caller, act: &Act) -> Result<Permit, Denied> {
    match (act, &caller.who) {
        (Act::ReadOwn { .. } | Act::WriteOwn | Act::NamePatient { .. }, Who::System | Who::Authority { .. })
        | (Act::ReadOwn { .. } | Act::WriteOwn | Act::NamePatient { .. }, Who::Practitioner { .. }) => {
            Ok(Permit::new(Basis::OwnRecord))
        }
        (Act::ReadOwn { patient }, Who::Patient { account }) => {
            if *patient == Some(*account) {
                Ok(Permit::new(Basis::Patient))
            } else {
                Err(Denied::hidden())
            }
        }
        (Act::NamePatient { patient }, Who::Patient { account }) => {
            if *patient == Some(*account) {
                Ok(Permit::new(Basis::Patient))
            } else {
                Err(Denied::forbidden(Code::NotThePatient.name(), "only the patient's own chart may be named"))
            }
        }
        (Act::WriteOwn, Who::Patient { .. }) => {
            Err(Denied::forbidden(Code::NotAllowed.name(), "only the custodian's own clients and staff write"))
        }
    }
}

/// Whether a kind of caller may use a route at all.
///
/// # Errors
/// 403 `not-the-patient`, `not-the-doctor` or `not-allowed`.
pub fn may_use(permission: Permission, caller: &Caller) -> Result<(), Denied> {
    let who = &caller.who;
    let staff = matches!(who, Who::Practitioner { .. });
    let system = matches!(who, Who::System | Who::Authority { .. });
    let patient = matches!(who, Who::Patient { .. });
    let may = match permission {
        Permission::Public | Permission::Reads => true,
        Permission::WritesOwn => system || staff,
        Permission::Practitioner => staff,
        // The organisation's system stands in for a patient whose account is custodial, for nobody else.
        Permission::Patient => patient || system,
        Permission::ConsentParty => patient || staff || system,
        // A system may carry what an authority signed with its own key elsewhere.
        Permission::Authority | Permission::Organization => system,
    };
    if may {
        return Ok(());
    }
    let code = match permission {
        Permission::Patient => Code::NotThePatient,
        Permission::Practitioner => Code::NotTheDoctor,
        _ => Code::NotAllowed,
    };
    Err(Denied::forbidden(code.name(), "this call is not for this kind of caller"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCTOR: AccountId = AccountId([1; 16]);
    const PATIENT: AccountId = AccountId([2; 16]);

    fn caller(who: Who) -> Caller {
        Caller { client_id: "c".into(), who, purpose: None, device: None }
    }

    fn doctor() -> Caller {
        caller(Who::Practitioner { account: DOCTOR, record: None, agent: None })
    }

    #[test]
    fn a_patient_reads_the_own_chart_only() {
        let patient = caller(Who::Patient { account: PATIENT });
        assert_eq!(decide(&patient, &Act::ReadOwn { patient: Some(PATIENT) }).unwrap().basis(), Basis::Patient);
        assert_eq!(decide(&patient, &Act::ReadOwn { patient: Some(DOCTOR) }).unwrap_err().status, 404);
        assert_eq!(decide(&patient, &Act::ReadOwn { patient: None }).unwrap_err().status, 404);
        assert_eq!(decide(&patient, &Act::NamePatient { patient: None }).unwrap_err().status, 403);
        assert_eq!(decide(&patient, &Act::WriteOwn).unwrap_err().status, 403);
    }

    #[test]
    fn routes_are_for_their_callers() {
        let patient = caller(Who::Patient { account: PATIENT });
        let system = caller(Who::System);
        assert!(may_use(Permission::WritesOwn, &patient).is_err());
        assert!(may_use(Permission::Practitioner, &system).is_err());
        assert!(may_use(Permission::Patient, &doctor()).is_err());
        assert!(may_use(Permission::Authority, &doctor()).is_err());
        assert!(may_use(Permission::Organization, &patient).is_err());
        assert!(may_use(Permission::Reads, &patient).is_ok());
    }
}
