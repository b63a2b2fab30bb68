//! What binds a record's blob, its anchor, its directory entry and its index: charts, the directory, the outbox.
//!
//! **Architecture invariant:** this module knows nothing of HTTP or of who may see what; it demands a `Permit` and gives
//! out nothing that it did not verify against the ledger's head.

pub mod charts;
mod check;
pub mod directory;
mod error;
mod index;
mod opened;
mod outbox;
mod own;
mod row;
mod submission;
mod universe;

pub use charts::{Chart, Charts};
pub use check::CheckReport;
pub use directory::{Directory, DirectoryEntry, DirectoryFault, KeyEntry, New, Refresh};
pub use error::{OpenError, SubmitError, WriteError};
pub use index::IndexCheck;
pub use opened::Opened;
pub use own::Records;
pub use row::{Actor, Header, LaterVersion, ProofParts, RecordRow};
pub use submission::{
    Act, ActKind, Condition, Done, HistoryCursor, HistoryPage, HistoryPart, Idempotency, Repeated, Scope, Submission,
    Written,
};
pub use universe::{OwnKey, OwnUniverse};

#[cfg(test)]
mod tests;
