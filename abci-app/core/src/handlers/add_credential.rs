//! `vouchsafe/credential`: a doctor or an organisation adds a credential, pending until an authority looks at it.

use vouchsafe_types::{
    AccountId, Code, Event, TimeMs,
    state::{Account, CredentialStatus},
    tx::{AddCredential, NewCredential, Role},
};

use super::{Handler, View, register::pending};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read, rules};

/// A new credential of an account.
pub(crate) struct Facts {
    subject: AccountId,
    new: NewCredential,
    /// The account with the new credential as its own, when it has no other that could still stand.
    adopts: Option<Account>,
}

impl Handler for AddCredential {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        rules::device_key(&view.actor)?;
        let account = &view.actor.account;
        if account.role == Role::Patient {
            return Code::NotAllowed.refuse("a patient has no credential");
        }
        let subject = view.actor.id();
        if view.state.credential(&subject, &self.credential.id).is_some() {
            return Code::AlreadyExists.refuse(format!("{subject} has a credential {}", self.credential.id));
        }
        let current = account.credential.and_then(|id| view.state.credential(&subject, &id));
        let adopts = current
            .is_none_or(|c| c.status == CredentialStatus::Revoked)
            .then(|| Account { credential: Some(self.credential.id), ..account.clone() });
        Ok(Facts { subject, new: self.credential.clone(), adopts })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { subject, new, adopts } = facts;
        let mut delta = Delta::default();
        delta.put_credential(&subject, &new.id, &pending(&new));
        if let Some(account) = adopts {
            delta.put_account(&subject, &account);
        }
        (delta, vec![Event::CredentialAdded { subject, credential: new.id }])
    }
}
