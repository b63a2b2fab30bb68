//! Whether a doctor may act for an organisation now, by what the ledger says of both.

use vouchsafe_types::{
    AccountId, Code, Rejection, TimeMs,
    state::{Account, Affiliation, Credential, CredentialStatus, Key, KeyRole},
    tx::Role,
};

use super::Denied;

/// What the ledger says.
#[derive(Clone, Debug, Default)]
pub struct StaffFacts {
    /// The doctor's account.
    pub account: Option<Account>,
    /// The credential that makes it a doctor's.
    pub credential: Option<Credential>,
    /// Whether they belong to the organisation.
    pub affiliation: Option<Affiliation>,
    /// The organisation's credential.
    pub organization: Option<Credential>,
    /// The agent key by which they act, when they do not act themselves; the inner one as the ledger knows it.
    pub agent: Option<Option<Key>>,
}

/// Judges a doctor for an organisation at a time. The codes are those by which the ledger would refuse their acts.
///
/// # Errors
/// 403 with the first thing that is missing.
pub fn staff(facts: &StaffFacts, doctor: &AccountId, organization: &AccountId, now: TimeMs) -> Result<(), Denied> {
    let refuse = |code: Code, why: &str| Err(Denied::from(Rejection::new(code, why)));
    if facts.account.as_ref().is_none_or(|a| a.role != Role::Doctor) {
        return refuse(Code::NotVerified, "the caller has no doctor's account on the ledger");
    }
    if verified(facts.organization.as_ref(), now).is_err() {
        return refuse(Code::OrganizationNotVerified, "the organisation is not verified, or no longer");
    }
    verified(facts.credential.as_ref(), now)?;
    if facts.affiliation.as_ref().is_none_or(|a| a.ended.is_some()) {
        return refuse(Code::NotAffiliated, "the doctor does not belong to this organisation");
    }
    match &facts.agent {
        None => Ok(()),
        Some(key) if mandated(key.as_ref(), doctor, organization, now) => Ok(()),
        Some(_) => {
            refuse(Code::NoMandate, "the doctor has given this organisation's system no mandate, or it has run out")
        }
    }
}

/// Judges a credential at a time.
///
/// # Errors
/// 403 with the ledger's code for what it is instead of verified.
pub fn verified(credential: Option<&Credential>, now: TimeMs) -> Result<(), Denied> {
    let refuse = |code: Code, why: &str| Err(Denied::from(Rejection::new(code, why)));
    let Some(credential) = credential else { return refuse(Code::NotVerified, "there is no credential") };
    match credential.status {
        CredentialStatus::Pending => refuse(Code::NotVerified, "the credential was never verified"),
        CredentialStatus::Suspended => refuse(Code::Suspended, "the credential is suspended"),
        CredentialStatus::Revoked => refuse(Code::CredentialRevoked, "the credential is revoked"),
        CredentialStatus::Verified if credential.valid_until.is_some_and(|until| now >= until) => {
            refuse(Code::CredentialExpired, "the credential has run out")
        }
        CredentialStatus::Verified => Ok(()),
    }
}

fn mandated(key: Option<&Key>, doctor: &AccountId, organization: &AccountId, now: TimeMs) -> bool {
    let Some(key) = key.filter(|k| k.ended.is_none() && k.account == *doctor) else { return false };
    match &key.role {
        KeyRole::Agent { organization: of, until } => of == organization && now < *until,
        KeyRole::Device => false,
    }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::{Count, Hash32, OkpJwk};

    use super::*;

    const DOCTOR: AccountId = AccountId([1; 16]);
    const HOSPITAL: AccountId = AccountId([2; 16]);

    fn credential(status: CredentialStatus) -> Credential {
        Credential {
            commitment: Hash32([0; 32]),
            status,
            authority: None,
            valid_until: Some(TimeMs(100)),
            generation: Count(0),
        }
    }

    fn account(role: Role) -> Account {
        Account {
            role,
            sponsor: HOSPITAL,
            custodial: false,
            identity: Hash32([0; 32]),
            credential: None,
            generation: Count(0),
            devices: Vec::new(),
            registered: TimeMs(0),
        }
    }

    fn agent(organization: AccountId) -> Key {
        let role = KeyRole::Agent { organization, until: TimeMs(50) };
        Key { account: DOCTOR, ed25519: OkpJwk::new([0; 32]), role, rsa: None, ended: None }
    }

    fn good() -> StaffFacts {
        StaffFacts {
            account: Some(account(Role::Doctor)),
            credential: Some(credential(CredentialStatus::Verified)),
            affiliation: Some(Affiliation { since: TimeMs(0), ended: None, generation: Count(0) }),
            organization: Some(credential(CredentialStatus::Verified)),
            agent: None,
        }
    }

    fn code(change: impl FnOnce(&mut StaffFacts)) -> &'static str {
        let mut facts = good();
        change(&mut facts);
        staff(&facts, &DOCTOR, &HOSPITAL, TimeMs(10)).map_or_else(|d| d.code, |()| "ok")
    }

    #[test]
    fn each_missing_thing_has_its_code() {
        assert_eq!(code(|_| {}), "ok");
        assert_eq!(code(|f| f.account = None), "not-verified");
        assert_eq!(code(|f| f.account = Some(account(Role::Patient))), "not-verified");
        assert_eq!(code(|f| f.credential = None), "not-verified");
        assert_eq!(code(|f| f.credential = Some(credential(CredentialStatus::Pending))), "not-verified");
        assert_eq!(code(|f| f.credential = Some(credential(CredentialStatus::Suspended))), "suspended");
        assert_eq!(code(|f| f.credential = Some(credential(CredentialStatus::Revoked))), "credential-revoked");
        assert_eq!(code(|f| f.organization = None), "organization-not-verified");
        assert_eq!(code(|f| f.affiliation = None), "not-affiliated");
        assert_eq!(code(|f| f.affiliation.as_mut().unwrap().ended = Some(TimeMs(5))), "not-affiliated");
    }

    #[test]
    fn an_agent_needs_a_live_mandate_for_this_organisation() {
        assert_eq!(code(|f| f.agent = Some(Some(agent(HOSPITAL)))), "ok");
        assert_eq!(code(|f| f.agent = Some(None)), "no-mandate");
        assert_eq!(code(|f| f.agent = Some(Some(agent(AccountId([3; 16]))))), "no-mandate");
        assert_eq!(code(|f| f.agent = Some(Some(Key { ended: Some(TimeMs(1)), ..agent(HOSPITAL) }))), "no-mandate");
        let mut facts = good();
        facts.agent = Some(Some(agent(HOSPITAL)));
        assert_eq!(staff(&facts, &DOCTOR, &HOSPITAL, TimeMs(50)).unwrap_err().code, "no-mandate");
        assert_eq!(staff(&good(), &DOCTOR, &HOSPITAL, TimeMs(100)).unwrap_err().code, "organization-not-verified");
    }
}
