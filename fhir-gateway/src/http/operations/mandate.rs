//! `$mandate` and `$end-mandate`: a doctor lets an agent key in this organisation's keystore act, for at most twelve
//! hours, by the doctor's own device key.

use serde_json::json;
use vouchsafe_types::{
    AccountId, Code, Kid, Nonce, OkpJwk, TimeMs, Tx,
    tx::{EndKey, Mandate},
};

use super::{parameters::Given, presented};
use crate::{
    auth::Who,
    fhir::{
        audit::AuditKind,
        date::{self, DateRange},
    },
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
    },
    ledger::{SignError, View},
    seal::KeystoreError,
};

/// How long a mandate lasts when the doctor does not say, counted from the transaction's own expiry.
const DEFAULT_MS: u64 = 11 * 3_600_000;

fn agent(doctor: &AccountId) -> String {
    format!("agent/{doctor}")
}

/// The key that waits for the doctor's signature. The one that acts now stays until then.
fn waiting(doctor: &AccountId) -> String {
    format!("agent-waiting/{doctor}")
}

/// `POST /Practitioner/{id}/$mandate/$prepare`: makes the agent key and shows what to sign.
pub(crate) async fn prepare_mandate(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let doctor = own_device(&call)?;
    let until = until(&call)?;
    let key = fresh_key(gw, &doctor).await?;
    Ok(presented::prepared(gw, |nonce, expires| of(gw, key, until, nonce, expires)))
}

/// `POST /Practitioner/{id}/$mandate`: the signed mandate.
pub(crate) async fn mandate(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let doctor = own_device(&call)?;
    let until = until(&call)?;
    let signed = call.tx()?.ok_or_else(presented::unsigned)?;
    let key = gw.keystore.ed25519(&waiting(&doctor)).map_err(|_| presented::unsigned())?.public();
    presented::submit(gw, signed, |nonce, expires| of(gw, key, until, nonce, expires)).await?;
    match gw.keystore.remove(&agent(&doctor)) {
        Ok(()) | Err(KeystoreError::Unknown(_)) => {}
        Err(e) => return Err(SignError::from(e).into()),
    }
    gw.keystore.rename(&waiting(&doctor), &agent(&doctor)).map_err(SignError::from)?;
    note(&call).await?;
    let held = View(&*gw.ledger).key(&key.kid()).await?;
    let until = held.and_then(|k| match k.role {
        vouchsafe_types::state::KeyRole::Agent { until, .. } => Some(until),
        vouchsafe_types::state::KeyRole::Device => None,
    });
    answer(&key.kid(), until)
}

/// `POST /Practitioner/{id}/$end-mandate/$prepare`.
pub(crate) async fn prepare_end(call: Call) -> Result<Reply, Fault> {
    let doctor = own_device(&call)?;
    let kid = acting(&call.gw, &doctor)?;
    Ok(presented::prepared(&call.gw, |nonce, expires| EndKey { nonce, expires, kid }.into()))
}

/// `POST /Practitioner/{id}/$end-mandate`.
pub(crate) async fn end(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let doctor = own_device(&call)?;
    let kid = acting(gw, &doctor)?;
    let signed = call.tx()?.ok_or_else(presented::unsigned)?;
    presented::submit(gw, signed, |nonce, expires| EndKey { nonce, expires, kid }.into()).await?;
    gw.keystore.remove(&agent(&doctor)).map_err(SignError::from)?;
    note(&call).await?;
    answer(&kid, None)
}

fn answer(kid: &Kid, until: Option<TimeMs>) -> Result<Reply, Fault> {
    let mut list = vec![json!({ "name": "agent", "valueString": kid.to_string() })];
    list.extend(until.map(|at| json!({ "name": "until", "valueInstant": date::instant(at) })));
    Ok(Reply::resource(200, &json!({ "resourceType": "Parameters", "parameter": list })))
}

/// The doctor, who must call by their own device and for themselves.
fn own_device(call: &Call) -> Result<AccountId, Fault> {
    let Who::Practitioner { account, record, agent } = &call.caller()?.who else {
        return Err(Fault::forbidden(Code::NotTheDoctor.name(), "only a doctor gives a mandate"));
    };
    if agent.is_some() {
        return Err(Fault::forbidden(Code::DeviceKeyNeeded.name(), "a mandate is given by the doctor's own device"));
    }
    let id = call.id()?;
    if record.is_some_and(|r| r.to_string() == id) || account.to_string() == id {
        return Ok(*account);
    }
    Err(Fault::forbidden(Code::NotTheDoctor.name(), "a doctor gives mandates for nobody else"))
}

fn until(call: &Call) -> Result<Option<TimeMs>, Fault> {
    let given = Given::read(call, &["until"])?;
    let Some(text) = given.text("until") else { return Ok(None) };
    let at = DateRange::parse(text).and_then(|range| u64::try_from(range.start).ok());
    at.map(|at| Some(TimeMs(at))).ok_or_else(|| Fault::malformed("no date or instant").at("until"))
}

fn of(gw: &Gateway, agent: OkpJwk, until: Option<TimeMs>, nonce: Nonce, expires: TimeMs) -> Tx {
    let until = until.unwrap_or_else(|| expires.plus(DEFAULT_MS));
    Mandate { nonce, expires, agent, organization: gw.org, until }.into()
}

/// A key that the ledger does not know yet. One that waits already is used, so that two preparations agree.
async fn fresh_key(gw: &Gateway, doctor: &AccountId) -> Result<OkpJwk, Fault> {
    let name = waiting(doctor);
    if let Ok(key) = gw.keystore.ed25519(&name) {
        if View(&*gw.ledger).key(&key.public().kid()).await?.is_none() {
            return Ok(key.public());
        }
        // Its mandate was committed and the answer got lost: it acts from now on.
        gw.keystore.remove(&name).map_err(SignError::from)?;
    }
    Ok(gw.keystore.generate_ed25519(&name).map_err(SignError::from)?)
}

fn acting(gw: &Gateway, doctor: &AccountId) -> Result<Kid, Fault> {
    let key = gw.keystore.ed25519(&agent(doctor));
    key.map(|k| k.public().kid()).map_err(|_| Fault::forbidden(Code::NoMandate.name(), "there is no mandate here"))
}

async fn note(call: &Call) -> Result<(), Fault> {
    let what = vec![format!("Practitioner/{}", call.id()?)];
    let deed = Deed { kind: Some(AuditKind::Operation), what, ..Deed::default() };
    disclose::note(&call.gw, call.caller()?, &deed).await.map(|_| ())
}
