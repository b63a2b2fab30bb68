//! The keystore: holds an organisation's keys and never gives a private one out.

mod file;

use std::{io, path::PathBuf, sync::Arc};

use vouchsafe_types::{OkpJwk, RsaJwk, jws::Sign};

use super::{keys::CustodyRoot, oaep::RsaUnwrap, store::StoreSeal};

pub use file::FileKeystore;

/// A signing key of the keystore, usable and not readable.
pub type Signer = Arc<dyn Sign + Send + Sync>;

/// A keystore: a sealed file here; PKCS#11 and key management services have the same shape.
pub trait Keystore: Send + Sync {
    /// A signing key by its name. An RSA key may have the same name.
    ///
    /// # Errors
    /// When there is none of this kind, or the store does not open.
    fn ed25519(&self, name: &str) -> Result<Signer, KeystoreError>;

    /// An RSA key by its name.
    ///
    /// # Errors
    /// When there is none of this kind, or the store does not open.
    fn rsa(&self, name: &str) -> Result<Arc<dyn RsaUnwrap>, KeystoreError>;

    /// Makes a signing key, durably, and says its public half.
    ///
    /// # Errors
    /// When the name is taken or not a name, or the store cannot write.
    fn generate_ed25519(&self, name: &str) -> Result<OkpJwk, KeystoreError>;

    /// Makes an RSA-3072 key, durably, and says its public half. Takes some hundred milliseconds.
    ///
    /// # Errors
    /// When the name is taken or not a name, or the store cannot write.
    fn generate_rsa(&self, name: &str) -> Result<RsaJwk, KeystoreError>;

    /// The seal of an embedded database; made when first asked for.
    ///
    /// # Errors
    /// When the name belongs to another kind of key or is not a name, or the store cannot read or write.
    fn store_seal(&self, name: &str) -> Result<StoreSeal, KeystoreError>;

    /// The root that wraps, at rest, the keys that a custodian keeps; made when first asked for.
    ///
    /// # Errors
    /// When the name belongs to another kind of key or is not a name, or the store cannot read or write.
    fn custody_root(&self, name: &str) -> Result<CustodyRoot, KeystoreError>;

    /// Gives the signing key and the RSA key of a name another name: what a key is called may follow from the key.
    ///
    /// # Errors
    /// When there is none, the new name is taken, or the store cannot write.
    fn rename(&self, from: &str, to: &str) -> Result<(), KeystoreError>;

    /// Destroys the keys of a name, signing and RSA. Handles given out before go on working until dropped.
    ///
    /// # Errors
    /// When there is none, or the store cannot write.
    fn remove(&self, name: &str) -> Result<(), KeystoreError>;

    /// The names of all keys, sorted.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn names(&self) -> Result<Vec<String>, KeystoreError>;
}

/// Why the keystore did not do it. Never carries key material.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Names are 1 to 120 bytes of lower-case letters, digits, `.`, `_`, `-` and `/`.
    #[error("{0:?} is not a key's name: 1 to 120 lower-case letters, digits and the characters . _ - /")]
    BadName(String),
    /// There is no key of that name.
    #[error("the keystore holds no key {0:?}")]
    Unknown(String),
    /// There is a key of that name already.
    #[error("the keystore holds a key {0:?} already")]
    Exists(String),
    /// The key of that name is of another kind.
    #[error("key {name:?} is of kind {got}, expected {expected}")]
    WrongKind {
        /// The name.
        name: String,
        /// The kind asked for.
        expected: &'static str,
        /// The kind that it has.
        got: &'static str,
    },
    /// A sealed key does not open: altered, renamed, or sealed under another unlocking key.
    #[error("{0} does not open under the unlocking key: altered, renamed, or another keystore's")]
    Spoiled(PathBuf),
    /// The unlocking file is not one.
    #[error("the unlocking file {path} {what}")]
    BadUnlock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The cryptographic library refused.
    #[error("key generation failed")]
    Generation,
    /// Reading or writing failed.
    #[error("keystore file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
