//! `$approve` and `$deny`: the patient decides. A grant never exceeds its request; what is granted travels sealed to the
//! custodians that the patient names, and to those who must know what they may read.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Code, Count, RequestId, RsaJwk, keys,
    tx::{Decide, Terms, Tx},
};

use super::{
    SealedDetail,
    access::{self, Found},
    ask::{REPLICATE, fhir_fault, organization_key, readers},
    ledger_fault,
    signing::{self, Hand},
};
use crate::{
    auth::Caller,
    fhir::{
        compartment::Reference,
        consent::{self, ParsedConsent},
    },
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::View,
    peers::{self, Message},
};

/// What the body of `$approve` says.
#[derive(Default)]
struct Approval {
    consent: Option<ParsedConsent>,
    custodians: BTreeSet<AccountId>,
    sealed: Vec<String>,
}

/// `POST Consent/{id}/$approve`: body Parameters, or null for none.
///
/// # Errors
/// As an OperationOutcome: 403 for whoever is not the patient and for a grant wider than its request, 409 when it was
/// decided before or lapsed, 422 for a provision that narrows nothing.
pub async fn approve(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: RequestId,
    body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let found = access::find(gw, id).await?;
    let hand = hand(gw, caller, &found).await?;
    let approval = read_body(body)?;
    let asked = super::detail(gw, id, found.request.asked.detail).await.ok_or_else(|| {
        Fault::new(409, "conflict", "the request's sealed detail has not come to this gateway").code("no-detail")
    })?;
    let (detail, terms) = match granted(gw, &found, &asked, approval.consent.as_ref()).await {
        Err(fault) if fault.code_of() == Some(Code::WiderThanRequest.name()) && !prepare => {
            return Err(Fault { status: 403, ..fault });
        }
        other => other?,
    };
    if prepare {
        return prepare_approval(gw, &found, &approval, &detail, terms).await;
    }
    let decide = decision(gw, &hand, &found, Some(terms), tx.as_deref()).await?;
    let sealed = match &hand {
        Hand::Keystore(_) => seal_for_custodial(gw, &found, &approval, &detail).await?,
        Hand::Wallet(_) => sealed_by_wallet(gw, &approval, &decide)?,
    };
    let raw = signing::text(gw, &hand, tx, &Tx::from(decide))?;
    super::keep_sealed(gw, gw.org, id, sealed.clone()).await?;
    peers::broadcast(gw, &Message::Sealed { request: id, jwes: sealed }, REPLICATE).await;
    signing::submit(gw, raw).await?;
    access::reply(gw, 200, id).await
}

/// `POST Consent/{id}/$deny`.
///
/// # Errors
/// As an OperationOutcome: 403 for whoever is not the patient, 409 when it was decided before or lapsed.
pub async fn deny(
    gw: &Arc<Gateway>,
    caller: &Caller,
    id: RequestId,
    _body: &Value,
    tx: Option<String>,
    prepare: bool,
) -> Result<Reply, Fault> {
    let found = access::find(gw, id).await?;
    let hand = hand(gw, caller, &found).await?;
    if prepare {
        let (nonce, expires) = signing::envelope(gw);
        let tx = Tx::from(Decide { nonce, expires, request: id, granted: None });
        return Ok(Reply::resource(200, &signing::prepared(gw, &tx, &[], Vec::new())));
    }
    let decide = decision(gw, &hand, &found, None, tx.as_deref()).await?;
    let raw = signing::text(gw, &hand, tx, &Tx::from(decide))?;
    signing::submit(gw, raw).await?;
    access::reply(gw, 200, id).await
}

/// Who signs for the patient of this request.
async fn hand(gw: &Gateway, caller: &Caller, found: &Found) -> Result<Hand, Fault> {
    let patient = found.request.patient;
    let account = View(&*gw.ledger).account(&patient).await.map_err(ledger_fault)?.ok_or_else(Fault::not_found)?;
    signing::patient(gw, caller, patient, &account)
}

fn read_body(body: &Value) -> Result<Approval, Fault> {
    let mut out = Approval::default();
    if body.is_null() {
        return Ok(out);
    }
    if body["resourceType"] == "Consent" {
        out.consent = consent::parse_decision(body).map_err(fhir_fault)?;
        return Ok(out);
    }
    if body["resourceType"] != "Parameters" {
        return Err(Fault::malformed("the body is Parameters").at("resourceType"));
    }
    let none = Vec::new();
    for (n, parameter) in body["parameter"].as_array().unwrap_or(&none).iter().enumerate() {
        let text = parameter["valueString"].as_str();
        let wrong = || Fault::invalid("not of its form").at(format!("Parameters.parameter[{n}]"));
        match parameter["name"].as_str() {
            Some("consent") => out.consent = consent::parse_decision(&parameter["resource"]).map_err(fhir_fault)?,
            Some("custodian") => {
                let account = text.and_then(|t| t.parse().ok()).ok_or_else(wrong)?;
                out.custodians.insert(account);
            }
            Some("sealed") => out.sealed.push(text.ok_or_else(wrong)?.to_owned()),
            _ => return Err(Fault::invalid("the parameter is not known").at(format!("Parameters.parameter[{n}].name"))),
        }
    }
    Ok(out)
}

