//! The gateway's own database: every value sealed for its place, every commit shared by all who wait.
//!
//! **Architecture invariant:** nothing is written in plaintext. Keys are random identifiers or blinded (`Db::blind`), never
//! names, codes or anything that a person chose.

mod batch;
mod db;

pub use batch::WriteBatch;
pub(crate) use db::from_json;
pub use db::{Db, Row};

/// Why the database did not do it. Never carries a value.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened, read or written.
    #[error("the gateway's database: {0}")]
    Failed(std::sync::Arc<redb::Error>),
    /// A value does not open at its place: altered, moved, or another store's.
    #[error("a value of table {table} does not open at its place: altered, moved, or another store's")]
    Spoiled {
        /// The table.
        table: &'static str,
    },
    /// A value opens and is not of its form.
    #[error("a value of table {table} is not of its form: {source}")]
    Form {
        /// The table.
        table: &'static str,
        /// What serde says.
        source: std::sync::Arc<serde_json::Error>,
    },
    /// The database was closed.
    #[error("the gateway's database is closed")]
    Closed,
}

/// A table's name.
pub type Table = &'static str;
