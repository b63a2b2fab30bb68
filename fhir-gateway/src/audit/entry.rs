//! An entry of the audit log.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vouchsafe_types::{AccountId, Count, Hash32, RecordId, SessionId, TimeMs, merkle::log, state::AuditHead};

use crate::ledger::LedgerProof;

/// An AuditEvent as text: written once, hashed and stored as it is, and parsed only by who looks into it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventText(Box<RawValue>);

impl EventText {
    /// Takes the text of an AuditEvent.
    ///
    /// # Panics
    /// When the text is no JSON, which what a serializer wrote never is.
    pub fn new(text: String) -> Self {
        Self(RawValue::from_string(text).expect("a serializer wrote it"))
    }

    /// The AuditEvent.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_str(self.0.get()).unwrap_or_default()
    }
}

/// An entry to be recorded.
#[derive(Clone)]
pub struct NewEntry {
    /// The AuditEvent's FHIR id, made with `Records::new_id`; random, so that the leaf's hash tells nothing.
    pub id: RecordId,
    /// The AuditEvent, whole, with that id.
    pub event: EventText,
    /// The chart that it is about.
    pub chart: Option<RecordId>,
    /// The patient's account that it is about.
    pub account: Option<AccountId>,
    /// The session in which it happened.
    pub session: Option<SessionId>,
    /// Who did it: the OAuth client, for a person the account's id.
    pub caller: Option<String>,
}

/// Whom and what an entry is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The chart.
    pub chart: Option<RecordId>,
    /// The patient's account.
    pub account: Option<AccountId>,
    /// The session in which it happens.
    pub session: Option<SessionId>,
    /// Who does it: the OAuth client, for a person the account's id.
    pub caller: Option<String>,
}

impl std::fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewEntry({})", self.id)
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The AuditEvent's id.
    pub id: RecordId,
    /// Its place in the log.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Hash32,
}

/// An entry as it lies in the log; its JSON is what the leaf hashes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Its place in the log.
    pub index: Count,
    /// The slot that was reserved for it.
    pub slot: Count,
    /// How many slots it speaks for; more than one only when a crash lost several.
    pub slots: Count,
    /// The AuditEvent's id.
    pub id: RecordId,
    /// When it was recorded, by the later of block time and the gateway's clock.
    pub at: TimeMs,
    /// The chart that it is about.
    pub chart: Option<RecordId>,
    /// The patient's account that it is about.
    pub account: Option<AccountId>,
    /// The session in which it happened.
    pub session: Option<SessionId>,
    /// Who did it: the OAuth client, for a person the account's id.
    pub caller: Option<String>,
    /// The AuditEvent.
    pub event: EventText,
}

impl AuditEntry {
    /// Whom and what it is about.
    pub(super) fn about(&self) -> About {
        About { chart: self.chart, account: self.account, session: self.session, caller: self.caller.clone() }
    }

    /// The bytes that the leaf hashes.
    ///
    /// # Panics
    /// Never: an entry is plain data.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry is plain data")
    }

    /// The leaf's hash.
    pub fn leaf(&self) -> Hash32 {
        log::leaf_hash(&self.bytes())
    }
}

impl std::fmt::Debug for AuditEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditEntry({} at {})", self.id, self.index)
    }
}

/// Which entries are asked for; every member given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// About this chart.
    pub chart: Option<RecordId>,
    /// About this patient's account.
    pub account: Option<AccountId>,
    /// By this caller.
    pub caller: Option<String>,
    /// In this session.
    pub session: Option<SessionId>,
    /// At most so many; none for all.
    pub limit: Option<usize>,
}

/// Shows that an entry is in the log whose root the ledger holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditProof {
    /// The entry's bytes, whose leaf hash is proved; base64url.
    pub entry: String,
    /// Its place.
    pub index: Count,
    /// The head that the ledger holds.
    pub head: AuditHead,
    /// The hashes from the leaf to the root (RFC 6962 section 2.1.1).
    pub path: Vec<Hash32>,
    /// The ledger's proof of the head.
    pub ledger: LedgerProof,
}