/// What is granted: what was asked, or what the patient left of it.
async fn granted(
    gw: &Gateway,
    found: &Found,
    asked: &SealedDetail,
    given: Option<&ParsedConsent>,
) -> Result<(SealedDetail, Terms), Fault> {
    let request = &found.request;
    let Some(given) = given else {
        return Ok((asked.clone(), request.asked.clone()));
    };
    let reference = |kind: &str, id: AccountId| Reference::parse(&format!("{kind}/{id}"));
    let whole = ParsedConsent {
        patient: reference("Patient", request.patient),
        practitioner: reference("Practitioner", request.doctor),
        organization: Some(reference("Organization", request.organization)),
        detail: asked.detail.clone(),
        valid_until: request.asked.valid_until,
        answer_by: Some(request.answer_by),
        session_ms: Some(request.asked.session_ms),
        standing: request.asked.standing,
    };
    let mut given = given.clone();
    if access::patient_account(gw, &given.patient).await? == request.patient {
        given.patient = whole.patient.clone();
    }
    given.session_ms = Some(given.session_ms.unwrap_or(request.asked.session_ms));
    consent::narrower(&whole, &given).map_err(|f| fhir_fault(f).code(Code::WiderThanRequest.name()))?;
    let detail = SealedDetail {
        request: found.id,
        detail: given.detail.clone().normalized(),
        salt: asked.salt,
        custodians: None,
    };
    let tags =
        consent::granted_tags(&request.asked.tags, &asked.salt.0, &asked.detail.categories, &detail.detail.categories);
    let terms = Terms {
        tags,
        write: detail.detail.write,
        detail: detail.commitment(),
        valid_until: given.valid_until,
        session_ms: given.session_ms.unwrap_or(request.asked.session_ms),
        standing: given.standing,
    };
    Ok((detail, terms))
}

/// The transaction: made here, or the one presented, which must be what this call asks for.
async fn decision(
    gw: &Gateway,
    hand: &Hand,
    found: &Found,
    granted: Option<Terms>,
    tx: Option<&str>,
) -> Result<Decide, Fault> {
    match (hand, tx) {
        (Hand::Wallet(patient), Some(raw)) => {
            let Tx::Decide(signed) = signing::presented(gw, raw, *patient, Code::NotThePatient).await? else {
                return Err(signing::not_what_was_prepared("it is no decision"));
            };
            if let Some(terms) = &signed.granted {
                not_wider(terms, &found.request.asked)?;
            }
            if signed.request != found.id || signed.granted != granted {
                return Err(signing::not_what_was_prepared("the decision signed is another"));
            }
            Ok(signed)
        }
        (Hand::Wallet(_), None) => Err(signing::unsigned()),
        (Hand::Keystore(_), _) => {
            let (nonce, expires) = signing::envelope(gw);
            Ok(Decide { nonce, expires, request: found.id, granted })
        }
    }
}

/// The machine judges this too; here the patient's own gateway says it before anything is stored or replicated.
fn not_wider(granted: &Terms, asked: &Terms) -> Result<(), Fault> {
    let within = granted.tags.iter().all(|tag| asked.tags.contains(tag))
        && (asked.write || !granted.write)
        && (asked.standing || !granted.standing)
        && granted.valid_until <= asked.valid_until
        && granted.session_ms <= asked.session_ms;
    if within {
        return Ok(());
    }
    Err(Fault::forbidden(Code::WiderThanRequest.name(), "the grant gives more than was asked for"))
}

