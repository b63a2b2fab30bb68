//! Private keys that their holder may take along: a wallet's, a client's. A keystore holds the same kinds of keys and
//! never gives them out.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer},
    rsa::{KeyPairComponents, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use serde_json::{Value, json};
use vouchsafe_types::{OkpJwk, RsaJwk, b64, jws::Sign};
use zeroize::Zeroizing;

use super::{
    der,
    jose::EcJwk,
    keys::UnwrapError,
    oaep::{EXPONENT, RsaUnwrap},
    primitives::random_32,
};

/// A private JWK is not one of the kinds held here, or its members contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a private {expected} key: {what}")]
pub struct BadPrivateKey {
    /// The kind that was expected.
    pub expected: &'static str,
    /// What is wrong; never a private member's value.
    pub what: &'static str,
}

/// An Ed25519 key.
pub struct Ed25519Key {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    public: OkpJwk,
}

impl Ed25519Key {
    /// A fresh key.
    pub fn generate() -> Self {
        Self::from_seed(random_32())
    }

    /// The key of a seed (RFC 8032 section 5.1.5).
    pub(super) fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).expect("every 32 bytes are an Ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { pair, seed, public: OkpJwk::new(public) }
    }

    pub(super) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The private JWK (RFC 8037 section 2).
    pub fn to_private_jwk(&self) -> Value {
        json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.public.kid(),
            "x": b64::encode(self.public.bytes()), "d": b64::encode(self.seed.as_slice()),
        })
    }

    /// Reads a private JWK.
    ///
    /// # Errors
    /// When it is another kind of key, or `x` is not the public half of `d`.
    pub fn from_private_jwk(jwk: &Value) -> Result<Self, BadPrivateKey> {
        let bad = |what| BadPrivateKey { expected: "Ed25519", what };
        if jwk["kty"] != "OKP" || jwk["crv"] != "Ed25519" {
            return Err(bad("kty must be OKP and crv Ed25519"));
        }
        let seed = octets::<32>(&jwk["d"]).ok_or_else(|| bad("d must be 32 bytes of base64url"))?;
        let key = Self::from_seed(seed);
        if jwk["x"] != b64::encode(key.public.bytes()) {
            return Err(bad("x is not the public half of d"));
        }
        Ok(key)
    }
}

impl Sign for Ed25519Key {
    fn public(&self) -> OkpJwk {
        self.public
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

/// An RSA key of 3072 or 4096 bits, for unwrapping.
pub struct RsaKey {
    key: OaepPrivateDecryptingKey,
    pkcs8: Zeroizing<Vec<u8>>,
    public: RsaJwk,
}

impl RsaKey {
    /// A fresh RSA-3072 key; takes some hundred milliseconds. `None` when the library cannot make one.
    pub fn generate() -> Option<Self> {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).ok()?;
        let der = key.as_der().ok()?;
        Self::new(key, Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(super) fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        Self::new(PrivateDecryptingKey::from_pkcs8(&pkcs8).ok()?, pkcs8)
    }

    fn new(key: PrivateDecryptingKey, pkcs8: Zeroizing<Vec<u8>>) -> Option<Self> {
        let spki = key.public_key().as_der().ok()?;
        let [n, e] = der::rsa_public_integers(spki.as_ref())?;
        if e != EXPONENT {
            return None;
        }
        let public = RsaJwk::new(n.to_vec())?;
        Some(Self { key: OaepPrivateDecryptingKey::new(key).ok()?, pkcs8, public })
    }

    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The private JWK (RFC 7518 section 6.3.2), all CRT members included.
    pub fn to_private_jwk(&self) -> Value {
        let integers = der::rsa_private_integers(&self.pkcs8).expect("AWS-LC writes PKCS#8 as RFC 8017 says");
        let mut jwk = json!({ "kty": "RSA", "alg": "RSA-OAEP-256", "use": "enc", "kid": self.public.kid() });
        for (name, integer) in RSA_MEMBERS.into_iter().zip(integers) {
            jwk[name] = b64::encode(integer).into();
        }
        jwk
    }

    /// Reads a private JWK.
    ///
    /// # Errors
    /// When it is another kind of key, a member is missing, or they contradict each other.
    pub fn from_private_jwk(jwk: &Value) -> Result<Self, BadPrivateKey> {
        let bad = |what| BadPrivateKey { expected: "RSA", what };
        if jwk["kty"] != "RSA" {
            return Err(bad("kty must be RSA"));
        }
        let mut integers = Vec::with_capacity(RSA_MEMBERS.len());
        for name in RSA_MEMBERS {
            let integer = jwk[name].as_str().and_then(b64::decode).map(Zeroizing::new);
            integers.push(integer.ok_or_else(|| bad("n, e, d, p, q, dp, dq and qi must be base64url"))?);
        }
        let [n, e, d, p, q, dp, dq, qi] = std::array::from_fn(|at| integers[at].as_slice());
        let components = KeyPairComponents {
            public_key: aws_lc_rs::rsa::PublicKeyComponents { n, e },
            d,
            p,
            q,
            dP: dp,
            dQ: dq,
            qInv: qi,
        };
        let pair = RsaKeyPair::from_components(&components).map_err(|_| bad("its members contradict each other"))?;
        let der = pair.as_der().map_err(|_| bad("it cannot be encoded"))?;
        Self::from_pkcs8(Zeroizing::new(der.as_ref().to_vec()))
            .ok_or_else(|| bad("it must have 3072 or 4096 bits and exponent 65537"))
    }
}

const RSA_MEMBERS: [&str; 8] = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];

impl RsaUnwrap for RsaKey {
    fn public(&self) -> RsaJwk {
        self.public.clone()
    }

