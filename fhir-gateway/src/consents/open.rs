//! `$open-session` and `$end-session` by the doctor, `$revoke` by the patient.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Code, RequestId, SessionId, keys,
    state::Session,
    tx::{End, Open, Revoke, Tx},
};

use super::{
    Consents, Prepared,
    access::{self, Found},
    ledger_fault,
    signing::{self, Hand},
};
use crate::{
    auth::{Caller, Who},
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::{self, View},
    seal::{RsaUnwrap, device::RsaKey},
    sessions::{Admission, Live},
};

/// `POST Consent/{id}/$open-session`.
///
/// # Errors
/// As an OperationOutcome: 403 with the ledger's code.
pub async fn open_session(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: RequestId,
    _body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let (doctor, hand) = signing::doctor(caller)?;
    let found = access::find(gw, id).await?;
    check_doctor(gw, &found, doctor)?;
    if let Some(terms) = found.request.decision.as_ref().and_then(|d| d.granted.as_ref())
        && let Some(sealed) = super::detail(gw, id, terms.detail).await
    {
        signing::within_reach(&hand, &sealed.detail)?;
    }
    if prepare {
        return prepare_open(gw, id).await;
    }
    match (&hand, tx) {
        (Hand::Wallet(_), Some(raw)) => {
            let Tx::Open(signed) = signing::presented(gw, &raw, doctor, Code::NotTheDoctor).await? else {
                return Err(signing::not_what_was_prepared("it opens no session"));
            };
            let Some(Prepared::Open(prepared)) = gw.consents.recall(&signed.nonce) else {
                return Err(signing::not_what_was_prepared("nothing was prepared with its nonce"));
            };
            let (open, key) = *prepared;
            // A key of somebody else's would have every custodian wrap the grant's keys to them.
            if signed.recipient != key.public() {
                return Err(
                    signing::not_what_was_prepared("its recipient is not this gateway's key").code("substituted-key")
                );
            }
            if signed != open || open.grant != id {
                return Err(signing::not_what_was_prepared("the payload was altered"));
            }
            commit(gw, &found, doctor, &open, key, raw).await
        }
        (Hand::Wallet(_), None) => Err(signing::unsigned()),
        (Hand::Keystore(_), _) => {
            let (open, key) = make(gw, id).await?;
            let raw = signing::text(gw, &hand, None, &Tx::from(open.clone()))?;
            commit(gw, &found, doctor, &open, key, raw).await
        }
    }
}

/// `POST Consent/{id}/$end-session`, by the doctor or the patient.
///
/// # Errors
/// As an OperationOutcome: 403 with the ledger's code.
pub async fn end_session(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: RequestId,
    _body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let found = access::find(gw, id).await?;
    let (person, hand) = match &caller.who {
        Who::Practitioner { .. } => {
            let (doctor, hand) = signing::doctor(caller)?;
            check_doctor(gw, &found, doctor)?;
            ((doctor, Code::NotTheDoctor), hand)
        }
        _ => ((found.request.patient, Code::NotThePatient), patient_hand(gw, caller, &found).await?),
    };
    let session = found
        .request
        .decision
        .as_ref()
        .and_then(|d| d.session)
        .ok_or_else(|| Fault::forbidden(Code::SessionNotLive.name(), "no session was opened under this grant"))?;
    let same = |tx: &Tx| matches!(tx, Tx::End(end) if end.session == session);
    let make = || {
        let (nonce, expires) = signing::envelope(gw);
        Tx::from(End { nonce, expires, session })
    };
    if let Some(reply) = simple(gw, person, &hand, tx, prepare, same, make).await? {
        return Ok(reply);
    }
    gw.sessions.ended(&session);
    access::reply(gw, 200, id).await
}

/// `POST Consent/{id}/$revoke`, by the patient.
///
/// # Errors
/// As an OperationOutcome: 403 with the ledger's code.
pub async fn revoke(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: RequestId,
    _body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let found = access::find(gw, id).await?;
    let hand = patient_hand(gw, caller, &found).await?;
    let same = |tx: &Tx| matches!(tx, Tx::Revoke(revoke) if revoke.grant == id);
    let make = || {
        let (nonce, expires) = signing::envelope(gw);
        Tx::from(Revoke { nonce, expires, grant: id })
    };
    if let Some(reply) =
        simple(gw, (found.request.patient, Code::NotThePatient), &hand, tx, prepare, same, make).await?
    {
        return Ok(reply);
    }
    gw.sessions.revoked(gw, &id);
    access::reply(gw, 200, id).await
}

async fn patient_hand(gw: &Gateway, caller: &Caller, found: &Found) -> Result<Hand, Fault> {
    let patient = found.request.patient;
    let account = View(&*gw.ledger).account(&patient).await.map_err(ledger_fault)?.ok_or_else(Fault::not_found)?;
    signing::patient(gw, caller, patient, &account)
}

