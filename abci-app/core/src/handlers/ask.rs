//! `vouchsafe/request`: a doctor asks a patient for access.

use vouchsafe_types::{
    Code, Event, RequestId, TimeMs,
    state::{Params, Request, TAGS, tags_ascend},
    tx::{Ask, Role},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, queues::Deadline, read::Read, rules};

/// A request by somebody who may make it.
pub(crate) struct Facts {
    id: RequestId,
    request: Request,
}

impl Handler for Ask {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let doctor = view.actor.id();
        if view.actor.account.role != Role::Doctor {
            return Code::NotAllowed.refuse(format!("{doctor} is no doctor"));
        }
        rules::mandated(&view.actor, &self.organization)?;
        rules::stand(view.state, &doctor, &self.credential, &self.organization, view.now())?;
        let patient = rules::account(view.state, &self.patient)?;
        if patient.role != Role::Patient {
            return Code::NotAllowed.refuse(format!("{} is no patient", self.patient));
        }
        if self.terms.tags.len() != TAGS || !tags_ascend(&self.terms.tags) {
            return Code::BadTags.refuse(format!("{} tags, or not ascending; must be {TAGS}", self.terms.tags.len()));
        }
        times(self, view.now(), &view.params)?;
        let id = RequestId::derive(&doctor, &self.nonce);
        if view.state.request(&id).is_some() {
            // A nonce is forgotten once its minute is over; the request that it named is not.
            return Code::AlreadyExists.refuse(format!("request {id} exists; the nonce was used long ago"));
        }
        let request = Request {
            doctor,
            organization: self.organization,
            patient: self.patient,
            credential: self.credential,
            asked: self.terms.clone(),
            answer_by: self.answer_by,
            at: view.now(),
            by: view.actor.signer(),
            decision: None,
        };
        Ok(Facts { id, request })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { id, request } = facts;
        let mut delta = Delta::default();
        delta.put_request(&id, &request);
        delta.queue(Deadline::Answer(request.answer_by, id));
        let Request { doctor, organization, patient, .. } = request;
        (delta, vec![Event::Requested { request: id, doctor, organization, patient }])
    }
}

/// now < answerBy < validUntil, within the limits of the chain.
fn times(ask: &Ask, now: TimeMs, params: &Params) -> Verdict<()> {
    let terms = &ask.terms;
    let latest = now.plus(params.max_grant_ms.0);
    if !(now < ask.answer_by && ask.answer_by < terms.valid_until && terms.valid_until <= latest) {
        return Code::BadTimes.refuse(format!(
            "must be {now} < answerBy {} < validUntil {} <= {latest}",
            ask.answer_by, terms.valid_until
        ));
    }
    if terms.session_ms.0 == 0 || terms.session_ms > params.max_session_ms {
        return Code::BadTimes
            .refuse(format!("sessionMs {} must be from 1 to {}", terms.session_ms, params.max_session_ms));
    }
    Ok(())
}
