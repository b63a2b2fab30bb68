//! `$verify`, `$suspend`, `$reinstate`, `$revoke` (interfaces.md, B): an authority decides on a credential.

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Code, CredentialId, Nonce, TimeMs, Tx,
    state::CredentialStatus,
    tx::{Judge, Role, Verdict},
};

use super::{parameters::Given, presented};
use crate::{
    auth::Who,
    fhir::{
        audit::AuditKind,
        date::{self, DateRange},
        systems,
    },
    http::{
        Fault, Reply,
        call::Call,
        disclose::{self, Deed},
    },
    ledger::{self, Signer, View},
};

/// How long a verification is valid when the authority does not say: about a year.
const DEFAULT_MS: u64 = 365 * 24 * 3_600_000;

/// The extension of a VerificationResult that says what the ledger holds.
const STATUS: &str = "https://vouchsafe.example/StructureDefinition/credential-status";

macro_rules! verdicts {
    ($($(#[$doc:meta])* $name:ident, $prepare:ident = $verdict:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(call: Call) -> Result<Reply, Fault> {
            judge(&call, Verdict::$verdict, false).await
        }

        /// What is to be signed for it.
        pub(crate) async fn $prepare(call: Call) -> Result<Reply, Fault> {
            judge(&call, Verdict::$verdict, true).await
        }
    )*};
}

verdicts! {
    /// `POST /{type}/{id}/$verify`.
    verify, prepare_verify = Verify;
    /// `POST /{type}/{id}/$suspend`.
    suspend, prepare_suspend = Suspend;
    /// `POST /{type}/{id}/$reinstate`.
    reinstate, prepare_reinstate = Reinstate;
    /// `POST /{type}/{id}/$revoke`.
    revoke, prepare_revoke = Revoke;
}

/// Whom the address means: a resource here, or an account.
struct Subject {
    account: AccountId,
    reference: String,
}

async fn judge(call: &Call, verdict: Verdict, prepare: bool) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let caller = call.caller()?;
    let given = Given::read(call, &["validUntil", "credential"])?;
    let until = valid_until(&given, verdict)?;
    let presented = call.tx()?;
    if !prepare && presented.is_none() && !matches!(caller.who, Who::Authority { .. }) {
        // A hospital's system may carry what an authority signed; by itself it decides nothing.
        return Err(Fault::forbidden(Code::NotAllowed.name(), "an authority decides on credentials, with its own key"));
    }
    let subject = subject(call).await?;
    let credential = credential(call, &given, &subject).await?;
    let make = |nonce: Nonce, expires: TimeMs| -> Tx {
        let decides = matches!(verdict, Verdict::Verify | Verdict::Reinstate);
        let valid_until = decides.then(|| until.unwrap_or_else(|| expires.plus(DEFAULT_MS)));
        Judge { nonce, expires, subject: subject.account, credential, verdict, valid_until }.into()
    };
    if prepare {
        return Ok(presented::prepared(gw, make));
    }
    match presented {
        Some(tx) => presented::submit(gw, tx, make).await?,
        None => {
            let signer = Signer::new(std::sync::Arc::clone(&gw.ledger), std::sync::Arc::clone(&gw.keystore));
            signer.submit("org", make).await?
        }
    };
    let deed = Deed { kind: Some(AuditKind::Operation), what: vec![subject.reference.clone()], ..Deed::default() };
    disclose::note(gw, caller, &deed).await?;
    Ok(Reply::resource(200, &result(call, &subject, &credential).await?))
}

fn valid_until(given: &Given, verdict: Verdict) -> Result<Option<TimeMs>, Fault> {
    let Some(text) = given.text("validUntil") else { return Ok(None) };
    if !matches!(verdict, Verdict::Verify | Verdict::Reinstate) {
        return Err(Fault::malformed("only $verify and $reinstate have a validUntil").at("validUntil"));
    }
    let at = DateRange::parse(text).and_then(|range| u64::try_from(range.start).ok());
    at.map(|at| Some(TimeMs(at))).ok_or_else(|| Fault::malformed("no date or instant").at("validUntil"))
}

async fn subject(call: &Call) -> Result<Subject, Fault> {
    let gw = &call.gw;
    let (id, kind) = (call.id()?, call.resource_type());
    if let Some(record) = call.record()?
        && let Some(party) = gw.auth.parties.by_record(&record)?.filter(|p| p.resource_type == kind)
    {
        return Ok(Subject { account: party.account, reference: format!("{kind}/{record}") });
    }
    let account: AccountId = id.parse().map_err(|_| Fault::not_found())?;
    let known = View(&*gw.ledger).account(&account).await?.ok_or_else(Fault::not_found)?;
    let fits = if kind == "Practitioner" { known.role == Role::Doctor } else { known.role.is_organization() };
    if fits { Ok(Subject { account, reference: format!("{kind}/{account}") }) } else { Err(Fault::not_found()) }
}

async fn credential(call: &Call, given: &Given, subject: &Subject) -> Result<CredentialId, Fault> {
    if let Some(text) = given.text("credential") {
        return text.parse().map_err(|_| Fault::malformed("no credential's id").at("credential"));
    }
    let account = View(&*call.gw.ledger).account(&subject.account).await?;
    account.and_then(|a| a.credential).ok_or_else(|| Fault::invalid("the account has no credential"))
}

/// The VerificationResult (<https://hl7.org/fhir/R4/verificationresult.html>) of what the ledger holds now.
async fn result(call: &Call, subject: &Subject, id: &CredentialId) -> Result<Value, Fault> {
    let gw = &call.gw;
    let held = View(&*gw.ledger).credential(&subject.account, id).await?.ok_or_else(Fault::not_found)?;
    let (status, ours) = match held.status {
        CredentialStatus::Pending => ("in-process", "pending"),
        CredentialStatus::Verified => ("validated", "verified"),
        CredentialStatus::Suspended => ("req-revalid", "suspended"),
        CredentialStatus::Revoked => ("reval-fail", "revoked"),
    };
    let now = date::instant(ledger::now(&*gw.ledger, &gw.clock));
    let identifier = |account: &AccountId| json!({ "system": systems::ACCOUNT, "value": account.to_string() });
    let mut out = json!({
        "resourceType": "VerificationResult",
        "extension": [{ "url": STATUS, "valueCode": ours }],
        "target": [{ "reference": subject.reference, "identifier": identifier(&subject.account) }],
        "status": status,
        "statusDate": now,
        "lastPerformed": now,
    });
    if let Some(authority) = &held.authority {
        out["primarySource"] = json!([{ "who": { "identifier": identifier(authority) }, "validationDate": now }]);
    }
    if let Some(until) = held.valid_until {
        out["nextScheduled"] = date::instant(until)[..10].into();
    }
    Ok(out)
}
