//! The envelope: a compact JWS (RFC 7515, EdDSA by RFC 8037) with exactly the header members `alg`, `kid`, `typ` and
//! `chain`. Signatures are judged by ZIP-215, so that single and batch verification agree.

use ed25519_consensus::{Signature, VerificationKey, VerificationKeyBytes, batch};
use rand_core::{CryptoRng, RngCore};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{
    b64,
    ids::{Hash32, Nonce},
    jwk::{Kid, OkpJwk},
    rejection::{Code, Rejection},
    strict,
    tx::Tx,
};

/// The protected header, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Always `EdDSA`.
    pub alg: String,
    /// The signing key's thumbprint.
    pub kid: Kid,
    /// Which struct the payload is.
    pub typ: String,
    /// The chain it is meant for.
    pub chain: String,
}

/// Signs bytes with an Ed25519 key that stays where it is: in a keystore, a wallet, a browser.
pub trait Sign {
    /// The public key.
    fn public(&self) -> OkpJwk;
    /// The signature over `message` (RFC 8032, pure Ed25519).
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// The text that is signed: `BASE64URL(header) . BASE64URL(payload)`.
pub fn signing_input(kid: &Kid, typ: &str, chain: &str, payload: &[u8]) -> String {
    let header = Header { alg: "EdDSA".into(), kid: *kid, typ: typ.into(), chain: chain.into() };
    let header = serde_json::to_vec(&header).expect("a header is plain data");
    format!("{}.{}", b64::encode(header), b64::encode(payload))
}

/// Appends the signature to a signing input.
pub fn attach(signing_input: &str, signature: &[u8; 64]) -> String {
    format!("{signing_input}.{}", b64::encode(signature))
}

/// Signs a transaction for a chain.
pub fn sign_tx(key: &dyn Sign, chain: &str, tx: &Tx) -> String {
    let input = signing_input(&key.public().kid(), tx.typ(), chain, &tx.payload_bytes());
    attach(&input, &key.sign(input.as_bytes()))
}

/// Signs any statement (an `Enrolment`, an `Acceptance`, a link) for a chain.
pub fn sign_statement<T: Serialize>(key: &dyn Sign, chain: &str, typ: &str, statement: &T) -> String {
    let payload = serde_json::to_vec(statement).expect("a statement is plain data");
    let input = signing_input(&key.public().kid(), typ, chain, &payload);
    attach(&input, &key.sign(input.as_bytes()))
}

/// The parts of a compact JWS, the header parsed, the signature not checked.
struct Parts<'a> {
    header: Header,
    payload: Vec<u8>,
    signing_input: &'a str,
    signature: [u8; 64],
}

fn malformed<T>(facts: impl Into<String>) -> Result<T, Rejection> {
    Code::Malformed.refuse(facts)
}

fn split(text: &str) -> Result<Parts<'_>, Rejection> {
    let mut segments = text.split('.');
    let (Some(h), Some(p), Some(s), None) = (segments.next(), segments.next(), segments.next(), segments.next()) else {
        return malformed("a compact JWS has three segments");
    };
    let Some(header) = b64::decode(h) else { return malformed("the header is not canonical base64url") };
    let Some(payload) = b64::decode(p) else { return malformed("the payload is not canonical base64url") };
    let Some(signature) = b64::decode_array(s) else { return malformed("the signature is not 64 bytes of base64url") };
    let header: Header =
        strict::parse(&header).or_else(|e| malformed(format!("the header is not of its form: {e}")))?;
    if header.alg != "EdDSA" {
        return malformed(format!("alg must be EdDSA, got {:?}", header.alg.chars().take(20).collect::<String>()));
    }
    Ok(Parts { header, payload, signing_input: &text[..h.len() + 1 + p.len()], signature })
}

/// The encodings of the points of small order, without the bit of the sign; ZIP-215 takes those that are not canonical
/// too. For such a key anybody can make a signature over anything.
const SMALL_ORDER: [[u8; 32]; 7] = {
    let mut all = [[0; 32], [0; 32], [0xff; 32], [0xff; 32], [0xff; 32], ORDER_8, ORDER_8_NEGATED];
    all[1][0] = 1;
    let mut low = 2;
    while low < 5 {
        // p - 1, p, p + 1.
        all[low][0] = [0xec, 0xed, 0xee][low - 2];
        all[low][31] = 0x7f;
        low += 1;
    }
    all
};

const ORDER_8: [u8; 32] = [
    0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac,
    0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
];

const ORDER_8_NEGATED: [u8; 32] = [
    0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53,
    0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
];

fn is_of_small_order(key: &OkpJwk) -> bool {
    let mut point = *key.bytes();
    point[31] &= 0x7f;
    SMALL_ORDER.contains(&point)
}

/// True when the signature is the key's over the message, by ZIP-215, and the key is one that can be secret.
pub fn verify_signature(key: &OkpJwk, message: &[u8], signature: &[u8; 64]) -> bool {
    if is_of_small_order(key) {
        return false;
    }
    VerificationKey::try_from(VerificationKeyBytes::from(*key.bytes()))
        .and_then(|k| k.verify(&Signature::from(*signature), message))
        .is_ok()
}

