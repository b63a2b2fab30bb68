//! `vouchsafe/end`: the doctor or the patient ends a session.

use vouchsafe_types::{Code, Event, SessionId, TimeMs, state::Session, tx::End};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict, queues::Deadline, read::Read, rules};

/// A live session that one of its parties ends.
pub(crate) struct Facts {
    id: SessionId,
    session: Session,
}

impl Handler for End {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let Some(session) = view.state.session(&self.session) else {
            return Code::NotFound.refuse(format!("there is no session {}", self.session));
        };
        party(view, &session)?;
        rules::live(view.state, &session, view.now())?;
        Ok(Facts { id: self.session, session })
    }

    fn execute(facts: Facts, now: TimeMs) -> Outcome {
        let Facts { id, mut session } = facts;
        let mut delta = Delta::default();
        delta.unqueue(Deadline::Session(session.expires, id));
        session.ended = Some(now);
        delta.put_session(&id, &session);
        let Session { grant, organization, patient, .. } = session;
        (delta, vec![Event::Ended { session: id, grant, organization, patient }])
    }
}

/// The doctor, by a device or by the agent of the session's organisation; the patient; for a custodial account also
/// the organisation that holds it.
fn party<S: StateRead>(view: &View<'_, S>, session: &Session) -> Verdict<()> {
    let signer = view.actor.id();
    if signer == session.doctor {
        return rules::mandated(&view.actor, &session.organization);
    }
    let patient = rules::account(view.state, &session.patient)?;
    if signer == session.patient || (patient.custodial && signer == patient.sponsor) {
        return Ok(());
    }
    Code::NotTheDoctor.refuse(format!("{signer} is neither the doctor nor the patient of the session"))
}
