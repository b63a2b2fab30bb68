//! Public keys as JWKs (RFC 7517), Ed25519 by RFC 8037, RSA by RFC 7518 section 6.3, named by thumbprint (RFC 7638).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use sha2::{Digest, Sha256};

use crate::{b64, ids::Hash32};

/// The RFC 7638 thumbprint of a key, which is its `kid` everywhere.
pub type Kid = Hash32;

/// An Ed25519 public key: `{"kty":"OKP","crv":"Ed25519","x":…}` and no other member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "OkpWire")]
pub struct OkpJwk([u8; 32]);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OkpWire {
    crv: String,
    kty: String,
    x: String,
}

impl OkpJwk {
    /// Takes the 32 bytes of a public key (RFC 8032 section 5.1.5). Whether they are a point is judged when a
    /// signature is verified.
    pub const fn new(public: [u8; 32]) -> Self {
        Self(public)
    }

    /// The public key.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The thumbprint.
    pub fn kid(&self) -> Kid {
        thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, b64::encode(self.0)))
    }
}

impl fmt::Debug for OkpJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OkpJwk({})", b64::encode(self.0))
    }
}

impl From<OkpJwk> for OkpWire {
    fn from(k: OkpJwk) -> Self {
        Self { crv: "Ed25519".into(), kty: "OKP".into(), x: b64::encode(k.0) }
    }
}

impl<'de> Deserialize<'de> for OkpJwk {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let wire = OkpWire::deserialize(d)?;
        if wire.kty != "OKP" || wire.crv != "Ed25519" {
            return Err(D::Error::custom("kty must be OKP and crv Ed25519"));
        }
        let x = b64::decode_array(&wire.x).ok_or_else(|| D::Error::custom("x must be 32 bytes of base64url"))?;
        Ok(Self(x))
    }
}

/// An RSA public key of 3072 or 4096 bits with exponent 65537: `{"kty":"RSA","n":…,"e":"AQAB"}` and no other member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "RsaWire")]
pub struct RsaJwk {
    n: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RsaWire {
    e: String,
    kty: String,
    n: String,
}

/// The text of the one public exponent that is accepted.
const E_65537: &str = "AQAB";

impl RsaJwk {
    /// Takes a modulus, big-endian, of exactly 3072 or 4096 bits; `None` for any other.
    pub fn new(n: Vec<u8>) -> Option<Self> {
        let whole = (n.len() == 384 || n.len() == 512) && n[0] >= 0x80;
        whole.then_some(Self { n })
    }

    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// The thumbprint.
    pub fn kid(&self) -> Kid {
        thumbprint(&format!(r#"{{"e":"{E_65537}","kty":"RSA","n":"{}"}}"#, b64::encode(&self.n)))
    }
}

impl fmt::Debug for RsaJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaJwk({} bits, kid {})", self.n.len() * 8, self.kid())
    }
}

impl From<RsaJwk> for RsaWire {
    fn from(k: RsaJwk) -> Self {
        Self { e: E_65537.into(), kty: "RSA".into(), n: b64::encode(k.n) }
    }
}

impl<'de> Deserialize<'de> for RsaJwk {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let wire = RsaWire::deserialize(d)?;
        if wire.kty != "RSA" || wire.e != E_65537 {
            return Err(D::Error::custom("kty must be RSA and e AQAB"));
        }
        b64::decode(&wire.n)
            .and_then(Self::new)
            .ok_or_else(|| D::Error::custom("n must be a modulus of 3072 or 4096 bits in base64url"))
    }
}

fn thumbprint(canonical: &str) -> Kid {
    Hash32(Sha256::digest(canonical).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.3 gives the thumbprint of its example key.
    #[test]
    fn thumbprint_of_rfc_8037() {
        let key: OkpJwk =
            serde_json::from_str(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#)
                .unwrap();
        assert_eq!(key.kid().to_string(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_private_member_is_refused() {
        let with_d = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}"#;
        assert!(serde_json::from_str::<OkpJwk>(with_d).is_err());
    }
}
