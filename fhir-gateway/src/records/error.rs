//! Why a record was not written or not opened.

use vouchsafe_types::Rejection;

use super::DirectoryFault;
use crate::{blobs::BlobError, ledger::LedgerError, store::StoreError};

/// Why a write was not acknowledged. Nothing of it is kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// `If-Match` names another version than the latest.
    #[error("the latest version is {have}")]
    Conflict {
        /// The latest version.
        have: u64,
    },
    /// There is no such record, or no such chart.
    #[error("there is no such record")]
    NotFound,
    /// The record is of another type or chart, or the version before says so.
    #[error("a record keeps its type and its patient")]
    NotTheSame,
    /// The latest version says that the record is deleted.
    #[error("the record is deleted")]
    Deleted,
    /// A Patient is not deleted while the chart holds other records.
    #[error("the chart still holds other records")]
    NotEmpty,
    /// One submission names the record twice.
    #[error("a submission writes a record once")]
    Twice,
    /// More than one ledger transaction takes.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// Too much waits to be written; nothing was queued.
    #[error("too much waits to be written")]
    Busy,
    /// Too much of this client's waits to be written; nothing was queued.
    #[error("too much of this client's waits to be written")]
    TooMany,
    /// The ledger refused the anchor: the session is not live or may not write, the organisation is not verified …
    #[error("the ledger refused: {0}")]
    Rejected(Rejection),
    /// The ledger, the block store or the database is away; a retry may succeed.
    #[error("cannot write now: {0}")]
    Unavailable(String),
}

/// Why a submission was not acknowledged. Nothing of it is kept, but for `Why(Unavailable)`, of which it is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// One act cannot be, and so none is done.
    #[error("act {number}: {why}")]
    Act {
        /// Which one, counted from 0.
        number: usize,
        /// Why.
        why: WriteError,
    },
    /// A condition is not true any more: the caller finds out anew what is to be done.
    #[error("condition {number} is not true any more")]
    Raced {
        /// Which one, counted from 0.
        number: usize,
    },
    /// Another request had this idempotency key.
    #[error("another request had this idempotency key")]
    KeyReused,
    /// What is true of the whole: `TooLarge`, `Busy`, `TooMany`, `Rejected`, `Unavailable`.
    #[error("{0}")]
    Whole(WriteError),
}

impl<E: Into<WriteError>> From<E> for SubmitError {
    fn from(e: E) -> Self {
        Self::Whole(e.into())
    }
}

impl SubmitError {
    /// Why, when it does not matter which act it is.
    pub fn why(self) -> WriteError {
        match self {
            Self::Act { why, .. } | Self::Whole(why) => why,
            Self::Raced { .. } => WriteError::Busy,
            Self::KeyReused => WriteError::NotTheSame,
        }
    }
}

/// Why a record was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something is not what was anchored. Never served; audited.
    #[error("integrity: {0}")]
    Integrity(String),
    /// The ledger, the block store or the database is away.
    #[error("cannot open now: {0}")]
    Unavailable(String),
}

impl From<StoreError> for WriteError {
    fn from(e: StoreError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<DirectoryFault> for WriteError {
    fn from(e: DirectoryFault) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<BlobError> for WriteError {
    fn from(e: BlobError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<LedgerError> for WriteError {
    fn from(e: LedgerError) -> Self {
        match e {
            LedgerError::Rejected(rejection) => Self::Rejected(rejection),
            LedgerError::Busy => Self::Busy,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::Spoiled { .. } | StoreError::Form { .. } => Self::Integrity(e.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<BlobError> for OpenError {
    fn from(e: BlobError) -> Self {
        match e {
            BlobError::Spoiled(_) => Self::Integrity(e.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<LedgerError> for OpenError {
    fn from(e: LedgerError) -> Self {
        Self::Unavailable(e.to_string())
    }
}

impl From<DirectoryFault> for OpenError {
    fn from(e: DirectoryFault) -> Self {
        match e {
            DirectoryFault::Unavailable(what) => Self::Unavailable(what),
            other => Self::Integrity(other.to_string()),
        }
    }
}
