//! One version of one record: sealed for the block store, committed to for the ledger.
//!
//! AES-GCM alone binds a ciphertext neither to its key (two keys can open one ciphertext to two texts) nor to the
//! version before; the commitment does both, and hides a text that could be guessed. So nothing is given out before the
//! commitment was recomputed.

use std::fmt;

use bytes::Bytes;
use cid::Cid;
use vouchsafe_types::{AccountId, Handle, Hash32, ids::RecordId};
use zeroize::Zeroizing;

use super::{
    keys::{DataKey, SymmetricKey, Within},
    primitives::{OVERHEAD, gcm_open, gcm_seal, hkdf_32, hmac_parts, push_prefixed, sha256},
};
use crate::{blobs::cid_of_digest, policy::Permit};

/// AES-256-GCM, HKDF-SHA256, HMAC-SHA256; data keys wrapped with AES-KW and RSA-OAEP-256.
const SUITE: u8 = 1;

/// What a sealed record is tied to: opened as anything else, it does not open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The chain.
    pub chain: &'a str,
    /// The organisation that wrote it.
    pub custodian: AccountId,
    /// The chart that it belongs to.
    pub handle: Handle,
    /// The record.
    pub record: RecordId,
    /// Its FHIR type.
    pub resource_type: &'a str,
    /// Its version, counted from 1.
    pub version: u64,
}

impl Aad<'_> {
    fn bytes(&self, use_: &str) -> Vec<u8> {
        let mut out = vec![SUITE];
        push_prefixed(
            &mut out,
            &[
                use_.as_bytes(),
                self.chain.as_bytes(),
                &self.custodian.0,
                &self.handle.0,
                &self.record.0,
                self.resource_type.as_bytes(),
                &self.version.to_be_bytes(),
            ],
        );
        out
    }
}

impl fmt::Debug for Aad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A chart's handle beside a record's type would tell a log's reader about a patient.
        write!(f, "Aad(record {}, version {})", self.record, self.version)
    }
}

/// Sealed bytes: `nonce ‖ ciphertext ‖ tag`. Only sealing makes them, so what a block store is given is sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    bytes: Bytes,
    digest: [u8; 32],
}

impl Sealed {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = sha256(&bytes);
        Self { bytes: bytes.into(), digest }
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Their SHA-256.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Their address: CIDv1, raw, SHA-256, as Kubo's.
    pub fn cid(&self) -> Cid {
        cid_of_digest(&self.digest)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes, {})", self.bytes.len(), self.cid())
    }
}

/// A sealed version and what is said of it.
#[derive(Clone, Debug)]
pub struct SealedRecord {
    /// For the block store.
    pub blob: Sealed,
    /// For the ledger.
    pub commitment: Hash32,
    /// SHA-256 of the plaintext; secret like the plaintext, which may be guessable.
    pub plaintext_hash: Hash32,
    /// SHA-256 of the blob, which is also its CID's digest.
    pub ciphertext_hash: Hash32,
}

/// Why a record was not opened. Nothing of its content is in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The blob was altered, is another's, or the key is not its own.
    #[error("the blob does not open under this key as this record's version")]
    Forged,
    /// The blob opens, but it is not what was anchored.
    #[error("the blob opens, but the anchored commitment is of something else")]
    NotAnchored,
}

const RECORD: &str = "record";
const META: &str = "meta";

fn encryption_key(key: &DataKey) -> Zeroizing<[u8; 32]> {
    hkdf_32(key.secret(Within::HERE), &[b"vouchsafe/record/encrypt"])
}

fn meta_key(key: &DataKey) -> Zeroizing<[u8; 32]> {
    hkdf_32(key.secret(Within::HERE), &[b"vouchsafe/record/meta"])
}

/// The key of a version's commitment, for `$proof`: who has it can check the commitment and open nothing.
pub fn commitment_key(key: &DataKey) -> [u8; 32] {
    *hkdf_32(key.secret(Within::HERE), &[b"vouchsafe/record/commit"])
}

/// The commitment of a version, as a holder of its commitment key recomputes it.
pub fn commitment(
    key: &[u8; 32],
    record: &RecordId,
    version: u64,
    previous: Option<&Hash32>,
    plaintext_hash: &Hash32,
    ciphertext_hash: &Hash32,
) -> Hash32 {
    // No version before is the empty part, which no hash is.
    let previous = previous.map_or(&[][..], |hash| &hash.0);
    Hash32(hmac_parts(key, &[&record.0, &version.to_be_bytes(), previous, &plaintext_hash.0, &ciphertext_hash.0]))
}

/// Seals a version. The data key is this version's own; `previous` is the commitment of the version before.
pub fn seal(key: &DataKey, aad: &Aad<'_>, previous: Option<Hash32>, plaintext: &[u8]) -> SealedRecord {
    let blob = Sealed::new(gcm_seal(&encryption_key(key), &aad.bytes(RECORD), plaintext));
    let plaintext_hash = Hash32(sha256(plaintext));
    let ciphertext_hash = Hash32(blob.digest);
    let k_com = Zeroizing::new(commitment_key(key));
    let commitment = commitment(&k_com, &aad.record, aad.version, previous.as_ref(), &plaintext_hash, &ciphertext_hash);
    SealedRecord { blob, commitment, plaintext_hash, ciphertext_hash }
}

/// Opens a version and checks it against what was anchored.
///
/// # Errors
/// `Forged` when the blob is not this version's under this key, `NotAnchored` when the anchored commitment is of another
/// text, blob, key or predecessor.
pub fn open(
    _permit: &Permit,
    key: &DataKey,
    aad: &Aad<'_>,
    previous: Option<Hash32>,
    anchored: &Hash32,
    blob: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let plaintext = gcm_open(&encryption_key(key), &aad.bytes(RECORD), blob).ok_or(OpenError::Forged)?;
    let k_com = Zeroizing::new(commitment_key(key));
    let recomputed = commitment(
        &k_com,
        &aad.record,
        aad.version,
        previous.as_ref(),
        &Hash32(sha256(&plaintext)),
        &Hash32(sha256(blob)),
    );
    if recomputed != *anchored {
        return Err(OpenError::NotAnchored);
    }
    Ok(plaintext)
}

/// Seals a version's header (category, dates), which lies in the directory: who may open the record may open it.
pub fn seal_meta(key: &DataKey, aad: &Aad<'_>, header: &[u8]) -> Vec<u8> {
    gcm_seal(&meta_key(key), &aad.bytes(META), header)
}

/// Opens a version's header.
///
/// # Errors
/// `Forged` when it is not this version's under this key.
pub fn open_meta(key: &DataKey, aad: &Aad<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    gcm_open(&meta_key(key), &aad.bytes(META), sealed).ok_or(OpenError::Forged)
}

/// How many bytes a blob has more than what is sealed in it.
pub const BLOB_OVERHEAD: usize = OVERHEAD;

#[cfg(test)]
mod tests;
