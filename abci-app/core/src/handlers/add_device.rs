//! `vouchsafe/device`: an account adds a further device, or an organisation a further key.

use vouchsafe_types::{
    AccountId, Code, Event, Kid, TimeMs,
    state::{Account, Key, KeyRole},
    tx::{AddDevice, Payload},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, rules};

/// The most live devices of one account: everything for its owner is sealed to each of them.
const MAX_DEVICES: usize = 16;

/// A key that said itself that it wants to belong to the account.
pub(crate) struct Facts {
    id: AccountId,
    account: Account,
    kid: Kid,
    key: Key,
}

impl Handler for AddDevice {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        rules::device_key(&view.actor)?;
        if view.actor.account.devices.len() >= MAX_DEVICES {
            return Code::TooLarge.refuse(format!("an account has at most {MAX_DEVICES} devices"));
        }
        rules::unknown_key(view.state, &self.ed25519)?;
        let id = view.actor.id();
        rules::accepted(&self.acceptance, view.block, &self.ed25519, &id, Self::TYP)?;
        let key =
            Key { account: id, ed25519: self.ed25519, role: KeyRole::Device, rsa: Some(self.rsa.clone()), ended: None };
        Ok(Facts { id, account: view.actor.account.clone(), kid: self.ed25519.kid(), key })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { id, mut account, kid, key } = facts;
        account.devices.push(kid);
        let mut delta = Delta::default();
        delta.put_account(&id, &account);
        delta.put_key(&kid, &key);
        (delta, vec![Event::KeyAdded { account: id, kid }])
    }
}
