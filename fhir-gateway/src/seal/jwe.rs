//! A strict JWE (RFC 7516): content by A256GCM, its key to each recipient by RSA-OAEP-256, and nothing else. No
//! compression, so no bomb; no other algorithm, so no confusion; no `kid`, so nobody learns who the recipients are.
//!
//! The general JSON serialization is padded with dummies to a multiple of eight recipients, in random order, so that
//! their number tells little either.

use aws_lc_rs::aead::NONCE_LEN;
use serde::{Deserialize, Serialize};
use vouchsafe_types::{RsaJwk, b64};
use zeroize::Zeroizing;

use super::{
    oaep::{self, RsaUnwrap},
    primitives::{fill_random, gcm_append, gcm_open_detached, random_32},
};

/// The longest text that is looked at.
pub const MAX_TEXT: usize = 4 << 20;
/// The most recipients, dummies included.
pub const MAX_RECIPIENTS: usize = 64;

const STEP: usize = 8;
const TAG_LEN: usize = 16;

/// Why a JWE was not made or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// The text is longer than `MAX_TEXT`.
    #[error("a JWE may have at most 4 MiB")]
    TooLarge,
    /// There must be 1 to `MAX_RECIPIENTS`.
    #[error("a JWE has 1 to 64 recipients, got {0}")]
    Recipients(usize),
    /// A recipient's key is none.
    #[error("a recipient's RSA key is not usable")]
    BadRecipient,
    /// It is not of the one form accepted here.
    #[error("not a JWE as accepted here: {0}")]
    Malformed(&'static str),
    /// It was made for something else.
    #[error("the JWE is of another type than expected")]
    WrongType,
    /// No recipient's key opens with this key, or the content was altered; nothing tells which.
    #[error("the JWE does not open with this key")]
    NotOpened,
}

/// The protected header, whole: `zip`, `crit`, `kid`, `p2c` and every other member are refused because they are not here.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Protected {
    alg: String,
    enc: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    protected: String,
    recipients: Vec<Recipient>,
    iv: String,
    ciphertext: String,
    tag: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipient {
    encrypted_key: String,
}

fn protected(typ: &str) -> String {
    let header = Protected { alg: "RSA-OAEP-256".into(), enc: "A256GCM".into(), typ: typ.into() };
    b64::encode(serde_json::to_vec(&header).expect("a header is plain data"))
}

fn check_protected(text: &str, typ: &str) -> Result<(), JweError> {
    let header: Protected = b64::decode(text)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(JweError::Malformed("the protected header must have exactly alg, enc and typ"))?;
    if header.alg != "RSA-OAEP-256" || header.enc != "A256GCM" {
        return Err(JweError::Malformed("alg must be RSA-OAEP-256 and enc A256GCM"));
    }
    if header.typ != typ {
        return Err(JweError::WrongType);
    }
    Ok(())
}

/// Encrypts to several recipients, as general JSON. `typ` says what it is, and is checked when it is opened.
///
/// # Errors
/// `Recipients` for none or more than 64, `BadRecipient`, `TooLarge`.
pub fn encrypt(typ: &str, plaintext: &[u8], recipients: &[RsaJwk]) -> Result<String, JweError> {
    let mut distinct: Vec<&RsaJwk> = recipients.iter().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if !(1..=MAX_RECIPIENTS).contains(&distinct.len()) {
        return Err(JweError::Recipients(distinct.len()));
    }
    let content_key = random_32();
    let mut keys = Vec::with_capacity(distinct.len().next_multiple_of(STEP));
    for recipient in &distinct {
        keys.push(oaep::encrypt(recipient, content_key.as_slice()).map_err(|_| JweError::BadRecipient)?);
    }
    while !keys.len().is_multiple_of(STEP) {
        // A dummy is distributed as a ciphertext for one of the recipients is: uniformly below that one's modulus.
        keys.push(random_below(distinct[random_index(distinct.len())].modulus()));
    }
    shuffle(&mut keys);
    let content = encrypt_content(&content_key, &protected(typ), plaintext);
    let envelope = General {
        recipients: keys.into_iter().map(|key| Recipient { encrypted_key: b64::encode(key) }).collect(),
        protected: content.protected,
        iv: content.iv,
        ciphertext: content.ciphertext,
        tag: content.tag,
    };
    let text = serde_json::to_string(&envelope).expect("an envelope is plain data");
    if text.len() > MAX_TEXT {
        return Err(JweError::TooLarge);
    }
    Ok(text)
}

