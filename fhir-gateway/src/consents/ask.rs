//! `POST Consent`: a doctor asks a patient for access (<https://hl7.org/fhir/R4/consent.html>, status `proposed`).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Code, Count, Hash32, RequestId, RsaJwk,
    tx::{Ask, Terms, Tx},
};

use super::{
    Prepared, SealedDetail, access, ledger_fault, note,
    signing::{self, Hand},
};
use crate::{
    auth::{Caller, Who},
    fhir::{self, consent::ParsedConsent},
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::{self, View, random_nonce},
    peers::{self, Message},
};

/// How long the patient may take to answer when the Consent does not say.
const ANSWER_MS: u64 = 24 * 3_600_000;

/// How long a session lasts when the Consent does not say.
const SESSION_MS: u64 = 3_600_000;

/// How long replication may hold a call up; a peer that is away gets the detail later.
pub(super) const REPLICATE: Duration = Duration::from_millis(1_500);

/// `POST Consent` and `POST Consent/$prepare`.
///
/// # Errors
/// As an OperationOutcome: 403 with the ledger's code, 422 with the element at fault.
pub async fn create(
    gw: &Arc<Gateway>,
    caller: &Caller,
    body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let (doctor, hand) = signing::doctor(caller)?;
    let parsed = fhir::consent::parse_request(body).map_err(fhir_fault)?;
    signing::within_reach(&hand, &parsed.detail)?;
    if let (Hand::Wallet(_), Some(raw), false) = (&hand, &tx, prepare) {
        return signed(gw, caller, doctor, &parsed, raw).await;
    }
    if matches!(hand, Hand::Wallet(_)) && !prepare {
        return Err(signing::unsigned());
    }
    let (ask, sealed) = make(gw, caller, doctor, &parsed).await?;
    if prepare {
        let consent = preview(gw, &ask, &sealed, doctor);
        let answer = signing::prepared(
            gw,
            &Tx::from(ask.clone()),
            &kids(gw, doctor).await?,
            vec![json!({ "name": "consent", "resource": consent })],
        );
        let now = ledger::now(&*gw.ledger, &gw.clock);
        gw.consents.remember(ask.nonce, now, Prepared::Ask(Box::new((ask, sealed))));
        return Ok(Reply::resource(200, &answer));
    }
    let tx = Tx::from(ask.clone());
    let raw = signing::text(gw, &hand, None, &tx)?;
    commit(gw, doctor, &ask, &sealed, raw).await
}

/// The wallet's second call: what was prepared, signed.
async fn signed(
    gw: &Arc<Gateway>,
    caller: &Caller,
    doctor: AccountId,
    parsed: &ParsedConsent,
    raw: &str,
) -> Result<Reply, Fault> {
    let Tx::Ask(signed) = signing::presented(gw, raw, doctor, Code::NotTheDoctor).await? else {
        return Err(signing::not_what_was_prepared("it is no request"));
    };
    let Some(Prepared::Ask(prepared)) = gw.consents.recall(&signed.nonce) else {
        return Err(signing::not_what_was_prepared("nothing was prepared with its nonce"));
    };
    let (ask, sealed) = *prepared;
    if signed != ask {
        return Err(signing::not_what_was_prepared("the payload was altered"));
    }
    check_actor(caller, doctor, parsed)?;
    if sealed.detail != parsed.detail.clone().normalized() || !asks_the_same(gw, parsed, &ask).await? {
        return Err(signing::not_what_was_prepared("the Consent is another than the one prepared"));
    }
    commit(gw, doctor, &ask, &sealed, raw.to_owned()).await
}

/// True when the Consent says of everything outside the sealed detail what was signed; what it leaves out, `$prepare`
/// chose and showed.
async fn asks_the_same(gw: &Gateway, parsed: &ParsedConsent, ask: &Ask) -> Result<bool, Fault> {
    Ok(access::patient_account(gw, &parsed.patient).await? == ask.patient
        && organization(gw, parsed)? == ask.organization
        && parsed.valid_until == ask.terms.valid_until
        && parsed.standing == ask.terms.standing
        && parsed.session_ms.unwrap_or(Count(SESSION_MS)) == ask.terms.session_ms
        && parsed.answer_by.is_none_or(|answer_by| answer_by == ask.answer_by))
}

/// The request that this Consent makes, and its detail.
async fn make(
    gw: &Gateway,
    caller: &Caller,
    doctor: AccountId,
    parsed: &ParsedConsent,
) -> Result<(Ask, SealedDetail), Fault> {
    check_actor(caller, doctor, parsed)?;
    let patient = access::patient_account(gw, &parsed.patient).await?;
    let organization = organization(gw, parsed)?;
    let account = View(&*gw.ledger).account(&doctor).await.map_err(ledger_fault)?;
    let credential = account
        .and_then(|a| a.credential)
        .ok_or_else(|| Fault::forbidden(Code::NotVerified.name(), "the doctor has no credential"))?;
    let (nonce, expires) = signing::envelope(gw);
    let salt = random_salt();
    let detail = parsed.detail.clone().normalized();
    let tags = fhir::consent::tags(&salt.0, &detail.categories, || random_nonce().0).map_err(fhir_fault)?;
    let sealed = SealedDetail { request: RequestId::derive(&doctor, &nonce), detail, salt, custodians: None };
    let now = gw.ledger.head().time;
    let ask = Ask {
        nonce,
        expires,
        organization,
        patient,
        credential,
        terms: Terms {
            tags,
            write: sealed.detail.write,
            detail: sealed.commitment(),
            valid_until: parsed.valid_until,
            session_ms: parsed.session_ms.unwrap_or(Count(SESSION_MS)),
            standing: parsed.standing,
        },
        answer_by: parsed.answer_by.unwrap_or_else(|| {
            let before_the_end = vouchsafe_types::TimeMs(parsed.valid_until.0.saturating_sub(1));
            now.plus(ANSWER_MS).min(before_the_end)
        }),
    };
    Ok((ask, sealed))
}

