//! The client assertions of SMART Backend Services: compact JWS by ES384 or RS384 (RFC 7515, RFC 7518), and the JWKs
//! that verify them. What the claims must say is the business of `auth`.

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, UnparsedPublicKey},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use vouchsafe_types::b64;

use super::device::Es384Key;

/// The longest token that is looked at.
pub const MAX_TOKEN: usize = 16 << 10;
/// The most keys that a client may have.
pub const MAX_KEYS: usize = 32;

/// Why a key or a token is refused. Tokens are untrusted: their texts are not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// A JWK is not of its form.
    #[error("the JWK is not usable: {0}")]
    BadKey(&'static str),
    /// A token is not of its form.
    #[error("the token is not a compact JWS as expected: {0}")]
    Malformed(&'static str),
    /// `alg` is neither ES384 nor RS384.
    #[error("alg must be ES384 or RS384")]
    Algorithm,
    /// No key of this client has that `kid` and suits that `alg`.
    #[error("no key of the client has the token's kid and suits its alg")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("the signature does not verify")]
    BadSignature,
}

/// A P-384 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcJwk {
    x: [u8; 48],
    y: [u8; 48],
}

impl EcJwk {
    /// Reads an uncompressed point (SEC 1 section 2.3.3).
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(48)?;
        Some(Self { x: x.try_into().ok()?, y: y.try_into().ok()? })
    }

    pub(super) fn point(x: &[u8; 48], y: &[u8; 48]) -> [u8; 97] {
        let mut out = [4; 97];
        out[1..49].copy_from_slice(x);
        out[49..].copy_from_slice(y);
        out
    }

    /// The RFC 7638 thumbprint.
    pub fn kid(&self) -> String {
        let (x, y) = (b64::encode(self.x), b64::encode(self.y));
        b64::encode(Sha256::digest(format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#)))
    }

    /// The public JWK, as a client registers it.
    pub fn to_json(&self) -> Value {
        json!({
            "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig", "kid": self.kid(),
            "x": b64::encode(self.x), "y": b64::encode(self.y),
        })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, Self::point(&self.x, &self.y))
            .verify(message, signature)
            .is_ok()
    }
}

/// The algorithms that SMART names; a key serves exactly one of them, so that no token chooses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum VerifyingKey {
    Es384(EcJwk),
    Rs384 { n: Vec<u8> },
}

/// A client's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientJwk {
    kid: String,
    key: VerifyingKey,
}

/// Every member of a JWK that is looked at. Unknown ones are ignored, as RFC 7517 section 4 asks; private ones are not.
#[derive(Deserialize)]
struct JwkWire {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    use_: Option<String>,
    d: Option<Value>,
    k: Option<Value>,
    p: Option<Value>,
}

impl ClientJwk {
    /// Reads a public JWK: P-384, or RSA of 2048 to 4096 bits with exponent 65537.
    ///
    /// # Errors
    /// `BadKey` for any other, for a private key, and for one that is meant for something else.
    pub fn parse(jwk: &Value) -> Result<Self, JoseError> {
        let wire =
            JwkWire::deserialize(jwk).map_err(|_| JoseError::BadKey("a member is missing or of a wrong type"))?;
        if wire.d.is_some() || wire.k.is_some() || wire.p.is_some() {
            return Err(JoseError::BadKey("it holds a private key, which must never leave its owner"));
        }
        if wire.use_.as_deref().is_some_and(|u| u != "sig") {
            return Err(JoseError::BadKey("use must be sig"));
        }
        let (key, alg) = match wire.kty.as_str() {
            "EC" => (VerifyingKey::Es384(ec(&wire)?), "ES384"),
            "RSA" => (VerifyingKey::Rs384 { n: rsa(&wire)? }, "RS384"),
            _ => return Err(JoseError::BadKey("kty must be EC or RSA")),
        };
        if wire.alg.as_deref().is_some_and(|a| a != alg) {
            return Err(JoseError::BadKey("alg must be ES384 for EC and RS384 for RSA"));
        }
        let kid = wire.kid.unwrap_or_else(|| thumbprint(&key));
        Ok(Self { kid, key })
    }

    /// Reads a JWK Set (RFC 7517 section 5).
    ///
    /// # Errors
    /// `BadKey` when it is not one, has no key or too many, or any of them is not usable.
    pub fn parse_set(jwks: &Value) -> Result<Vec<Self>, JoseError> {
        let keys = jwks["keys"].as_array().ok_or(JoseError::BadKey("keys must be an array"))?;
        if !(1..=MAX_KEYS).contains(&keys.len()) {
            return Err(JoseError::BadKey("a JWK Set must hold 1 to 32 keys"));
        }
        keys.iter().map(Self::parse).collect()
    }

