//! Compact JWS read with nothing but base64url, JSON and Ed25519.

use ed25519_consensus::{Signature, VerificationKey};
use serde::{Deserialize, de::DeserializeOwned};
use vouchsafe_types::{
    Kid, Tx, b64,
    tx::{
        AddCredential, AddDevice, Affiliate, Anchor, AnchorAudit, Ask, Decide, End, EndAffiliation, EndKey, Judge,
        Mandate, Open, Register, Revoke, SetEndpoint,
    },
};

#[derive(Deserialize)]
struct Header {
    kid: Kid,
    typ: String,
    chain: String,
}

/// A transaction's text, read.
pub(super) struct Envelope {
    pub(super) kid: Kid,
    pub(super) chain: String,
    pub(super) tx: Tx,
    jws: Jws,
}

impl Envelope {
    pub(super) fn signed_by(&self, public: &[u8; 32]) -> bool {
        self.jws.signed_by(public)
    }
}

/// Any compact JWS, read.
struct Jws {
    header: Header,
    payload: Vec<u8>,
    input: String,
    signature: [u8; 64],
}

impl Jws {
    fn read(text: &str) -> Option<Self> {
        let (input, signature) = text.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        Some(Self {
            header: serde_json::from_slice(&b64::decode(header)?).ok()?,
            payload: b64::decode(payload)?,
            input: input.to_owned(),
            signature: b64::decode(signature)?.try_into().ok()?,
        })
    }

    fn signed_by(&self, public: &[u8; 32]) -> bool {
        let Ok(key) = VerificationKey::try_from(*public) else { return false };
        key.verify(&Signature::from(self.signature), self.input.as_bytes()).is_ok()
    }
}

/// Reads a transaction; none when it is not of its form.
pub(super) fn envelope(raw: &str) -> Option<Envelope> {
    let jws = Jws::read(raw)?;
    let tx = transaction(&jws.header.typ, &jws.payload)?;
    Some(Envelope { kid: jws.header.kid, chain: jws.header.chain.clone(), tx, jws })
}

/// What a failure names a transaction by.
pub(super) fn shown(raw: &str) -> String {
    let payload =
        |jws: Jws| format!("{} by {} {}", jws.header.typ, jws.header.kid, String::from_utf8_lossy(&jws.payload));
    Jws::read(raw).map_or_else(|| raw.to_owned(), payload)
}

fn transaction(typ: &str, payload: &[u8]) -> Option<Tx> {
    fn of<T: DeserializeOwned + Into<Tx>>(payload: &[u8]) -> Option<Tx> {
        serde_json::from_slice::<T>(payload).ok().map(Into::into)
    }
    match typ {
        "vouchsafe/register" => of::<Register>(payload),
        "vouchsafe/credential" => of::<AddCredential>(payload),
        "vouchsafe/verdict" => of::<Judge>(payload),
        "vouchsafe/affiliation" => of::<Affiliate>(payload),
        "vouchsafe/affiliation-end" => of::<EndAffiliation>(payload),
        "vouchsafe/device" => of::<AddDevice>(payload),
        "vouchsafe/key-end" => of::<EndKey>(payload),
        "vouchsafe/mandate" => of::<Mandate>(payload),
        "vouchsafe/endpoint" => of::<SetEndpoint>(payload),
        "vouchsafe/request" => of::<Ask>(payload),
        "vouchsafe/decision" => of::<Decide>(payload),
        "vouchsafe/open" => of::<Open>(payload),
        "vouchsafe/end" => of::<End>(payload),
        "vouchsafe/revoke" => of::<Revoke>(payload),
        "vouchsafe/anchor" => of::<Anchor>(payload),
        "vouchsafe/audit" => of::<AnchorAudit>(payload),
        _ => None,
    }
}

/// Another party's word, when it is truly signed by the key, for the chain and of the type; else none.
pub(super) fn word<T: DeserializeOwned>(text: &str, chain: &str, typ: &str, kid: &Kid, public: &[u8; 32]) -> Option<T> {
    let jws = Jws::read(text)?;
    let ours = jws.header.chain == chain && jws.header.typ == typ && jws.header.kid == *kid;
    if !ours || !jws.signed_by(public) {
        return None;
    }
    serde_json::from_slice(&jws.payload).ok()
}

/// The key that a word names.
pub(super) fn speaker(text: &str) -> Option<Kid> {
    Jws::read(text).map(|jws| jws.header.kid)
}
