//! Where sealed blobs lie: by their address, which is their hash, so that nobody need be trusted to keep them whole.
//!
//! **Architecture invariant:** a store takes only `Sealed` bytes, and gives nothing out whose hash it has not recomputed.

mod embedded;

use async_trait::async_trait;
use bytes::Bytes;
use cid::{Cid, Version, multihash::Multihash};
use sha2::{Digest, Sha256};

use crate::seal::Sealed;

pub use embedded::EmbeddedBlobs;

/// The multicodec of raw bytes.
const RAW: u64 = 0x55;
/// The multicodec of SHA-256.
const SHA2_256: u64 = 0x12;

/// A place for sealed blobs.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Keeps a blob; it is durable on return. Keeping it again changes nothing.
    ///
    /// # Errors
    /// When the store cannot write.
    async fn put(&self, blob: &Sealed) -> Result<Cid, BlobError>;

    /// Keeps several, all or none, durable on return. Gives a mark: what is put later has a higher one.
    ///
    /// # Errors
    /// When the store cannot write.
    async fn put_many(&self, blobs: &[Sealed]) -> Result<u64, BlobError>;

    /// What was put after a mark and is still here, in the order of putting, each with its mark: how somebody who crashed
    /// finds what was put for nothing.
    ///
    /// # Errors
    /// When the store cannot read.
    async fn after(&self, mark: u64) -> Result<Vec<(u64, Cid)>, BlobError>;

    /// How many blobs there are.
    ///
    /// # Errors
    /// When the store cannot read.
    async fn count(&self) -> Result<u64, BlobError>;

    /// The blob of an address, its hash recomputed; none when it is not here.
    ///
    /// # Errors
    /// `Spoiled` when what lies here is not what the address says.
    async fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlobError>;

    /// Several blobs, one for each address, in their order and each as by `get`.
    ///
    /// # Errors
    /// When the store cannot read.
    async fn get_many(&self, cids: &[Cid]) -> Result<Vec<Result<Option<Bytes>, BlobError>>, BlobError>;

    /// Forgets a blob; true when it was here.
    ///
    /// # Errors
    /// When the store cannot write.
    async fn remove(&self, cid: &Cid) -> Result<bool, BlobError>;

    /// True when the blob is here; its hash is not recomputed.
    ///
    /// # Errors
    /// When the store cannot read.
    async fn has(&self, cid: &Cid) -> Result<bool, BlobError>;
}

/// Why a blob store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// What lies at the address does not have its hash. It is never served.
    #[error("what lies at {0} does not have its hash")]
    Spoiled(Cid),
    /// The store cannot read or write.
    #[error("the blob store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store was closed, or its writer has stopped after a failure.
    #[error("the blob store is closed")]
    Closed,
}

/// A text is not the address of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a CID must be version 1, raw, SHA-256, in lower-case base32 (b…)")]
pub struct BadCid;

/// Reads the address of a blob; one blob has one text.
///
/// # Errors
/// For every other version, codec, hash, length, base or spelling.
pub fn parse_cid(text: &str) -> Result<Cid, BadCid> {
    // 'b' and 36 bytes in base32.
    if text.len() != 59 || !text.starts_with('b') {
        return Err(BadCid);
    }
    let cid: Cid = text.parse().map_err(|_| BadCid)?;
    (digest_of(&cid).is_some() && cid.to_string() == text).then_some(cid).ok_or(BadCid)
}

/// The address of bytes, as Kubo gives it to a block of one chunk.
pub fn cid_of(bytes: &[u8]) -> Cid {
    cid_of_digest(&Sha256::digest(bytes).into())
}

/// The address of bytes with this SHA-256.
pub fn cid_of_digest(digest: &[u8; 32]) -> Cid {
    Cid::new_v1(RAW, Multihash::wrap(SHA2_256, digest).expect("a multihash holds 64 bytes"))
}

/// The SHA-256 in an address; none when it is not an address of a blob.
pub fn digest_of(cid: &Cid) -> Option<[u8; 32]> {
    let raw = cid.version() == Version::V1 && cid.codec() == RAW && cid.hash().code() == SHA2_256;
    raw.then(|| cid.hash().digest().try_into().ok()).flatten()
}

/// Gives bytes out only if they are what the address says.
fn checked(cid: &Cid, bytes: Bytes) -> Result<Bytes, BlobError> {
    if cid_of(&bytes) != *cid {
        return Err(BlobError::Spoiled(*cid));
    }
    Ok(bytes)
}
