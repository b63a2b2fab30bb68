//! A person with keys of their own: a patient or a doctor, at home in a directory that no gateway reads.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use vouchsafe_gateway::seal::{RsaUnwrap, device::DeviceKeys};
use vouchsafe_node::verify::Trust;
use vouchsafe_types::{
    AccountId, CredentialId, Hash32, RsaJwk, TimeMs, Tx,
    jws::{self, Sign},
    tx::{Enrolment, Role},
};

use super::{
    client::{Answer, Client, ClientKey, Extra, parameter, read},
    files,
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// How long a statement of a wallet is valid: long enough for a slow desk, short enough to be of no use later.
const STATEMENT_MS: u64 = 5 * 60_000;

/// A person's wallet.
pub(crate) struct Person {
    /// The name on the wallet; never sent anywhere.
    pub(crate) name: String,
    /// The account that the device's key founds.
    pub(crate) account: AccountId,
    /// Where the person's private things lie.
    dir: PathBuf,
    keys: Arc<DeviceKeys>,
    http: reqwest::Client,
    /// What the person believes of the ledger, told by the consortium and not by a gateway.
    trust: Trust,
    /// The custodians that the person signed links for.
    pub(crate) custodians: Vec<AccountId>,
}

impl Person {
    /// Makes a wallet: the device's keys are made here and written to the person's own directory.
    pub(crate) fn create(dir: &Path, name: &str, http: &reqwest::Client, trust: Trust) -> Outcome<Self> {
        let keys = DeviceKeys::generate().ok_or_else(|| Failure::new(Kind::Error, format!("no keys for {name}")))?;
        let jwks = keys.to_private_jwks().doing(Kind::Error, || "keys".into())?;
        let text = serde_json::to_vec_pretty(&jwks).doing(Kind::Error, || "keys".into())?;
        files::write_private(&dir.join("device.jwks.json"), &text)?;
        let account = AccountId::of_key(Sign::public(&keys).bytes());
        let (name, dir) = (name.to_owned(), dir.to_owned());
        Ok(Self { name, account, dir, keys: Arc::new(keys), http: http.clone(), trust, custodians: Vec::new() })
    }

    /// What the person believes of the ledger.
    pub(crate) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The person's HTTP client.
    pub(crate) const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    fn wrapping(&self) -> RsaJwk {
        RsaUnwrap::public(self.keys.rsa())
    }

    /// The device's keys.
    pub(crate) fn keys(&self) -> &DeviceKeys {
        &self.keys
    }

    /// The private keys, for `credentials.json`.
    pub(crate) fn jwks(&self) -> Outcome<Value> {
        self.keys.to_private_jwks().doing(Kind::Error, || "keys".into())
    }

    /// A client of a gateway that the person enrolled at.
    pub(crate) fn client(&self, base: &str) -> Client {
        Client::new(&self.http, base, &self.account.to_string(), ClientKey::Device(self.keys.clone()))
    }

    /// Goes to an enrolment address with a new account, and with a link when it is for a patient's chart.
    pub(crate) async fn enrol(&mut self, address: &str, credential: Option<Hash32>) -> Outcome {
        let offer = self.offer(address).await?;
        let role: Role =
            serde_json::from_value(offer["role"].clone()).doing(Kind::InvalidData, || "the role".into())?;
        let (chain, sponsor) = (text(&offer, "chain")?, account(&offer, "sponsor")?);
        let statement = Enrolment {
            account: self.account,
            sponsor,
            role,
            rsa: self.wrapping().kid(),
            custodial: false,
            affiliate: role == Role::Doctor,
            expires: now().plus(STATEMENT_MS),
        };
        let mut body = json!({
            "register": {
                "ed25519": Sign::public(self.keys.as_ref()), "rsa": self.wrapping(),
                "enrolment": jws::sign_statement(self.keys.as_ref(), &chain, Enrolment::TYP, &statement),
            },
            "client": self.keys.es384().public().to_json(),
        });
        if let Some(commitment) = credential {
            body["register"]["credential"] = json!({ "id": CredentialId(random()?), "commitment": commitment });
        }
        if role == Role::Patient {
            body["link"] = json!(self.link_statement(&offer)?);
        }
        self.answer_offer(address, &offer, &body).await
    }

    /// Goes to an enrolment address of a further custodian with the account that exists already.
    pub(crate) async fn link(&mut self, address: &str) -> Outcome {
        let offer = self.offer(address).await?;
        let body = json!({ "link": self.link_statement(&offer)?, "client": self.keys.es384().public().to_json() });
        self.answer_offer(address, &offer, &body).await
    }

    async fn offer(&self, address: &str) -> Outcome<Value> {
        read(self.http.get(address)).await?.ok("the enrolment address")
    }

    async fn answer_offer(&mut self, address: &str, offer: &Value, body: &Value) -> Outcome {
        read(self.http.post(address).json(body)).await?.ok("enrolling")?;
        if offer["role"] == "patient" {
            self.custodians.push(account(offer, "custodian")?);
            let links = serde_json::to_vec(&self.custodians).doing(Kind::Error, || "links".into())?;
            files::write_private(&self.dir.join("links.json"), &links)?;
        }
        Ok(())
    }

    /// The patient's word that a chart is theirs; kept off the chain.
    fn link_statement(&self, offer: &Value) -> Outcome<String> {
        let statement = json!({
            "account": self.account, "custodian": account(offer, "custodian")?, "nonce": offer["nonce"],
            "expires": now().plus(STATEMENT_MS),
        });
        Ok(jws::sign_statement(self.keys.as_ref(), &text(offer, "chain")?, "vouchsafe/link", &statement))
    }

    /// Signs the payload that a `$prepare` gave, after `check` has read it.
    pub(crate) fn sign(&self, prepared: &Value, check: impl FnOnce(&Tx) -> Outcome) -> Outcome<String> {
        let (typ, chain) = (parameter(prepared, "typ"), parameter(prepared, "chain"));
        let payload = parameter(prepared, "payload");
        let (Some(typ), Some(chain), Some(payload)) = (typ.as_str(), chain.as_str(), payload.as_str()) else {
            return Err(Failure::new(Kind::InvalidData, format!("a preparation without payload: {prepared}")));
        };
        let input = jws::signing_input(&Sign::public(self.keys.as_ref()).kid(), typ, chain, payload.as_bytes());
        let compact = jws::attach(&input, &self.keys.sign(input.as_bytes()));
        // What is signed is what was read: the very bytes are parsed, as the ledger will parse them.
        let parsed = jws::Unverified::parse(compact.as_bytes(), chain)
            .and_then(|u| u.verify(&Sign::public(self.keys.as_ref())))
            .doing(Kind::InvalidData, || "the payload to sign".into())?;
        check(parsed.tx())?;
        Ok(compact)
    }

    /// Prepares a call, signs its payload and makes the call.
    pub(crate) async fn act(
        &self,
        client: &Client,
        path: &str,
        body: &Value,
        check: impl FnOnce(&Tx) -> Outcome,
    ) -> Outcome<Answer> {
        let prepared = client.post(&format!("{path}/$prepare"), body).await?;
        if !prepared.status.is_success() {
            return Ok(prepared);
        }
        let tx = self.sign(&prepared.json(), check)?;
        client.post_with(path, body, &Extra::tx(tx)).await
    }
}

/// The wallet's clock.
pub(crate) fn now() -> TimeMs {
    (vouchsafe_gateway::clock::system())()
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Outcome<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).doing(Kind::Error, || "random bytes".into())?;
    Ok(bytes)
}

fn text(value: &Value, member: &str) -> Outcome<String> {
    let found = value[member].as_str().map(str::to_owned);
    found.ok_or_else(|| Failure::new(Kind::InvalidData, format!("no {member} in {value}")))
}

fn account(value: &Value, member: &str) -> Outcome<AccountId> {
    text(value, member)?.parse().doing(Kind::InvalidData, || member.to_owned())
}

/// The enrolment address that `$register` gave.
pub(crate) fn enrolment_address(registered: &Value) -> Outcome<String> {
    let address = parameter(registered, "enrolment").as_str().map(str::to_owned);
    address.ok_or_else(|| Failure::new(Kind::InvalidData, format!("no enrolment address in {registered}")))
}