/// What the wallet signs and seals, and for whom.
async fn prepare_approval(
    gw: &Gateway,
    found: &Found,
    approval: &Approval,
    detail: &SealedDetail,
    terms: Terms,
) -> Result<Reply, Fault> {
    let (nonce, expires) = signing::envelope(gw);
    let tx = Tx::from(Decide { nonce, expires, request: found.id, granted: Some(terms.clone()) });
    let mut shown = Found { id: found.id, request: found.request.clone(), session: None };
    shown.request.decision = Some(vouchsafe_types::state::Decision {
        at: gw.ledger.head().time,
        by: shown.request.by.clone(),
        custodial: false,
        granted: Some(terms),
        generation: Count(0),
        revoked: None,
        session: None,
        spent: false,
    });
    let plain = serde_json::to_string(detail).map_err(|_| Fault::internal("a detail is plain data"))?;
    let mut extra = vec![
        json!({ "name": "consent", "resource": access::render(gw, &shown, Some(detail)) }),
        json!({ "name": "detail", "valueString": plain }),
    ];
    extra.extend(recipients(gw, found, approval).await?);
    Ok(Reply::resource(200, &signing::prepared(gw, &tx, &[], extra)))
}

/// The keys to seal to, each with the ledger's proof, so that the wallet need not believe this gateway.
async fn recipients(gw: &Gateway, found: &Found, approval: &Approval) -> Result<Vec<Value>, Fault> {
    let request = &found.request;
    let home = View(&*gw.ledger).account(&request.patient).await.map_err(ledger_fault)?.map(|a| a.sponsor);
    let mut named: Vec<(&str, AccountId)> = approval.custodians.iter().map(|org| ("custodian", *org)).collect();
    named.push(("grantee", request.organization));
    named.extend(home.map(|org| ("home", org)));
    let paths: Vec<_> = named.iter().map(|(_, org)| keys::endpoint(org)).collect();
    let proofs = gw.ledger.prove(&paths).await.map_err(ledger_fault)?;
    let mut out = Vec::new();
    for ((role, org), proof) in named.into_iter().zip(proofs) {
        let Some(jwk) = organization_key(gw, org).await? else {
            return Err(Fault::invalid(format!("organisation {org} has no gateway")).code("no-endpoint"));
        };
        out.push(recipient(role, org, &jwk, Some(&proof))?);
    }
    for (_, key) in View(&*gw.ledger).devices(&request.doctor).await.map_err(ledger_fault)? {
        if let Some(jwk) = key.rsa {
            out.push(recipient("doctor", request.doctor, &jwk, None)?);
        }
    }
    Ok(out)
}

fn recipient(role: &str, account: AccountId, jwk: &RsaJwk, proof: Option<&Value>) -> Result<Value, Fault> {
    let text = serde_json::to_string(jwk).map_err(|_| Fault::internal("a JWK is plain data"))?;
    let mut part = vec![
        json!({ "name": "role", "valueString": role }),
        json!({ "name": "account", "valueString": account.to_string() }),
        json!({ "name": "jwk", "valueString": text }),
    ];
    if let Some(proof) = proof {
        part.push(json!({ "name": "proof", "valueString": proof.to_string() }));
    }
    Ok(json!({ "name": "recipient", "part": part }))
}

/// The details that the wallet sealed. This gateway is the patient's home and must be able to open one of them: it is
/// how it knows what the patient decided.
fn sealed_by_wallet(gw: &Gateway, approval: &Approval, decide: &Decide) -> Result<Vec<String>, Fault> {
    let key = gw.keystore.rsa("org").map_err(|_| Fault::internal("the wrapping key is not in the keystore"))?;
    let commitment = decide.granted.as_ref().map(|t| t.detail);
    let mine = approval.sealed.iter().filter_map(|jwe| SealedDetail::open(jwe, &*key));
    if !mine.into_iter().any(|d| d.request == decide.request && Some(d.commitment()) == commitment) {
        return Err(Fault::invalid(
            "no `sealed` parameter holds the detail that the decision commits to, for this gateway",
        )
        .code("no-detail")
        .at("Parameters.parameter"));
    }
    Ok(approval.sealed.clone())
}

/// Seals the grant's detail for an openly custodial account: to each custodian, and to those who must know.
async fn seal_for_custodial(
    gw: &Gateway,
    found: &Found,
    approval: &Approval,
    detail: &SealedDetail,
) -> Result<Vec<String>, Fault> {
    let request = &found.request;
    let mut custodians = approval.custodians.clone();
    if !gw.charts.by_account(&request.patient).is_empty() {
        custodians.insert(gw.org);
    }
    let mut keys = Vec::new();
    for org in &custodians {
        keys.push(
            organization_key(gw, *org)
                .await?
                .ok_or_else(|| Fault::invalid(format!("organisation {org} has no gateway")).code("no-endpoint"))?,
        );
    }
    let told = SealedDetail { custodians: Some(Count(custodians.len() as u64)), ..detail.clone() };
    let mut out = vec![told.seal(&readers(gw, request.patient, request.doctor, request.organization).await?)?];
    if !keys.is_empty() {
        out.push(detail.seal(&keys)?);
    }
    Ok(out)
}
