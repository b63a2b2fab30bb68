//! Who signs an act of consent: always the actor's own key, never the gateway's organisation key.
//!
//! A person with a wallet signs what `$prepare` shows and sends it back in `Vouchsafe-Tx`. A doctor who acts through
//! the hospital's system signs by the agent key that they mandated. For an openly custodial account the home
//! organisation's system acts, with the key that the custodial account has in the keystore.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Code, Nonce, TimeMs,
    jws::{self, Unverified},
    state::Account,
    tx::Tx,
};

use crate::{
    auth::{Caller, Who},
    fhir::{category::Tier, consent::ConsentDetail},
    gateway::Gateway,
    http::Fault,
    ledger::{Committed, LedgerError, View, stamp},
};

/// The hand that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    /// The person's own wallet, by `$prepare` and `Vouchsafe-Tx`.
    Wallet(AccountId),
    /// A key in this gateway's keystore that is the actor's: a mandated agent's or a custodial account's.
    Keystore(String),
}

/// The hand of the doctor who calls.
pub(super) fn doctor(caller: &Caller) -> Result<(AccountId, Hand), Fault> {
    match &caller.who {
        Who::Practitioner { account, agent: Some(_), .. } => Ok((*account, Hand::Keystore(format!("agent/{account}")))),
        Who::Practitioner { account, agent: None, .. } => Ok((*account, Hand::Wallet(*account))),
        _ => Err(Fault::forbidden(Code::NotTheDoctor.name(), "only a doctor does this")),
    }
}

/// An agent signs without the doctor, so that it reaches no sensitive category: for these the doctor's own device does.
///
/// # Errors
/// 403 `device-key-needed`.
pub(super) fn within_reach(hand: &Hand, detail: &ConsentDetail) -> Result<(), Fault> {
    if matches!(hand, Hand::Keystore(_)) && detail.categories.iter().any(|c| c.tier() == Tier::Sensitive) {
        return Err(Fault::forbidden(
            Code::DeviceKeyNeeded.name(),
            "sensitive categories are asked for and opened by the doctor's own device",
        ));
    }
    Ok(())
}

/// The hand of the patient on whose behalf the caller acts: the patient's own, or, for an openly custodial account,
/// that of the home organisation's system.
pub(super) fn patient(gw: &Gateway, caller: &Caller, patient: AccountId, account: &Account) -> Result<Hand, Fault> {
    match &caller.who {
        Who::Patient { account } if *account == patient => Ok(Hand::Wallet(patient)),
        Who::System if account.custodial && account.sponsor == gw.org => {
            Ok(Hand::Keystore(format!("custodial/{patient}")))
        }
        _ => Err(Fault::forbidden(Code::NotThePatient.name(), "only the patient decides about the patient's records")),
    }
}

/// A nonce and an expiry for a transaction made now.
pub(super) fn envelope(gw: &Gateway) -> (Nonce, TimeMs) {
    stamp(&gw.ledger.head())
}

/// What `$prepare` answers, beside what each act adds.
pub(super) fn prepared(gw: &Gateway, tx: &Tx, kids: &[String], mut extra: Vec<Value>) -> Value {
    let payload = String::from_utf8(tx.payload_bytes()).unwrap_or_default();
    let mut parameter = vec![
        json!({ "name": "payload", "valueString": payload }),
        json!({ "name": "typ", "valueString": tx.typ() }),
        json!({ "name": "chain", "valueString": gw.chain }),
    ];
    parameter.extend(kids.iter().map(|kid| json!({ "name": "kid", "valueString": kid })));
    parameter.append(&mut extra);
    json!({ "resourceType": "Parameters", "parameter": parameter })
}

/// Reads a presented transaction: its form, its signature, and that it is signed by a key of `by`.
pub(super) async fn presented(gw: &Gateway, raw: &str, by: AccountId, wrong: Code) -> Result<Tx, Fault> {
    let unverified = Unverified::parse(raw.as_bytes(), &gw.chain)?;
    let view = View(&*gw.ledger);
    let Some(key) = view.key(&unverified.kid()).await.map_err(ledger_fault)? else {
        return Err(Fault::forbidden(Code::UnknownKey.name(), "the ledger knows no key of this kid"));
    };
    if key.account != by {
        return Err(Fault::forbidden(wrong.name(), "Vouchsafe-Tx is signed by another person's key"));
    }
    Ok(unverified.verify(&key.ed25519)?.tx().clone())
}

/// The payload that a call makes is not the one that was signed.
pub(super) fn not_what_was_prepared(what: &str) -> Fault {
    Fault::invalid(format!("Vouchsafe-Tx is not what this call asks for: {what}; call $prepare again"))
        .code("not-prepared")
        .at("Vouchsafe-Tx")
}

/// The text to submit: the one presented, or one signed here by the key that is the actor's.
pub(super) fn text(gw: &Gateway, hand: &Hand, presented: Option<String>, tx: &Tx) -> Result<String, Fault> {
    match (hand, presented) {
        (Hand::Wallet(_), Some(raw)) => Ok(raw),
        (Hand::Wallet(_), None) => Err(unsigned()),
        (Hand::Keystore(name), _) => {
            let key = gw.keystore.ed25519(name).map_err(|_| {
                Fault::forbidden(Code::NoMandate.name(), "no key that may sign for this person lies in the keystore")
            })?;
            Ok(jws::sign_tx(&*key, &gw.chain, tx))
        }
    }
}

/// A caller with a key of their own has not signed.
pub(super) fn unsigned() -> Fault {
    Fault::new(422, "required", "sign what $prepare answers and send it in Vouchsafe-Tx").code("signature-needed")
}

/// Submits; answers when the transaction is in a block.
pub(super) async fn submit(gw: &Arc<Gateway>, raw: String) -> Result<Committed, Fault> {
    gw.ledger.submit(raw).await.map_err(ledger_fault)
}

/// What a ledger's error is to the caller.
pub fn ledger_fault(error: LedgerError) -> Fault {
    match error {
        LedgerError::Rejected(rejection) => Fault::rejected(&rejection),
        LedgerError::Busy => Fault::unavailable("the ledger is busy"),
        LedgerError::Unavailable(_) => Fault::unavailable("the ledger does not answer"),
    }
}
