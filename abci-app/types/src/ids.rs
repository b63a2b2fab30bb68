//! Identifiers. Those that the outside sees as FHIR ids are 16 bytes in lower-case hexadecimal; hashes are base64url.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use sha2::{Digest, Sha256};

use crate::b64;

/// An identifier's text is not of its form.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} must be {form}, got {got:?}")]
pub struct BadId {
    /// Which kind of identifier.
    pub what: &'static str,
    /// The form it must have.
    pub form: &'static str,
    /// The text given, cut to 80 characters.
    pub got: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $form:literal, $enc:path, $dec:path) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$enc(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                $dec(text).map(Self).ok_or_else(|| BadId {
                    what: stringify!($name),
                    form: $form,
                    got: text.chars().take(80).collect(),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

fn hex16(text: &str) -> Option<[u8; 16]> {
    // Upper case would give one identifier two texts.
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; 16];
    hex::decode_to_slice(text, &mut out).ok().map(|()| out)
}

id! {
    /// An account on the ledger: an organisation's, a doctor's or a patient's. Derived from its first key.
    AccountId, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// A request for access, and, once approved, the grant it became. It is the FHIR id of the Consent.
    RequestId, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// A session opened under a grant.
    SessionId, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// A credential of a doctor or an organisation.
    CredentialId, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// The random name of one patient's chart at one custodian; its link to the account lies only in sealed data.
    Handle, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// An own record of a custodian, all its versions. It is the FHIR id of the resource at that custodian.
    RecordId, 16, "32 lower-case hexadecimal digits", hex::encode, hex16
}
id! {
    /// A transaction's nonce, never used again by its signer.
    Nonce, 16, "22 characters of canonical base64url", b64::encode, b64::decode_array
}
id! {
    /// A salted tag of one category, or a dummy; see design rule 10.
    Tag, 16, "22 characters of canonical base64url", b64::encode, b64::decode_array
}
id! {
    /// A SHA-256 value: a root, a commitment, a leaf.
    Hash32, 32, "43 characters of canonical base64url", b64::encode, b64::decode_array
}

impl Hash32 {
    /// SHA-256 over the length-prefixed parts, under a domain label; the prefixes (u64, big-endian) make the split of
    /// the parts part of what is hashed.
    pub fn of(label: &str, parts: &[&[u8]]) -> Self {
        let mut h = Sha256::new();
        for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
            h.update((part.len() as u64).to_be_bytes());
            h.update(part);
        }
        Self(h.finalize().into())
    }

    fn first_half(self) -> [u8; 16] {
        let mut out = [0; 16];
        out.copy_from_slice(&self.0[..16]);
        out
    }
}

impl AccountId {
    /// The account that an Ed25519 public key founds; nobody can take an account whose first key they do not hold.
    pub fn of_key(public: &[u8; 32]) -> Self {
        Self(Hash32::of("vouchsafe/account", &[public]).first_half())
    }
}

impl RequestId {
    /// The id that a request gets which `signer` signs with `nonce`; known before it is signed.
    pub fn derive(signer: &AccountId, nonce: &Nonce) -> Self {
        Self(Hash32::of("vouchsafe/request", &[&signer.0, &nonce.0]).first_half())
    }
}

impl SessionId {
    /// The id that a session gets whose opening `signer` signs with `nonce`.
    pub fn derive(signer: &AccountId, nonce: &Nonce) -> Self {
        Self(Hash32::of("vouchsafe/session", &[&signer.0, &nonce.0]).first_half())
    }
}
