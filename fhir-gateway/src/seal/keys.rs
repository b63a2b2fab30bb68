//! Symmetric keys, each a type of its own so that none is taken for another, and how one is wrapped under another
//! (AES key wrap, RFC 3394).

use std::fmt;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use vouchsafe_types::b64;
use zeroize::{Zeroize, Zeroizing};

use super::primitives::{hkdf_32, random_32};

/// A key could not be unwrapped: it was wrapped under another key, or altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key does not open: another key's, or altered")]
pub struct UnwrapError;

mod closed {
    pub trait Closed {}
}

/// A 256-bit symmetric key. Its bytes are seen by `seal` only.
pub trait SymmetricKey: closed::Closed + Sized {
    /// What it is; separates the uses of one wrapping key.
    const KIND: &'static str;

    /// A fresh random key.
    fn generate() -> Self;

    /// The key with these bytes.
    fn from_secret(bytes: Zeroizing<[u8; 32]>, within: Within) -> Self;

    /// Its bytes.
    fn secret(&self, within: Within) -> &[u8; 32];
}

/// Only `seal` can make a value of this type, so only `seal` sees the bytes of a key.
#[derive(Clone, Copy)]
pub struct Within(());

impl Within {
    pub(super) const HERE: Self = Self(());
}

macro_rules! symmetric_key {
    ($($(#[$doc:meta])* $name:ident = $kind:literal)*) => {$(
        $(#[$doc])*
        pub struct $name([u8; 32]);

        impl closed::Closed for $name {}

        impl SymmetricKey for $name {
            const KIND: &'static str = $kind;

            fn generate() -> Self {
                Self(*random_32())
            }

            fn from_secret(bytes: Zeroizing<[u8; 32]>, _: Within) -> Self {
                Self(*bytes)
            }

            fn secret(&self, _: Within) -> &[u8; 32] {
                &self.0
            }
        }

        impl $name {
            /// A fresh random key.
            pub fn generate() -> Self {
                <Self as SymmetricKey>::generate()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

symmetric_key! {
    /// Seals one version of one record.
    DataKey = "data-key"
    /// Opens all of one patient's records at one custodian, for the patient.
    PatientKey = "patient-key"
    /// The custodian's own wrap for one chart (handle); shredded at erasure.
    CustodyKey = "custody-key"
    /// Opens exactly what one grant admits.
    GrantKey = "grant-key"
    /// Keys the encryption of the gateway's own disk.
    StoreKey = "store-key"
    /// Wraps, at rest, the keys that a custodian keeps: custody keys, patient keys, prepared grant keys. Lives in the
    /// keystore.
    CustodyRoot = "custody-root"
}

/// A key wrapped under another: 40 bytes, base64url as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WrappedKey([u8; 40]);

impl WrappedKey {
    /// Takes the bytes of a wrap; whether they open is judged when they are unwrapped.
    pub const fn from_bytes(bytes: [u8; 40]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; 40] {
        &self.0
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedKey(..)")
    }
}

impl Serialize for WrappedKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&b64::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for WrappedKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        b64::decode_array(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom("a wrapped key is 40 bytes of canonical base64url"))
    }
}

/// AES-256 key wrap with the default initial value (RFC 3394 section 2.2.1).
pub(super) fn wrap_raw(kek: &[u8; 32], key: &[u8; 32]) -> WrappedKey {
    let mut out = [0; 40];
    AesKek::new(&AES_256, kek)
        .and_then(|kek| kek.wrap(key, &mut out).map(|_| ()))
        .expect("key wrap takes a 32-byte key under a 32-byte key");
    WrappedKey(out)
}

pub(super) fn unwrap_raw(kek: &[u8; 32], wrapped: &WrappedKey) -> Result<Zeroizing<[u8; 32]>, UnwrapError> {
    // The implementation wants eight bytes more than the key that it yields.
    let mut buffer = Zeroizing::new([0; 40]);
    let mut key = Zeroizing::new([0; 32]);
    let kek = AesKek::new(&AES_256, kek).map_err(|_| UnwrapError)?;
    let out = kek.unwrap(&wrapped.0, buffer.as_mut_slice()).map_err(|_| UnwrapError)?;
    if out.len() != 32 {
        return Err(UnwrapError);
    }
    key.copy_from_slice(out);
    Ok(key)
}

/// Wraps data keys, for whoever holds this key.
pub trait KeyWrapping {
    /// Wraps a data key.
    fn wrap(&self, key: &DataKey) -> WrappedKey;

    /// Opens a wrap.
    ///
    /// # Errors
    /// When it was made under another key, or altered.
    fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, UnwrapError>;
}

macro_rules! wraps_data_keys {
    ($($name:ident)*) => {$(
        impl KeyWrapping for $name {
            fn wrap(&self, key: &DataKey) -> WrappedKey {
                wrap_raw(&self.0, &key.0)
            }

            fn unwrap(&self, wrapped: &WrappedKey) -> Result<DataKey, UnwrapError> {
                unwrap_raw(&self.0, wrapped).map(|key| DataKey(*key))
            }
        }
    )*};
}

wraps_data_keys! { PatientKey CustodyKey GrantKey }

impl CustodyRoot {
    /// Wraps a key for rest on this custodian's disk. Each kind of key has a wrapping key of its own, so that the wrap
    /// of one kind never opens as another.
    pub fn wrap_at_rest<K: SymmetricKey>(&self, key: &K) -> WrappedKey {
        wrap_raw(&self.kek::<K>(), key.secret(Within::HERE))
    }

    /// Opens what `wrap_at_rest` made.
    ///
    /// # Errors
    /// When it was made under another root or for another kind of key, or altered.
    pub fn unwrap_at_rest<K: SymmetricKey>(&self, wrapped: &WrappedKey) -> Result<K, UnwrapError> {
        unwrap_raw(&self.kek::<K>(), wrapped).map(|key| K::from_secret(key, Within::HERE))
    }

    fn kek<K: SymmetricKey>(&self) -> Zeroizing<[u8; 32]> {
        hkdf_32(&self.0, &[b"vouchsafe/at-rest/", K::KIND.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 3394 section 4.6: 256 bits of key data under a 256-bit key.
    #[test]
    fn wraps_as_rfc_3394_says() {
        let kek: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let mut key = [0; 32];
        hex::decode_to_slice("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f", &mut key).unwrap();
        let wrapped = wrap_raw(&kek, &key);
        assert_eq!(
            hex::encode(wrapped.0),
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
        );
        assert_eq!(*unwrap_raw(&kek, &wrapped).unwrap(), key);
    }

    #[test]
    fn a_wrap_flipped_anywhere_does_not_open() {
        let (patient, key) = (PatientKey::generate(), DataKey::generate());
        let wrapped = patient.wrap(&key);
        assert_eq!(patient.unwrap(&wrapped).unwrap().0, key.0);
        for bit in 0..320 {
            let mut bytes = *wrapped.bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(patient.unwrap(&WrappedKey::from_bytes(bytes)).map(|_| ()), Err(UnwrapError));
        }
    }

    #[test]
    fn a_wrap_opens_under_its_own_key_only() {
        let (one, other) = (GrantKey::generate(), GrantKey::generate());
        let wrapped = one.wrap(&DataKey::generate());
        assert_eq!(other.unwrap(&wrapped).map(|_| ()), Err(UnwrapError));
        assert_eq!(CustodyKey(other.0).unwrap(&wrapped).map(|_| ()), Err(UnwrapError));
    }

    #[test]
    fn at_rest_one_kind_of_key_does_not_open_as_another() {
        let root = CustodyRoot::generate();
        let key = PatientKey::generate();
        let wrapped = root.wrap_at_rest(&key);
        assert_eq!(root.unwrap_at_rest::<PatientKey>(&wrapped).unwrap().0, key.0);
        assert_eq!(root.unwrap_at_rest::<CustodyKey>(&wrapped).map(|_| ()), Err(UnwrapError));
        assert_eq!(CustodyRoot::generate().unwrap_at_rest::<PatientKey>(&wrapped).map(|_| ()), Err(UnwrapError));
    }

    proptest! {
        #[test]
        fn a_wrap_s_text_is_its_only_one(bytes in any::<[u8; 20]>(), other in any::<[u8; 20]>()) {
            let bytes: [u8; 40] = [bytes, other].concat().try_into().unwrap();
            let text = serde_json::to_string(&WrappedKey(bytes)).unwrap();
            prop_assert_eq!(serde_json::from_str::<WrappedKey>(&text).unwrap().0, bytes);
            let padded = text.replacen('"', "\"=", 1);
            prop_assert!(serde_json::from_str::<WrappedKey>(&padded).is_err());
        }
    }
}
