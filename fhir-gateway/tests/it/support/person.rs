//! A person with a device that no gateway sees the keys of.

use std::sync::Arc;

use serde_json::{Value, json};
use vouchsafe_gateway::{
    http::Link,
    seal::{DeviceKeys, RsaUnwrap},
};
use vouchsafe_types::{
    AccountId, Nonce, TimeMs,
    jws::{self, Sign},
    tx::{Enrolment, Role},
};

use super::{Answer, Client, Consortium, parameter};

/// A person with a device of their own.
pub(crate) struct Person {
    pub(crate) keys: Arc<DeviceKeys>,
    pub(crate) account: AccountId,
}

impl Person {
    pub(crate) fn new() -> Self {
        let keys = DeviceKeys::generate().unwrap();
        let account = AccountId::of_key(Sign::public(keys.ed25519()).bytes());
        Self { keys: Arc::new(keys), account }
    }

    /// Gets an enrolment address for a record and goes there: with a new account, or with the one that is there.
    pub(crate) async fn enrol(&self, c: &Consortium, org: &str, record: &str, new: bool) -> Answer {
        let system = c.system(org);
        let registered =
            system.post(&format!("{record}/$register"), &json!({ "resourceType": "Parameters" })).await.expect(201);
        let address = parameter(&registered, "enrolment").as_str().unwrap().to_owned();
        let offer = Answer::of(c.http.get(&address)).await.expect(200);
        let body = self.enrolment(&offer, new, c.clock.now().plus(60_000));
        Answer::of(c.http.post(&address).json(&body)).await
    }

    /// What the device answers to an offer.
    pub(crate) fn enrolment(&self, offer: &Value, new: bool, expires: TimeMs) -> Value {
        let chain = offer["chain"].as_str().unwrap();
        let sponsor: AccountId = offer["sponsor"].as_str().unwrap().parse().unwrap();
        let role: Role = serde_json::from_value(offer["role"].clone()).unwrap();
        let nonce: Nonce = offer["nonce"].as_str().unwrap().parse().unwrap();
        let link = Link { account: self.account, custodian: sponsor, nonce, expires };
        let mut body = json!({
            "link": jws::sign_statement(self.keys.ed25519(), chain, Link::TYP, &link),
            "client": self.keys.es384().public().to_json(),
        });
        if new {
            let rsa = RsaUnwrap::public(self.keys.rsa());
            let said = Enrolment {
                account: self.account,
                sponsor,
                role,
                rsa: rsa.kid(),
                custodial: false,
                affiliate: role == Role::Doctor,
                expires,
            };
            body["register"] = json!({
                "ed25519": Sign::public(self.keys.ed25519()), "rsa": rsa,
                "enrolment": jws::sign_statement(self.keys.ed25519(), chain, Enrolment::TYP, &said),
            });
        }
        body
    }

    /// Signs the payload that a `$prepare` gave.
    pub(crate) fn sign(&self, prepared: &Value) -> String {
        let text = |name: &str| parameter(prepared, name).as_str().unwrap().to_owned();
        let kid = Sign::public(self.keys.ed25519()).kid();
        let input = jws::signing_input(&kid, &text("typ"), &text("chain"), text("payload").as_bytes());
        jws::attach(&input, &self.keys.ed25519().sign(input.as_bytes()))
    }

    /// Prepares a call, signs and makes it; a refused preparation is the answer.
    pub(crate) async fn act(&self, client: &Client, path: &str, body: &Value) -> Answer {
        let prepared = client.post(&format!("{path}/$prepare"), body).await;
        if prepared.status != 200 {
            return prepared;
        }
        let tx = self.sign(&prepared.json());
        client.post_with(path, body, &[("vouchsafe-tx", &tx)]).await
    }
}