    fn unwrap_oaep(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        let mut out = Zeroizing::new(vec![0; self.key.min_output_size()]);
        let len = self.key.decrypt(&OAEP_SHA256_MGF1SHA256, ciphertext, &mut out, None).map_err(|_| UnwrapError)?.len();
        out.truncate(len);
        Ok(out)
    }
}

/// A P-384 key, for the client assertions of SMART Backend Services.
pub struct Es384Key {
    pair: EcdsaKeyPair,
    public: EcJwk,
}

impl Es384Key {
    /// A fresh key. `None` when the library cannot make one.
    pub fn generate() -> Option<Self> {
        Self::new(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).ok()?)
    }

    fn new(pair: EcdsaKeyPair) -> Option<Self> {
        let public = EcJwk::from_point(pair.public_key().as_ref())?;
        Some(Self { pair, public })
    }

    /// The public key.
    pub const fn public(&self) -> &EcJwk {
        &self.public
    }

    /// The ECDSA signature over SHA-384, in the fixed form of RFC 7518 section 3.4. `None` when the library fails.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature = self.pair.sign(&aws_lc_rs::rand::SystemRandom::new(), message).ok()?;
        Some(signature.as_ref().to_vec())
    }

    /// The private JWK (RFC 7518 section 6.2.2).
    ///
    /// # Errors
    /// When the library does not give the private scalar out.
    pub fn to_private_jwk(&self) -> Result<Value, BadPrivateKey> {
        let d = self
            .pair
            .private_key()
            .as_be_bytes()
            .map_err(|_| BadPrivateKey { expected: "P-384", what: "the library does not give it out" })?;
        let mut jwk = self.public.to_json();
        jwk["d"] = b64::encode(d.as_ref()).into();
        Ok(jwk)
    }

    /// Reads a private JWK.
    ///
    /// # Errors
    /// When it is another kind of key, or `x` and `y` are not the public half of `d`.
    pub fn from_private_jwk(jwk: &Value) -> Result<Self, BadPrivateKey> {
        let bad = |what| BadPrivateKey { expected: "P-384", what };
        if jwk["kty"] != "EC" || jwk["crv"] != "P-384" {
            return Err(bad("kty must be EC and crv P-384"));
        }
        let d = octets::<48>(&jwk["d"]).ok_or_else(|| bad("d must be 48 bytes of base64url"))?;
        let (Some(x), Some(y)) = (octets::<48>(&jwk["x"]), octets::<48>(&jwk["y"])) else {
            return Err(bad("x and y must be 48 bytes of base64url"));
        };
        let point = EcJwk::point(&x, &y);
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P384_SHA384_FIXED_SIGNING, d.as_slice(), &point)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| bad("x and y are not the public half of d"))
    }
}

fn octets<const N: usize>(member: &Value) -> Option<Zeroizing<[u8; N]>> {
    member.as_str().and_then(b64::decode_array).map(Zeroizing::new)
}

