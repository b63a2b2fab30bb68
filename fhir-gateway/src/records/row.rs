//! What is known of one version of one record, and what is asked to be written.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{
    AccountId, Count, Handle, Hash32, Kid, RecordId, SessionId, TimeMs,
    merkle::{MapLeaf, MapProof},
    state::Head,
};
use zeroize::Zeroizing;

use super::DirectoryEntry;
use crate::{
    fhir::{category::Category, date::DateRange},
    seal::WrappedKey,
};

/// Who wrote a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The OAuth client; for a person it is the account's id.
    pub client: String,
    /// The person's account, when a person acted.
    pub account: Option<AccountId>,
    /// The agent key, when the person acted by the organisation's system under a mandate.
    pub agent: Option<Kid>,
}

/// One version of one record. Sealed at rest like everything in the database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordRow {
    /// The record, which is its FHIR id.
    pub id: RecordId,
    /// Its version, counted from 1.
    pub version: Count,
    /// Its FHIR type.
    pub resource_type: String,
    /// The chart that it belongs to.
    pub chart: RecordId,
    /// The chart's handle.
    pub handle: Handle,
    /// When it was written, by the later of block time and the gateway's clock.
    pub last_updated: TimeMs,
    /// What is anchored.
    pub commitment: Hash32,
    /// The commitment of the version before.
    pub previous: Option<Hash32>,
    /// SHA-256 of the sealed form; secret like the plaintext, which may be guessable.
    pub plaintext_hash: Hash32,
    /// The blob's address.
    pub cid: String,
    /// Its category for consent.
    pub(super) category: Category,
    /// When what it tells of happened.
    pub(super) date: Option<DateRange>,
    /// Who wrote it.
    pub by: Actor,
    /// The session in which it was uploaded.
    pub session: Option<SessionId>,
    /// The block that its anchor is in.
    pub height: Count,
    /// True when this version says that the record is deleted.
    pub tombstone: bool,
    /// The data key, wrapped under the chart's custody key.
    pub(crate) custody_wrap: WrappedKey,
}

impl RecordRow {
    /// Its category for consent.
    pub const fn category(&self) -> Category {
        self.category
    }

    /// When what it tells of happened.
    pub const fn date(&self) -> Option<DateRange> {
        self.date
    }
}

/// What the directory says, sealed under the data key, of a version: enough for the patient's wallet to list it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// Its FHIR type.
    pub resource_type: String,
    /// Its category for consent.
    pub category: Category,
    /// When what it tells of happened.
    pub date: Option<DateRange>,
    /// When it was written.
    pub last_updated: TimeMs,
}

impl Header {
    /// What stands for the type in the associated data of a header, which is opened before the type is known.
    pub const TYPE: &'static str = "*";
}

impl std::fmt::Debug for RecordRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Type and chart beside each other would tell a log's reader about a patient.
        write!(f, "RecordRow({}/_history/{})", self.id, self.version)
    }
}

/// What a third party needs, beside the header, to check a version against the ledger.
pub struct ProofParts {
    /// The exact bytes that were sealed.
    pub sealed_form: Zeroizing<Vec<u8>>,
    /// The key of the commitment; it opens nothing.
    pub commitment_key: [u8; 32],
    /// SHA-256 of the sealed form.
    pub plaintext_hash: Hash32,
    /// SHA-256 of the blob.
    pub ciphertext_hash: Hash32,
    /// The custodian's signed entry of this version.
    pub entry: DirectoryEntry,
    /// The versions after this one, the next first: each one's commitment is over the one before.
    pub later: Vec<LaterVersion>,
    /// What the chart's map says of the record.
    pub leaf: MapLeaf,
    /// The way from the leaf to the chart's root.
    pub map_proof: MapProof,
    /// The head as the ledger holds it.
    pub head: Head,
    /// The ledger's proof of the head.
    pub ledger: crate::ledger::LedgerProof,
}

/// A version after the one that is proved, told without its content.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaterVersion {
    /// Which version.
    pub version: Count,
    /// What was anchored.
    pub commitment: Hash32,
    /// The key of that commitment; it opens nothing.
    pub commitment_key: Hash32,
    /// SHA-256 of the sealed form.
    pub plaintext_hash: Hash32,
    /// SHA-256 of the blob.
    pub ciphertext_hash: Hash32,
}