    /// Its name: the member, or else the thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    const fn alg(&self) -> &'static str {
        match self.key {
            VerifyingKey::Es384(_) => "ES384",
            VerifyingKey::Rs384 { .. } => "RS384",
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            VerifyingKey::Es384(key) => key.verifies(message, signature),
            VerifyingKey::Rs384 { n } => PublicKeyComponents { n: n.as_slice(), e: super::oaep::EXPONENT.as_slice() }
                .verify(&RSA_PKCS1_2048_8192_SHA384, message, signature)
                .is_ok(),
        }
    }
}

fn ec(wire: &JwkWire) -> Result<EcJwk, JoseError> {
    if wire.crv.as_deref() != Some("P-384") {
        return Err(JoseError::BadKey("crv must be P-384"));
    }
    let coordinate = |text: &Option<String>| text.as_deref().and_then(b64::decode_array);
    match (coordinate(&wire.x), coordinate(&wire.y)) {
        (Some(x), Some(y)) => Ok(EcJwk { x, y }),
        _ => Err(JoseError::BadKey("x and y must be 48 bytes of base64url")),
    }
}

fn rsa(wire: &JwkWire) -> Result<Vec<u8>, JoseError> {
    if wire.e.as_deref() != Some("AQAB") {
        return Err(JoseError::BadKey("e must be AQAB"));
    }
    wire.n
        .as_deref()
        .and_then(b64::decode)
        .filter(|n| (256..=512).contains(&n.len()) && n[0] >= 0x80)
        .ok_or(JoseError::BadKey("n must be a modulus of 2048 to 4096 bits in base64url"))
}

fn thumbprint(key: &VerifyingKey) -> String {
    match key {
        VerifyingKey::Es384(key) => key.kid(),
        VerifyingKey::Rs384 { n } => {
            b64::encode(Sha256::digest(format!(r#"{{"e":"AQAB","kty":"RSA","n":"{}"}}"#, b64::encode(n))))
        }
    }
}

#[derive(Deserialize)]
struct HeaderWire {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

/// A token whose signature was checked with one of the keys given.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedJws {
    kid: String,
    payload: Vec<u8>,
}

impl VerifiedJws {
    /// The key that signed.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What was signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

impl std::fmt::Debug for VerifiedJws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifiedJws(kid {}, ..)", self.kid)
    }
}

/// Reads a token's payload without checking anything, to find the client whose keys check it.
///
/// # Errors
/// `Malformed`.
pub fn unverified_payload(token: &str) -> Result<Vec<u8>, JoseError> {
    split(token).map(|parts| parts.payload)
}

/// Checks a token with a client's keys.
///
/// # Errors
/// `Malformed`, `Algorithm`, `UnknownKey`, `BadSignature`.
pub fn verify(token: &str, keys: &[ClientJwk]) -> Result<VerifiedJws, JoseError> {
    let parts = split(token)?;
    let header = parts.header;
    // The key decides the algorithm; the header may only agree.
    if header.alg != "ES384" && header.alg != "RS384" {
        return Err(JoseError::Algorithm);
    }
    if header.crit.is_some() {
        return Err(JoseError::Malformed("crit is not supported"));
    }
    if header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
        return Err(JoseError::Malformed("typ must be JWT"));
    }
    let kid = header.kid.ok_or(JoseError::Malformed("kid is missing"))?;
    let key = keys.iter().find(|k| k.kid == kid && k.alg() == header.alg).ok_or(JoseError::UnknownKey)?;
    if !key.verifies(parts.signing_input.as_bytes(), &parts.signature) {
        return Err(JoseError::BadSignature);
    }
    Ok(VerifiedJws { kid, payload: parts.payload })
}

struct Parts<'a> {
    header: HeaderWire,
    payload: Vec<u8>,
    signing_input: &'a str,
    signature: Vec<u8>,
}

fn split(token: &str) -> Result<Parts<'_>, JoseError> {
    if token.len() > MAX_TOKEN {
        return Err(JoseError::Malformed("it is longer than 16 KiB"));
    }
    let (signing_input, signature) = token.rsplit_once('.').ok_or(JoseError::Malformed("it has no dots"))?;
    let (header, payload) = signing_input.split_once('.').ok_or(JoseError::Malformed("it has one dot"))?;
    let decoded = |text| b64::decode(text).ok_or(JoseError::Malformed("a segment is not canonical base64url"));
    let header =
        serde_json::from_slice(&decoded(header)?).map_err(|_| JoseError::Malformed("the header is not of its form"))?;
    Ok(Parts { header, payload: decoded(payload)?, signing_input, signature: decoded(signature)? })
}

/// Signs a payload by ES384, as a client signs its assertion.
///
/// # Errors
/// `BadKey` when the library fails.
pub fn sign_es384(key: &Es384Key, payload: &[u8]) -> Result<String, JoseError> {
    let header = json!({ "alg": "ES384", "kid": key.public().kid(), "typ": "JWT" }).to_string();
    let input = format!("{}.{}", b64::encode(header), b64::encode(payload));
    let signature = key.sign(input.as_bytes()).ok_or(JoseError::BadKey("the library did not sign"))?;
    Ok(format!("{input}.{}", b64::encode(signature)))
}
