//! `$register` (interfaces.md, A): opens an account for a patient, a practitioner or an organisation, or links a chart to
//! an account that exists.

use serde_json::json;
use vouchsafe_types::{
    AccountId, Code, CredentialId, Hash32, OkpJwk, RecordId, RsaJwk, TimeMs, jws,
    tx::{Enrolment, NewCredential, Register, Role},
};

use super::parameters::Given;
use crate::{
    auth::{Party, enrolments, tokens},
    fhir::audit::AuditKind,
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
        interactions,
    },
    ledger::{self, SignError, Signer, View},
    records::RecordRow,
};

/// `POST /{type}/{id}/$register`: without a key, a one-time address where the person's device makes its keys; with
/// `custodial`, an account whose keys lie here, openly.
pub(crate) async fn register(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let given = Given::read(&call, &["custodial", "role"])?;
    let row = interactions::own_row(&call, None)?.filter(|r| !r.tombstone).ok_or_else(Fault::not_found)?;
    let role = role_of(&row, given.text("role"))?;
    if account_of(gw, &row)?.is_some() {
        return Err(Fault::new(409, "conflict", "it has an account already").code(Code::AlreadyExists.name()));
    }
    let deed = Deed {
        kind: Some(AuditKind::Operation),
        chart: Some(row.chart),
        what: vec![disclose::reference(&row)],
        ..Deed::default()
    };
    if given.flag("custodial") {
        if role != Role::Patient {
            return Err(Fault::invalid("only a patient's account can be custodial").at("custodial"));
        }
        let account = custodial(gw, &row).await?;
        disclose::note(gw, call.caller()?, &Deed { patient: Some(account), ..deed }).await?;
        return Ok(Reply::resource(
            201,
            &json!({ "resourceType": "Parameters", "parameter": [
                { "name": "account", "valueString": account.to_string() },
                { "name": "custodian", "valueString": gw.org.to_string() },
                { "name": "custodial", "valueBoolean": true },
            ] }),
        ));
    }
    disclose::note(gw, call.caller()?, &deed).await?;
    let opened = gw.auth.enrolments.open(&row.resource_type, row.id, role, (gw.clock)());
    let (code, enrolment) = opened.map_err(|e| Fault::unavailable(e.to_string()))?;
    let address = format!("{}/auth/enrol/{code}", gw.base);
    Ok(Reply::resource(
        201,
        &json!({ "resourceType": "Parameters", "parameter": [
            { "name": "enrolment", "valueUrl": address },
            { "name": "nonce", "valueString": enrolment.nonce.to_string() },
            { "name": "custodian", "valueString": gw.org.to_string() },
            { "name": "expires", "valueInstant": crate::fhir::date::instant(enrolment.expires) },
        ] }),
    ))
}

fn role_of(row: &RecordRow, asked: Option<&str>) -> Result<Role, Fault> {
    let role = match row.resource_type.as_str() {
        "Patient" => Role::Patient,
        "Practitioner" => Role::Doctor,
        _ => {
            let text = asked.ok_or_else(|| Fault::malformed("an organisation registers with its role").at("role"))?;
            let role: Option<Role> = serde_json::from_value(text.into()).ok();
            return role
                .filter(|r| r.is_organization())
                .ok_or_else(|| Fault::malformed("role is one of hospital, laboratory, insurer, authority").at("role"));
        }
    };
    if asked.is_some() {
        return Err(Fault::malformed("only an organisation registers with a role").at("role"));
    }
    Ok(role)
}

/// The account that a Patient's chart, a Practitioner or an Organization has.
pub(crate) fn account_of(gw: &Gateway, row: &RecordRow) -> Result<Option<AccountId>, Fault> {
    if row.resource_type == "Patient" {
        return Ok(gw.charts.by_id(&row.chart).and_then(|c| c.account));
    }
    Ok(gw.auth.parties.by_record(&row.id)?.map(|p| p.account))
}

