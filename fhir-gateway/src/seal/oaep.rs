//! Keys wrapped to RSA keys: RSA-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 section 7.1), without label, because key
//! management services have none.

use std::fmt;

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use vouchsafe_types::{RsaJwk, b64};
use zeroize::Zeroizing;

use super::keys::{SymmetricKey, UnwrapError, Within};

/// The exponent of every RSA key here.
pub(super) const EXPONENT: [u8; 3] = [1, 0, 1];

/// Opens what was wrapped to an RSA key that stays where it is: in a keystore or a wallet's device.
pub trait RsaUnwrap: Send + Sync {
    /// The public key.
    fn public(&self) -> RsaJwk;

    /// Opens an RSA-OAEP-256 ciphertext.
    ///
    /// # Errors
    /// When it was made for another key, or altered; nothing tells which.
    fn unwrap_oaep(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, UnwrapError>;
}

/// A modulus that no RSA key can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recipient's RSA key is not usable")]
pub struct BadRecipient;

/// A key wrapped to an RSA key: 384 or 512 bytes, base64url as text.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedToRsa(Vec<u8>);

impl WrappedToRsa {
    /// The ciphertext.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for WrappedToRsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedToRsa(..)")
    }
}

impl Serialize for WrappedToRsa {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&b64::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for WrappedToRsa {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        b64::decode(&String::deserialize(d)?)
            .filter(|bytes| matches!(bytes.len(), 384 | 512))
            .map(Self)
            .ok_or_else(|| D::Error::custom("an RSA wrap is 384 or 512 bytes of canonical base64url"))
    }
}

/// Encrypts up to 190 bytes to an RSA key.
///
/// # Errors
/// When the key is none, such as an even modulus.
pub(super) fn encrypt(to: &RsaJwk, secret: &[u8]) -> Result<Vec<u8>, BadRecipient> {
    let components = PublicKeyComponents { n: to.modulus(), e: EXPONENT.as_slice() };
    let key: PublicEncryptingKey = components.try_into().map_err(|_| BadRecipient)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| BadRecipient)?;
    let mut out = vec![0; key.ciphertext_size()];
    let len = key.encrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut out, None).map_err(|_| BadRecipient)?.len();
    out.truncate(len);
    Ok(out)
}

/// Wraps a key to an RSA key.
///
/// # Errors
/// When the key is none, such as an even modulus.
pub fn wrap_to<K: SymmetricKey>(to: &RsaJwk, key: &K) -> Result<WrappedToRsa, BadRecipient> {
    encrypt(to, key.secret(Within::HERE)).map(WrappedToRsa)
}

/// Opens a key that was wrapped to `with`.
///
/// # Errors
/// When it was wrapped to another key, altered, or is not a key of 32 bytes.
pub fn unwrap_with<K: SymmetricKey>(with: &dyn RsaUnwrap, wrapped: &WrappedToRsa) -> Result<K, UnwrapError> {
    let secret = with.unwrap_oaep(&wrapped.0)?;
    let mut bytes = Zeroizing::new([0; 32]);
    if secret.len() != bytes.len() {
        return Err(UnwrapError);
    }
    bytes.copy_from_slice(&secret);
    Ok(K::from_secret(bytes, Within::HERE))
}
