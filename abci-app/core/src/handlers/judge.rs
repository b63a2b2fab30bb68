//! `vouchsafe/verdict`: an authority verifies, suspends, reinstates or revokes a credential.

use vouchsafe_types::{
    AccountId, Code, CredentialId, Event, TimeMs,
    state::{Account, Credential, CredentialStatus},
    tx::{Judge, Role, Verdict as Decision},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read, rules};

/// A credential that may go where the authority sends it.
pub(crate) struct Facts {
    subject: AccountId,
    account: Account,
    id: CredentialId,
    credential: Credential,
    authority: AccountId,
    verdict: Decision,
    valid_until: Option<TimeMs>,
}

impl Handler for Judge {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let authority = view.actor.id();
        if view.actor.account.role != Role::Authority {
            return Code::NotAllowed.refuse(format!("{authority} is no authority"));
        }
        rules::verified_organization(view.state, &view.actor, view.now())?;
        if self.subject == authority {
            return Code::NotAllowed.refuse("an authority does not judge itself");
        }
        let account = rules::account(view.state, &self.subject)?;
        let Some(credential) = view.state.credential(&self.subject, &self.credential) else {
            return Code::NotFound.refuse(format!("{} has no credential {}", self.subject, self.credential));
        };
        transition(self.verdict, credential.status)?;
        times(self, view.now())?;
        Ok(Facts {
            subject: self.subject,
            account,
            id: self.credential,
            credential,
            authority,
            verdict: self.verdict,
            valid_until: self.valid_until,
        })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { subject, mut account, id, mut credential, authority, verdict, valid_until } = facts;
        let mut delta = Delta::default();
        credential.authority = Some(authority);
        credential.status = match verdict {
            Decision::Verify | Decision::Reinstate => CredentialStatus::Verified,
            Decision::Suspend => CredentialStatus::Suspended,
            Decision::Revoke => CredentialStatus::Revoked,
        };
        if valid_until.is_some() {
            credential.valid_until = valid_until;
        }
        if matches!(verdict, Decision::Suspend | Decision::Revoke) {
            // One number ends every session that stored the older one.
            credential.generation = credential.generation.next();
            if account.role.is_organization() {
                account.generation = account.generation.next();
                delta.put_account(&subject, &account);
            }
        }
        delta.put_credential(&subject, &id, &credential);
        (delta, vec![Event::Verdict { subject, credential: id, authority, verdict }])
    }
}

fn transition(verdict: Decision, from: CredentialStatus) -> Verdict<()> {
    let may = match verdict {
        Decision::Verify => from == CredentialStatus::Pending,
        Decision::Suspend => from == CredentialStatus::Verified,
        Decision::Reinstate => from == CredentialStatus::Suspended,
        Decision::Revoke => from != CredentialStatus::Revoked,
    };
    if !may {
        return Code::BadTransition.refuse(format!("{verdict:?} does not follow {from:?}"));
    }
    Ok(())
}

/// A verification has an end; taking it back has none.
fn times(judge: &Judge, now: TimeMs) -> Verdict<()> {
    let gives = matches!(judge.verdict, Decision::Verify | Decision::Reinstate);
    match judge.valid_until {
        Some(until) if gives && until > now => Ok(()),
        None if !gives => Ok(()),
        other => Code::BadTimes.refuse(format!("{:?} with validUntil {other:?}, block time is {now}", judge.verdict)),
    }
}
