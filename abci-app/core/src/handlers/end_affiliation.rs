//! `vouchsafe/affiliation-end`: the doctor or the organisation ends an affiliation.

use vouchsafe_types::{AccountId, Code, Event, TimeMs, state::Affiliation, tx::EndAffiliation};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, rules};

/// An affiliation that one of its parties ends.
pub(crate) struct Facts {
    doctor: AccountId,
    organization: AccountId,
    affiliation: Affiliation,
}

impl Handler for EndAffiliation {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        rules::device_key(&view.actor)?;
        let signer = view.actor.id();
        if signer != self.doctor && signer != self.organization {
            return Code::NotAllowed.refuse(format!("{signer} is neither the doctor nor the organisation"));
        }
        let affiliation = rules::affiliated(view.state, &self.doctor, &self.organization)?;
        Ok(Facts { doctor: self.doctor, organization: self.organization, affiliation })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { doctor, organization, mut affiliation } = facts;
        affiliation.ended = Some(now);
        affiliation.generation = affiliation.generation.next();
        let mut delta = Delta::default();
        delta.put_affiliation(&doctor, &organization, &affiliation);
        (delta, vec![Event::AffiliationEnded { doctor, organization }])
    }
}
