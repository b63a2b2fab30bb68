//! `vouchsafe/key-end`: an account removes a device, or a doctor ends a mandate.

use vouchsafe_types::{
    AccountId, Code, Event, Kid, TimeMs,
    state::{Account, Key, KeyRole},
    tx::EndKey,
};

use super::{Handler, View};
use crate::{
    Delta, Outcome, StateRead, Verdict,
    admission::{Actor, is_first_key},
    read::Read,
    rules,
};

/// A live key of the signer's own account.
pub(crate) struct Facts {
    id: AccountId,
    account: Account,
    kid: Kid,
    key: Key,
}

impl Handler for EndKey {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        rules::device_key(&view.actor)?;
        let Some(key) = view.state.key(&self.kid) else {
            return Code::NotFound.refuse(format!("there is no key {}", self.kid));
        };
        let id = view.actor.id();
        if key.account != id {
            return Code::NotAllowed.refuse(format!("key {} is not {id}'s", self.kid));
        }
        if let Some(ended) = key.ended {
            return Code::KeyEnded.refuse(format!("key {} was ended at {ended}", self.kid));
        }
        if key.role == KeyRole::Device {
            may_remove(&view.actor, self.kid)?;
        }
        Ok(Facts { id, account: view.actor.account.clone(), kid: self.kid, key })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { id, mut account, kid, mut key } = facts;
        let mut delta = Delta::default();
        if key.role == KeyRole::Device {
            account.devices.retain(|device| *device != kid);
            account.generation = account.generation.next();
            // The patient's own device removed the custodial key: nobody signs for this patient any more.
            account.custodial = account.custodial && !is_first_key(&key.ed25519, &key.account);
            delta.put_account(&id, &account);
        }
        key.ended = Some(now);
        delta.put_key(&kid, &key);
        (delta, vec![Event::KeyEnded { account: id, kid }])
    }
}

/// The last device stays, because nobody could act for the account without one; and the custodial organisation does
/// not take a patient's own device away.
fn may_remove(actor: &Actor, kid: Kid) -> Verdict<()> {
    if actor.account.devices.len() <= 1 {
        return Code::NotAllowed.refuse(format!("{kid} is the account's last device"));
    }
    if actor.is_custodial_key() && kid != actor.kid {
        return Code::NotAllowed.refuse("the custodial key does not remove the patient's own device");
    }
    Ok(())
}
