//! Why a testnet did not do as it was told.

use std::{io, path::Path};

/// Why a testnet did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// What was asked for cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// There is no such net or node.
    #[error("{0}")]
    NotFound(String),
    /// This machine or this user does not allow it.
    #[error("{0}")]
    NotPermitted(String),
    /// Something did not come up, answer or end in time.
    #[error("{0}")]
    Unavailable(String),
    /// A promise of the ledger does not hold.
    #[error("{0}")]
    Broken(String),
    /// A file or a program could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What this crate's functions give back.
pub type Result<T> = std::result::Result<T, NetError>;

pub(crate) fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetError {
    move |source| NetError::Io { what: format!("{what} {}", path.display()), source }
}
