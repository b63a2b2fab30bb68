//! How a chain begins: the founders, the first authority, the parameters, signed by every founder.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AccountId, CredentialId, Hash32},
    jwk::{OkpJwk, RsaJwk},
    jws,
    rejection::{Code, Rejection},
    state::Params,
    time::{Count, TimeMs},
    tx::Role,
};

/// An organisation that founds the chain, verified from the first block on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Founder {
    /// `AccountId::of_key` of its key.
    pub account: AccountId,
    /// An organisation's role; at least one founder is an authority.
    pub role: Role,
    /// Its signing key.
    pub ed25519: OkpJwk,
    /// Its wrapping key.
    pub rsa: RsaJwk,
    /// Its credential.
    pub credential: CredentialId,
    /// Commitment to its sealed identity record.
    pub identity: Hash32,
}

/// A validator at the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// Its consensus key.
    pub ed25519: OkpJwk,
    /// Its voting power.
    pub power: Count,
}

/// What the founders sign: everything but their signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisBody {
    /// The consortium's short name: 1 to 16 lower-case letters, digits and hyphens.
    pub name: String,
    /// The chain's first time.
    pub time: TimeMs,
    /// The founders, by ascending account.
    pub founders: Vec<Founder>,
    /// The first validators.
    pub validators: Vec<Validator>,
    /// The parameters.
    pub params: Params,
}

/// The genesis document, CometBFT's `app_state`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// What is signed.
    pub body: GenesisBody,
    /// One compact JWS per founder over the digest, in the founders' order. `typ` is `vouchsafe/genesis`.
    pub signatures: Vec<String>,
}

/// What a founder's genesis signature says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Endorsement {
    digest: Hash32,
}

const TYP: &str = "vouchsafe/genesis";

impl GenesisBody {
    /// The digest that `verify --trust` takes: over the body as this crate writes it.
    pub fn digest(&self) -> Hash32 {
        let bytes = serde_json::to_vec(self).expect("a genesis body is plain data");
        Hash32::of("vouchsafe/genesis", &[&bytes])
    }

    /// The chain id: the name and the first half of the digest in hexadecimal; at most 49 characters.
    pub fn chain_id(&self) -> String {
        format!("{}-{}", self.name, hex::encode(&self.digest().0[..16]))
    }

    /// A founder's signature.
    pub fn endorse(&self, key: &dyn jws::Sign) -> String {
        jws::sign_statement(key, &self.chain_id(), TYP, &Endorsement { digest: self.digest() })
    }
}

impl Genesis {
    /// Checks form and every founder's signature.
    ///
    /// # Errors
    /// `Malformed` with what is wrong, or what `open_statement` says of a signature.
    pub fn check(&self) -> Result<(), Rejection> {
        let body = &self.body;
        let named = (1..=16).contains(&body.name.len())
            && body.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Code::Malformed.refuse("the name must be 1 to 16 lower-case letters, digits and hyphens");
        }
        if !body.founders.windows(2).all(|w| w[0].account < w[1].account) {
            return Code::Malformed.refuse("founders must be sorted by account, each once");
        }
        if !body.founders.iter().any(|f| f.role == Role::Authority) {
            return Code::Malformed.refuse("one founder must be an authority");
        }
        if body.validators.is_empty() || body.validators.iter().any(|v| v.power.0 == 0) {
            return Code::Malformed.refuse("there must be validators, each with power");
        }
        if self.signatures.len() != body.founders.len() {
            return Code::Malformed.refuse("every founder must have signed");
        }
        for (founder, signature) in body.founders.iter().zip(&self.signatures) {
            if !founder.role.is_organization() || AccountId::of_key(founder.ed25519.bytes()) != founder.account {
                return Code::Malformed
                    .refuse(format!("founder {} is not an organisation with its own key", founder.account));
            }
            let said: Endorsement = jws::open_statement(signature, &body.chain_id(), TYP, &founder.ed25519)?;
            if said.digest != body.digest() {
                return Code::BadSignature.refuse(format!("founder {} signed another digest", founder.account));
            }
        }
        Ok(())
    }
}