/// Checks a statement by a key that is known: form, chain, type, key and signature.
///
/// # Errors
/// `Malformed`, `WrongChain`, `UnknownKey` (another key's), `BadSignature`.
pub fn open_statement<T: Serialize + DeserializeOwned>(
    text: &str,
    chain: &str,
    typ: &str,
    key: &OkpJwk,
) -> Result<T, Rejection> {
    let parts = split(text)?;
    check_chain(&parts.header, chain)?;
    if parts.header.typ != typ {
        return malformed(format!("typ must be {typ:?}, got {:?}", parts.header.typ));
    }
    if parts.header.kid != key.kid() {
        return Code::UnknownKey.refuse(format!("signed by {}, expected {}", parts.header.kid, key.kid()));
    }
    if !verify_signature(key, parts.signing_input.as_bytes(), &parts.signature) {
        return Code::BadSignature.refuse("the statement's signature does not verify");
    }
    strict::parse(&parts.payload).or_else(|e| malformed(format!("the statement is not of its form: {e}")))
}

/// The `kid` of a compact JWS, unchecked: to look the key up before `open_statement`.
///
/// # Errors
/// `Malformed`.
pub fn kid_of(text: &str) -> Result<Kid, Rejection> {
    Ok(split(text)?.header.kid)
}

fn check_chain(header: &Header, chain: &str) -> Result<(), Rejection> {
    if header.chain != chain {
        return Code::WrongChain.refuse(format!("signed for {:?}, this is {chain:?}", header.chain));
    }
    Ok(())
}

/// A transaction whose form is right and whose signature nobody has checked yet.
#[derive(Clone, Debug)]
pub struct Unverified {
    kid: Kid,
    tx: Tx,
    hash: Hash32,
    signing_input: String,
    signature: [u8; 64],
}

impl Unverified {
    /// Parses the bytes of a transaction for a chain.
    ///
    /// # Errors
    /// `Malformed` or `WrongChain`, never a panic, whatever the bytes.
    pub fn parse(raw: &[u8], chain: &str) -> Result<Self, Rejection> {
        let Ok(text) = std::str::from_utf8(raw) else { return malformed("not UTF-8") };
        let parts = split(text)?;
        check_chain(&parts.header, chain)?;
        let tx = match Tx::parse(&parts.header.typ, &parts.payload) {
            None => {
                return malformed(format!("unknown typ {:?}", parts.header.typ.chars().take(40).collect::<String>()));
            }
            Some(Err(e)) => return malformed(format!("the payload is not a {}: {e}", parts.header.typ)),
            Some(Ok(tx)) => tx,
        };
        Ok(Self {
            kid: parts.header.kid,
            tx,
            hash: hash_of(raw),
            signing_input: parts.signing_input.to_owned(),
            signature: parts.signature,
        })
    }

    /// The key that is said to have signed.
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// The transaction's hash (SHA-256 of its bytes, as CometBFT names it).
    pub const fn hash(&self) -> Hash32 {
        self.hash
    }

    /// The block time from which on it is refused; admission looks at it before any signature.
    pub fn expires(&self) -> TimeMs {
        self.tx.expires()
    }

    /// The nonce; admission looks at it before any signature.
    pub fn nonce(&self) -> Nonce {
        self.tx.nonce()
    }

    /// The message and signature, for batch verification.
    pub fn signed(&self) -> (&[u8], &[u8; 64]) {
        (self.signing_input.as_bytes(), &self.signature)
    }

    /// Checks the signature with the key that the ledger holds under `kid`.
    ///
    /// # Errors
    /// `BadSignature`; `UnknownKey` when `key` is not the one that `kid` names.
    pub fn verify(self, key: &OkpJwk) -> Result<VerifiedTx, Rejection> {
        if key.kid() != self.kid {
            return Code::UnknownKey.refuse(format!("kid {} is not that of the key given", self.kid));
        }
        if !verify_signature(key, self.signing_input.as_bytes(), &self.signature) {
            return Code::BadSignature.refuse("the transaction's signature does not verify");
        }
        Ok(VerifiedTx { kid: self.kid, tx: self.tx, hash: self.hash })
    }
}

/// Checks many signatures at once, each with the key that the ledger holds under its `kid`. The answers are those of
/// `Unverified::verify`, whatever the random numbers, which only keep a forger from preparing a batch that cancels out.
pub fn verify_batch(
    txs: Vec<(Unverified, OkpJwk)>,
    rng: impl RngCore + CryptoRng,
) -> Vec<Result<VerifiedTx, Rejection>> {
    let mut batch = batch::Verifier::new();
    for (tx, key) in &txs {
        let (message, signature) = tx.signed();
        batch.queue((VerificationKeyBytes::from(*key.bytes()), Signature::from(*signature), message));
    }
    let named = |(tx, key): &(Unverified, OkpJwk)| key.kid() == tx.kid && !is_of_small_order(key);
    if txs.iter().all(named) && batch.verify(rng).is_ok() {
        return txs.into_iter().map(|(tx, _)| Ok(VerifiedTx { kid: tx.kid, tx: tx.tx, hash: tx.hash })).collect();
    }
    // One bad signature spoils a batch; who it is, each one's own check says.
    txs.into_iter().map(|(tx, key)| tx.verify(&key)).collect()
}

use crate::time::TimeMs;

/// The hash of a transaction's bytes, as CometBFT names it.
pub fn hash_of(raw: &[u8]) -> Hash32 {
    Hash32(Sha256::digest(raw).into())
}

/// A transaction whose signature was checked against the key that its `kid` names. Whether that key may still act is
/// judged when it is applied. It can be made only by `Unverified::verify`.
#[derive(Clone, Debug)]
pub struct VerifiedTx {
    kid: Kid,
    tx: Tx,
    hash: Hash32,
}

impl VerifiedTx {
    /// The key that signed.
    pub const fn kid(&self) -> Kid {
        self.kid
    }

    /// What was signed.
    pub const fn tx(&self) -> &Tx {
        &self.tx
    }

    /// The transaction's hash.
    pub const fn hash(&self) -> Hash32 {
        self.hash
    }
}
