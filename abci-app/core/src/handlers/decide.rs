//! `vouchsafe/decision`: the patient approves, perhaps less than was asked, or denies.

use vouchsafe_types::{
    Code, Count, Event, RequestId, TimeMs,
    state::{Decision, Request, tags_ascend},
    tx::{Decide, Terms},
};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, queues::Deadline, read::Read, rules};

/// A decision that its signer may make.
pub(crate) struct Facts {
    id: RequestId,
    request: Request,
    decision: Decision,
}

impl Handler for Decide {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let now = view.now();
        let Some(request) = view.state.request(&self.request) else {
            return Code::NotFound.refuse(format!("there is no request {}", self.request));
        };
        let custodial = signs_for_patient(view, &request)?;
        if let Some(decision) = &request.decision {
            return Code::NotRequested.refuse(format!("it was decided at {}", decision.at));
        }
        if now >= request.answer_by {
            return Code::Lapsed.refuse(format!("it could be answered until {}", request.answer_by));
        }
        if let Some(granted) = &self.granted {
            if custodial {
                not_own_doctor(view, &request)?;
            }
            within(granted, &request.asked, now)?;
        }
        let decision = Decision {
            at: now,
            by: view.actor.signer(),
            custodial,
            granted: self.granted.clone(),
            generation: Count(0),
            revoked: None,
            session: None,
            spent: false,
        };
        Ok(Facts { id: self.request, request, decision })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { id, mut request, decision } = facts;
        let Request { doctor, organization, patient, answer_by, .. } = request;
        let mut delta = Delta::default();
        delta.unqueue(Deadline::Answer(answer_by, id));
        let event = match &decision.granted {
            Some(terms) => {
                delta.queue(Deadline::Grant(terms.valid_until, id));
                Event::Granted { request: id, doctor, organization, patient }
            }
            None => Event::Denied { request: id, doctor, organization, patient },
        };
        request.decision = Some(decision);
        delta.put_request(&id, &request);
        (delta, vec![event])
    }
}

/// Whether the signer is the patient (`false`) or the organisation that openly holds a custodial account (`true`): by
/// its own key, or by the account's first key, which lies in its keystore.
fn signs_for_patient<S: StateRead>(view: &View<'_, S>, request: &Request) -> Verdict<bool> {
    if view.actor.id() == request.patient && !view.actor.is_custodial_key() {
        return Ok(false);
    }
    let patient = rules::account(view.state, &request.patient)?;
    let custodian = view.actor.is_custodial_key() && view.actor.id() == request.patient
        || patient.custodial && view.actor.id() == patient.sponsor;
    if !custodian {
        return Code::NotThePatient.refuse(format!("{} does not decide for {}", view.actor.id(), request.patient));
    }
    rules::organization_stands(view.state, &patient.sponsor, view.now())?;
    Ok(true)
}

/// The custodial organisation never lets its own doctors in.
fn not_own_doctor<S: StateRead>(view: &View<'_, S>, request: &Request) -> Verdict<()> {
    let custodian = rules::account(view.state, &request.patient)?.sponsor;
    let own = request.organization == custodian
        || view.state.affiliation(&request.doctor, &custodian).is_some_and(|a| a.ended.is_none());
    if own {
        return Code::OwnDoctor.refuse(format!("{custodian} holds the account and employs {}", request.doctor));
    }
    Ok(())
}

/// A grant never exceeds its request.
fn within(granted: &Terms, asked: &Terms, now: TimeMs) -> Verdict<()> {
    if granted.tags.is_empty() || !tags_ascend(&granted.tags) {
        return Code::BadTags.refuse("a grant lists one tag or more, ascending");
    }
    if granted.valid_until <= now || granted.session_ms.0 == 0 {
        return Code::BadTimes
            .refuse(format!("validUntil {} and sessionMs {} leave no time", granted.valid_until, granted.session_ms));
    }
    let wider = [
        ("tags", !granted.tags.iter().all(|tag| asked.tags.contains(tag))),
        ("write", granted.write && !asked.write),
        ("validUntil", granted.valid_until > asked.valid_until),
        ("sessionMs", granted.session_ms > asked.session_ms),
        ("standing", granted.standing && !asked.standing),
    ];
    match wider.iter().find(|(_, wider)| *wider) {
        Some((member, _)) => Code::WiderThanRequest.refuse(format!("{member} is more than was asked")),
        None => Ok(()),
    }
}
