//! The own records of this custodian.

use std::sync::Arc;

use tokio::sync::broadcast;
use vouchsafe_types::RecordId;

use super::{OpenError, Opened, ProofParts, RecordRow, Write, WriteError};
use crate::{
    policy::Permit,
    seal::{GrantKey, WrappedKey},
};

/// The own records. Cheap to clone.
#[derive(Clone)]
pub struct Records {
    inner: Arc<Inner>,
}

struct Inner {
    new: broadcast::Sender<RecordRow>,
}

const NOT_BUILT: &str = "not built yet";

impl Records {
    /// A fresh id.
    pub fn new_id() -> RecordId {
        RecordId(crate::ledger::random_nonce().0)
    }

    /// Writes a new record; on return its anchor is in a block.
    ///
    /// # Errors
    /// `WriteError`; then nothing is kept.
    pub async fn create(&self, write: Write) -> Result<RecordRow, WriteError> {
        self.create_with_id(Self::new_id(), write).await
    }

    /// Writes a new record under an id that the caller made with `new_id`. A Patient's is its chart's, which is opened.
    ///
    /// # Errors
    /// `WriteError`; then nothing is kept.
    pub async fn create_with_id(&self, id: RecordId, write: Write) -> Result<RecordRow, WriteError> {
        let _ = (id, write);
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }

    /// Writes the next version of a record, if the latest is the one that `if_match` names.
    ///
    /// # Errors
    /// `Conflict` when another version is the latest, `NotFound`, or why it cannot be written.
    pub async fn update(&self, id: RecordId, if_match: Option<u64>, write: Write) -> Result<RecordRow, WriteError> {
        let _ = (id, if_match, write);
        Err(WriteError::Unavailable(NOT_BUILT.into()))
    }

    /// A version of a record; the latest when none is named.
    ///
    /// # Errors
    /// When the database cannot be read, or the row was altered.
    pub fn row(&self, id: &RecordId, version: Option<u64>) -> Result<Option<RecordRow>, OpenError> {
        let _ = (id, version);
        Ok(None)
    }

    /// All versions of a record, the newest first.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered.
    pub fn versions(&self, id: &RecordId) -> Result<Vec<RecordRow>, OpenError> {
        let _ = id;
        Ok(Vec::new())
    }

    /// The latest versions of a chart's records, of one type or of all.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered.
    pub fn list(&self, chart: &RecordId, resource_type: Option<&str>) -> Result<Vec<RecordRow>, OpenError> {
        let _ = (chart, resource_type);
        Ok(Vec::new())
    }

    /// The latest versions of all own records of a type.
    ///
    /// # Errors
    /// When the database cannot be read, or a row was altered.
    pub fn list_type(&self, resource_type: &str) -> Result<Vec<RecordRow>, OpenError> {
        let _ = resource_type;
        Ok(Vec::new())
    }

    /// Opens a version, verified: its leaf under the ledger's head, the chain of versions, the blob's hash and the
    /// commitment.
    ///
    /// # Errors
    /// `Integrity` when something is not what was anchored, which is audited and never served; `Unavailable`.
    pub async fn open(&self, permit: &Permit, row: &RecordRow) -> Result<Opened, OpenError> {
        let _ = (permit, row);
        Err(OpenError::Unavailable(NOT_BUILT.into()))
    }

    /// Opens a version with everything that a third party needs to check it.
    ///
    /// # Errors
    /// As `open`.
    pub async fn proof(&self, permit: &Permit, row: &RecordRow) -> Result<ProofParts, OpenError> {
        let _ = (permit, row);
        Err(OpenError::Unavailable(NOT_BUILT.into()))
    }

    /// A version's data key under a grant's key: for the manifest of a grant that admits it.
    ///
    /// # Errors
    /// When the row's wrap does not open.
    pub fn data_key_for_grant(&self, row: &RecordRow, grant: &GrantKey) -> Result<WrappedKey, OpenError> {
        let _ = (row, grant);
        Err(OpenError::Unavailable(NOT_BUILT.into()))
    }

    /// Own versions from now on, as they are committed. A receiver that lags loses some.
    pub fn on_new(&self) -> broadcast::Receiver<RecordRow> {
        self.inner.new.subscribe()
    }
}
