//! The one-time enrolment address: the person's own device, which made its keys, says who it is. The address is the
//! desk's word that this is the person; the signatures are the person's.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Kid, Nonce, OkpJwk, RsaJwk, TimeMs, jws,
    tx::{Affiliate, NewCredential, Role},
};

use super::register::{Newcomer, account_of, first_credential, in_time, link, row_of};
use crate::{
    auth::{Caller, Who, enrolments::Enrolment},
    fhir::{audit::AuditKind, json as strict},
    gateway::Gateway,
    http::{
        Fault, Reply, body,
        disclose::{self, Deed},
        plain::PlainCall,
    },
    ledger::{Signer, View},
    records::RecordRow,
};

/// A patient's word that a chart is theirs; kept off the chain. A doctor's word at a further organisation likewise.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Whose word it is.
    pub account: AccountId,
    /// The custodian of the chart.
    pub custodian: AccountId,
    /// The address's nonce, so that the word is for this chart and this time.
    pub nonce: Nonce,
    /// When it runs out.
    pub expires: TimeMs,
}

impl Link {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/link";
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    register: Option<NewAccount>,
    link: Option<String>,
    /// A doctor's `Acceptance` of joining a further organisation.
    acceptance: Option<String>,
    /// The P-384 key by which the person signs in here.
    client: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    ed25519: OkpJwk,
    rsa: RsaJwk,
    enrolment: String,
    credential: Option<NewCredential>,
}

const JSON: &str = "application/json";

fn gone() -> Fault {
    Fault::new(404, "not-found", "no such enrolment: unknown, used, or run out").code("no-such-enrolment")
}

/// `GET /auth/enrol/{code}`: what the device must know before it signs.
pub(crate) async fn see(call: PlainCall) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let enrolment = gw.auth.enrolments.see(&call.param, (gw.clock)()).ok_or_else(gone)?;
    let offer = json!({
        "chain": gw.chain, "sponsor": gw.org, "custodian": gw.org, "role": enrolment.role, "nonce": enrolment.nonce,
        "record": format!("{}/{}", enrolment.resource_type, enrolment.record), "expires": enrolment.expires,
    });
    Ok(Reply::resource(200, &offer).header("content-type", JSON))
}

/// `POST /auth/enrol/{code}`: a new account, or the link with one that exists.
pub(crate) async fn enrol(call: PlainCall) -> Result<Reply, Fault> {
    let gw = &call.gw;
    body::fhir_json(&call.headers)?;
    let document = strict::parse(&call.body).map_err(|e| Fault::from(&e))?;
    let answer: Answer = serde_json::from_value(document.value().clone())
        .map_err(|e| Fault::malformed(format!("the answer is not of its form: {e}")))?;
    let enrolment = gw.auth.enrolments.take(&call.param, (gw.clock)()).ok_or_else(gone)?;
    match take_in(gw, &enrolment, answer).await {
        Ok(account) => {
            let record = format!("{}/{}", enrolment.resource_type, enrolment.record);
            let body = json!({ "account": account, "record": record, "custodian": gw.org });
            Ok(Reply::resource(201, &body).header("content-type", JSON))
        }
        Err(fault) => {
            gw.auth.enrolments.give_back(&call.param, enrolment);
            Err(fault)
        }
    }
}

