//! The patient's side of a decision: what is asked is read out of the very payload that is signed, and what is granted
//! is sealed here, to custodians that the patient chose.

use serde_json::{Value, json};
use vouchsafe_gateway::{
    consents::SealedDetail,
    fhir::{category::Category, consent},
};
use vouchsafe_node::{
    proof::LedgerProof,
    verify::{Trust, verify_proof},
};
use vouchsafe_types::{
    AccountId, Count, RequestId, RsaJwk, Tx, keys,
    state::Endpoint,
    tx::{Decide, Terms},
};

use super::{
    client::{Answer, Client, Extra, all, parameter, parameters},
    person::Person,
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// What `$approve/$prepare` answers, read strictly.
struct Prepared {
    whole: Value,
    detail: SealedDetail,
    recipients: Vec<Recipient>,
}

/// Whom the detail is sealed to.
struct Recipient {
    custodian: bool,
    account: AccountId,
    rsa: RsaJwk,
}

impl Prepared {
    fn read(whole: Value, trust: &Trust) -> Outcome<Self> {
        let detail = parameter(&whole, "detail").as_str().unwrap_or_default();
        let detail = serde_json::from_str(detail).doing(Kind::InvalidData, || "the detail to be sealed".into())?;
        let recipients = all(&whole, "recipient").map(|r| recipient(r, trust)).collect::<Outcome<_>>()?;
        Ok(Self { whole, detail, recipients })
    }
}

/// A recipient: whose key it is and the key, which for an organisation is the one that the ledger proves.
fn recipient(parts: &Value, trust: &Trust) -> Outcome<Recipient> {
    let part = |name: &str| {
        let found = parts.as_array().and_then(|list| list.iter().find(|p| p["name"] == *name));
        found.and_then(|p| p["valueString"].as_str()).map(str::to_owned)
    };
    let bad = || Failure::new(Kind::InvalidData, "a recipient is not of its form");
    let role = part("role").ok_or_else(bad)?;
    let account: AccountId = part("account").and_then(|a| a.parse().ok()).ok_or_else(bad)?;
    let rsa: RsaJwk = part("jwk").and_then(|j| serde_json::from_str(&j).ok()).ok_or_else(bad)?;
    if role != "doctor" {
        let proof: LedgerProof = part("proof").and_then(|p| serde_json::from_str(&p).ok()).ok_or_else(bad)?;
        let proved = verify_proof(&proof, trust).doing(Kind::VerificationFailed, || "a recipient's key".into())?;
        let endpoint = proved.value().and_then(Endpoint::from_bytes);
        if proved.key() != keys::endpoint(&account) || endpoint.is_none_or(|e| e.rsa != rsa) {
            return Err(Failure::new(Kind::VerificationFailed, format!("the key of {account} is not the ledger's")));
        }
    }
    Ok(Recipient { custodian: role == "custodian", account, rsa })
}

impl Person {
    /// Approves a request, perhaps less than was asked: `narrower` is the provision granted, by default what is asked.
    pub(crate) async fn approve(&self, client: &Client, id: &str, narrower: Option<&Value>) -> Outcome<Answer> {
        let path = format!("Consent/{id}/$approve");
        let mut given: Vec<Value> =
            self.custodians.iter().map(|c| json!({ "name": "custodian", "valueString": c })).collect();
        given.extend(narrower.map(|consent| json!({ "name": "consent", "resource": consent })));
        let prepared = client.post(&format!("{path}/$prepare"), &parameters(given.clone())).await?;
        if !prepared.status.is_success() {
            return Ok(prepared);
        }
        let prepared = Prepared::read(prepared.json(), self.trust())?;
        let request: RequestId = id.parse().doing(Kind::InvalidData, || "the consent's id".into())?;
        let tx = self.sign(&prepared.whole, |tx| matches(tx, request, &prepared.detail))?;
        given.extend(self.sealed(&prepared)?.into_iter().map(|jwe| json!({ "name": "sealed", "valueString": jwe })));
        client.post_with(&path, &parameters(given), &Extra::tx(tx)).await
    }

    /// The detail, sealed once for the custodians and once, with their number, for those who will read.
    fn sealed(&self, prepared: &Prepared) -> Outcome<Vec<String>> {
        let (custodians, readers): (Vec<&Recipient>, Vec<&Recipient>) =
            prepared.recipients.iter().partition(|r| r.custodian);
        let linked = |c: &AccountId| custodians.iter().any(|r| r.account == *c);
        if !self.custodians.iter().all(linked) || custodians.len() != self.custodians.len() {
            return Err(Failure::new(Kind::InvalidData, "the custodians named are not those that the patient linked"));
        }
        let keys = |of: Vec<&Recipient>| of.into_iter().map(|r| r.rsa.clone()).collect::<Vec<_>>();
        let seal = |detail: &SealedDetail, to: &[RsaJwk]| {
            detail.seal(to).map_err(|_| Failure::new(Kind::InvalidData, "a recipient's key is not usable"))
        };
        let number = Count(u64::try_from(self.custodians.len()).unwrap_or(u64::MAX));
        let counted = SealedDetail { custodians: Some(number), ..prepared.detail.clone() };
        let plain = SealedDetail { custodians: None, ..prepared.detail.clone() };
        Ok(vec![seal(&plain, &keys(custodians))?, seal(&counted, &keys(readers))?])
    }
}

/// The payload decides on this request, and what it grants is the detail that will be sealed: no more.
fn matches(tx: &Tx, request: RequestId, detail: &SealedDetail) -> Outcome {
    let Tx::Decide(Decide { request: of, granted: Some(terms), .. }) = tx else {
        return Err(Failure::new(Kind::InvalidData, format!("asked to sign a {} instead of an approval", tx.typ())));
    };
    if *of != request || !is_of(detail, request, terms) {
        return Err(Failure::new(Kind::InvalidData, "the payload does not grant what is shown"));
    }
    Ok(())
}

/// These are the terms' detail: the commitment is over it, the tags of its categories are granted, and that of no other
/// category is. What is left are the request's dummies.
fn is_of(detail: &SealedDetail, request: RequestId, terms: &Terms) -> bool {
    let granted = |c: Category| terms.tags.contains(&consent::tag(&detail.salt.0, c));
    detail.request == request
        && detail.commitment() == terms.detail
        && detail.detail.write == terms.write
        && Category::all().iter().all(|c| granted(*c) == detail.detail.categories.contains(c))
}
