//! `vouchsafe/affiliation`: a verified organisation takes a doctor in who signed to join.

use vouchsafe_types::{
    AccountId, Code, Count, Event, TimeMs,
    state::Affiliation,
    tx::{Affiliate, Payload, Role},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, read::Read, rules};

/// Both parties' word.
pub(crate) struct Facts {
    doctor: AccountId,
    organization: AccountId,
    /// Kept from an earlier affiliation: what rested on that one does not come back.
    generation: Count,
}

impl Handler for Affiliate {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let organization = view.actor.id();
        rules::verified_organization(view.state, &view.actor, view.now())?;
        let doctor = rules::account(view.state, &self.doctor)?;
        if doctor.role != Role::Doctor {
            return Code::NotAllowed.refuse(format!("{} is no doctor", self.doctor));
        }
        let before = view.state.affiliation(&self.doctor, &organization);
        if before.as_ref().is_some_and(|a| a.ended.is_none()) {
            return Code::AlreadyExists.refuse(format!("{} belongs to {organization}", self.doctor));
        }
        let key = rules::device_of(view.state, &self.doctor, &self.acceptance)?;
        rules::accepted(&self.acceptance, view.block, &key.ed25519, &organization, Self::TYP)?;
        let generation = before.map_or(Count(0), |a| a.generation);
        Ok(Facts { doctor: self.doctor, organization, generation })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { doctor, organization, generation } = facts;
        let mut delta = Delta::default();
        delta.put_affiliation(&doctor, &organization, &Affiliation { since: now, ended: None, generation });
        (delta, vec![Event::Affiliated { doctor, organization }])
    }
}
