//! The directory: what each custodian says, signed, of each version of its records, and the keys of patients; replicated
//! among gateways and believed only against the ledger.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use vouchsafe_types::{AccountId, Count, Handle, Hash32, RecordId, RequestId, merkle::MapProof, state::Head};

use crate::seal::{WrappedKey, WrappedToRsa};

/// What a custodian says of one version; the payload of a compact JWS by the custodian's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectoryEntry {
    /// Who wrote the record.
    pub custodian: AccountId,
    /// The chart.
    pub handle: Handle,
    /// The record.
    pub record: RecordId,
    /// The version, counted from 1.
    pub version: Count,
    /// What is anchored.
    pub commitment: Hash32,
    /// The commitment of the version before.
    pub previous: Option<Hash32>,
    /// The blob's address.
    pub cid: String,
    /// The suite that it is sealed with.
    pub suite: u8,
    /// Type, category and dates, sealed under the data key; base64url.
    pub meta: String,
    /// The data key under the patient's key; none for what belongs to the organisation.
    pub patient_wrap: Option<WrappedKey>,
    /// True when this version says that the record is deleted.
    pub tombstone: bool,
}

impl DirectoryEntry {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/directory";
}

/// The patient's key of one chart, wrapped to each of the patient's devices; the payload of a compact JWS by the
/// custodian's key. The wraps do not say whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyEntry {
    /// The custodian.
    pub custodian: AccountId,
    /// The chart.
    pub handle: Handle,
    /// Raised by every new list of wraps; the highest counts.
    pub seq: Count,
    /// The wraps, in random order.
    pub wraps: Vec<WrappedToRsa>,
}

impl KeyEntry {
    /// The `typ` of its JWS.
    pub const TYP: &'static str = "vouchsafe/directory-key";
}

/// What came into the directory; what is told to peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum New {
    /// An own entry, once its anchor is committed: the compact JWS.
    Entry {
        /// The chart.
        handle: Handle,
        /// The record.
        record: RecordId,
        /// The compact JWS.
        jws: String,
    },
    /// An own key entry: the compact JWS.
    Key {
        /// The chart.
        handle: Handle,
        /// The compact JWS.
        jws: String,
    },
}

/// Brings the entries of a chart from its custodian.
#[async_trait]
pub trait Refresh: Send + Sync {
    /// Asks the custodian for the chart's entries and puts them into the directory.
    async fn refresh(&self, custodian: AccountId, handle: Handle) -> Result<(), String>;
}

/// Why the directory did not take or not give something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryFault {
    /// Not of its form, or not signed by a key of the custodian that it names.
    #[error("a directory entry is forged: {0}")]
    Forged(String),
    /// What is known of the chart does not have the root that the ledger holds.
    #[error("the entries of this chart do not have the root that the ledger holds")]
    NotTheHead,
    /// The ledger holds no head for this chart, or the chart no such record.
    #[error("there is no such record under the ledger's head")]
    Absent,
    /// An entry contradicts the leaf, or the entries do not chain.
    #[error("the entries of this record contradict each other or the ledger: {0}")]
    Contradiction(String),
    /// The ledger, the custodian or the database is away.
    #[error("{0}")]
    Unavailable(String),
}

/// The directory. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    new: broadcast::Sender<New>,
}

impl Directory {
    /// What comes into the directory of own entries from now on. A receiver that lags loses some; peers pull what they
    /// miss.
    pub fn on_new(&self) -> broadcast::Receiver<New> {
        self.inner.new.subscribe()
    }

    /// Names who brings missing entries.
    pub fn set_refresh(&self, refresh: Arc<dyn Refresh>) {
        drop(refresh);
    }

    /// Takes a compact JWS of an entry or a key entry of another custodian, after checking that a live key of a verified
    /// organisation, and of the very custodian that it names, signed it.
    ///
    /// # Errors
    /// `Forged`, or `Unavailable`.
    pub async fn put(&self, jws: &str) -> Result<(), DirectoryFault> {
        let _ = jws;
        Err(DirectoryFault::Unavailable("not built yet".into()))
    }

    /// All entries and the newest key entry of a chart, as compact JWSs: what a peer or the patient pulls.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entries(&self, custodian: &AccountId, handle: &Handle) -> Result<Vec<String>, DirectoryFault> {
        let _ = (custodian, handle);
        Ok(Vec::new())
    }

    /// The entry of one version.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn entry(
        &self,
        custodian: &AccountId,
        handle: &Handle,
        record: &RecordId,
        version: u64,
    ) -> Result<Option<DirectoryEntry>, DirectoryFault> {
        let _ = (custodian, handle, record, version);
        Ok(None)
    }

    /// The newest key entry of a chart.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn key_entry(&self, custodian: &AccountId, handle: &Handle) -> Result<Option<KeyEntry>, DirectoryFault> {
        let _ = (custodian, handle);
        Ok(None)
    }

    /// The latest version of a record, proved under the root that the ledger holds now. When what is known here does not
    /// have that root, the custodian is asked once.
    ///
    /// # Errors
    /// `DirectoryFault`; then the record is not served.
    pub async fn verify_leaf(
        &self,
        custodian: &AccountId,
        handle: &Handle,
        record: &RecordId,
    ) -> Result<(DirectoryEntry, MapProof, Head), DirectoryFault> {
        let _ = (custodian, handle, record);
        Err(DirectoryFault::Unavailable("not built yet".into()))
    }

    /// Keeps the sealed details (JWE JSON) of a request, beside those that are kept already.
    ///
    /// # Errors
    /// When the database cannot write.
    pub async fn put_sealed(&self, request: &RequestId, details: Vec<String>) -> Result<(), DirectoryFault> {
        let _ = (request, details);
        Err(DirectoryFault::Unavailable("not built yet".into()))
    }

    /// The sealed details of a request.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sealed(&self, request: &RequestId) -> Result<Vec<String>, DirectoryFault> {
        let _ = request;
        Ok(Vec::new())
    }
}