/// Two nonces' worth of randomness.
fn random_salt() -> Hash32 {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(&random_nonce().0);
    salt[16..].copy_from_slice(&random_nonce().0);
    Hash32(salt)
}

/// A doctor asks for nobody else.
fn check_actor(caller: &Caller, doctor: AccountId, parsed: &ParsedConsent) -> Result<(), Fault> {
    let named = parsed.practitioner.id.as_deref().unwrap_or_default();
    let own_record = match &caller.who {
        Who::Practitioner { record, .. } => record.map(|r| r.to_string()),
        _ => None,
    };
    if named == doctor.to_string() || own_record.as_deref() == Some(named) {
        return Ok(());
    }
    Err(Fault::forbidden(Code::NotTheDoctor.name(), "a doctor asks for themselves only").at("Consent.provision.actor"))
}

/// The organisation named, by its account; this one when none is. Whether the doctor belongs to it, the ledger judges.
fn organization(gw: &Gateway, parsed: &ParsedConsent) -> Result<AccountId, Fault> {
    let Some(named) = &parsed.organization else { return Ok(gw.org) };
    named
        .id
        .as_deref()
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Fault::invalid("must refer to an organisation by its account").at("Consent.organization"))
}

/// Who may know what is asked: the patient's devices and home, the doctor's devices and organisation.
pub(super) async fn readers(
    gw: &Gateway,
    patient: AccountId,
    doctor: AccountId,
    organization: AccountId,
) -> Result<Vec<RsaJwk>, Fault> {
    let view = View(&*gw.ledger);
    let mut keys = Vec::new();
    for person in [patient, doctor] {
        let devices = view.devices(&person).await.map_err(ledger_fault)?;
        keys.extend(devices.into_iter().filter_map(|(_, key)| key.rsa));
    }
    let home = view.account(&patient).await.map_err(ledger_fault)?.map(|a| a.sponsor);
    for org in home.into_iter().chain([organization]) {
        keys.extend(organization_key(gw, org).await?);
    }
    keys.sort();
    keys.dedup();
    Ok(keys)
}

/// The key that things for an organisation are wrapped to.
pub(super) async fn organization_key(gw: &Gateway, org: AccountId) -> Result<Option<RsaJwk>, Fault> {
    let endpoint = View(&*gw.ledger).endpoint(&org).await.map_err(ledger_fault)?;
    Ok(endpoint.map(|e| e.rsa))
}

/// The keys by which the doctor may sign.
async fn kids(gw: &Gateway, person: AccountId) -> Result<Vec<String>, Fault> {
    let devices = View(&*gw.ledger).devices(&person).await.map_err(ledger_fault)?;
    Ok(devices.into_iter().map(|(kid, _)| kid.to_string()).collect())
}

/// Stores and replicates the sealed detail, then submits: a request whose detail nobody can find would be unanswerable.
async fn commit(
    gw: &Arc<Gateway>,
    doctor: AccountId,
    ask: &Ask,
    sealed: &SealedDetail,
    raw: String,
) -> Result<Reply, Fault> {
    let id = sealed.request;
    let jwe = sealed.seal(&readers(gw, ask.patient, doctor, ask.organization).await?)?;
    super::keep_sealed(gw, gw.org, id, vec![jwe.clone()]).await?;
    gw.consents.learn(sealed.clone());
    peers::broadcast(gw, &Message::Sealed { request: id, jwes: vec![jwe] }, REPLICATE).await;
    signing::submit(gw, raw).await?;
    note(gw, id, doctor, ask.organization, ask.patient).await;
    access::reply(gw, 201, id).await
}

/// The Consent as it will be recorded.
fn preview(gw: &Gateway, ask: &Ask, sealed: &SealedDetail, doctor: AccountId) -> Value {
    let request = vouchsafe_types::state::Request {
        doctor,
        organization: ask.organization,
        patient: ask.patient,
        credential: ask.credential,
        asked: ask.terms.clone(),
        answer_by: ask.answer_by,
        at: gw.ledger.head().time,
        by: vouchsafe_types::state::Signer { kid: Hash32([0; 32]), agent: false },
        decision: None,
    };
    access::render(gw, &access::Found { id: sealed.request, request, session: None }, Some(sealed))
}

/// A fault of a resource as an answer.
pub(super) fn fhir_fault(fault: fhir::Fault) -> Fault {
    let issue = if fault.status == 400 { "structure" } else { "invalid" };
    Fault::new(fault.status, issue, fault.what).at(fault.expression)
}