/// An act whose payload says nothing but what it is about: prepared (then the answer is given), or submitted.
async fn simple(
    gw: &Arc<Gateway>,
    person: (AccountId, Code),
    hand: &Hand,
    tx: Option<String>,
    prepare: bool,
    same: impl Fn(&Tx) -> bool,
    make: impl Fn() -> Tx,
) -> Result<Option<Reply>, Fault> {
    if prepare {
        return Ok(Some(Reply::resource(200, &signing::prepared(gw, &make(), &[], Vec::new()))));
    }
    if let (Hand::Wallet(_), Some(raw)) = (hand, &tx) {
        let signed = signing::presented(gw, raw, person.0, person.1).await?;
        if !same(&signed) {
            return Err(signing::not_what_was_prepared("it is another act, or about something else"));
        }
    }
    let raw = signing::text(gw, hand, tx, &make())?;
    signing::submit(gw, raw).await?;
    Ok(None)
}

/// The doctor of the request, at the organisation that it is for.
fn check_doctor(gw: &Gateway, found: &Found, doctor: AccountId) -> Result<(), Fault> {
    if found.request.doctor != doctor {
        return Err(Fault::forbidden(Code::NotTheDoctor.name(), "the request is another doctor's"));
    }
    if found.request.organization != gw.org {
        return Err(Fault::forbidden(Code::NotAffiliated.name(), "the request is for another organisation"));
    }
    Ok(())
}

async fn make(gw: &Arc<Gateway>, grant: RequestId) -> Result<(Open, RsaKey), Fault> {
    let key = Consents::session_key(gw).await?;
    let (nonce, expires) = signing::envelope(gw);
    Ok((Open { nonce, expires, grant, recipient: key.public() }, key))
}

async fn prepare_open(gw: &Arc<Gateway>, grant: RequestId) -> Result<Reply, Fault> {
    let (open, key) = make(gw, grant).await?;
    let proofs = gw.ledger.prove(&[keys::request(&grant)]).await.map_err(ledger_fault)?;
    let jwk = serde_json::to_string(&open.recipient).map_err(|_| Fault::internal("a JWK is plain data"))?;
    let mut extra = vec![json!({ "name": "recipient", "valueString": jwk })];
    extra.extend(proofs.iter().map(|p| json!({ "name": "proof", "valueString": p.to_string() })));
    let answer = signing::prepared(gw, &Tx::from(open.clone()), &[], extra);
    let now = ledger::now(&*gw.ledger, &gw.clock);
    gw.consents.remember(open.nonce, now, Prepared::Open(Box::new((open, key))));
    Ok(Reply::resource(200, &answer))
}

/// Submits the opening and keeps the session's key; custodians hear of it from the ledger and hand over.
async fn commit(
    gw: &Arc<Gateway>,
    found: &Found,
    doctor: AccountId,
    open: &Open,
    key: RsaKey,
    raw: String,
) -> Result<Reply, Fault> {
    let id = SessionId::derive(&doctor, &open.nonce);
    let terms = found.request.decision.as_ref().and_then(|d| d.granted.as_ref());
    let sealed = match terms {
        Some(terms) => super::detail(gw, open.grant, terms.detail).await,
        None => None,
    };
    // The session is known here before the ledger tells the custodians of it: their hand-over may come at once. What
    // the ledger then says of it is what counts.
    if let Some((admission, sealed)) = sealed.and_then(|s| Some((Admission::of(open.grant, &found.request, &s)?, s))) {
        let mut expected = sealed.custodians.map(|n| usize::try_from(n.0).unwrap_or(usize::MAX));
        if !gw.charts.by_account(&found.request.patient).is_empty() {
            // The own organisation's records are read as own records; it hands nothing to itself.
            expected = expected.map(|n| n.saturating_sub(1));
        }
        let session = expected_session(found, doctor, open);
        gw.sessions.grantee.keep(Arc::new(Live::new(id, &session, key, expected, admission)));
    } else if terms.is_some() {
        return Err(
            Fault::new(409, "conflict", "the grant's sealed detail has not come to this gateway").code("no-detail")
        );
    }
    if let Err(fault) = signing::submit(gw, raw).await {
        gw.sessions.ended(&id);
        return Err(fault);
    }
    access::reply(gw, 200, open.grant).await
}

/// The session as it will be when the ledger takes the opening.
fn expected_session(found: &Found, doctor: AccountId, open: &Open) -> Session {
    let request = &found.request;
    let zero = vouchsafe_types::Count(0);
    Session {
        grant: open.grant,
        doctor,
        organization: request.organization,
        patient: request.patient,
        opened: request.at,
        expires: request.at,
        write: request.decision.as_ref().and_then(|d| d.granted.as_ref()).is_some_and(|t| t.write),
        rests_on: vouchsafe_types::state::Generations {
            grant: zero,
            credential: zero,
            affiliation: zero,
            doctor: zero,
            organization: zero,
            patient: zero,
        },
        recipient: open.recipient.clone(),
        by: request.by.clone(),
        ended: None,
    }
}