/// Opens general JSON with a key, trying every recipient that it could be.
///
/// # Errors
/// `TooLarge`, `Malformed`, `Recipients`, `WrongType`, `NotOpened`.
pub fn decrypt(typ: &str, text: &str, key: &dyn RsaUnwrap) -> Result<Zeroizing<Vec<u8>>, JweError> {
    if text.len() > MAX_TEXT {
        return Err(JweError::TooLarge);
    }
    let envelope: General = serde_json::from_str(text)
        .map_err(|_| JweError::Malformed("it must have exactly protected, recipients, iv, ciphertext and tag"))?;
    if !(1..=MAX_RECIPIENTS).contains(&envelope.recipients.len()) {
        return Err(JweError::Recipients(envelope.recipients.len()));
    }
    check_protected(&envelope.protected, typ)?;
    let General { protected, recipients, iv, ciphertext, tag } = envelope;
    let content = Content { protected, iv, ciphertext, tag };
    let parts = content.decode()?;
    let mut wrapped = Vec::with_capacity(recipients.len());
    for recipient in &recipients {
        wrapped.push(b64::decode(&recipient.encrypted_key).ok_or(BASE64)?);
    }
    wrapped.iter().find_map(|wrapped| parts.open(wrapped, key)).ok_or(JweError::NotOpened)
}

/// Encrypts to one recipient, in compact form.
///
/// # Errors
/// `BadRecipient`, `TooLarge`.
pub fn encrypt_compact(typ: &str, plaintext: &[u8], recipient: &RsaJwk) -> Result<String, JweError> {
    let content_key = random_32();
    let wrapped = oaep::encrypt(recipient, content_key.as_slice()).map_err(|_| JweError::BadRecipient)?;
    let content = encrypt_content(&content_key, &protected(typ), plaintext);
    let text = [content.protected, b64::encode(wrapped), content.iv, content.ciphertext, content.tag].join(".");
    if text.len() > MAX_TEXT {
        return Err(JweError::TooLarge);
    }
    Ok(text)
}

/// Opens the compact form with a key.
///
/// # Errors
/// `TooLarge`, `Malformed`, `WrongType`, `NotOpened`.
pub fn decrypt_compact(typ: &str, text: &str, key: &dyn RsaUnwrap) -> Result<Zeroizing<Vec<u8>>, JweError> {
    if text.len() > MAX_TEXT {
        return Err(JweError::TooLarge);
    }
    let segments: Vec<&str> = text.splitn(6, '.').collect();
    let [protected, wrapped, iv, ciphertext, tag] = segments[..] else {
        return Err(JweError::Malformed("the compact form has five segments"));
    };
    check_protected(protected, typ)?;
    let content = Content {
        protected: protected.to_owned(),
        iv: iv.to_owned(),
        ciphertext: ciphertext.to_owned(),
        tag: tag.to_owned(),
    };
    let wrapped = b64::decode(wrapped).ok_or(BASE64)?;
    content.decode()?.open(&wrapped, key).ok_or(JweError::NotOpened)
}

const BASE64: JweError = JweError::Malformed("a member is not canonical base64url");

/// The members that hold the content, as text.
struct Content {
    protected: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

fn encrypt_content(key: &[u8; 32], protected: &str, plaintext: &[u8]) -> Content {
    let mut iv = [0; NONCE_LEN];
    fill_random(&mut iv);
    let mut sealed = Vec::new();
    gcm_append(key, iv, protected.as_bytes(), plaintext, &mut sealed);
    let (ciphertext, tag) = sealed.split_at(plaintext.len());
    Content {
        protected: protected.to_owned(),
        iv: b64::encode(iv),
        ciphertext: b64::encode(ciphertext),
        tag: b64::encode(tag),
    }
}

impl Content {
    fn decode(&self) -> Result<Parts<'_>, JweError> {
        let iv = b64::decode_array(&self.iv).ok_or(JweError::Malformed("iv must be 12 bytes of base64url"))?;
        let tag: [u8; TAG_LEN] =
            b64::decode_array(&self.tag).ok_or(JweError::Malformed("tag must be 16 bytes of base64url"))?;
        let mut sealed = b64::decode(&self.ciphertext).ok_or(BASE64)?;
        sealed.extend_from_slice(&tag);
        Ok(Parts { aad: self.protected.as_bytes(), iv, sealed })
    }
}

/// The same, as bytes.
struct Parts<'a> {
    aad: &'a [u8],
    iv: [u8; NONCE_LEN],
    sealed: Vec<u8>,
}

impl Parts<'_> {
    fn open(&self, wrapped: &[u8], key: &dyn RsaUnwrap) -> Option<Zeroizing<Vec<u8>>> {
        let unwrapped = key.unwrap_oaep(wrapped).ok()?;
        let content_key: &[u8; 32] = unwrapped.as_slice().try_into().ok()?;
        gcm_open_detached(content_key, self.iv, self.aad, &self.sealed)
    }
}

/// A uniform index below `len`, by rejection.
fn random_index(len: usize) -> usize {
    let len = len as u64;
    loop {
        let mut bytes = [0; 8];
        fill_random(&mut bytes);
        let n = u64::from_le_bytes(bytes);
        // What lies above the largest multiple of `len` would favour small indices.
        if n < u64::MAX - u64::MAX % len {
            return usize::try_from(n % len).expect("below a length");
        }
    }
}

/// A uniform big-endian number below `modulus`, by rejection: its highest bit is set, so half of all draws do at least.
fn random_below(modulus: &[u8]) -> Vec<u8> {
    let mut out = vec![0; modulus.len()];
    loop {
        fill_random(&mut out);
        if out.as_slice() < modulus {
            return out;
        }
    }
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, random_index(at + 1));
    }
}
