//! `vouchsafe/mandate`: a doctor's device mandates an agent key in an organisation's keystore.

use vouchsafe_types::{
    AccountId, Code, Event, Kid, TimeMs,
    state::{Key, KeyRole},
    tx::{Mandate, Role},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, rules};

/// A new agent key.
pub(crate) struct Facts {
    doctor: AccountId,
    kid: Kid,
    key: Key,
}

impl Handler for Mandate {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        rules::device_key(&view.actor)?;
        let doctor = view.actor.id();
        if view.actor.account.role != Role::Doctor {
            return Code::NotAllowed.refuse(format!("{doctor} is no doctor"));
        }
        let now = view.now();
        let latest = now.plus(view.params.max_mandate_ms.0);
        if self.until <= now || self.until > latest {
            return Code::BadTimes.refuse(format!("until {} is not after {now} and by {latest}", self.until));
        }
        rules::affiliated(view.state, &doctor, &self.organization)?;
        rules::unknown_key(view.state, &self.agent)?;
        let role = KeyRole::Agent { organization: self.organization, until: self.until };
        let key = Key { account: doctor, ed25519: self.agent, role, rsa: None, ended: None };
        Ok(Facts { doctor, kid: self.agent.kid(), key })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { doctor, kid, key } = facts;
        let mut delta = Delta::default();
        delta.put_key(&kid, &key);
        (delta, vec![Event::KeyAdded { account: doctor, kid }])
    }
}
