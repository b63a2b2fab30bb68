//! What goes wrong on this side of the chain: *we failed*, never *the transaction was invalid* (that is a
//! `vouchsafe_types::Rejection`).

use std::path::PathBuf;

use vouchsafe_types::{Hash32, Rejection};

/// The node cannot go on, or cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The database refused to open, read or write.
    #[error("the ledger's database: {0}")]
    Database(#[from] redb::Error),
    /// The Merkle tree met something that it cannot work with.
    #[error("the ledger's Merkle tree: {0}")]
    Tree(String),
    /// A file of the home directory could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the home directory does not hold what it must.
    #[error("{}: {what}", path.display())]
    BadFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; never its content.
        what: &'static str,
    },
    /// What is stored contradicts itself: the disk was damaged or altered.
    #[error("the ledger's store is damaged at height {height}: {what}")]
    Damaged {
        /// Where.
        height: u64,
        /// What does not match.
        what: String,
    },
    /// The home directory belongs to another chain.
    #[error("the store was begun with genesis {stored}, not {given}")]
    OtherGenesis {
        /// The digest in the store.
        stored: Hash32,
        /// The digest of the document given.
        given: Hash32,
    },
    /// The genesis document is not one.
    #[error("the genesis document: {0}")]
    Genesis(Rejection),
    /// The key given is not the one validator that the genesis document names.
    #[error("the embedded ledger needs the one validator of the genesis document: {0}")]
    NotTheValidator(&'static str),
    /// A block that does not follow the last one was asked for.
    #[error("a block at height {got} cannot follow height {head}")]
    Height {
        /// The last block's height.
        head: u64,
        /// The height asked for.
        got: u64,
    },
    /// `commit` without a `finalize_block` before it.
    #[error("nothing is finalized")]
    NothingFinalized,
    /// A value of the chain does not fit the form that CometBFT gives it.
    #[error("not of CometBFT's form: {0}")]
    Comet(String),
    /// The driver has stopped.
    #[error("the ledger has stopped: {0}")]
    Stopped(String),
}

macro_rules! from_redb {
    ($($name:ident)*) => {
        $(impl From<redb::$name> for NodeError {
            fn from(e: redb::$name) -> Self {
                Self::Database(e.into())
            }
        })*
    };
}

from_redb! { DatabaseError TransactionError TableError StorageError CommitError }

impl From<anyhow::Error> for NodeError {
    fn from(e: anyhow::Error) -> Self {
        Self::Tree(format!("{e:#}"))
    }
}

impl From<tendermint::Error> for NodeError {
    fn from(e: tendermint::Error) -> Self {
        Self::Comet(e.to_string())
    }
}