async fn take_in(gw: &Gateway, enrolment: &Enrolment, answer: Answer) -> Result<AccountId, Fault> {
    let row = row_of(gw, &enrolment.record)?;
    if account_of(gw, &row)?.is_some() {
        return Err(Fault::new(409, "conflict", "it has an account already").code("already-exists"));
    }
    let (account, device) = match answer.register {
        Some(new) => found_account(gw, enrolment, &row, new, answer.link.as_deref()).await?,
        None => known_account(gw, enrolment, answer.link.as_deref()).await?,
    };
    if let Some(acceptance) = answer.acceptance.filter(|_| enrolment.role == Role::Doctor) {
        let signer = Signer::new(std::sync::Arc::clone(&gw.ledger), std::sync::Arc::clone(&gw.keystore));
        signer.submit("org", |nonce, expires| Affiliate { nonce, expires, doctor: account, acceptance }.into()).await?;
    }
    link(gw, &row, account).await?;
    if let Some(client) = answer.client.filter(|_| !enrolment.role.is_organization()) {
        gw.auth.admit_person(&account, enrolment.role, device, client).await?;
    }
    let who = match enrolment.role {
        Role::Patient => Who::Patient { account },
        _ => Who::Practitioner { account, record: None, agent: None },
    };
    let caller = Caller { client_id: account.to_string(), who, purpose: None, device: Some(device) };
    let deed = Deed {
        kind: Some(AuditKind::Operation),
        chart: Some(row.chart),
        patient: (enrolment.role == Role::Patient).then_some(account),
        what: vec![disclose::reference(&row)],
        ..Deed::default()
    };
    disclose::note(gw, &caller, &deed).await?;
    Ok(account)
}

async fn found_account(
    gw: &Gateway,
    enrolment: &Enrolment,
    row: &RecordRow,
    new: NewAccount,
    link: Option<&str>,
) -> Result<(AccountId, Kid), Fault> {
    let account = AccountId::of_key(new.ed25519.bytes());
    let device = new.ed25519.kid();
    let exists = View(&*gw.ledger).account(&account).await?.is_some();
    match link {
        // Somebody else's public key is no secret, and the key may have ended: only the word of a live device binds a
        // client's key to an account.
        Some(_) if exists => return known_account(gw, enrolment, link).await,
        None if exists || enrolment.role == Role::Patient => {
            let why = "a patient's chart, and an account that exists, need the account's own link";
            return Err(Fault::malformed(why).at("link"));
        }
        Some(link) => check_link(gw, enrolment, link, account, &new.ed25519)?,
        None => {}
    }
    let newcomer = Newcomer {
        account,
        role: enrolment.role,
        ed25519: new.ed25519,
        rsa: new.rsa,
        custodial: false,
        credential: first_credential(enrolment.role, new.credential, row.commitment)?,
        enrolment: new.enrolment,
    };
    newcomer.register(gw, row).await?;
    Ok((account, device))
}

/// An account that exists, by the word of one of its live devices.
async fn known_account(gw: &Gateway, enrolment: &Enrolment, link: Option<&str>) -> Result<(AccountId, Kid), Fault> {
    let link = link.ok_or_else(|| Fault::malformed("the answer has neither register nor link"))?;
    let unknown = || Fault::forbidden("unknown-key", "the link is signed by no live device of an account").at("link");
    let kid = jws::kid_of(link).map_err(|e| Fault::rejected(&e).at("link"))?;
    let view = View(&*gw.ledger);
    let key = view.key(&kid).await?.ok_or_else(unknown)?;
    let account = view.account(&key.account).await?.ok_or_else(unknown)?;
    if key.ended.is_some() || !account.devices.contains(&kid) {
        return Err(unknown());
    }
    if account.role != enrolment.role {
        return Err(Fault::forbidden("not-allowed", "the account is of another role").at("link"));
    }
    check_link(gw, enrolment, link, key.account, &key.ed25519)?;
    Ok((key.account, kid))
}

fn check_link(gw: &Gateway, enrolment: &Enrolment, text: &str, account: AccountId, key: &OkpJwk) -> Result<(), Fault> {
    let said: Link =
        jws::open_statement(text, &gw.chain, Link::TYP, key).map_err(|e| Fault::rejected(&e).at("link"))?;
    let what = if said.account != account {
        "it names another account"
    } else if said.custodian != gw.org {
        "it is for another custodian"
    } else if said.nonce != enrolment.nonce {
        "it is for another enrolment"
    } else if !in_time(gw, said.expires) {
        "it has run out"
    } else {
        return Ok(());
    };
    Err(Fault::forbidden("bad-acceptance", format!("the link does not fit: {what}")).at("link"))
}