/// An account for a patient without a device. Its keys are made in the keystore and never leave it.
async fn custodial(gw: &Gateway, row: &RecordRow) -> Result<AccountId, Fault> {
    let keystore = std::sync::Arc::clone(&gw.keystore);
    let random = tokens::random::<8>().map_err(|e| Fault::unavailable(e.to_string()))?;
    // What the key is called follows from the key.
    let made = tokio::task::spawn_blocking(move || {
        let name = format!("custodial/new-{}", hex::encode(random));
        let ed25519 = keystore.generate_ed25519(&name)?;
        let rsa = keystore.generate_rsa(&name)?;
        let account = AccountId::of_key(ed25519.bytes());
        keystore.rename(&name, &format!("custodial/{account}"))?;
        Ok::<_, crate::seal::KeystoreError>((account, ed25519, rsa))
    });
    let made = made.await.map_err(|_| Fault::internal("the making of keys was given up"))?;
    let (account, ed25519, rsa) = made.map_err(SignError::from)?;
    let key = gw.keystore.ed25519(&format!("custodial/{account}")).map_err(SignError::from)?;
    let said = Enrolment {
        account,
        sponsor: gw.org,
        role: Role::Patient,
        rsa: rsa.kid(),
        custodial: true,
        affiliate: false,
        expires: gw.ledger.head().time.plus(enrolments::VALID_MS / 3),
    };
    let enrolment = jws::sign_statement(&*key, &gw.chain, Enrolment::TYP, &said);
    let newcomer =
        Newcomer { account, role: Role::Patient, ed25519, rsa, custodial: true, credential: None, enrolment };
    newcomer.register(gw, row).await?;
    gw.charts.link(&row.chart, account).await?;
    Ok(account)
}

/// Somebody whom this organisation sponsors.
pub(crate) struct Newcomer {
    pub(crate) account: AccountId,
    pub(crate) role: Role,
    pub(crate) ed25519: OkpJwk,
    pub(crate) rsa: RsaJwk,
    pub(crate) custodial: bool,
    pub(crate) credential: Option<NewCredential>,
    pub(crate) enrolment: String,
}

impl Newcomer {
    /// Registers the account. One that this very organisation registered before with the same key is taken as done, so
    /// that an enrolment that broke off in the middle can be repeated.
    pub(crate) async fn register(self, gw: &Gateway, row: &RecordRow) -> Result<(), Fault> {
        let signer = Signer::new(std::sync::Arc::clone(&gw.ledger), std::sync::Arc::clone(&gw.keystore));
        let (account, role) = (self.account, self.role);
        let identity = row.commitment;
        let submitted = signer
            .submit("org", |nonce, expires| {
                Register {
                    nonce,
                    expires,
                    account,
                    role,
                    ed25519: self.ed25519,
                    rsa: self.rsa,
                    custodial: self.custodial,
                    identity,
                    credential: self.credential,
                    enrolment: self.enrolment,
                }
                .into()
            })
            .await;
        match submitted {
            Ok(_) => Ok(()),
            Err(SignError::Ledger(ledger::LedgerError::Rejected(r))) if r.code == Code::AlreadyExists => {
                let known = View(&*gw.ledger).account(&account).await?;
                if known.is_some_and(|a| a.sponsor == gw.org && a.role == role) { Ok(()) } else { Err(r.into()) }
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// The first credential of a doctor or an organisation: the one given, or a commitment to the record as it is.
pub(crate) fn first_credential(
    role: Role,
    given: Option<NewCredential>,
    commitment: Hash32,
) -> Result<Option<NewCredential>, Fault> {
    if role == Role::Patient {
        return match given {
            None => Ok(None),
            Some(_) => Err(Fault::malformed("a patient has no credential").at("register.credential")),
        };
    }
    if given.is_some() {
        return Ok(given);
    }
    let id = CredentialId(tokens::random().map_err(|e| Fault::unavailable(e.to_string()))?);
    Ok(Some(NewCredential { id, commitment }))
}

/// Remembers which account a resource has: a chart's with the patient's keys, a party's by name.
pub(crate) async fn link(gw: &Gateway, row: &RecordRow, account: AccountId) -> Result<(), Fault> {
    if row.resource_type == "Patient" {
        gw.charts.link(&row.chart, account).await?;
        return Ok(());
    }
    let party = Party { account, resource_type: row.resource_type.clone(), record: row.id };
    Ok(gw.auth.parties.link(&party).await?)
}

/// The row that an enrolment is for.
pub(crate) fn row_of(gw: &Gateway, record: &RecordId) -> Result<RecordRow, Fault> {
    let row = gw.records.row(record, None).map_err(|e| interactions::unreadable(&e))?;
    row.filter(|r| !r.tombstone).ok_or_else(Fault::not_found)
}

/// True while a statement is valid.
pub(crate) fn in_time(gw: &Gateway, expires: TimeMs) -> bool {
    ledger::now(&*gw.ledger, &gw.clock) < expires
}
