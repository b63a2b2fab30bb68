//! What a custodian hands to a session: the data keys of exactly the admitted records, wrapped under the grant's key,
//! and that key wrapped to the session's own RSA key.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{AccountId, Count, Handle, Hash32, RequestId, SessionId, TimeMs, ids::RecordId};

use crate::seal::{WrappedKey, WrappedToRsa};

/// The `typ` of its JWE.
pub const TYP: &str = "vouchsafe/manifest";

/// How many rows one part has at most.
pub const ROWS: usize = 1_000;

/// How many parts a hand-over has at most.
pub const PARTS: u64 = 10_000;

impl Manifest {
    /// True when its parts and rows are as many as a custodian makes; a grantee keeps nothing beyond.
    pub fn is_bounded(&self) -> bool {
        self.rows.len() <= ROWS && self.part <= self.parts && self.parts.0 <= PARTS
    }
}

/// One hand-over. The first of a session holds everything admitted then, later ones what was written since.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Who hands over; must be who signed the message.
    pub custodian: AccountId,
    /// To which session.
    pub session: SessionId,
    /// Under which grant.
    pub grant: RequestId,
    /// Which part of the whole this is, from 1, for a large chart comes in several; 0 for what was written since.
    pub part: Count,
    /// How many parts the whole has; 0 for what was written since.
    pub parts: Count,
    /// The ledger's height at which the session was judged live.
    pub height: Count,
    /// The grant key, wrapped to the key that the session's opening names.
    pub key: WrappedToRsa,
    /// What may be opened.
    pub rows: Vec<ManifestRow>,
}

/// One admitted record version. Whether it is the newest, the grantee takes from the ledger; which blob it is and what it
/// says is believed only because the commitment under the ledger's head, recomputed, is over all of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestRow {
    /// The chart.
    pub handle: Handle,
    /// The record.
    pub record: RecordId,
    /// Its version.
    pub version: Count,
    /// Its FHIR type.
    pub resource_type: String,
    /// When it was written.
    pub last_updated: TimeMs,
    /// The commitment of the version before.
    pub previous: Option<Hash32>,
    /// The blob's address.
    pub cid: String,
    /// The version's data key under the grant key.
    pub key: WrappedKey,
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manifest({} rows)", self.rows.len())
    }
}
