//! `vouchsafe/revoke`: the patient takes a grant back, and every session under it is over.

use vouchsafe_types::{Code, Event, RequestId, TimeMs, state::Request, tx::Revoke};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, queues::Deadline, read::Read, rules};

/// A grant of the signer.
pub(crate) struct Facts {
    id: RequestId,
    request: Request,
}

impl Handler for Revoke {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let Some(request) = view.state.request(&self.grant) else {
            return Code::NotFound.refuse(format!("there is no grant {}", self.grant));
        };
        let signer = view.actor.id();
        if signer != request.patient {
            return Code::NotThePatient.refuse(format!("the grant is {}'s, not {signer}'s", request.patient));
        }
        rules::grant_stands(&request, view.now())?;
        Ok(Facts { id: self.grant, request })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { id, mut request } = facts;
        let mut delta = Delta::default();
        if let Some(decision) = &mut request.decision {
            decision.revoked = Some(now);
            decision.generation = decision.generation.next();
            if let Some(terms) = &decision.granted {
                delta.unqueue(Deadline::Grant(terms.valid_until, id));
            }
        }
        delta.put_request(&id, &request);
        let Request { doctor, organization, patient, .. } = request;
        (delta, vec![Event::Revoked { request: id, doctor, organization, patient }])
    }
}