/// What a party's `jwks` holds: the keys that the party itself has, each at most once.
#[derive(Default)]
pub struct PartyKeys {
    /// Signs ledger transactions.
    pub ed25519: Option<Ed25519Key>,
    /// Unwraps.
    pub rsa: Option<RsaKey>,
    /// Signs client assertions.
    pub es384: Option<Es384Key>,
}

impl PartyKeys {
    /// Reads a private JWK Set (RFC 7517 section 5).
    ///
    /// # Errors
    /// When it is not one, holds another kind of key, or two of a kind.
    pub fn from_private_jwks(jwks: &Value) -> Result<Self, BadPrivateKey> {
        let bad = |what| BadPrivateKey { expected: "JWK Set's", what };
        let keys = jwks["keys"].as_array().ok_or_else(|| bad("keys must be an array"))?;
        let mut out = Self::default();
        for jwk in keys {
            let twice = match jwk["kty"].as_str() {
                Some("OKP") => out.ed25519.replace(Ed25519Key::from_private_jwk(jwk)?).is_some(),
                Some("RSA") => out.rsa.replace(RsaKey::from_private_jwk(jwk)?).is_some(),
                Some("EC") => out.es384.replace(Es384Key::from_private_jwk(jwk)?).is_some(),
                _ => return Err(bad("kty must be OKP, RSA or EC")),
            };
            if twice {
                return Err(bad("it holds two keys of a kind"));
            }
        }
        Ok(out)
    }

    /// The private JWK Set.
    ///
    /// # Errors
    /// When the library does not give a private member out.
    pub fn to_private_jwks(&self) -> Result<Value, BadPrivateKey> {
        let mut keys = Vec::new();
        if let Some(key) = &self.es384 {
            keys.push(key.to_private_jwk()?);
        }
        keys.extend(self.ed25519.as_ref().map(Ed25519Key::to_private_jwk));
        keys.extend(self.rsa.as_ref().map(RsaKey::to_private_jwk));
        Ok(json!({ "keys": keys }))
    }
}

/// All the keys of a person's device: signs for the ledger, unwraps, and signs client assertions.
pub struct DeviceKeys {
    ed25519: Ed25519Key,
    rsa: RsaKey,
    es384: Es384Key,
}

impl DeviceKeys {
    /// Fresh keys; takes some hundred milliseconds. `None` when the library cannot make them.
    pub fn generate() -> Option<Self> {
        Some(Self { ed25519: Ed25519Key::generate(), rsa: RsaKey::generate()?, es384: Es384Key::generate()? })
    }

    /// The key of client assertions.
    pub const fn es384(&self) -> &Es384Key {
        &self.es384
    }

    /// The key of ledger transactions.
    pub const fn ed25519(&self) -> &Ed25519Key {
        &self.ed25519
    }

    /// The unwrapping key.
    pub const fn rsa(&self) -> &RsaKey {
        &self.rsa
    }

    /// The private JWK Set.
    ///
    /// # Errors
    /// When the library does not give a private member out.
    pub fn to_private_jwks(&self) -> Result<Value, BadPrivateKey> {
        Ok(json!({ "keys": [
            self.es384.to_private_jwk()?, self.ed25519.to_private_jwk(), self.rsa.to_private_jwk(),
        ] }))
    }

    /// Reads a private JWK Set that holds all three.
    ///
    /// # Errors
    /// When one is missing or wrong.
    pub fn from_private_jwks(jwks: &Value) -> Result<Self, BadPrivateKey> {
        let PartyKeys { ed25519: Some(ed25519), rsa: Some(rsa), es384: Some(es384) } =
            PartyKeys::from_private_jwks(jwks)?
        else {
            return Err(BadPrivateKey { expected: "device's", what: "it needs an Ed25519, an RSA and a P-384 key" });
        };
        Ok(Self { ed25519, rsa, es384 })
    }
}

impl Sign for DeviceKeys {
    fn public(&self) -> OkpJwk {
        Sign::public(&self.ed25519)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        Sign::sign(&self.ed25519, message)
    }
}

impl RsaUnwrap for DeviceKeys {
    fn public(&self) -> RsaJwk {
        RsaUnwrap::public(&self.rsa)
    }

    fn unwrap_oaep(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError> {
        self.rsa.unwrap_oaep(ciphertext)
    }
}

macro_rules! redacted {
    ($($name:ident)*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

redacted! { Ed25519Key RsaKey Es384Key PartyKeys DeviceKeys }
