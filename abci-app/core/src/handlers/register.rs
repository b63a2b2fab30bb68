//! `vouchsafe/register`: a verified organisation sponsors a new account.

use vouchsafe_types::{
    AccountId, Code, Count, Event, TimeMs,
    state::{Account, Affiliation, Credential, CredentialStatus, Key, KeyRole},
    tx::{Enrolment, NewCredential, Register, Role},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read, rules};

/// A new account, as the sponsor and the new key both said it.
pub(crate) struct Facts {
    registration: Register,
    sponsor: AccountId,
    /// The doctor joins the sponsor at once.
    affiliate: bool,
}

impl Handler for Register {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        may_sponsor(view.actor.account.role, self.role)?;
        rules::verified_organization(view.state, &view.actor, view.now())?;
        if self.account != AccountId::of_key(self.ed25519.bytes()) {
            return Code::Malformed.refuse(format!("account {} is not that of its key", self.account));
        }
        if self.custodial && self.role != Role::Patient {
            return Code::NotAllowed.refuse("only a patient's account may be custodial");
        }
        if self.credential.is_some() && self.role == Role::Patient {
            return Code::NotAllowed.refuse("a patient has no credential");
        }
        // The key's own word comes first: that an account exists must not pass for its holder's consent.
        let sponsor = view.actor.id();
        let enrolment = enrolled(self, view, sponsor)?;
        if view.state.account(&self.account).is_some() {
            return Code::AlreadyExists.refuse(format!("account {} exists", self.account));
        }
        rules::unknown_key(view.state, &self.ed25519)?;
        Ok(Facts { registration: self.clone(), sponsor, affiliate: enrolment.affiliate })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { registration: r, sponsor, affiliate } = facts;
        let mut delta = Delta::default();
        let mut events = vec![Event::Registered { account: r.account, sponsor }];
        delta.put_account(&r.account, &account(&r, sponsor, now));
        delta.put_key(
            &r.ed25519.kid(),
            &Key { account: r.account, ed25519: r.ed25519, role: KeyRole::Device, rsa: Some(r.rsa), ended: None },
        );
        if let Some(new) = &r.credential {
            delta.put_credential(&r.account, &new.id, &pending(new));
            events.push(Event::CredentialAdded { subject: r.account, credential: new.id });
        }
        if affiliate {
            let joined = Affiliation { since: now, ended: None, generation: Count(0) };
            delta.put_affiliation(&r.account, &sponsor, &joined);
            events.push(Event::Affiliated { doctor: r.account, organization: sponsor });
        }
        (delta, events)
    }
}

/// Authorities sponsor organisations; hospitals and laboratories sponsor anybody; others nobody.
fn may_sponsor(sponsor: Role, role: Role) -> Verdict<()> {
    let may = match sponsor {
        Role::Authority => role.is_organization(),
        Role::Hospital | Role::Laboratory => true,
        Role::Insurer | Role::Doctor | Role::Patient => false,
    };
    if !may {
        return Code::NotAllowed.refuse(format!("{sponsor:?} may not sponsor {role:?}"));
    }
    Ok(())
}

/// The new key's own word must say the same as the registration.
fn enrolled<S>(r: &Register, view: &View<'_, S>, sponsor: AccountId) -> Verdict<Enrolment> {
    let said: Enrolment = rules::embedded(&r.enrolment, view.block, Enrolment::TYP, &r.ed25519)?;
    let same = said.account == r.account
        && said.sponsor == sponsor
        && said.role == r.role
        && said.rsa == r.rsa.kid()
        && said.custodial == r.custodial;
    if !same {
        return Code::BadAcceptance.refuse("the enrolment says otherwise than the registration");
    }
    if said.affiliate && r.role != Role::Doctor {
        return Code::BadAcceptance.refuse("only a doctor joins its sponsor");
    }
    rules::not_expired(said.expires, view.block)?;
    Ok(said)
}

fn account(r: &Register, sponsor: AccountId, now: TimeMs) -> Account {
    Account {
        role: r.role,
        sponsor,
        custodial: r.custodial,
        identity: r.identity,
        credential: r.credential.as_ref().map(|c| c.id),
        generation: Count(0),
        devices: vec![r.ed25519.kid()],
        registered: now,
    }
}

/// A credential that no authority has looked at.
pub(crate) fn pending(new: &NewCredential) -> Credential {
    Credential {
        commitment: new.commitment,
        status: CredentialStatus::Pending,
        authority: None,
        valid_until: None,
        generation: Count(0),
    }
}
