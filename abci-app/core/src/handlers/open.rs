//! `vouchsafe/open`: the doctor opens a session under a grant.

use vouchsafe_types::{
    Code, Event, SessionId, TimeMs,
    state::{Decision, Request, Session},
    tx::Open,
};

use super::{Handler, View};
use crate::{
    Delta, Outcome, StateRead, Verdict,
    queues::Deadline,
    read::Read,
    rules::{self, Footing},
};

/// A session that may begin, and the grant as it stands with it.
pub(crate) struct Facts {
    id: SessionId,
    session: Session,
    request: Request,
    /// When the grant would have run out, when the session spends it.
    spends: Option<TimeMs>,
}

impl Handler for Open {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let (doctor, now) = (view.actor.id(), view.now());
        let Some(mut request) = view.state.request(&self.grant) else {
            return Code::NotFound.refuse(format!("there is no grant {}", self.grant));
        };
        if request.doctor != doctor {
            return Code::NotTheDoctor.refuse(format!("the grant is for {}, not for {doctor}", request.doctor));
        }
        rules::mandated(&view.actor, &request.organization)?;
        let decision = rules::grant_stands(&request, now)?;
        if decision.spent {
            return Code::GrantSpent.refuse("the visit's one session was opened before");
        }
        none_live(view, decision)?;
        let footing = rules::footing(view.state, &request, now)?;
        let id = SessionId::derive(&doctor, &self.nonce);
        if view.state.session(&id).is_some() {
            return Code::AlreadyExists.refuse(format!("session {id} exists; the nonce was used long ago"));
        }
        let spends = take(&mut request, id);
        let session = session(self, view, &request, &footing)?;
        Ok(Facts { id, session, request, spends })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { id, session, request, spends } = facts;
        let mut delta = Delta::default();
        delta.put_session(&id, &session);
        delta.put_request(&session.grant, &request);
        delta.queue(Deadline::Session(session.expires, id));
        if let Some(valid_until) = spends {
            delta.unqueue(Deadline::Grant(valid_until, session.grant));
        }
        let Session { grant, doctor, organization, patient, .. } = session;
        (delta, vec![Event::Opened { session: id, grant, doctor, organization, patient }])
    }
}

/// One session at a time: the grant names its newest, and one that it no longer names could not be ended by its grant.
fn none_live<S: StateRead>(view: &View<'_, S>, decision: &Decision) -> Verdict<()> {
    let Some(id) = decision.session else { return Ok(()) };
    let live = view.state.session(&id).is_some_and(|s| rules::session_standing(view.state, &s, view.now()).is_ok());
    if live {
        return Code::AlreadyExists.refuse(format!("session {id} under this grant is live; end it first"));
    }
    Ok(())
}

/// Notes the session in the grant; a visit is spent with it.
fn take(request: &mut Request, id: SessionId) -> Option<TimeMs> {
    let decision = request.decision.as_mut()?;
    let terms = decision.granted.as_ref()?;
    let (standing, valid_until) = (terms.standing, terms.valid_until);
    decision.session = Some(id);
    if standing {
        return None;
    }
    decision.spent = true;
    decision.generation = decision.generation.next();
    Some(valid_until)
}

fn session<S: StateRead>(open: &Open, view: &View<'_, S>, request: &Request, footing: &Footing) -> Verdict<Session> {
    let Some(Decision { granted: Some(terms), .. }) = &request.decision else {
        return Code::NotGranted.refuse("the patient has not granted it");
    };
    let limits = [footing.credential.valid_until, footing.organization_until];
    let expires =
        limits.into_iter().flatten().fold(view.now().plus(terms.session_ms.0).min(terms.valid_until), TimeMs::min);
    Ok(Session {
        grant: open.grant,
        doctor: request.doctor,
        organization: request.organization,
        patient: request.patient,
        opened: view.now(),
        expires,
        write: terms.write,
        rests_on: footing.generations(view.state, request)?,
        recipient: open.recipient.clone(),
        by: view.actor.signer(),
        ended: None,
    })
}
